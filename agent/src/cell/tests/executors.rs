//! Executors in a cell: what they are told, what they may say, and how they and their tasks end.

use nesos_types::executor::{ExecutorInfo, MAX_MESSAGE_BYTES};
use nesos_types::ids::RunId;
use nesos_types::limits::Metering;
use nesos_types::task::{SharedTask, Work};

use super::*;

const RUN: RunId = RunId(9);

fn run_key() -> TaskKey {
    key(&RUN.to_string())
}

fn executor() -> ExecutorInfo {
    let id = "x".parse().expect("an executor id");
    ExecutorInfo::new(id, Digest([1; 32]), Resources::new(100, 1000))
}

fn launch_run() -> CellCommand {
    let task = TaskInfo::from((RUN, &executor()));
    CellCommand::Launch(Box::new(SandboxLaunch {
        key: run_key(),
        task: task.into(),
        compiled: PathBuf::from("/nowhere/image"),
        directory: PathBuf::from("/nowhere/sandbox"),
        volumes: Vec::new(),
        fuel_per_cpu_second: 0,
        agent: None,
        hostname: "host".to_owned(),
    }))
}

fn in_run(task: &str) -> SharedTask {
    let key = key(task);
    let mut info = TaskInfo::new(key.task, Digest([1; 32]), Resources::new(10, 50));
    info.work = Work::InExecutor {
        executor: executor().into(),
        run: Some(RUN),
    };
    info.into()
}

fn assign(task: &str) -> CellCommand {
    CellCommand::Assign {
        key: key(task),
        task: in_run(task),
    }
}

/// A cell with an executor that is ready.
fn ready() -> (Stage, Arc<Sandboxes<Stage>>, Session) {
    let (stage, sandboxes) = cell();
    let mut session = sandboxes.connect();
    sandboxes.on_command(launch_run());
    stage.run(0);
    let run = RUN.to_string();
    assert_eq!(
        heard(&mut session),
        ["hello".to_owned(), format!("{run} 1 running")]
    );
    (stage, sandboxes, session)
}

impl Stage {
    fn uplink(&self) -> Arc<dyn Uplink> {
        self.guests.lock().expect("not poisoned")[0].uplink.clone()
    }

    fn say(&self, task: Option<&str>, state: TaskState) -> Result<(), UpdateRefused> {
        self.uplink().update(GuestUpdate {
            task: task.map(|task| key(task).task),
            state,
            message: "m".to_owned(),
            data: vec![1],
        })
    }

    fn posted(&self) -> Vec<GuestEvent> {
        let mut posted = self.posted.lock().expect("not poisoned");
        posted.drain(..).map(|(_, event)| event).collect()
    }

    fn limits(&self) -> Vec<(u64, u64)> {
        let mut limits = self.limits.lock().expect("not poisoned");
        limits.drain(..).map(|(_, cpu, mem)| (cpu, mem)).collect()
    }
}

#[tokio::test(start_paused = true)]
async fn an_executor_is_given_tasks_and_grows_and_shrinks_with_them() {
    let (stage, sandboxes, mut session) = ready();
    assert_eq!(stage.limits(), [(100, 1000)]);
    sandboxes.on_command(assign("a"));
    sandboxes.on_command(assign("b"));
    sandboxes.on_command(assign("b"));
    let launched = [in_run("a"), in_run("b")].map(GuestEvent::Launch);
    assert_eq!(stage.posted(), launched);
    assert_eq!(stage.limits(), [(110, 1050), (120, 1100)]);
    stage.say(Some("a"), TaskState::Running).expect("taken");
    stage.say(Some("a"), TaskState::Finished).expect("taken");
    assert_eq!(heard(&mut session), ["a 1 running", "a 2 finished"]);
    assert_eq!(stage.limits(), [(110, 1050)]);
}

#[tokio::test(start_paused = true)]
async fn an_executor_speaks_of_its_tasks_only_and_only_while_they_live() {
    let (stage, sandboxes, _session) = ready();
    sandboxes.on_command(launch("own", Stdio::Retained));
    sandboxes.on_command(assign("a"));
    let refused = |task, state| stage.say(Some(task), state).expect_err("refused");
    assert_eq!(
        refused("nobody", TaskState::Running),
        UpdateRefused::UnknownTask
    );
    assert_eq!(
        refused("own", TaskState::Finished),
        UpdateRefused::UnknownTask
    );
    for state in [TaskState::Unreachable, TaskState::Killing, TaskState::Gone] {
        assert_eq!(refused("a", state), UpdateRefused::NotAllowed(state));
    }
    stage.say(Some("a"), TaskState::Running).expect("taken");
    let back = refused("a", TaskState::Starting);
    assert_eq!(back, UpdateRefused::NotAllowed(TaskState::Starting));
    stage.say(Some("a"), TaskState::Failed).expect("taken");
    assert_eq!(refused("a", TaskState::Finished), UpdateRefused::Ended);
    let own = stage.say(None, TaskState::Running).expect_err("refused");
    assert_eq!(own, UpdateRefused::NotAllowed(TaskState::Running));
    let large = GuestUpdate {
        task: Some(key("a").task),
        state: TaskState::Running,
        message: String::new(),
        data: vec![0; MAX_STATUS_BYTES + 1],
    };
    let limit = MAX_STATUS_BYTES;
    let refused = stage.uplink().update(large).expect_err("refused");
    assert_eq!(refused, UpdateRefused::TooLarge { limit });
}

