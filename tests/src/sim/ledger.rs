//! The checker's own books: what was really offered, launched, run, told and acknowledged, as it is seen from
//! outside. Nothing here asks a core what it believes, so a core that deceives itself is found out.
//!
//! It hears of everything that crosses the border of a core and answers with a complaint where that must not be.

use std::collections::{BTreeMap, BTreeSet};

use nesos_master_core::ConnectionId;
use nesos_types::ids::{AgentId, FrameworkId, OfferId, TaskKey, UpdateId};
use nesos_types::resources::Resources;
use nesos_types::role::Role;
use nesos_types::task::TaskState;

mod acknowledgements;
mod offers;
mod records;
mod tasks;

/// Something that must not be, and the words by which to find in a trace what led to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Complaint {
    pub(crate) what: String,
    pub(crate) words: Vec<String>,
}

/// All is well, or not.
pub(crate) type Check = Result<(), Complaint>;

/// Complains unless something holds.
fn must(holds: bool, words: &[&dyn std::fmt::Display], what: impl FnOnce() -> String) -> Check {
    if holds {
        return Ok(());
    }
    Err(Complaint {
        what: what(),
        words: words.iter().map(|word| word.to_string()).collect(),
    })
}

/// An offer that a scheduler may believe in.
#[derive(Clone, Debug)]
struct OpenOffer {
    connection: ConnectionId,
    /// Which master's. What one that was deposed has offered is void, and nobody knows.
    seat: usize,
    agent: AgentId,
    role: Role,
    resources: Resources,
}

/// What is known of one task.
#[derive(Clone, Debug, Default)]
struct Book {
    /// The agent that the master sent it to.
    launched: Option<AgentId>,
    /// The host on which its guest started.
    host: Option<usize>,
    /// Whether the guest runs.
    lives: bool,
    /// How the guest ended.
    truth: Option<TaskState>,
    /// The cell died with it, or with what it had still to say of it.
    lost: bool,
    /// Somebody said that it is gone for good.
    gone: bool,
    /// The updates that its scheduler was told, in order, and which process of its host said each.
    told: Vec<(UpdateId, TaskState, u32)>,
    /// What its scheduler acknowledged.
    acknowledged: BTreeSet<UpdateId>,
    /// Whether an end is among that.
    ended: bool,
    /// The master made it, and acknowledges what is said of it.
    is_run: bool,
}

/// The books.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    /// Nothing is kept where nobody checks.
    pub(crate) kept: bool,
    offers: BTreeMap<OfferId, OpenOffer>,
    /// The same by agent and by connection.
    offers_on: BTreeMap<AgentId, BTreeSet<OfferId>>,
    offers_over: BTreeMap<ConnectionId, BTreeSet<OfferId>>,
    tasks: BTreeMap<TaskKey, Book>,
    /// Frameworks that were torn down: nobody wants to hear of their tasks.
    removed: BTreeSet<FrameworkId>,
    /// Which host an agent's id belongs to.
    hosts: BTreeMap<AgentId, usize>,
    /// Over which connections masters know agents, and which masters.
    present: BTreeMap<ConnectionId, (AgentId, usize)>,
    /// Which process of its host said an update first.
    said_by: BTreeMap<UpdateId, u32>,
    /// What roles may have.
    limits: BTreeMap<Role, u64>,
}

impl Ledger {
    pub(crate) fn new(kept: bool) -> Self {
        Self {
            kept,
            ..Self::default()
        }
    }

    /// A framework is torn down.
    pub(crate) fn removes(&mut self, framework: FrameworkId) {
        self.removed.insert(framework);
    }

    /// A role is not to get more CPU than this, in thousandths. If it has offers already, nothing is checked: they
    /// are not taken back at once.
    pub(crate) fn limits(&mut self, role: Role, cpu_milli: u64) {
        if self.offers.is_empty() && self.tasks.is_empty() {
            self.limits.insert(role, cpu_milli);
        }
    }
}
