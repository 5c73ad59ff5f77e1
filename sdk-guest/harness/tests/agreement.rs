//! A script comes to the same natively and in a real sandbox.

use std::path::Path;
use std::time::Duration;

use nesos_artifacts::executors;
use nesos_guest::TaskInfo;
use nesos_guest::testing::Script;
use nesos_guest_harness::Harness;

#[path = "../../../examples-wasm/executors/examples/cron.rs"]
mod cron;
#[path = "../../../examples-wasm/executors/examples/model.rs"]
mod model;

#[test]
fn of_the_model() {
    let script = Script::new()
        .data("the other theme")
        .message("t")
        .launch(TaskInfo::new("one", "oth"))
        .shutdown(Duration::from_secs(5));
    let native = script.run::<model::Model>();
    assert_eq!(native.said.len(), 2);
    let built = Harness::new(Path::new(executors::MODEL)).unwrap();
    assert_eq!(built.run(&script), native);
}

#[test]
fn of_cron() {
    let script = Script::new()
        .launch(TaskInfo::new("twice", "20 2"))
        .pass(Duration::from_millis(500))
        .launch(TaskInfo::new("nonsense", "?"))
        .launch(TaskInfo::new("never", "1000000 1"))
        .kill("never", Duration::ZERO)
        .launch(TaskInfo::new("late", "1000000 1"))
        .shutdown(Duration::from_secs(5));
    let native = script.run::<cron::Cron>();
    assert_eq!(native.said.len(), 6);
    let built = Harness::new(Path::new(executors::CRON)).unwrap();
    assert_eq!(built.run(&script), native);
}
