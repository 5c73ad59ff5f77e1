//! Delay scheduling: how many tasks run where their data is, against how long frameworks wait.

use std::time::Duration;

use anyhow::Result;
use nesos_tests::locality::{Outcome, Rules, Sharing, run as experiment};

use crate::Options;
use crate::figure::{Bound, Report};

const SEEDS: u64 = 5;

pub(crate) fn run(_: Options, report: &mut Report) -> Result<()> {
    report.method(&format!(
        "The core of a master and the policy of the SDK on a virtual clock: 93 agents with 4 slots each, 16 \
         frameworks with 100 tasks each, the data of each task on 3 agents, 10 to 20 s a task and 1.7 times \
         that where its data is not; means over {SEEDS} seeds. By our rules, where what is freed or turned \
         down is offered on at once, and for comparison with a master that allocates once a second: there a \
         slot that is turned down waits for the next second before anybody else sees it."
    ));
    let waits = [0, 1, 5].map(|seconds| Sharing::Delay(Duration::from_secs(seconds)));
    for (rules, name) in [(Rules::Nesos, "at once"), (Rules::Mesos, "every second")] {
        let partitions = mean(Sharing::Static, rules);
        let [none, one, five] = waits.map(|sharing| mean(sharing, rules));
        let rows = [
            ("static partitions", partitions),
            ("no delay", none),
            ("1 s", one),
            ("5 s", five),
        ];
        for (wait, outcome) in rows {
            report.state(format!("{name}, {wait}: local"), outcome.local, "%");
            report.state(
                format!("{name}, {wait}: mean time of a job"),
                outcome.job_seconds,
                "s",
            );
        }
        if rules == Rules::Nesos {
            judge(partitions, none, one, five, report);
        }
    }
    Ok(())
}

fn judge(partitions: Outcome, none: Outcome, one: Outcome, five: Outcome, report: &mut Report) {
    let far = (partitions.local - 18.0).abs();
    report.promise(
        "static partitions, from the 18 % published",
        far,
        "%",
        Bound::AtMost(3.0),
    );
    report.promise("1 s: local", one.local, "%", Bound::AtLeast(85.0));
    report.promise("5 s: local", five.local, "%", Bound::AtLeast(95.0));
    let faster = partitions.job_seconds / five.job_seconds;
    report.promise(
        "time of a job, static over 5 s",
        faster,
        "×",
        Bound::AtLeast(1.4),
    );
    let idle = none.utilisation - five.utilisation;
    report.promise(
        "slots that 5 s leave idle beyond no delay",
        idle,
        "%",
        Bound::AtMost(3.0),
    );
    report.promise(
        "5 s: furthest from a fair share",
        five.unfairness,
        "%",
        Bound::AtMost(10.0),
    );
}

/// The means over all seeds, parts in per cent.
fn mean(sharing: Sharing, rules: Rules) -> Outcome {
    let outcomes: Vec<_> = (1..=SEEDS)
        .map(|seed| experiment(sharing, rules, seed))
        .collect();
    #[expect(clippy::cast_precision_loss, reason = "a handful of seeds")]
    let count = SEEDS as f64;
    let over = |what: fn(&Outcome) -> f64| outcomes.iter().map(what).sum::<f64>() / count;
    Outcome {
        local: over(|one| one.local) * 100.0,
        job_seconds: over(|one| one.job_seconds),
        utilisation: over(|one| one.utilisation) * 100.0,
        unfairness: over(|one| one.unfairness) * 100.0,
    }
}
