//! Sleeping guests of one role on one agent.

use std::time::Instant;

use anyhow::{Context, Result};
use nesos_artifacts::wasip1;
use nesos_sdk::QueueConfig;
use nesos_types::resources::Resources;
use nesos_types::task::TaskState;

use crate::Options;
use crate::cluster::Cluster;
use crate::figure::{Bound, Report};
use crate::framework::{Framework, tasks};
use crate::processes::{page_table_bytes, proportional_bytes};

const GUESTS: usize = 10_000;

/// Longer than the measurement takes.
const SLEEP_SECONDS: &str = "3600";

pub(crate) fn run(_: Options, report: &mut Report) -> Result<()> {
    report.method(&format!(
        "{GUESTS} Rust commands of one role that sleep, launched through master and agent; when all run, \
         the proportional set size (Pss) of all cells together. What one process can hold is bounded by \
         the kernel's limit on mappings (vm.max_map_count, here {}); an agent starts another cell when \
         one is full.",
        mapping_limit()
    ));
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?
        .block_on(measure(report))
}

fn mapping_limit() -> String {
    std::fs::read_to_string("/proc/sys/vm/max_map_count")
        .map_or_else(|_| "unknown".to_owned(), |text| text.trim().to_owned())
}

async fn measure(report: &mut Report) -> Result<()> {
    let cluster = Cluster::start("cpus:64;mem:64GiB;disk:64GiB")?;
    let mut framework = Framework::connect(cluster.url(), QueueConfig::default()).await?;
    let sleep = framework.upload(wasip1::SLEEP).await?;
    let resources = Resources::new(1, 4 << 20).with_disk(1 << 20);
    let began = Instant::now();
    framework.submit(tasks(
        "sleeper",
        GUESTS,
        sleep,
        &resources,
        &["sleep", SLEEP_SECONDS],
    )?);
    framework
        .reached(TaskState::Running, GUESTS)
        .await
        .context("not all guests came to run")?;
    let took = began.elapsed().as_secs_f64();
    let cells = cluster.cells();
    let mut resident = 0;
    let mut page_tables = 0;
    for pid in &cells {
        resident += proportional_bytes(*pid)?;
        page_tables += page_table_bytes(*pid)?;
    }
    let guests = as_f64(GUESTS as u64);
    report.promise(
        "guests that sleep at once",
        guests,
        "",
        Bound::AtLeast(10_000.0),
    );
    report.promise(
        "memory of all cells",
        as_f64(resident) / 1_073_741_824.0,
        "GiB",
        Bound::AtMost(1.0),
    );
    report.state(
        "memory per guest",
        as_f64(resident) / guests / 1_024.0,
        "KiB",
    );
    report.state(
        "page tables per guest",
        as_f64(page_tables) / guests / 1_024.0,
        "KiB",
    );
    report.state("cells", as_f64(cells.len() as u64), "");
    report.state("until all ran", took, "s");
    framework.teardown().await
}

#[expect(clippy::cast_precision_loss, reason = "memory of a machine")]
fn as_f64(value: u64) -> f64 {
    value as f64
}
