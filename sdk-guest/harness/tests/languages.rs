//! Guests in other languages. They need tools that not every machine has: build them with
//! `examples-wasm/languages/build.sh FOLDER`, and run these tests with `NESOS_LANGUAGES=FOLDER` and `--ignored`.

use std::path::PathBuf;
use std::time::Duration;

use nesos_guest::testing::{End, Said, Script};
use nesos_guest::{Resources, State, TaskInfo};
use nesos_guest_harness::{Harness, Start};
use nesos_runtime::{Stdin, Stdout};
use nesos_types::task::TaskState;

fn built(name: &str) -> Harness {
    let folder = std::env::var_os("NESOS_LANGUAGES").expect("NESOS_LANGUAGES names a folder");
    Harness::new(&PathBuf::from(folder).join(name)).expect("it was built")
}

#[test]
#[ignore = "needs examples-wasm/languages/build.sh and clang"]
fn a_command_in_c() {
    let harness = built("words.wasm");
    let (input, stdin) = tokio::sync::mpsc::channel(1);
    let (stdout, mut output) = tokio::sync::mpsc::channel(1);
    input.try_send("one two\nthree\n".into()).unwrap();
    drop(input);
    let mut start = Start::task(TaskInfo::new("one", ""), Resources::new(1000, 16 << 20));
    start.stdin = Stdin::Attached(stdin);
    start.stdout = Stdout::Attached(stdout);
    let exit = harness.start(start).exit();
    assert_eq!(exit.state, TaskState::Finished, "{exit:?}");
    assert_eq!(output.try_recv().unwrap(), "2 3 14\n");
}

#[test]
#[ignore = "needs examples-wasm/languages/build.sh and componentize-py"]
fn an_executor_in_python() {
    let script = Script::new()
        .launch(TaskInfo::new("one", "desserts"))
        .message("hello")
        .shutdown(Duration::from_secs(10));
    let transcript = built("reverse.wasm").run(&script);
    let finished = Said::update("one", State::Finished, "", "stressed");
    assert_eq!(
        transcript.said,
        [finished, Said::Message(b"HELLO".to_vec())]
    );
    assert_eq!(transcript.end, End::Stopped);
}
