//! Runs of executors, as they are shown.

use std::time::Duration;

use nesos_api::{WireError, v1};
use nesos_types::resources::{format_bytes, format_cpus};
use serde::Serialize;

use super::{TaskView, age};
use crate::table::Table;

/// A run of an executor.
#[derive(Debug, Serialize)]
pub(crate) struct ExecutorView {
    pub(crate) executor: String,
    pub(crate) run: TaskView,
    pub(crate) tasks: u32,
}

impl ExecutorView {
    pub(super) fn new(wire: v1::ExecutorState, now_us: u64) -> Result<Self, WireError> {
        Ok(Self {
            executor: wire.executor_id,
            run: TaskView::new(wire.run.ok_or(WireError::Missing("executor.run"))?, now_us)?,
            tasks: wire.tasks,
        })
    }

    /// Executors as a table. The run's name is what `nesos logs` and `nesos kill` take.
    pub(crate) fn table<'a>(executors: impl IntoIterator<Item = &'a Self>) -> Table {
        let mut table = Table::new([
            "EXECUTOR", "RUN", "STATE", "ROLE", "CPUS", "MEMORY", "TASKS", "AGE",
        ]);
        for executor in executors {
            let run = &executor.run;
            let resources = run.info.resources.flattened();
            table.row([
                executor.executor.clone(),
                run.id.clone(),
                run.state.to_string(),
                run.role.clone(),
                format_cpus(resources.cpu_milli),
                format_bytes(resources.mem_bytes),
                executor.tasks.to_string(),
                age(Duration::from_micros(run.age_us)),
            ]);
        }
        table
    }
}
