//! What the checkpoint costs those who wait for status updates.

use std::time::Instant;

use anyhow::Result;
use nesos_artifacts::wasip1;
use nesos_sdk::{QueueConfig, QueueEvent};
use nesos_types::resources::Resources;

use crate::Options;
use crate::cluster::Cluster;
use crate::figure::{Bound, Report};
use crate::framework::{Framework, tasks};
use crate::statistics::percentile;

/// Tasks for the rate; each says that it runs and that it has finished.
const TASKS: usize = 50_000;
/// Tasks one after another.
const SAMPLES: usize = 300;
/// Turns of each kind.
const ROUNDS: usize = 5;

pub(crate) fn run(_: Options, report: &mut Report) -> Result<()> {
    report.method(&format!(
        "{TASKS} no-op tasks at once through one agent that keeps its checkpoint on the disk, and the updates that \
         its scheduler hears of a second. Then {SAMPLES} tasks one after another on a held offer, from handing a \
         task to the SDK until its terminal status comes out, on a cluster whose agent keeps a checkpoint and on \
         one whose agent keeps none; {ROUNDS} rounds, alternating, the medians of all."
    ));
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?
        .block_on(async {
            rate(report).await?;
            latency(report).await
        })
}

async fn rate(report: &mut Report) -> Result<()> {
    let cluster = Cluster::start("cpus:64;mem:64GiB;disk:64GiB")?;
    let mut framework = Framework::connect(cluster.url(), QueueConfig::default()).await?;
    let noop = framework.upload(wasip1::NOOP).await?;
    let resources = Resources::new(100, 4 << 20).with_disk(1 << 20);
    framework.submit(tasks("warm", 1000, noop, &resources, &["noop"])?);
    framework.finished(1000).await?;
    framework.submit(tasks("task", TASKS, noop, &resources, &["noop"])?);
    let began = Instant::now();
    let (mut updates, mut ended) = (0_u32, 0);
    while ended < TASKS {
        if let QueueEvent::Status(status) = framework.event().await? {
            updates += 1;
            ended += usize::from(status.state.is_terminal());
        }
    }
    let per_second = f64::from(updates) / began.elapsed().as_secs_f64();
    report.promise(
        "updates a second",
        per_second,
        "/s",
        Bound::AtLeast(20_000.0),
    );
    framework.teardown().await
}

async fn latency(report: &mut Report) -> Result<()> {
    let kept = Cluster::start("cpus:64;mem:64GiB;disk:64GiB")?;
    let fleeting = Cluster::start_fleeting("cpus:64;mem:64GiB;disk:64GiB")?;
    let (mut with, mut without) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        with.extend(one_by_one(&kept).await?);
        without.extend(one_by_one(&fleeting).await?);
    }
    let (with, without) = (percentile(&mut with, 50.0), percentile(&mut without, 50.0));
    report.state("a task, with a checkpoint, p50", with, "ms");
    report.state("a task, without, p50", without, "ms");
    report.promise(
        "with over without",
        with / without,
        "×",
        Bound::AtMost(1.15),
    );
    Ok(())
}

/// Milliseconds that each task took.
async fn one_by_one(cluster: &Cluster) -> Result<Vec<f64>> {
    let held = QueueConfig {
        hold_offers: true,
        ..QueueConfig::default()
    };
    let mut framework = Framework::connect(cluster.url(), held).await?;
    let noop = framework.upload(wasip1::NOOP).await?;
    let resources = Resources::new(100, 4 << 20).with_disk(1 << 20);
    let mut times = Vec::with_capacity(SAMPLES);
    for (index, task) in tasks("task", SAMPLES + 50, noop, &resources, &["noop"])?
        .into_iter()
        .enumerate()
    {
        let began = Instant::now();
        framework.submit(vec![task]);
        framework.finished(1).await?;
        if index >= 50 {
            times.push(began.elapsed().as_secs_f64() * 1e3);
        }
    }
    framework.teardown().await?;
    Ok(times)
}
