//! How a task ended, as an exit status and, unless it ended well, a line that says why.

use nesos_types::task::{TaskReason, TaskState, TaskStatus};

use crate::failure::status;

/// What a shell shows for a program that was aborted: 128 + SIGABRT.
const TRAPPED: u8 = 134;
/// What `timeout` answers.
const TIMED_OUT: u8 = 124;
/// What a shell shows for a program that was killed: 128 + SIGKILL.
const KILLED: u8 = 137;

/// The end of a task for a person and for a shell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Verdict {
    pub(super) status: u8,
    /// Lines for stderr, the first of which says why; none if the guest ended by itself.
    pub(super) lines: Vec<String>,
}

impl Verdict {
    /// What a terminal status comes to.
    pub(super) fn of(task: &TaskStatus) -> Self {
        let status = exit_status(task);
        let exited = matches!(task.state, TaskState::Finished | TaskState::Failed)
            && matches!(task.reason, None | Some(TaskReason::Exited));
        if exited {
            return Self {
                status,
                lines: Vec::new(),
            };
        }
        let mut lines = vec![explanation(task)];
        lines.extend(task.backtrace.iter().map(|frame| format!("    {frame}")));
        Self { status, lines }
    }

    /// The verdict on a task that this process killed because of a signal of this number.
    pub(super) fn signalled(name: &str, number: u8) -> Self {
        Self {
            status: 128 + number,
            lines: vec![format!("killed by {name}")],
        }
    }
}

fn exit_status(task: &TaskStatus) -> u8 {
    use TaskReason as Reason;
    match (task.state, task.reason) {
        (TaskState::Finished, _) => task.exit_code.unwrap_or(0),
        (TaskState::Failed, Some(Reason::TimeLimit)) => TIMED_OUT,
        (
            TaskState::Failed,
            Some(
                Reason::Trap
                | Reason::StackOverflow
                | Reason::FuelExhausted
                | Reason::MemoryLimit
                | Reason::DiskLimit,
            ),
        ) => task.exit_code.filter(|code| *code != 0).unwrap_or(TRAPPED),
        (TaskState::Failed, None | Some(Reason::Exited)) => task.exit_code.unwrap_or(1),
        (TaskState::Killed, _) => KILLED,
        (_, Some(reason)) if is_the_files_fault(reason) => status::CANNOT_RUN,
        _ => status::FAILED,
    }
}

/// Whether the file, rather than the cluster, is why the task did not start.
fn is_the_files_fault(reason: TaskReason) -> bool {
    matches!(
        reason,
        TaskReason::InvalidModule
            | TaskReason::CompileLimit
            | TaskReason::ImportUnsatisfied
            | TaskReason::InstantiateFailed
            | TaskReason::CapabilityDenied
    )
}

/// One line: what happened, and the cluster's own words about it.
fn explanation(task: &TaskStatus) -> String {
    let what = what(task);
    if task.message.is_empty() {
        return what.to_owned();
    }
    let message = task.message.replace('\n', " ");
    format!("{what}: {message}")
}

fn what(task: &TaskStatus) -> &'static str {
    use TaskReason as Reason;
    match (task.state, task.reason) {
        (TaskState::Failed, Some(Reason::Trap)) => "the guest trapped",
        (TaskState::Failed, Some(Reason::StackOverflow)) => "the guest's call stack overflowed",
        (TaskState::Failed, Some(Reason::FuelExhausted)) => "the guest used up its fuel",
        (TaskState::Failed, Some(Reason::MemoryLimit)) => "the guest ran out of memory",
        (TaskState::Failed, Some(Reason::DiskLimit)) => "the guest ran out of disk",
        (TaskState::Failed, Some(Reason::TimeLimit)) => "the guest reached its time limit",
        (TaskState::Killed, Some(Reason::Preempted)) => {
            "the task was ended to make room for one of higher priority"
        }
        (TaskState::Killed, Some(Reason::Unhealthy)) => {
            "the service was ended, for it was not well"
        }
        (TaskState::Killed, _) => "the task was killed",
        (_, Some(Reason::CellTerminated)) => "the cell that held the sandbox died",
        (_, Some(reason)) if is_the_files_fault(reason) => "the cluster cannot run this",
        (TaskState::Gone | TaskState::GoneByOperator, _) => "the task was lost",
        (TaskState::Unreachable, _) => "the task's agent was lost",
        (TaskState::Unknown, _) => "the master does not know the task any more",
        _ => "the task did not run",
    }
}

#[cfg(test)]
mod tests {
    use nesos_types::task::StatusSource;
    use nesos_types::time::Time;

    use super::*;

    fn ended(
        state: TaskState,
        reason: impl Into<Option<TaskReason>>,
        exit_code: impl Into<Option<u8>>,
    ) -> TaskStatus {
        let task = "t".parse().expect("an id");
        let mut status = TaskStatus::new(task, state, StatusSource::Cell, Time::ZERO);
        status.reason = reason.into();
        status.exit_code = exit_code.into();
        status
    }

    #[test]
    fn every_end_has_its_exit_status() {
        use TaskReason as Reason;
        use TaskState as State;
        for (state, reason, code, expected) in [
            (State::Finished, Some(Reason::Exited), Some(0), 0),
            (State::Finished, None, None, 0),
            (State::Failed, Some(Reason::Exited), Some(1), 1),
            (State::Failed, Some(Reason::Exited), Some(255), 255),
            (State::Failed, Some(Reason::Trap), None, 134),
            (State::Failed, Some(Reason::StackOverflow), None, 134),
            (State::Failed, Some(Reason::FuelExhausted), None, 134),
            (State::Failed, Some(Reason::MemoryLimit), None, 134),
            (State::Failed, Some(Reason::DiskLimit), Some(3), 3),
            (State::Failed, Some(Reason::TimeLimit), None, 124),
            (State::Killed, Some(Reason::KillRequested), None, 137),
            (State::Killed, Some(Reason::KillRequested), Some(0), 137),
            (State::Killed, Some(Reason::Unhealthy), None, 137),
            (State::Error, Some(Reason::ImportUnsatisfied), None, 126),
            (State::Failed, Some(Reason::InvalidModule), None, 126),
            (State::Error, Some(Reason::TaskInvalid), None, 125),
            (State::Dropped, Some(Reason::LaunchFailed), None, 125),
            (State::Gone, Some(Reason::CellTerminated), None, 125),
            (State::Unknown, None, None, 125),
        ] {
            let verdict = Verdict::of(&ended(state, reason, code));
            assert_eq!(verdict.status, expected, "{state} {reason:?} {code:?}");
        }
    }

    #[test]
    fn only_ends_of_the_guests_own_are_silent() {
        let silent = |status: &TaskStatus| Verdict::of(status).lines.is_empty();
        assert!(silent(&ended(TaskState::Finished, TaskReason::Exited, 0)));
        assert!(silent(&ended(TaskState::Failed, TaskReason::Exited, 7)));
        for reason in [TaskReason::Trap, TaskReason::TimeLimit] {
            assert!(!silent(&ended(TaskState::Failed, reason, None)));
        }
        assert!(!silent(&ended(
            TaskState::Killed,
            TaskReason::KillRequested,
            None
        )));
    }

    #[test]
    fn a_trap_is_told_with_its_frames() {
        let mut status = ended(TaskState::Failed, TaskReason::Trap, None);
        status.message = "out of bounds\nmemory access".to_owned();
        status.backtrace = vec!["0: main".to_owned()];
        assert_eq!(
            Verdict::of(&status).lines,
            [
                "the guest trapped: out of bounds memory access",
                "    0: main"
            ]
        );
    }
}
