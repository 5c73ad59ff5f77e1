//! How soon a cluster is whole again: after an agent was killed, and after its master was.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use nesos_api::v1::StatePart;
use nesos_artifacts::wasip1;
use nesos_sdk::{MasterClient, QueueConfig, QueueEvent};
use nesos_types::resources::Resources;
use nesos_types::task::TaskState;

use crate::Options;
use crate::cluster::Cluster;
use crate::figure::{Bound, Report};
use crate::framework::{Framework, tasks};
use crate::swarm::Swarm;

/// Sandboxes that go on while their agent is away.
const SANDBOXES: usize = 1000;
/// Agents whose master goes away.
const AGENTS: usize = 4000;
const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) fn run(_: Options, report: &mut Report) -> Result<()> {
    report.method(&format!(
        "An agent with {SANDBOXES} sleeping sandboxes is killed (SIGKILL) and started again: from the start of the \
         new process until the master has it back with all of its tasks, and how many changes of state their \
         scheduler heard of. Then the master of {AGENTS} agents, each a stream of its own from this process, which \
         tries again as an agent does, is killed and started again: from when the new one serves until all have \
         registered and something is offered again."
    ));
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?
        .block_on(async {
            agent_returns(report).await?;
            master_returns(report).await
        })
}

async fn agent_returns(report: &mut Report) -> Result<()> {
    let mut cluster = Cluster::start("cpus:64;mem:64GiB;disk:64GiB")?;
    let mut framework = Framework::connect(cluster.url(), QueueConfig::default()).await?;
    let sleep = framework.upload(wasip1::SLEEP).await?;
    let resources = Resources::new(1, 4 << 20).with_disk(1 << 20);
    framework.submit(tasks(
        "t",
        SANDBOXES,
        sleep,
        &resources,
        &["sleep", "3600"],
    )?);
    framework.reached(TaskState::Running, SANDBOXES).await?;
    let master = MasterClient::new(cluster.url())?;
    let began = Instant::now();
    cluster.restart_agent()?;
    let running = until(|| running(&master), |running| *running == SANDBOXES).await?;
    let took = began.elapsed().as_secs_f64();
    ensure!(running == SANDBOXES, "only {running} are known");
    // Whatever was to be said has been said, when the next task has run to its end.
    let marker = tasks("marker", 1, sleep, &resources, &["sleep", "0"])?;
    let id = marker[0].id.clone();
    framework.submit(marker);
    // What was acknowledged and not yet written down when the agent died is said again.
    let (mut changes, mut again) = (0_u32, 0_u32);
    loop {
        match framework.event().await? {
            QueueEvent::Status(status) if status.task == id && status.state.is_terminal() => break,
            QueueEvent::Status(status) if status.task != id => match status.state {
                TaskState::Running => again += 1,
                _ => changes += 1,
            },
            _ => {}
        }
    }
    report.promise(
        format!("agent back with {SANDBOXES} sandboxes"),
        took,
        "s",
        Bound::AtMost(1.0),
    );
    report.promise(
        "changes of state",
        f64::from(changes),
        "",
        Bound::AtMost(0.0),
    );
    report.state("said again, without a change", f64::from(again), "");
    framework.teardown().await
}

/// How many tasks run on agents that are there.
async fn running(master: &MasterClient) -> Result<usize> {
    let parts = [StatePart::Agents, StatePart::Tasks];
    let state = master.operator().state(&parts).await?;
    let is_back = state.agents.iter().any(|agent| agent.status == ACTIVE);
    let running = state.tasks.iter().filter(|task| task.state == RUNNING);
    Ok(if is_back { running.count() } else { 0 })
}

const ACTIVE: i32 = nesos_api::v1::AgentStatus::Active as i32;
const RUNNING: i32 = nesos_api::v1::TaskState::Running as i32;

async fn master_returns(report: &mut Report) -> Result<()> {
    let mut cluster = Cluster::start("cpus:1;mem:1GiB;disk:1GiB")?;
    let held = QueueConfig {
        hold_offers: true,
        ..QueueConfig::default()
    };
    let framework = Framework::connect(cluster.url(), held).await?;
    let swarm = Swarm::start(cluster.url(), AGENTS);
    until(|| async { Ok(swarm.registrations()) }, |all| *all >= AGENTS).await?;
    framework.offered().await?;
    cluster.restart_master()?;
    let began = Instant::now();
    let back = until(
        || async { Ok(swarm.registrations()) },
        |all| *all >= 2 * AGENTS,
    )
    .await?;
    framework.offered().await?;
    let took = began.elapsed().as_secs_f64();
    ensure!(back >= 2 * AGENTS, "only {} are back", back - AGENTS);
    report.promise(
        format!("{AGENTS} agents back at a new master"),
        took,
        "s",
        Bound::AtMost(2.0),
    );
    Ok(())
}

/// Asks until the answer will do.
async fn until<T, F: Future<Output = Result<T>>>(
    ask: impl Fn() -> F,
    will_do: impl Fn(&T) -> bool,
) -> Result<T> {
    let give_up = Instant::now() + PATIENCE;
    loop {
        let answer = ask().await;
        match answer {
            Ok(answer) if will_do(&answer) => return Ok(answer),
            Err(error) if Instant::now() > give_up => return Err(error),
            Ok(answer) if Instant::now() > give_up => return Ok(answer),
            _ => tokio::time::sleep(Duration::from_millis(5)).await,
        }
    }
}
