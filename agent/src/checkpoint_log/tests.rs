use std::fs;

use nesos_agent_core::checkpoint::{
    AgentRecord, CellRecord, Change, Checkpoint, Record, RecordKey, TaskRecord,
};
use nesos_agent_core::{CellId, Event};
use nesos_types::bundle::Digest;
use nesos_types::ids::{AgentId, FrameworkId};
use nesos_types::reservation::SetApart;
use nesos_types::resources::Resources;
use nesos_types::role::Role;
use nesos_types::task::{StatusSource, TaskInfo, TaskReason, TaskState, TaskStatus};
use nesos_types::time::Time;

use super::*;

fn task(id: &str) -> TaskRecord {
    let id: nesos_types::ids::TaskId = id.parse().unwrap();
    let mut info = TaskInfo::new(id.clone(), Digest([7; 32]), Resources::new(500, 1 << 20));
    info.data = vec![0, 255];
    let mut status = TaskStatus::new(id, TaskState::Running, StatusSource::Cell, Time::ZERO);
    status.message = "it runs".into();
    TaskRecord {
        signers: std::sync::Arc::default(),
        framework: FrameworkId(3),
        role: Role::default_role(),
        task: info.into(),
        cell: Some(CellId(1)),
        serial: 9,
        generation: 2,
        launched: true,
        latest: TaskState::Running,
        cell_sequence: 1,
        pending: vec![status],
        kill_by: Some(Time::from_micros(5)),
        kill_reason: Some(TaskReason::Preempted),
        silent: false,
    }
}

fn records() -> (AgentRecord, CellRecord, TaskRecord) {
    let agent = AgentRecord {
        id: Some(AgentId(8)),
        boot_id: "boot".into(),
        next_cell: 2,
        set_apart: SetApart {
            resources: Resources::new(1000, 7),
            incarnations: [].into(),
        },
    };
    let cell = CellRecord {
        cell: CellId(1),
        role: Role::default_role(),
        pid: Some(42),
    };
    (agent, cell, task("a task"))
}

#[test]
fn what_was_committed_is_read_back() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("checkpoint.redb");
    let (agent, cell, task) = records();
    let file = CheckpointFile::open(&path).unwrap();
    let gone = self::task("gone");
    file.commit(&[
        Change::Put(Record::Agent(agent.clone())),
        Change::Put(Record::Cell(cell.clone())),
        Change::Put(Record::Task(Box::new(task.clone()))),
        Change::Put(Record::Task(Box::new(gone.clone()))),
    ])
    .unwrap();
    file.commit(&[Change::Delete(RecordKey::Task(gone.key()))])
        .unwrap();
    drop(file);
    let state = CheckpointFile::open(&path).unwrap().load().unwrap();
    assert_eq!(state.agent, Some(agent));
    assert_eq!(state.cells, [cell]);
    assert_eq!(state.tasks, [task]);
}

#[test]
fn a_second_agent_on_the_same_file_is_told_so() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("checkpoint.redb");
    let _held = CheckpointFile::open(&path).unwrap();
    let error = CheckpointFile::open(&path).unwrap_err();
    assert!(matches!(error, CheckpointError::InUse { .. }), "{error}");
}

#[test]
fn damage_is_found_when_the_file_is_opened() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("checkpoint.redb");
    for damage in [b"not a checkpoint".to_vec(), vec![0; 8192]] {
        fs::write(&path, damage).unwrap();
        let error = CheckpointFile::open(&path).unwrap_err();
        assert!(matches!(error, CheckpointError::Corrupt { .. }), "{error}");
        assert!(error.to_string().contains("move it away"), "{error}");
    }
}

#[test]
fn a_damaged_page_is_found_as_well() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("checkpoint.redb");
    let file = CheckpointFile::open(&path).unwrap();
    let put = |number: u32| Change::Put(Record::Task(Box::new(task(&number.to_string()))));
    file.commit(&(0..200).map(put).collect::<Vec<_>>()).unwrap();
    drop(file);
    let mut bytes = fs::read(&path).unwrap();
    let at = bytes
        .windows(7)
        .position(|window| window == b"it runs")
        .expect("the message is in the file");
    bytes[at] ^= 0xff;
    fs::write(&path, bytes).unwrap();
    let opened = CheckpointFile::open(&path).and_then(|file| file.load());
    assert!(matches!(opened, Err(CheckpointError::Corrupt { .. })));
}

#[test]
fn the_writer_says_what_it_has_committed() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("checkpoint.redb");
    let (sender, mut events) = tokio::sync::mpsc::unbounded_channel();
    let file = CheckpointFile::open(&path).unwrap();
    let writer = Writer::to_file(file, path.clone(), sender).unwrap();
    let (agent, ..) = records();
    for sequence in 1..=3 {
        let changes = vec![Change::Put(Record::Agent(agent.clone()))];
        writer.write(Checkpoint { sequence, changes });
    }
    writer.finish();
    for sequence in 1..=3 {
        assert_eq!(events.try_recv(), Ok(Event::Committed { sequence }));
    }
    let state = CheckpointFile::open(&path).unwrap().load().unwrap();
    assert_eq!(state.agent, Some(agent));
}

/// What a crash may leave of a commit: of each page what was there before, or what was written.
fn torn(before: &[u8], after: &[u8], random: &mut impl rand::RngCore) -> Vec<u8> {
    const PAGE: usize = 4096;
    let mut torn = after.to_vec();
    for (page, written) in torn.chunks_mut(PAGE).enumerate() {
        if random.next_u32().is_multiple_of(2) {
            let start = (page * PAGE).min(before.len());
            let end = (start + written.len()).min(before.len());
            written.fill(0);
            written[..end - start].copy_from_slice(&before[start..end]);
        }
    }
    torn
}

#[test]
fn a_crash_within_a_commit_loses_that_commit_at_the_most() {
    use rand::SeedableRng;
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("checkpoint.redb");
    let file = CheckpointFile::open(&path).unwrap();
    let put = |number: u32| Change::Put(Record::Task(Box::new(task(&number.to_string()))));
    let count = |path: &std::path::Path| {
        let file = CheckpointFile::open(path).unwrap();
        file.load().unwrap().tasks.len()
    };
    file.commit(&(0..100).map(put).collect::<Vec<_>>()).unwrap();
    let mut random = rand::rngs::StdRng::seed_from_u64(7);
    let mut outcomes = [0, 0];
    for round in 1..=8 {
        let before = fs::read(&path).unwrap();
        file.commit(
            &(round * 100..round * 100 + 100)
                .map(put)
                .collect::<Vec<_>>(),
        )
        .unwrap();
        let after = fs::read(&path).unwrap();
        for _ in 0..5 {
            let copy = directory.path().join("torn.redb");
            fs::write(&copy, torn(&before, &after, &mut random)).unwrap();
            let tasks = count(&copy);
            let kept = round as usize * 100;
            assert!(
                tasks == kept || tasks == kept + 100,
                "{tasks} after {round}"
            );
            outcomes[usize::from(tasks > kept)] += 1;
        }
    }
    assert!(outcomes[0] > 0, "no commit was torn: {outcomes:?}");
}
