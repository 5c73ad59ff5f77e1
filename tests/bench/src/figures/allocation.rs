//! What allocation costs, on the core alone: the cases of the reference system's own benchmark, and
//! clusters up to 50,000 agents.

use std::time::Duration;

use anyhow::{Result, ensure};
use nesos_master_core::MasterConfig;
use nesos_types::offer::Filters;
use nesos_types::resources::Resources;
use nesos_types::role::Role;

use crate::Options;
use crate::field::Field;
use crate::figure::{Bound, Report};
use crate::processes::resident_bytes;
use crate::statistics::percentile;

const GIB: u64 = 1 << 30;

/// Agents and frameworks of the grid.
const AGENTS: [usize; 4] = [1_000, 5_000, 10_000, 50_000];
const FRAMEWORKS: [usize; 4] = [50, 200, 1_000, 6_000];

/// How often a case is measured; the least counts, for a machine's neighbours only ever add.
const REPETITIONS: usize = 5;

pub(crate) fn run(options: Options, report: &mut Report) -> Result<()> {
    report.method(&format!(
        "The master's core alone, on one thread and a virtual clock; only the core is timed. The least of \
         {REPETITIONS} runs, where a case can be repeated. Each agent has 8 CPUs, 32 GiB and 100 GiB of \
         disk."
    ));
    // First, while the process has no memory that it could use again.
    memory(report)?;
    reference_cycles(report, false);
    reference_cycles(report, true);
    joins(report);
    filters(report)?;
    freed(report)?;
    grid(options, report);
    variants(report);
    Ok(())
}

fn agent() -> Resources {
    Resources::new(8_000, 32 * GIB).with_disk(100 * GIB)
}

/// A field that has decided nothing yet.
fn field(agents: usize, frameworks: usize, roles: usize) -> Field {
    let mut field = Field::new(MasterConfig {
        offer_timeout: None,
        ..MasterConfig::default()
    });
    field.add_frameworks(frameworks, |index| role(index % roles));
    field.add_agents(agents, &agent());
    field
}

