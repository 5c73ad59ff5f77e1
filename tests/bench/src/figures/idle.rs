//! Memory of an idle master, agent and cell.

use anyhow::{Context, Result};
use nesos_artifacts::wasip1;
use nesos_sdk::QueueConfig;
use nesos_types::resources::Resources;

use crate::Options;
use crate::cluster::Cluster;
use crate::figure::{Bound, Report};
use crate::framework::{Framework, tasks};
use crate::processes::resident_bytes;

const MEBIBYTE: f64 = 1_048_576.0;
const BOUND: Bound = Bound::AtMost(40.0);

pub(crate) fn run(_: Options, report: &mut Report) -> Result<()> {
    report.method(
        "Resident set (VmRSS) of a master, an agent and its cell, each a process of its own, after one \
         Rust command has run and its framework has gone.",
    );
    let cluster = Cluster::start("cpus:4;mem:4GiB;disk:4GiB")?;
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?
        .block_on(one_task(&cluster))?;
    let cell = cluster
        .cells()
        .first()
        .copied()
        .context("no cell is left")?;
    for (what, pid) in [
        ("master", cluster.master_pid()),
        ("agent", cluster.agent_pid()),
        ("cell", cell),
    ] {
        report.promise(what, mebibytes(resident_bytes(pid)?), "MiB", BOUND);
    }
    Ok(())
}

async fn one_task(cluster: &Cluster) -> Result<()> {
    let mut framework = Framework::connect(cluster.url(), QueueConfig::default()).await?;
    let hello = framework.upload(wasip1::HELLO).await?;
    let resources = Resources::new(1_000, 64 << 20).with_disk(1 << 20);
    framework.submit(tasks("task", 1, hello, &resources, &["hello"])?);
    framework.finished(1).await?;
    framework.teardown().await
}

#[expect(clippy::cast_precision_loss, reason = "memory of a machine")]
fn mebibytes(bytes: u64) -> f64 {
    bytes as f64 / MEBIBYTE
}
