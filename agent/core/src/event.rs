//! What an agent hears: from the master, its cells, the bundle cache, its disk and its operator.

use std::collections::BTreeSet;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use nesos_types::bundle::{Digest, Repository};
use nesos_types::cell::{CellEvent, SandboxVolume};
use nesos_types::limits::Metering;
use nesos_types::message::AgentCommand;
use nesos_types::task::TaskReason;
use serde::{Deserialize, Serialize};

/// A cell, numbered by its agent over the whole life of the agent's state directory: cells outlive
/// the agent process, so numbers are never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct CellId(pub u32);

impl fmt::Display for CellId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cell-{}", self.0)
    }
}

/// A compiled bundle: the checks that metering needs are compiled into it.
///
/// Who must have signed it is a part of the question: two roles that ask for one bundle and trust different
/// people are answered each by itself.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BundleKey {
    /// Where it lies; `None` is a bare module or component of the master.
    pub repository: Option<Repository>,
    /// What is compiled: a manifest of the repository, or the bare module or component.
    pub digest: Digest,
    /// PEM public keys of which one must have signed it; none: nobody need have.
    pub signers: Arc<[String]>,
    /// How its CPU is metered.
    pub metering: Metering,
}

/// What an agent hears.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// Raised by the driver: the connection that [`Effect::ConnectMaster`](crate::Effect) asked for
    /// stands. Nothing was said on it yet.
    MasterConnected {
        /// The attempt's number, as in the effect. Events of an older attempt are ignored.
        connection: u64,
    },
    /// Raised by the driver: the master said something.
    MasterCommand {
        /// On which connection.
        connection: u64,
        /// What it said.
        command: AgentCommand,
    },
    /// Raised by the driver: the connection ended or could not be made.
    MasterDisconnected {
        /// Which connection.
        connection: u64,
        /// One line for a person.
        message: String,
    },
    /// Raised by the driver: the process that [`Effect::StartCell`](crate::Effect) asked for runs; its
    /// [`CellEvent::Hello`] follows when it is connected.
    CellStarted {
        /// Which cell.
        cell: CellId,
        /// Its process.
        pid: u32,
    },
    /// Raised by the driver: a cell said something. The first event of each connection is
    /// [`CellEvent::Hello`].
    CellEvent {
        /// Which cell.
        cell: CellId,
        /// What it said.
        event: CellEvent,
    },
    /// Raised by the driver: the connection to a cell ended after its `Hello`. The cell may live.
    CellDisconnected {
        /// Which cell.
        cell: CellId,
        /// One line for a person.
        message: String,
    },
    /// Raised by the driver: a cell could not be started or connected to within the driver's
    /// patience, or its process was seen to end. It is given up.
    CellFailed {
        /// Which cell.
        cell: CellId,
        /// One line for a person.
        message: String,
    },
    /// Raised by the driver: a bundle is compiled. The file stays until the core releases it.
    BundleReady {
        /// Which bundle.
        bundle: BundleKey,
        /// The compiled image, for a cell to map.
        compiled: PathBuf,
        /// The read-only files that come with it, unpacked; they stay as long.
        files: Option<SandboxVolume>,
    },
    /// Raised by the driver: a bundle could not be fetched or compiled.
    BundleFailed {
        /// Which bundle.
        bundle: BundleKey,
        /// Why, for the statuses of the tasks that wait for it.
        reason: TaskReason,
        /// One line for a person.
        message: String,
    },
    /// Raised by the driver when it starts and whenever that has changed: the bundles in the cache of
    /// compiled ones.
    Compiled(BTreeSet<Digest>),
    /// Raised by the driver: a checkpoint that [`Agent::take_checkpoint`](crate::Agent::take_checkpoint)
    /// gave is durable.
    Committed {
        /// The checkpoint's number.
        sequence: u64,
    },
    /// Raised by the driver when [`Agent::next_deadline`](crate::Agent::next_deadline) has come.
    Tick,
    /// Raised by the operator: end all tasks, report, leave the cluster for good, stop.
    Shutdown {
        /// How long the tasks have at most to end by themselves.
        grace: Duration,
    },
}
