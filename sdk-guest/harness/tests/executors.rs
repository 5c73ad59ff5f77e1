//! Every executor among the example guests, in a real sandbox: the honest ones do what they say, and the
//! hostile ones harm nobody but themselves.

use std::path::Path;
use std::time::{Duration, Instant};

use nesos_artifacts::executors;
use nesos_guest::testing::{End, Said, Script};
use nesos_guest::{Resources, State, TaskInfo};
use nesos_guest_harness::{Alive, Harness, Start};
use nesos_runtime::{Exit, GuestEvent, RuntimeConfig};
use nesos_types::limits::Metering;
use nesos_types::task::{TaskReason, TaskState};

macro_rules! is_tested {
    ($guest:ident) => {
        #[expect(unused_imports, reason = "a guest without a test does not compile")]
        use self::$guest as _;
    };
}
nesos_artifacts::foreach_executors!(is_tested);

fn harness(component: &str) -> Harness {
    Harness::new(Path::new(component)).expect("the guest can run")
}

/// An executor that was given one task, `one`.
fn given_one(harness: &Harness, data: &str) -> Alive {
    let executor = harness.start(Start::of(&Script::new()));
    let launched = executor.launch_task(&TaskInfo::new("one", data));
    assert_eq!(launched, Ok(()));
    executor
}

/// What it says when it is given one task and nothing else.
fn said_of_one(component: &str, data: &str) -> Vec<String> {
    let harness = harness(component);
    let transcript = harness.run(&Script::new().launch(TaskInfo::new("one", data)));
    assert_eq!(transcript.end, End::Alive);
    texts(&transcript.said)
}

/// Messages as they are, updates by their state.
fn texts(said: &[Said]) -> Vec<String> {
    let texts = said.iter().map(|said| match said {
        Said::Update { state, .. } => format!("is {state:?}"),
        Said::Message(data) => String::from_utf8_lossy(data).into_owned(),
    });
    texts.collect()
}

fn end_of_one(component: &str, data: &str) -> (Vec<Said>, Exit) {
    let harness = harness(component);
    let executor = given_one(&harness, data);
    let exit = executor.exit();
    until(|| harness.live() == 0);
    (executor.said(), exit)
}

