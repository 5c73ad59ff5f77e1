//! What it costs to let a plug-in decide: dominant resource fairness in a guest, against the same built
//! in. Both must come to the same decisions.

use std::time::Duration;

use anyhow::{Result, ensure};
use nesos_master_core::{MasterConfig, NewPolicy};
use nesos_types::bundle::Digest;
use nesos_types::ids::OfferId;
use nesos_types::offer::Filters;
use nesos_types::resources::Resources;
use nesos_types::role::Role;

use crate::Options;
use crate::field::Field;
use crate::figure::{Bound, Report};

const GIB: u64 = 1 << 30;

/// Agents, frameworks and roles of the cases.
const CASES: [(usize, usize, usize); 4] = [
    (1_000, 200, 200),
    (10_000, 200, 200),
    (10_000, 1_000, 50),
    (50_000, 200, 200),
];

/// Allocations of each kind, alternating; the least counts, for a machine's neighbours only ever add.
const REPETITIONS: usize = 7;

pub(crate) fn run(options: Options, report: &mut Report) -> Result<()> {
    report.method(&format!(
        "The master's core alone: all agents are idle and offered at once, and offered again after \
         everything was turned down. The least of {REPETITIONS} allocations by the built-in policy and by \
         the plug-in `drf`, alternating; the offers of both are compared one by one."
    ));
    for case in CASES {
        if options.quick && case.0 > 10_000 {
            report.method("Quick: 50,000 agents are left out.");
            continue;
        }
        compare(case, report)?;
    }
    Ok(())
}

/// Times of allocations, and who was offered what.
struct Allocated {
    first: Duration,
    again: Duration,
    offers: Vec<(usize, String)>,
}

fn compare(case: (usize, usize, usize), report: &mut Report) -> Result<()> {
    let component = std::fs::read(nesos_artifacts::policies::DRF)?;
    let mut built_in = [Duration::MAX; 2];
    let mut plugin = [Duration::MAX; 2];
    for _ in 0..REPETITIONS {
        let by_built_in = allocate(field(case));
        let mut field = field(case);
        field.set_policy(NewPolicy::Plugin {
            name: "drf".to_owned(),
            digest: Digest([0; 32]),
            guest: nesos_master::load_policy(&component)?,
        });
        let by_plugin = allocate(field);
        ensure!(
            by_built_in.offers == by_plugin.offers,
            "the plug-in decides as the built-in policy does"
        );
        for (least, took) in [(&mut built_in, &by_built_in), (&mut plugin, &by_plugin)] {
            least[0] = least[0].min(took.first);
            least[1] = least[1].min(took.again);
        }
    }
    let (agents, frameworks, roles) = case;
    let what = format!("{agents} agents to {frameworks} frameworks in {roles} roles");
    for (at, when) in ["first", "again"].into_iter().enumerate() {
        report.state(
            format!("{what}, {when}: built in"),
            millis(built_in[at]),
            "ms",
        );
        let ratio = plugin[at].as_secs_f64() / built_in[at].as_secs_f64();
        report.promise(
            format!("{what}, {when}: plug-in over built in"),
            ratio,
            "×",
            Bound::AtMost(3.0),
        );
    }
    Ok(())
}

/// Frameworks and agents; nothing was offered yet.
fn field((agents, frameworks, roles): (usize, usize, usize)) -> Field {
    let mut field = Field::new(MasterConfig {
        offer_timeout: None,
        ..MasterConfig::default()
    });
    let role = |index: usize| -> Role {
        format!("role{}", index % roles)
            .parse()
            .expect("a good name")
    };
    field.add_frameworks(frameworks, role);
    let agent = Resources::new(8_000, 32 * GIB).with_disk(100 * GIB);
    field.add_agents(agents, &agent);
    field
}

fn allocate(mut field: Field) -> Allocated {
    let mut offers = Vec::new();
    let first = field.tick();
    let declined = take_offers(&mut field, &mut offers);
    for (framework, offer) in declined {
        field.decline(framework, offer, Filters::none());
    }
    let again = field.tick();
    take_offers(&mut field, &mut offers);
    Allocated {
        first,
        again,
        offers,
    }
}

fn take_offers(field: &mut Field, into: &mut Vec<(usize, String)>) -> Vec<(usize, OfferId)> {
    let mut taken = Vec::new();
    while let Some((framework, offer)) = field.next_offer() {
        taken.push((framework, offer.id));
        into.push((framework, offer.agent_info.hostname.clone()));
    }
    taken
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}
