//! From the leader's end until another leads and all agents are back.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use nesos_api::v1::{AgentStatus, StatePart};
use nesos_sdk::MasterClient;
use nesos_tests::etcd::Etcd;

use crate::Options;
use crate::cluster::Several;
use crate::figure::{Bound, Report};

const AGENTS: usize = 8;
/// What masters have if nobody says otherwise.
const LEASE_SECONDS: f64 = 5.0;
const PATIENCE: Duration = Duration::from_secs(60);
const LOOK_AGAIN: Duration = Duration::from_millis(20);

pub(crate) fn run(_: Options, report: &mut Report) -> Result<()> {
    report.method(&format!(
        "Three masters on an etcd of one member, and {AGENTS} agents, each a process of its own. The leader is killed \
         (SIGKILL); measured is from then until the state that another one answers has all agents registered. A \
         lease lasts {LEASE_SECONDS} s."
    ));
    let Some(etcd) = Etcd::start() else {
        report.method("NOT CHECKED: etcd is not installed.");
        return Ok(());
    };
    let store = format!("etcd://{}", etcd.member());
    let took = tokio::runtime::Runtime::new()?.block_on(measure(&store))?;
    let bound = Bound::AtMost(LEASE_SECONDS + 2.0);
    report.promise(
        "all agents are with another leader",
        took.as_secs_f64(),
        "s",
        bound,
    );
    Ok(())
}

async fn measure(store: &str) -> Result<Duration> {
    let mut cluster = Several::start(store, 3, AGENTS)?;
    let leader = until_all_are_there(&cluster.urls()).await?;
    cluster.kill(&leader)?;
    let began = Instant::now();
    let next = until_all_are_there(&cluster.urls()).await?;
    ensure!(next != leader, "nobody else leads");
    Ok(began.elapsed())
}

/// Answers who leads once all agents are registered with it.
async fn until_all_are_there(masters: &str) -> Result<String> {
    let began = Instant::now();
    loop {
        let client = MasterClient::connect(masters, PATIENCE, |_, _| {}).await?;
        // A leader that goes in the midst of an answer is not the one that is waited for.
        if let Ok(state) = client.operator().state(&[StatePart::Agents]).await {
            let active = |status| status == AgentStatus::Active;
            let agents = state.agents.iter().filter(|agent| active(agent.status()));
            if agents.count() == AGENTS {
                return Ok(client.url());
            }
        }
        ensure!(began.elapsed() < PATIENCE, "not all agents register");
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}