fn until(mut condition: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(20);
    while !condition() {
        assert!(Instant::now() < end, "it takes too long");
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn capitals() {
    let script = Script::new()
        .launch(TaskInfo::new("one", "hello"))
        .launch(TaskInfo::new("two", "world"));
    let transcript = harness(executors::CAPITALS).run(&script);
    let answer = |task, message, text| Said::update(task, State::Finished, message, text);
    let said = [
        answer("one", "text 1 of this executor", "HELLO"),
        answer("two", "text 2 of this executor", "WORLD"),
    ];
    assert_eq!(transcript.said, said);
}

#[test]
fn map_reduce() {
    let harness = harness(executors::MAP_REDUCE);
    let executor = given_one(&harness, "a b a\nb a\nc");
    until(|| executor.said().len() == 2);
    let said = executor.said();
    let result = Said::update("one", State::Finished, "", "a 3\nb 2\nc 1\n");
    assert_eq!(said[1], result);
    // Far more lines than there is room for children at once.
    let lines = "x y\n".repeat(500);
    executor.launch_task(&TaskInfo::new("two", lines)).unwrap();
    until(|| executor.said().len() == 4);
    let result = Said::update("two", State::Finished, "", "x 500\ny 500\n");
    assert_eq!(executor.said()[3], result);
    assert_eq!(executor.end().end, End::Alive);
}

#[test]
fn model() {
    let script = Script::new()
        .data("the other theme")
        .message("t")
        .launch(TaskInfo::new("one", "oth"))
        .shutdown(Duration::from_secs(5));
    let transcript = harness(executors::MODEL).run(&script);
    let answer = Said::update("one", State::Finished, "", "othe");
    assert_eq!(transcript.said, [Said::Message(b"th".to_vec()), answer]);
    assert_eq!(transcript.end, End::Stopped);
}

#[test]
fn cron() {
    let script = Script::new()
        .launch(TaskInfo::new("thrice", "20 3"))
        .launch(TaskInfo::new("never", "1000000 3"))
        .launch(TaskInfo::new("nonsense", "?"))
        .kill("never", Duration::ZERO)
        .kill("unknown", Duration::ZERO)
        .pass(Duration::from_millis(500));
    let transcript = harness(executors::CRON).run(&script);
    let error = Said::update("nonsense", State::Error, "data is not `period times`", "");
    let killed = Said::update("never", State::Killed, "", "");
    let run = |time| Said::update("thrice", State::Running, "", time);
    let finished = Said::update("thrice", State::Finished, "", "");
    let mut said = transcript.said;
    // Where the first runs fall among the other steps is a matter of time.
    said.sort_by_key(|said| matches!(said, Said::Update { task, .. } if task == "thrice"));
    assert_eq!(
        said,
        [error, killed, run("1"), run("2"), run("3"), finished]
    );
}

#[test]
fn launcher() {
    let harness = harness(executors::LAUNCHER);
    let executor = harness.start(Start::of(&Script::new()));
    let digest = format!("sha256:{}", "0".repeat(64));
    let after = |data: &str, count: usize| {
        let mut task = TaskInfo::new(format!("task-{count}"), data);
        task.args = vec!["hello".to_owned(), "child".to_owned()];
        executor.launch_task(&task).unwrap();
        until(|| executor.said().len() == count);
        executor.said().pop().unwrap()
    };
    let Said::Update { state, message, .. } = after(&digest, 2) else {
        panic!("it says what becomes of the task");
    };
    assert_eq!(state, State::Failed);
    assert_eq!(
        message,
        format!("fetch_failed: there is no bundle {digest}")
    );
    let Said::Update { state, message, .. } = after("nonsense", 3) else {
        panic!("it says what becomes of the task");
    };
    assert!(
        state == State::Error && message.contains("the bundle's digest"),
        "{message}"
    );
    let mut task = TaskInfo::new("long", &*digest);
    task.args = vec!["hello".to_owned(), "x".repeat(64 << 10)];
    executor.launch_task(&task).unwrap();
    until(|| executor.said().len() == 4);
    let Some(Said::Update { state, message, .. }) = executor.said().pop() else {
        panic!("it says what becomes of the task");
    };
    assert!(
        state == State::Error && message.contains("more than 64 KiB"),
        "{message}"
    );
    let image = harness.directory().join("other");
    let hello = Path::new(nesos_artifacts::wasip1::HELLO);
    nesos_runtime::compile(hello, Metering::Clock, &image).unwrap();
    executor.recorder().offer(image);
    let Said::Update { state, data, .. } = after(&digest, 6) else {
        panic!("it says what becomes of the task");
    };
    assert_eq!((state, &*data), (State::Finished, &b"Hello, child!\n"[..]));
}

#[test]
fn evil_hang() {
    let config = RuntimeConfig {
        max_sandboxes: Some(16),
        handler_limit: Duration::from_millis(300),
        ..RuntimeConfig::default()
    };
    let harness = Harness::with(Path::new(executors::EVIL_HANG), config).unwrap();
    for data in ["spin", "wait"] {
        let executor = given_one(&harness, data);
        let exit = executor.exit();
        let end = (exit.state, exit.reason);
        assert_eq!(
            end,
            (TaskState::Failed, TaskReason::ExecutorUnresponsive),
            "{exit:?}"
        );
        assert_eq!(
            exit.message,
            "its function `launch` did not return within 0.3 s"
        );
        assert_eq!(texts(&executor.said()), ["is Running"]);
    }
}

#[test]
fn a_hanging_executor_is_dropped_at_the_end_of_its_grace() {
    let harness = harness(executors::EVIL_HANG);
    let executor = given_one(&harness, "wait");
    until(|| !executor.said().is_empty());
    let began = Instant::now();
    executor.kill(Duration::from_millis(200));
    let exit = executor.exit();
    assert_eq!((exit.state, exit.exit_code), (TaskState::Killed, None));
    assert!(began.elapsed() >= Duration::from_millis(200));
}

#[test]
fn evil_trap() {
    let (said, exit) = end_of_one(executors::EVIL_TRAP, "");
    assert_eq!(texts(&said), ["is Running"]);
    assert_eq!(
        (exit.state, exit.reason),
        (TaskState::Failed, TaskReason::Trap)
    );
    assert!(
        exit.backtrace.iter().any(|frame| frame.contains("launch")),
        "{exit:?}"
    );
}

#[test]
fn evil_flood() {
    let said = said_of_one(executors::EVIL_FLOOD, "");
    assert_eq!(said.len(), 1025);
    assert_eq!(said.last().unwrap(), &(1_000_000 - 1024).to_string());
}

#[test]
fn evil_unknown_task() {
    let said = said_of_one(executors::EVIL_UNKNOWN_TASK, "");
    assert_eq!(said[..4], ["Err(UnknownTask)"; 4]);
    assert_eq!(said[4..], ["is Finished"]);
}

#[test]
fn evil_twice() {
    let said = said_of_one(executors::EVIL_TWICE, "");
    let refused = [
        "Err(NotAllowed)",
        "is Finished",
        "Ok(())",
        "Err(AlreadyEnded)",
    ];
    assert_eq!(said[..2], ["is Running", "Ok(())"]);
    assert_eq!(said[2..], refused);
}

#[test]
fn evil_long_id() {
    let said = said_of_one(executors::EVIL_LONG_ID, "");
    assert_eq!(
        said,
        ["Err(UnknownTask)", "Err(UnknownTask)", "is Finished"]
    );
}

#[test]
fn evil_large_data() {
    // Ten megabytes if it is told nothing.
    for bytes in ["65537", "1000000", ""] {
        let said = said_of_one(executors::EVIL_LARGE_DATA, bytes);
        assert_eq!(said, ["Err(TooLarge(65536))", "is Finished"]);
    }
    assert_eq!(
        said_of_one(executors::EVIL_LARGE_DATA, "65536")[0],
        "is Running"
    );
    let (said, exit) = end_of_one(executors::EVIL_LARGE_DATA, "20000000");
    assert_eq!((said.len(), exit.reason), (0, TaskReason::Trap), "{exit:?}");
}

#[test]
fn evil_fork_bomb() {
    let harness = harness(executors::EVIL_FORK_BOMB);
    let mut start = Start::of(&Script::new());
    start.resources = Resources::new(60, 1 << 30);
    let executor = harness.start(start);
    executor.launch_task(&TaskInfo::new("one", "")).unwrap();
    executor.until_rest();
    let said = texts(&executor.said());
    assert!(
        said[0].starts_with("50 children; the child asks for more than is left: 0"),
        "{said:?}"
    );
    executor.kill(Duration::ZERO);
    assert_eq!(executor.exit().state, TaskState::Killed);
    until(|| harness.live() == 0);
}

#[test]
fn a_fork_bomb_never_takes_more_slots_than_there_are() {
    let config = RuntimeConfig {
        max_sandboxes: Some(16),
        ..RuntimeConfig::default()
    };
    let harness = Harness::with(Path::new(executors::EVIL_FORK_BOMB), config).unwrap();
    let executor = given_one(&harness, "");
    executor.until_rest();
    let said = texts(&executor.said());
    assert!(
        said[0].starts_with("15 children; the agent has no room"),
        "{said:?}"
    );
}

#[test]
fn evil_orphan() {
    for (data, state) in [("stop", TaskState::Finished), ("exit", TaskState::Failed)] {
        let (said, exit) = end_of_one(executors::EVIL_ORPHAN, data);
        assert_eq!(texts(&said), ["Ok(Child(1))"]);
        assert_eq!(exit.state, state);
    }
}

#[test]
fn evil_grandchildren() {
    let said = said_of_one(executors::EVIL_GRANDCHILDREN, "");
    let lines: Vec<_> = said[0].lines().collect();
    let refused = [
        "Err(NotAnExecutor)",
        "Err(NotAnExecutor)",
        "Err(NoScheduler)",
        "Err(NoScheduler)",
        "Err(NoScheduler)",
        "0",
    ];
    assert_eq!(lines[..6], refused);
}

#[test]
fn bench_spawn() {
    let config = RuntimeConfig {
        max_sandboxes: Some(1100),
        ..RuntimeConfig::default()
    };
    let harness = Harness::with(Path::new(executors::BENCH_SPAWN), config).unwrap();
    let mut start = Start::of(&Script::new());
    start.resources = Resources::new(2000, 4 << 30);
    let executor = harness.start(start);
    for (task, data) in [("latency", "latency 10"), ("crowd", "crowd 1000")] {
        executor.launch_task(&TaskInfo::new(task, data)).unwrap();
    }
    until(|| executor.said().len() == 2);
    let [latency, crowd] = executor.said().try_into().unwrap();
    let Said::Update { state, data, .. } = latency else {
        panic!("{latency:?}");
    };
    let lines = String::from_utf8(data).unwrap();
    assert_eq!((state, lines.lines().count()), (State::Finished, 10));
    assert_eq!(
        crowd,
        Said::update("crowd", State::Finished, "", "1000 1000")
    );
}

#[test]
fn an_executors_limits_follow_its_tasks() {
    let harness = harness(executors::EVIL_FORK_BOMB);
    let mut start = Start::of(&Script::new());
    start.resources = Resources::new(20, 64 << 20);
    let executor = harness.start(start);
    executor.launch_task(&TaskInfo::new("one", "")).unwrap();
    executor.until_rest();
    executor.sandbox().set_limits(25, 64 << 20);
    executor.launch_task(&TaskInfo::new("two", "")).unwrap();
    executor.until_rest();
    let counts = texts(&executor.said());
    let counts: Vec<_> = counts
        .iter()
        .map(|text| text.split(' ').next().unwrap())
        .collect();
    assert_eq!(counts, ["10", "5"]);
}

#[test]
fn a_mailbox_refuses_what_an_executor_has_no_memory_for() {
    let harness = harness(executors::EVIL_HANG);
    let executor = given_one(&harness, "wait");
    until(|| !executor.said().is_empty());
    let message = || GuestEvent::Message(vec![0; 64 << 10].into());
    let posted = (0..100).take_while(|_| executor.sandbox().post(message()).is_ok());
    assert_eq!(posted.count(), 15);
}