#[tokio::test(start_paused = true)]
async fn who_floods_is_refused_until_the_agent_has_caught_up() {
    let (stage, sandboxes, _session) = ready();
    sandboxes.on_command(assign("a"));
    let taken = (0..5000)
        .take_while(|_| stage.say(Some("a"), TaskState::Running).is_ok())
        .count();
    assert_eq!(taken, 64);
    sandboxes.on_command(acknowledge("a", 60));
    stage.say(Some("a"), TaskState::Running).expect("taken");
    stage.say(Some("a"), TaskState::Finished).expect("taken");
    let mut again = sandboxes.connect();
    let said = heard(&mut again);
    assert_eq!(said.len(), 4, "what was replaced is not repeated: {said:?}");
}

#[tokio::test(start_paused = true)]
async fn tasks_end_with_their_executor_for_its_reason() {
    let (stage, sandboxes, mut session) = ready();
    sandboxes.on_command(assign("a"));
    stage.exit(0);
    let run = RUN.to_string();
    let expected = [
        "a 1 failed ExecutorTerminated".to_owned(),
        format!("{run} 2 finished Exited"),
    ];
    assert_eq!(heard(&mut session), expected);
    sandboxes.on_command(assign("late"));
    let expected = ["late 1 failed ExecutorTerminated"];
    assert_eq!(heard(&mut session), expected);
}

#[tokio::test(start_paused = true)]
async fn a_task_that_is_not_taken_is_dropped() {
    let (stage, sandboxes, mut session) = ready();
    stage.full.store(true, Ordering::SeqCst);
    sandboxes.on_command(assign("a"));
    assert_eq!(heard(&mut session), ["a 1 dropped LaunchFailed"]);
    assert_eq!(stage.limits().last(), Some(&(100, 1000)));
}

#[tokio::test(start_paused = true)]
async fn an_executor_that_does_not_end_a_killed_task_is_ended() {
    let (stage, sandboxes, _session) = ready();
    sandboxes.on_command(assign("a"));
    sandboxes.on_command(assign("b"));
    sandboxes.on_command(kill("a"));
    sandboxes.on_command(kill("b"));
    let grace = Duration::from_secs(1);
    let task = key("b").task;
    let asked = stage.posted().pop();
    assert_eq!(asked, Some(GuestEvent::Kill { task, grace }));
    stage.say(Some("b"), TaskState::Killed).expect("taken");
    tokio::time::sleep(Duration::from_millis(5900)).await;
    assert_eq!(stage.kills.lock().expect("not poisoned").len(), 0);
    tokio::time::sleep(Duration::from_millis(200)).await;
    let kills = stage.kills.lock().expect("not poisoned");
    let reasons: Vec<_> = kills.iter().map(|(_, kill)| kill.reason).collect();
    assert_eq!(reasons, [TaskReason::ExecutorUnresponsive]);
}

#[tokio::test(start_paused = true)]
async fn messages_pass_both_ways_within_bounds() {
    let (stage, sandboxes, mut session) = ready();
    sandboxes.on_command(CellCommand::Message {
        key: run_key(),
        data: b"hi".to_vec(),
    });
    assert_eq!(
        stage.posted(),
        [GuestEvent::Message(b"hi".as_slice().into())]
    );
    let uplink = stage.uplink();
    uplink.message(b"ho".as_slice().into()).expect("taken");
    assert_eq!(heard(&mut session), [format!("{RUN} says ho")]);
    let limit = MAX_MESSAGE_BYTES;
    let large = uplink.message(vec![0; limit + 1].into());
    assert_eq!(large, Err(MessageRefused::TooLarge { limit }));
    let taken = (0..5000)
        .take_while(|_| uplink.message(b"x".as_slice().into()).is_ok())
        .count();
    assert_eq!(taken, 1023, "one is not counted down before it is sent");
    sandboxes.hang_up();
    let alone = uplink.message(b"x".as_slice().into());
    assert_eq!(alone, Err(MessageRefused::NoScheduler));
}

#[tokio::test(start_paused = true)]
async fn a_bundle_that_is_wanted_is_asked_for_until_it_is_there() {
    let (stage, sandboxes, mut session) = ready();
    let (ready, answer) = tokio::sync::oneshot::channel();
    stage
        .uplink()
        .prepare(Digest([4; 32]), Metering::Clock, ready);
    assert_eq!(heard(&mut session), [format!("{RUN} wants bundle #0")]);
    let mut again = sandboxes.connect();
    let repeated = heard(&mut again).pop();
    assert_eq!(repeated, Some(format!("{RUN} wants bundle #0")));
    let compiled = Ok(PathBuf::from("/image"));
    sandboxes.on_command(CellCommand::BundleReady {
        request: 0,
        compiled: compiled.clone(),
    });
    assert_eq!(answer.await.expect("answered"), compiled);
}
