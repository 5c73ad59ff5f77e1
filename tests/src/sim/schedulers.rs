//! The schedulers' side of the world: when they connect, what they hear, and what becomes of what they ask.

use nesos_master_core::ConnectionId;
use nesos_types::message::{SchedulerCall, SchedulerEvent};

use super::host;
use super::network::{End, Peer};
use super::pauses::Process;
use super::world::{Message, What, World};

impl World {
    pub(super) fn wake_scheduler(&mut self, i: usize) {
        let at = self.schedulers[i].wake_at;
        self.queue.push(at, What::SchedulerWakes(i));
    }

    pub(super) fn scheduler_wakes(&mut self, i: usize) {
        if self.schedulers[i].wake_at > self.now {
            return;
        }
        self.count(2);
        match self.schedulers[i].link {
            Some(link) => self.scheduler_acts(i, link),
            None => {
                self.schedulers[i].wake_at = nesos_types::time::Time::MAX;
                self.connect(Peer::Scheduler(i));
            }
        }
    }

    /// Its moment has come and it is connected, or believes so.
    fn scheduler_acts(&mut self, i: usize, link: ConnectionId) {
        if self.schedulers[i].has_heard_nothing(self.now) {
            self.hang_up(link, End::Peer);
            self.schedulers[i].disconnected(self.now);
        } else {
            let calls = self.schedulers[i].woken(self.now);
            self.call(i, link, calls);
        }
        self.wake_scheduler(i);
    }

    pub(super) fn arrive_at_scheduler(
        &mut self,
        i: usize,
        connection: ConnectionId,
        message: Message,
    ) {
        self.count(3);
        let link = self.schedulers[i].link;
        let opened = matches!(message, Message::Opened) && link.is_none();
        if !opened && link != Some(connection) {
            // A process that is gone, or one that has given up waiting, asked for this connection.
            return self.hang_up(connection, End::Peer);
        }
        let calls = match message {
            Message::Opened => {
                let subscribe = self.schedulers[i].connected(connection, self.now);
                self.wake_scheduler(i);
                vec![subscribe]
            }
            Message::Event(event) => self.scheduler_hears(i, event),
            _ => {
                self.network.close(connection, End::Peer);
                self.schedulers[i].disconnected(self.now);
                self.wake_scheduler(i);
                return;
            }
        };
        self.call(i, connection, calls);
    }

    fn scheduler_hears(&mut self, i: usize, event: SchedulerEvent) -> Vec<SchedulerCall> {
        let mut calls = Vec::new();
        for event in self
            .sabotage_scheduler_event(event, &mut calls)
            .into_iter()
            .flatten()
        {
            if let SchedulerEvent::Update(status) = &event
                && let Some(framework) = self.schedulers[i].id().filter(|_| self.ledger.kept)
            {
                let right = self.ledger.tells(framework, status);
                self.hold_to(right);
            }
            calls.extend(self.schedulers[i].hear(event, self.now, &mut self.rng));
        }
        calls
    }

    fn call(&mut self, i: usize, connection: ConnectionId, calls: Vec<SchedulerCall>) {
        for call in calls {
            if let SchedulerCall::Acknowledge { task, update, .. } = &call
                && let Some(framework) = self.schedulers[i].id().filter(|_| self.ledger.kept)
            {
                self.ledger.acknowledges(framework, task, *update);
            }
            self.send(connection, End::Master, Message::Call(call));
        }
    }

    /// A scheduler's process dies and is started again, with its id or without. Without it begins as another,
    /// and an operator takes the old framework away.
    pub(super) fn crash_scheduler(&mut self, i: usize, remembers: bool) {
        if self.is_paused(Process::Scheduler(i)) {
            return;
        }
        if let Some(link) = self.schedulers[i].link {
            self.hang_up(link, End::Peer);
        }
        if !remembers && let Some(old) = self.schedulers[i].forget() {
            let request = nesos_master_core::OperatorRequest::TeardownFramework(old);
            self.ask(request);
        }
        self.schedulers[i].disconnected(self.now);
        self.schedulers[i].wake_at = self.now + host::PROCESS_START;
        self.wake_scheduler(i);
    }
}