fn role(index: usize) -> Role {
    format!("role{index}").parse().expect("a good name")
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

fn least(mut measure: impl FnMut() -> f64) -> f64 {
    (0..REPETITIONS)
        .map(|_| measure())
        .fold(f64::INFINITY, f64::min)
}

/// Full cycle, and the next, which finds nothing to do.
fn reference_cycles(report: &mut Report, with_quota: bool) {
    const ROLES: usize = 1_000;
    let (case, most) = if with_quota {
        ("the same, each role with a quota", 12.0)
    } else {
        ("2,000 agents, 1,000 roles, 2,000 frameworks", 10.0)
    };
    let (mut full, mut empty) = (f64::INFINITY, f64::INFINITY);
    for _ in 0..REPETITIONS {
        let mut field = field(2_000, 2_000, ROLES);
        if with_quota {
            field.set_quotas((0..ROLES).map(role));
        }
        full = full.min(milliseconds(field.tick()));
        field.pass(Duration::from_secs(1));
        empty = empty.min(milliseconds(field.tick()));
    }
    report.promise(
        format!("{case}: full cycle"),
        full,
        "ms",
        Bound::AtMost(most),
    );
    report.promise(
        format!("{case}: empty cycle"),
        empty,
        "ms",
        Bound::AtMost(0.1),
    );
}

/// Agents that join one after another, each offered at once.
fn joins(report: &mut Report) {
    let took = least(|| {
        let mut field = field(0, 200, 200);
        let times = (0..10_000).map(|_| field.add_agent(agent()) + field.tick());
        milliseconds(times.sum())
    });
    let what = "10,000 agents join, 200 frameworks";
    report.promise(what, took, "ms", Bound::AtMost(45.0));
}

/// A round in which everybody has turned everything down.
fn filters(report: &mut Report) -> Result<()> {
    let (agents, frameworks) = (1_000, 50);
    let mut field = field(agents, frameworks, frameworks);
    field.tick();
    for _ in 0..frameworks {
        ensure!(
            field.offers() == agents,
            "each agent is offered to each framework once"
        );
        for _ in 0..agents {
            if let Some((framework, offer)) = field.next_offer() {
                field.decline(
                    framework,
                    offer.id,
                    Filters::refuse_for(Duration::from_secs(3600)),
                );
            }
        }
        field.tick();
    }
    ensure!(field.offers() == 0, "everything is filtered");
    // What a framework waits for has changed, so that everything must be looked at again.
    let took = least(|| {
        field.demand_too_much(0);
        milliseconds(field.tick())
    });
    report.promise(
        "1,000 agents, 50 frameworks, 50,000 filters: a round with nothing to offer",
        took,
        "ms",
        Bound::AtMost(2.0),
    );
    Ok(())
}

/// One task ends on one of many busy agents.
fn freed(report: &mut Report) -> Result<()> {
    const SAMPLES: u32 = 20_000;
    let mut field = field(50_000, 200, 200);
    field.tick();
    let mut running = Vec::new();
    while let Some((framework, offer)) = field.next_offer() {
        let agent: usize = offer
            .agent_info
            .hostname
            .trim_start_matches("host")
            .parse()?;
        running.push((agent, framework, field.launch(framework, &offer)));
    }
    let mut samples = Vec::new();
    let mut whole_course = Duration::ZERO;
    for sample in 0..SAMPLES as usize {
        let at = sample * 7919 % running.len();
        let (agent, framework, task) = running[at].clone();
        field.pass(Duration::from_micros(50));
        let event = field.finished(agent, framework, &task);
        let took = field.hear(event) + field.tick();
        samples.push(took.as_secs_f64() * 1e6);
        whole_course += took + field.acknowledge(agent, framework, &task);
        let (framework, offer) = field
            .next_offer()
            .ok_or_else(|| anyhow::anyhow!("no offer"))?;
        let (task, took) = field.timed_launch(framework, &offer);
        whole_course += took;
        running[at] = (agent, framework, task);
    }
    let case = "50,000 agents, 200 frameworks: a task ends, its resources are offered";
    report.state(format!("{case}, p50"), percentile(&mut samples, 50.0), "µs");
    let p99 = percentile(&mut samples, 99.0);
    report.promise(format!("{case}, p99"), p99, "µs", Bound::AtMost(200.0));
    let case = "50,000 agents, 200 frameworks: tasks launched and completed";
    let per_second = 1e6 / (whole_course.as_secs_f64() * 1e6 / f64::from(SAMPLES));
    report.promise(case, per_second, "/s of CPU", Bound::AtLeast(100_000.0));
    Ok(())
}

/// Full allocations over the whole grid.
fn grid(options: Options, report: &mut Report) {
    if options.quick {
        report.method("Quick: 6,000 frameworks are left out.");
    }
    for frameworks in FRAMEWORKS {
        if options.quick && frameworks == 6_000 {
            continue;
        }
        let mut of_size = Vec::new();
        for agents in AGENTS {
            let took = least(|| milliseconds(field(agents, frameworks, frameworks).tick()));
            of_size.push(took);
            let what = format!("{agents} idle agents to {frameworks} frameworks");
            if (agents, frameworks) == (50_000, 200) {
                report.promise(what, took, "ms", Bound::AtMost(1_000.0));
            } else {
                report.state(what, took, "ms");
            }
        }
        if frameworks == 200 {
            growth(&of_size, report);
        }
    }
}

/// What else may be true of a cluster while it is allocated.
fn variants(report: &mut Report) {
    const CASE: &str = "10,000 idle agents to 1,000 frameworks";
    let (agents, frameworks) = (10_000, 1_000);
    let half_suppressed = least(|| {
        let mut field = field(agents, frameworks, frameworks);
        (0..frameworks / 2).for_each(|framework| field.suppress(framework * 2));
        milliseconds(field.tick())
    });
    report.state(
        format!("{CASE}, half of them suppressed"),
        half_suppressed,
        "ms",
    );
    let with_quota = least(|| {
        let mut field = field(agents, frameworks, frameworks);
        field.set_quotas((0..frameworks).map(role));
        milliseconds(field.tick())
    });
    report.state(format!("{CASE}, each role with a quota"), with_quota, "ms");
    let fine = least(|| {
        let mut field = field(0, frameworks, frameworks);
        field.add_agents(agents, &Resources::new(1_000, 4 * GIB));
        milliseconds(field.tick())
    });
    report.state(format!("{CASE}, in offers of one CPU"), fine, "ms");
}

/// The growth from the smallest cluster to the largest, over that of n log n.
fn growth(times: &[f64], report: &mut Report) {
    let [small, .., large] = times else { return };
    let expected = 50.0 * 50_000_f64.log2() / 1_000_f64.log2();
    report.promise(
        "growth from 1,000 to 50,000 agents, over n log n",
        large / small / expected,
        "×",
        Bound::AtMost(1.0),
    );
}

/// What an idle agent costs the core.
fn memory(report: &mut Report) -> Result<()> {
    const AGENTS: usize = 50_000;
    let own = std::process::id();
    let mut field = field(0, 1, 1);
    let before = resident_bytes(own)?;
    field.add_agents(AGENTS, &agent());
    let after = resident_bytes(own)?;
    let each = after.saturating_sub(before) / AGENTS as u64;
    #[expect(clippy::cast_precision_loss, reason = "some kilobytes")]
    let kibibytes = each as f64 / 1024.0;
    report.promise(
        "memory of an idle agent",
        kibibytes,
        "KiB",
        Bound::AtMost(4.0),
    );
    Ok(())
}
