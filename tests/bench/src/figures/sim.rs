//! Events that the simulator handles in a second of CPU.

use anyhow::Result;
use nesos_tests::sim;

use crate::Options;
use crate::figure::{Bound, Report};
use crate::processes::thread_cpu_time;

/// A cluster: agents, frameworks, and jobs of each framework.
type Size = (usize, usize, usize);

const USUAL: Size = (1_000, 20, 2_000);
const LARGE: Size = (50_000, 200, 1_000);

pub(crate) fn run(options: Options, report: &mut Report) -> Result<()> {
    report.method(
        "The master's core, the cores of all agents and the frameworks with their jobs, on one thread and \
         a virtual clock, without faults and without checks of the whole state; CPU time of the thread.",
    );
    let bound = Bound::AtLeast(200_000.0);
    simulate(USUAL, Some(bound), report);
    if options.quick {
        report.method("Quick: 50,000 agents are left out.");
    } else {
        simulate(LARGE, None, report);
    }
    Ok(())
}

fn simulate((agents, frameworks, jobs): Size, bound: Option<Bound>, report: &mut Report) {
    let began = thread_cpu_time();
    let outcome = sim::run(&sim::Options::new(1, agents, frameworks, jobs));
    let cpu = (thread_cpu_time() - began).as_secs_f64();
    #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
    let (events, done) = (outcome.events as f64, outcome.jobs_done as f64);
    let case = format!("{agents} agents, {frameworks} frameworks");
    let rate = format!("{case}: events per CPU second");
    match bound {
        Some(bound) => report.promise(rate, events / cpu, "/s", bound),
        None => report.state(rate, events / cpu, "/s"),
    }
    report.state(format!("{case}: tasks per CPU second"), done / cpu, "/s");
    let virtual_time = outcome.virtual_time.as_secs_f64();
    report.state(
        format!("{case}: virtual time per second of CPU"),
        virtual_time / cpu,
        "s",
    );
}
