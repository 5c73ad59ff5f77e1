//! Compiled bundles as the agent knows them: asked for, ready, in use, let go.
//!
//! A ready bundle is held against eviction while a task waits to use it and for a while longer. How a bundle
//! is fetched, compiled and cached the core does not know.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use nesos_types::cell::SandboxVolume;
use nesos_types::task::{TaskReason, TaskState};
use nesos_types::time::Time;

use crate::event::{BundleKey, CellId};

/// One bundle.
#[derive(Debug, Default)]
pub(crate) struct Bundle {
    /// The compiled image; `None` while it is being fetched or compiled.
    pub(crate) compiled: Option<PathBuf>,
    /// The files that come with it.
    pub(crate) files: Option<SandboxVolume>,
    /// Tasks that wait to be launched with it. A launched task needs the image no more, for its cell has it;
    /// but one with files holds it until it ends.
    pub(crate) users: usize,
    /// Cells that wait for it on behalf of executors, with the numbers of their questions.
    pub(crate) wanted: Vec<(CellId, u64)>,
    /// When a task was last launched with it.
    pub(crate) used_at: Time,
    /// When it will be let go.
    pub(crate) idle_at: Option<Time>,
}

/// All bundles that were asked for and not let go.
#[derive(Debug, Default)]
pub(crate) struct Bundles {
    pub(crate) table: BTreeMap<BundleKey, Bundle>,
}

impl Bundles {
    /// The compiled image, if it is ready.
    pub(crate) fn compiled(&self, key: &BundleKey) -> Option<&Path> {
        self.table.get(key)?.compiled.as_deref()
    }

    /// The files that come with it, if it is ready and has some.
    pub(crate) fn files(&self, key: &BundleKey) -> Option<&SandboxVolume> {
        self.table.get(key)?.files.as_ref()
    }
}

/// The state that a task takes for which no sandbox could be made: whether retrying it unchanged may
/// help.
pub(crate) fn state_for(reason: TaskReason) -> TaskState {
    match reason {
        TaskReason::DigestMismatch
        | TaskReason::InvalidModule
        | TaskReason::CompileLimit
        | TaskReason::ImportUnsatisfied
        | TaskReason::CapabilityDenied
        | TaskReason::TaskInvalid
        | TaskReason::Unsigned
        | TaskReason::SignatureInvalid => TaskState::Error,
        _ => TaskState::Dropped,
    }
}
