//! Every task among the example guests, in a real sandbox: what it reports, hears and leaves behind.

use std::path::Path;
use std::time::Duration;

use nesos_artifacts::tasks;
use nesos_guest::testing::Said;
use nesos_guest::{Resources, State, TaskInfo};
use nesos_guest_harness::{Harness, Start};
use nesos_runtime::{GuestEvent, PostError};
use nesos_types::task::{TaskReason, TaskState};

macro_rules! is_tested {
    ($guest:ident) => {
        #[expect(unused_imports, reason = "a guest without a test does not compile")]
        use self::$guest as _;
    };
}
nesos_artifacts::foreach_tasks!(is_tested);

fn start() -> Start {
    Start::task(
        TaskInfo::new("one", ""),
        Resources::new(1000, 16 << 20).with_disk(1 << 20),
    )
}

#[test]
fn checksum() {
    let harness = Harness::new(Path::new(tasks::CHECKSUM)).unwrap();
    let volume = harness.directory().join("root/data");
    std::fs::create_dir_all(&volume).unwrap();
    for (name, text) in [("b", "hello"), ("a", "")] {
        std::fs::write(volume.join(name), text).unwrap();
    }
    let (stdout, mut output) = tokio::sync::mpsc::channel(16);
    let task = harness.start(Start {
        stdout: nesos_runtime::Stdout::Attached(stdout),
        ..start()
    });
    let exit = task.exit();
    assert_eq!(
        (exit.state, exit.data.len()),
        (TaskState::Finished, 64),
        "{exit:?}"
    );
    let progress = |message| Said::update("", State::Running, message, "");
    assert_eq!(
        task.said(),
        [progress("1 of 2 files"), progress("2 of 2 files")]
    );
    let mut printed = Vec::new();
    while let Some(bytes) = output.blocking_recv() {
        printed.extend(bytes);
    }
    let lines = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855  /data/a\n\
                 2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824  /data/b\n";
    assert_eq!(String::from_utf8(printed).unwrap(), lines);
}

#[test]
fn converse() {
    let harness = Harness::new(Path::new(tasks::CONVERSE)).unwrap();
    let task = harness.start(start());
    for text in ["one", "two"] {
        let message = GuestEvent::Message(text.as_bytes().to_vec().into());
        task.sandbox().post(message).unwrap();
    }
    while task.said().len() < 2 {
        std::thread::sleep(Duration::from_millis(1));
    }
    // It hears that it should stop, and has the grace to say something more.
    task.kill(Duration::from_secs(30));
    let exit = task.exit();
    assert_eq!(
        task.said(),
        [b"ONE", b"TWO"].map(|text| Said::Message(text.to_vec()))
    );
    assert_eq!(
        (exit.state, exit.reason),
        (TaskState::Killed, TaskReason::KillRequested)
    );
    assert_eq!(
        (exit.exit_code, exit.data),
        (Some(0), b"2 messages".to_vec())
    );
    let message = GuestEvent::Message(b"late".to_vec().into());
    assert_eq!(task.sandbox().post(message), Err(PostError::Over));
}

#[test]
fn boast() {
    let harness = Harness::new(Path::new(tasks::BOAST)).unwrap();
    let boasts = |bytes: &str| {
        let (stdout, mut output) = tokio::sync::mpsc::channel(16);
        let mut start = Start {
            stdout: nesos_runtime::Stdout::Attached(stdout),
            ..start()
        };
        start.task.args = vec!["boast".to_owned(), bytes.to_owned()];
        start.resources.mem_bytes = 64 << 20;
        let exit = harness.start(start).exit();
        let mut printed = Vec::new();
        while let Some(bytes) = output.blocking_recv() {
            printed.extend(bytes);
        }
        (exit, String::from_utf8(printed).unwrap())
    };
    let (exit, said) = boasts("65536");
    assert_eq!(said, "Ok(())\n".repeat(3));
    assert_eq!(exit.data.len(), 65536);
    for too_many in ["65537", "10000000"] {
        let (exit, said) = boasts(too_many);
        assert_eq!(said, "Err(TooLarge(65536))\n".repeat(3));
        let end = (exit.state, exit.data.len());
        assert_eq!(end, (TaskState::Finished, 0), "{exit:?}");
    }
    // So much is never handed over by mistake.
    let (exit, said) = boasts("20000000");
    assert_eq!((exit.reason, &*said), (TaskReason::Trap, ""), "{exit:?}");
    assert!(exit.message.contains("too much data"), "{exit:?}");
}

#[test]
fn a_plain_command_hears_nothing() {
    let harness = Harness::new(Path::new(nesos_artifacts::wasip2::SLEEP)).unwrap();
    let mut start = start();
    start.task.args = vec!["sleep".to_owned(), "60".to_owned()];
    let task = harness.start(start);
    let message = || GuestEvent::Message(b"hello".to_vec().into());
    while task.sandbox().post(message()).is_ok() {
        std::thread::sleep(Duration::from_millis(1));
    }
    assert_eq!(task.sandbox().post(message()), Err(PostError::NotHeard));
    let began = std::time::Instant::now();
    task.kill(Duration::from_secs(30));
    assert_eq!(task.exit().state, TaskState::Killed);
    assert!(began.elapsed() < Duration::from_secs(20));
}
