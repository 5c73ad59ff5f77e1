//! The tasks of the play: which program, on what, for whom.

use std::sync::Arc;

use bytes::Bytes;
use nesos_sdk::digest_of;
use nesos_types::ids::{IdError, TaskId};
use nesos_types::resources::Resources;
use nesos_types::task::{SharedTask, TaskInfo, TaskStatus};

use super::actor::Who;

/// A task, and what has become of it.
#[derive(Debug)]
pub(super) struct Part {
    pub(super) who: Who,
    pub(super) task: SharedTask,
    pub(super) bytes: Bytes,
    pub(super) end: Option<TaskStatus>,
    pub(super) output: String,
}

impl Part {
    fn new(
        who: Who,
        name: &str,
        wasm: &'static [u8],
        resources: Resources,
        args: &[&str],
    ) -> Result<Self, IdError> {
        let bytes = Bytes::from_static(wasm);
        let id: TaskId = name.parse()?;
        let mut task = TaskInfo::new(id, digest_of(&bytes), resources);
        task.args = [name].iter().chain(args).map(ToString::to_string).collect();
        Ok(Self {
            who,
            task: Arc::new(task),
            bytes,
            end: None,
            output: String::new(),
        })
    }
}

/// The three tasks of the example.
pub(super) fn cast() -> Result<Vec<Part>, IdError> {
    const GIB: u64 = 1 << 30;
    Ok(vec![
        Part::new(
            Who::One,
            "primes",
            nesos_artifacts::include_guest!(threads primes_parallel),
            Resources::new(2000, GIB),
            &["4000000", "2"],
        )?,
        Part::new(
            Who::One,
            "memory",
            nesos_artifacts::include_guest!(wasip1 memory_hold),
            Resources::new(1000, 2 * GIB),
            &["256", "2"],
        )?,
        Part::new(
            Who::Two,
            "greeting",
            nesos_artifacts::include_guest!(wasip1 hello),
            Resources::new(1000, GIB),
            &["resource offers"],
        )?,
    ])
}
