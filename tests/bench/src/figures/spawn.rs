//! From an executor's spawn to its child's first instruction, and a thousand children at once.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use nesos_artifacts::executors::BENCH_SPAWN;
use nesos_guest::testing::{Said, Script};
use nesos_guest::{Resources, State, TaskInfo};
use nesos_guest_harness::{Alive, Harness, Start};
use nesos_runtime::RuntimeConfig;

use crate::Options;
use crate::figure::{Bound, Report};
use crate::statistics::percentile;

/// Children of one task: their times must fit into the data of one status.
const BATCH: usize = 1_000;

const BATCHES: usize = 3;

/// Children at once.
const CROWD: usize = 1_000;

const PATIENCE: Duration = Duration::from_secs(120);

pub(crate) fn run(_: Options, report: &mut Report) -> Result<()> {
    report.method(&format!(
        "{} children of one executor, one after another, after as many to warm up, each running the executor's \
         own bundle. The executor reads the wall clock just before it spawns, the child as the first act of its \
         entry point. Then {CROWD} children at once, each waiting for its input to end.",
        BATCH * BATCHES
    ));
    let harness = Harness::with(Path::new(BENCH_SPAWN), RuntimeConfig::default())?;
    let mut start = Start::of(&Script::new());
    start.resources = Resources::new(2_000, 8 << 30);
    let executor = harness.start(start);
    let warm_up = (0..BATCHES).map(|batch| format!("warm-up-{batch}"));
    for task in warm_up {
        result_of(&executor, &task, &format!("latency {BATCH}"))?;
    }
    let mut to_first_act = Vec::with_capacity(BATCH * BATCHES);
    for batch in 0..BATCHES {
        let times = result_of(&executor, &format!("{batch}"), &format!("latency {BATCH}"))?;
        for nanoseconds in times.lines() {
            to_first_act.push(nanoseconds.parse::<f64>()? / 1_000.0);
        }
    }
    let began = Instant::now();
    let crowd = result_of(&executor, "crowd", &format!("crowd {CROWD}"))?;
    let took = began.elapsed();
    ensure!(
        crowd == format!("{CROWD} {CROWD}"),
        "alive and well: {crowd}"
    );
    report.promise(
        "spawn to first instruction, p50",
        percentile(&mut to_first_act, 50.0),
        "µs",
        Bound::AtMost(100.0),
    );
    report.state(
        "spawn to first instruction, p99",
        percentile(&mut to_first_act, 99.0),
        "µs",
    );
    report.promise(
        "children alive at once",
        CROWD as f64,
        "",
        Bound::AtLeast(1_000.0),
    );
    report.state(
        "starting them and seeing them all end",
        took.as_secs_f64() * 1_000.0,
        "ms",
    );
    Ok(())
}

/// Gives the executor a task and waits for its result.
fn result_of(executor: &Alive, task: &str, data: &str) -> Result<String> {
    let before = executor.said().len();
    executor.launch_task(&TaskInfo::new(task, data))?;
    let until = Instant::now() + PATIENCE;
    while executor.said().len() == before {
        ensure!(
            Instant::now() < until,
            "the executor says nothing of {task}"
        );
        std::thread::sleep(Duration::from_millis(1));
    }
    let Some(Said::Update {
        state: State::Finished,
        data,
        ..
    }) = executor.said().pop()
    else {
        anyhow::bail!("the executor failed: {:?}", executor.said());
    };
    String::from_utf8(data).context("the result is text")
}
