//! The first task of a known bundle after its agent was killed and started again.

use std::time::Instant;

use anyhow::Result;
use nesos_artifacts::wasip2;
use nesos_sdk::QueueConfig;
use nesos_types::bundle::Digest;
use nesos_types::resources::Resources;

use crate::Options;
use crate::cluster::Cluster;
use crate::figure::{Bound, Report};
use crate::framework::{Framework, tasks};
use crate::statistics::percentile;

const RESTARTS: usize = 15;
const LATER: usize = 20;

pub(crate) fn run(_: Options, report: &mut Report) -> Result<()> {
    report.method(&format!(
        "A component is run, and then its agent is killed (SIGKILL) and started again, {RESTARTS} times. The cell \
         lives on; the new agent process has the compiled bundle in its cache on the disk and nothing in memory. \
         Compared are the first task after the agent is back and the {LATER} behind it, from handing a task to the \
         SDK until its terminal status comes out: what is more is what finding, verifying and opening the \
         compiled bundle costs."
    ));
    let (mut first, mut later) = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?
        .block_on(measure())?;
    let (first, later) = (percentile(&mut first, 50.0), percentile(&mut later, 50.0));
    let more = first - later;
    report.promise(
        "first task, over later ones, p50",
        more,
        "ms",
        Bound::AtMost(5.0),
    );
    report.state("first task, p50", first, "ms");
    report.state("later tasks, p50", later, "ms");
    Ok(())
}

/// Milliseconds of first and of later tasks.
async fn measure() -> Result<(Vec<f64>, Vec<f64>)> {
    let mut cluster = Cluster::start("cpus:64;mem:64GiB;disk:64GiB")?;
    let held = QueueConfig {
        hold_offers: true,
        ..QueueConfig::default()
    };
    let mut framework = Framework::connect(cluster.url(), held).await?;
    let bundle = framework.upload(wasip2::SEARCH).await?;
    timed(&mut framework, "warm", bundle, LATER).await?;
    let (mut first, mut later) = (Vec::new(), Vec::new());
    for restart in 0..RESTARTS {
        cluster.restart_agent()?;
        // An offer of the agent must be there, or waiting for it would be counted too.
        framework.offered().await?;
        let times = timed(&mut framework, &format!("r{restart}"), bundle, 1 + LATER).await?;
        first.push(times[0]);
        later.extend(&times[1..]);
    }
    framework.teardown().await?;
    Ok((first, later))
}

async fn timed(
    framework: &mut Framework,
    prefix: &str,
    bundle: Digest,
    count: usize,
) -> Result<Vec<f64>> {
    let resources = Resources::new(1000, 64 << 20).with_disk(1 << 20);
    let mut times = Vec::with_capacity(count);
    for task in tasks(prefix, count, bundle, &resources, &["search", "--when"])? {
        let began = Instant::now();
        let id = task.id.clone();
        framework.submit(vec![task]);
        framework.finished_well(&id).await?;
        times.push(began.elapsed().as_secs_f64() * 1e3);
    }
    Ok(times)
}
