//! What an agent decides: effects, performed by the driver in their order.

use std::path::PathBuf;

use nesos_types::cell::CellCommand;
use nesos_types::message::{AgentEvent, Refusal};
use nesos_types::role::Role;

use crate::event::{BundleKey, CellId};

/// What `handle` writes into. The driver drains it after a batch of events.
#[derive(Debug, Default)]
pub struct Decisions {
    /// To be performed in this order. None of them waits for a commit: what must be durable first is
    /// decided only after [`Event::Committed`](crate::Event::Committed).
    pub effects: Vec<Effect>,
}

impl Decisions {
    pub(crate) fn push(&mut self, effect: Effect) {
        self.effects.push(effect);
    }
}

/// Something that leaves the core.
#[expect(
    clippy::large_enum_variant,
    reason = "a status is the common case; a box would cost an allocation for each"
)]
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Connect to the master, now. Answered by `MasterConnected` or `MasterDisconnected`. An older
    /// connection, if there is one, is over.
    ConnectMaster {
        /// The attempt's number.
        connection: u64,
    },
    /// Close the connection to the master. Not answered.
    DisconnectMaster,
    /// Say something on the standing connection; lost if it no longer stands.
    SendMaster(AgentEvent),
    /// Start a cell process and connect to it. Answered by `CellStarted` and the cell's `Hello`, or by
    /// `CellFailed`.
    StartCell {
        /// The new cell's number.
        cell: CellId,
        /// Whose sandboxes it will hold.
        role: Role,
    },
    /// Connect to a cell that was started earlier, perhaps by an earlier agent process. Answered by
    /// the cell's `Hello` or by `CellFailed`.
    ConnectCell {
        /// Which cell.
        cell: CellId,
        /// Its process, where it is known.
        pid: Option<u32>,
    },
    /// Say something to a connected cell; lost if it is no longer connected.
    SendCell {
        /// Which cell.
        cell: CellId,
        /// What to say.
        command: CellCommand,
    },
    /// Make sure that the cell's process is gone (kill it), and remove its socket. Not answered.
    DiscardCell {
        /// Which cell.
        cell: CellId,
        /// Its process, where it is known.
        pid: Option<u32>,
    },
    /// Fetch and compile a bundle, or find it in the cache. Answered by `BundleReady` or
    /// `BundleFailed`.
    FetchBundle(BundleKey),
    /// The compiled bundle is no longer in use: the cache may evict it.
    ReleaseBundle(BundleKey),
    /// Remove a sandbox' directory with everything in it, if it is there. Not answered.
    RemoveSandbox {
        /// The directory.
        directory: PathBuf,
    },
    /// Make the directories of these persistent volumes where they are not there, and remove all others
    /// beside them with everything in them. Not answered.
    KeepVolumes {
        /// The directories to keep.
        keep: Vec<PathBuf>,
    },
    /// The agent is done: the driver ends. Nothing follows.
    Stop(Stopped),
}

/// How an agent ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stopped {
    /// It was told to shut down and left the cluster.
    Left {
        /// Whether every task had ended and every status was acknowledged.
        graceful: bool,
        /// Tasks that had not ended when the grace was over.
        tasks_left: usize,
        /// Statuses that nobody had acknowledged.
        updates_left: usize,
    },
    /// The master does not want it (any more).
    Refused(Refusal),
}
