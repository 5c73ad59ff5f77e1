//! From submitting a no-op task to knowing that it has ended.

use std::time::{Duration, Instant};

use anyhow::Result;
use nesos_artifacts::wasip1;
use nesos_sdk::QueueConfig;
use nesos_types::resources::Resources;

use crate::Options;
use crate::cluster::Cluster;
use crate::figure::{Bound, Report};
use crate::framework::{Framework, tasks};
use crate::statistics::percentile;

const SAMPLES: usize = 500;
const WARM_UP: usize = 100;

/// Between two tasks, so that everything has come to rest: nothing of the last task is measured with
/// the next, and no thread is still awake from it.
const PAUSE: Duration = Duration::from_millis(5);

pub(crate) fn run(_: Options, report: &mut Report) -> Result<()> {
    report.method(&format!(
        "{SAMPLES} no-op tasks (a Rust command), one at a time with {PAUSE:?} of rest between them, from \
         handing the task to the SDK's queue until its terminal status comes out; master, agent and cell \
         are processes of their own. Held: the queue holds an offer. Cold: the queue has told the master \
         that it wants no offers, and must ask for one."
    ));
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?
        .block_on(async {
            let cluster = Cluster::start("cpus:64;mem:64GiB;disk:64GiB")?;
            let held = QueueConfig {
                hold_offers: true,
                ..QueueConfig::default()
            };
            let mut samples = measure(&cluster, held).await?;
            tell(report, "held offer", &mut samples, 0.5);
            let mut samples = measure(&cluster, QueueConfig::default()).await?;
            tell(report, "cold queue", &mut samples, 1.5);
            Ok(())
        })
}

fn tell(report: &mut Report, what: &str, samples: &mut [f64], bound: f64) {
    let p50 = percentile(samples, 50.0);
    report.promise(format!("{what}, p50"), p50, "ms", Bound::AtMost(bound));
    report.state(format!("{what}, p99"), percentile(samples, 99.0), "ms");
}

/// Milliseconds that each task took.
async fn measure(cluster: &Cluster, config: QueueConfig) -> Result<Vec<f64>> {
    let mut framework = Framework::connect(cluster.url(), config).await?;
    let noop = framework.upload(wasip1::NOOP).await?;
    let resources = Resources::new(100, 4 << 20).with_disk(1 << 20);
    let mut samples = Vec::with_capacity(SAMPLES);
    for (index, task) in tasks("task", WARM_UP + SAMPLES, noop, &resources, &["noop"])?
        .into_iter()
        .enumerate()
    {
        tokio::time::sleep(PAUSE).await;
        let began = Instant::now();
        framework.submit(vec![task]);
        framework.finished(1).await?;
        if index >= WARM_UP {
            samples.push(began.elapsed().as_secs_f64() * 1e3);
        }
    }
    framework.teardown().await?;
    Ok(samples)
}
