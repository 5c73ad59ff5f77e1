//! An executor's life: one instance, told one event at a time.

use std::time::{Duration, Instant};

use wasmtime::Store;
use wasmtime::component::InstancePre;

use super::bindings::{Hosted, HostedPre};
use super::sandboxes::told;
use super::side::{Executor, described, millis};
use super::{ComponentWorld, Side, patience};
use crate::exit::Exit;
use crate::guest::Guest;
use crate::mailbox::{GuestEvent, Mailbox};
use crate::program::Ended;
use crate::wasi::component;
use nesos_types::ids::TaskId;
use nesos_types::task::SharedTask;

/// A component that exports `executor-events`, ready to be instantiated.
pub(crate) struct ExecutorProgram(HostedPre<Guest<ComponentWorld>>);

/// What an executor is told.
enum Event {
    Launch(SharedTask),
    Kill { task: TaskId, grace: Duration },
    Message(bytes::Bytes),
    Timer(u64),
    Exited(u64, Exit),
    Shutdown(Duration),
}

/// Where an executor stands.
#[derive(Default)]
struct Turn {
    /// It was told to shut down.
    told_to_stop: bool,
    /// Whose turn it is among mailbox, timers and children: nobody keeps the others waiting.
    next: usize,
}

impl ExecutorProgram {
    /// Looks for the functions that an executor exports.
    pub(crate) fn new(pre: InstancePre<Guest<ComponentWorld>>) -> wasmtime::Result<Self> {
        HostedPre::new(pre).map(Self)
    }

    /// Instantiates it and tells it what happens, until it ends. `running` is called when it has registered.
    pub(crate) async fn run(
        &self,
        store: &mut Store<Guest<ComponentWorld>>,
        limit: Duration,
        running: impl FnOnce() + Send,
    ) -> Ended {
        component::limit_store(store);
        let mut running = Some(running);
        let begun = patience::within(limit, async {
            let executor = match self.0.instantiate_async(&mut *store).await {
                Ok(executor) => executor,
                Err(error) => return Err(Ended::NotInstantiated(error)),
            };
            let side = &store.data().world.side;
            let (me, data) = (side.me(), side.task.data.clone());
            let events = executor.nesos_guest_executor_events();
            let registered = events.call_registered(&mut *store, &me, &data).await;
            registered.map(|()| executor).map_err(Ended::Raised)
        });
        let executor = match begun.await {
            Some(Ok(executor)) => executor,
            Some(Err(ended)) => return ended,
            None => return Ended::Unresponsive("registered", limit),
        };
        if let Some(running) = running.take() {
            running();
        }
        let mut turn = Turn::default();
        loop {
            Guest::publish((&*store).into());
            let side = &mut store.data_mut().world.side;
            let Some(event) = turn.next(side).await else {
                return Ended::Returned(0);
            };
            let name = event.name();
            let told = patience::within(limit, tell(&executor, store, event)).await;
            match told {
                Some(Ok(())) => {}
                Some(Err(error)) => return Ended::Raised(error),
                None => return Ended::Unresponsive(name, limit),
            }
        }
    }
}

impl Event {
    /// The function that is called for it.
    fn name(&self) -> &'static str {
        match self {
            Self::Launch(_) => "launch",
            Self::Kill { .. } => "kill",
            Self::Message(_) => "message",
            Self::Timer(_) => "timer",
            Self::Exited(..) => "sandbox-exited",
            Self::Shutdown(_) => "shutdown",
        }
    }
}

async fn tell(
    executor: &Hosted,
    store: &mut Store<Guest<ComponentWorld>>,
    event: Event,
) -> wasmtime::Result<()> {
    let events = executor.nesos_guest_executor_events();
    match event {
        Event::Launch(task) => events.call_launch(store, &described(&task)).await,
        Event::Kill { task, grace } => events.call_kill(store, task.as_str(), millis(grace)).await,
        Event::Message(data) => events.call_message(store, &data).await,
        Event::Timer(id) => events.call_timer(store, id).await,
        Event::Exited(id, exit) => events.call_sandbox_exited(store, id, &told(&exit)).await,
        Event::Shutdown(grace) => events.call_shutdown(store, millis(grace)).await,
    }
}

impl Turn {
    /// Waits for the next event; none if the executor has ended itself.
    async fn next(&mut self, side: &mut Side) -> Option<Event> {
        let mailbox = side.control.mailbox.clone();
        let executor = side.executor()?;
        loop {
            if executor.stopping {
                return None;
            }
            if let Some(by) = mailbox.stop_at().filter(|_| !self.told_to_stop) {
                self.told_to_stop = true;
                return Some(Event::Shutdown(
                    by.saturating_duration_since(Instant::now()),
                ));
            }
            if let Some(event) = self.waiting(executor, &mailbox) {
                return Some(event);
            }
            mailbox.set_at_rest(true);
            let timer = executor.timers.next();
            tokio::select! {
                () = mailbox.until_event() => {}
                () = mailbox.until_stop(), if !self.told_to_stop => {}
                () = executor.children.until_exited() => {}
                () = until(timer) => {}
            }
            mailbox.set_at_rest(false);
        }
    }

    /// The next event that waits already.
    fn waiting(&mut self, executor: &mut Executor, mailbox: &Mailbox) -> Option<Event> {
        const SOURCES: usize = 3;
        for _ in 0..SOURCES {
            self.next = (self.next + 1) % SOURCES;
            let event = match self.next {
                0 => posted(executor, mailbox),
                1 => executor.timers.take_due(Instant::now()).map(Event::Timer),
                _ => {
                    let exited = executor.children.take_exited();
                    exited.map(|(id, exit)| Event::Exited(id, exit))
                }
            };
            if event.is_some() {
                return event;
            }
        }
        None
    }
}

/// The next event from outside. A task that has ended need not be killed any more.
fn posted(executor: &mut Executor, mailbox: &Mailbox) -> Option<Event> {
    loop {
        return Some(match mailbox.take()? {
            GuestEvent::Launch(task) => {
                executor.tasks.launched(task.clone());
                Event::Launch(task)
            }
            GuestEvent::Kill { task, .. } if !executor.tasks.has(&task) => continue,
            GuestEvent::Kill { task, grace } => Event::Kill { task, grace },
            GuestEvent::Message(data) => Event::Message(data),
        });
    }
}

async fn until(timer: Option<Instant>) {
    match timer {
        Some(at) => tokio::time::sleep_until(at.into()).await,
        None => std::future::pending().await,
    }
}
