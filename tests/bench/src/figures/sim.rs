//! Events that the simulator handles in a second of CPU.

use anyhow::Result;
use nesos_tests::sim;

use crate::Options;
use crate::figure::{Bound, Report};
use crate::processes::thread_cpu_time;

const AGENTS: usize = 1_000;
const FRAMEWORKS: usize = 20;
const JOBS: usize = 2_000;

pub(crate) fn run(_: Options, report: &mut Report) -> Result<()> {
    report.method(&format!(
        "The master's core, the cores of {AGENTS} agents and {FRAMEWORKS} frameworks with {JOBS} jobs \
         each, on one thread and a virtual clock, without faults and without checks of the whole state; \
         CPU time of the thread."
    ));
    let began = thread_cpu_time();
    let outcome = sim::run(&sim::Options::new(1, AGENTS, FRAMEWORKS, JOBS));
    let cpu = (thread_cpu_time() - began).as_secs_f64();
    #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
    let events = outcome.events as f64;
    report.promise(
        "events per CPU second",
        events / cpu,
        "/s",
        Bound::AtLeast(200_000.0),
    );
    report.state("events", events, "");
    report.state(
        "virtual time per second of CPU",
        outcome.virtual_time.as_secs_f64() / cpu,
        "s",
    );
    Ok(())
}
