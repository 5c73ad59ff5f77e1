//! Processes that stand still for a while, as if their machine were swapping or somebody had stopped them: what
//! comes for them waits, and comes all at once, in order, when they go on.

use std::collections::BTreeMap;
use std::time::Duration;

use super::host::HostEvent;
use super::network::Peer;
use super::world::{What, World};

/// A process that can be paused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Process {
    Seat(usize),
    Agent(usize),
    Scheduler(usize),
}

/// What waits for processes that stand still.
pub(crate) type Pauses = BTreeMap<Process, Vec<What>>;

impl World {
    /// A process stands still from now on, unless it does so already.
    pub(super) fn pause(&mut self, process: Process, length: Duration) {
        if self.pauses.contains_key(&process) {
            return;
        }
        self.pauses.insert(process, Vec::new());
        self.queue.push(self.now + length, What::Resumes(process));
    }

    pub(super) fn is_paused(&self, process: Process) -> bool {
        self.pauses.contains_key(&process)
    }

    /// It goes on, with all that has waited.
    pub(super) fn resume(&mut self, process: Process) {
        for what in self.pauses.remove(&process).unwrap_or_default() {
            self.happen(what);
        }
    }

    /// Whom something happens to, if that can be paused.
    pub(super) fn process_of(&self, what: &What) -> Option<Process> {
        let of_peer = |peer| match peer {
            Peer::Scheduler(i) => Process::Scheduler(i),
            Peer::Agent(i, _) => Process::Agent(i),
        };
        match what {
            What::ToMaster(link, _) => self.network.ends(*link).map(|(s, _)| Process::Seat(s)),
            What::ToPeer(link, _) => self.network.ends(*link).map(|(_, peer)| of_peer(peer)),
            What::Unreachable(peer) => Some(of_peer(*peer)),
            What::SchedulerWakes(i) => Some(Process::Scheduler(*i)),
            What::LeaseTurn { seat, .. }
            | What::LeaseAnswered { seat, .. }
            | What::Committed { seat, .. } => Some(Process::Seat(*seat)),
            What::Host(
                i,
                HostEvent::Core { .. } | HostEvent::Wake { .. } | HostEvent::Written { .. },
            ) => Some(Process::Agent(*i)),
            _ => None,
        }
    }
}
