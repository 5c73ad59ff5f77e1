//! From submitting a no-op task to knowing that it has ended.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
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

/// Long enough for every thread to have gone to sleep, and for the machine to have turned to others.
const REST: Duration = Duration::from_millis(5);

/// Threads that a task and its statuses wake on their way, one after another: the master, the agent,
/// the cell and a guest thread going there, the same coming back, and the framework.
const WAKE_UPS: usize = 8;

pub(crate) fn run(_: Options, report: &mut Report) -> Result<()> {
    report.method(&format!(
        "{SAMPLES} no-op tasks (a Rust command), one after another, from handing the task to the SDK's \
         queue until its terminal status comes out; master, agent and cell are processes of their own, \
         the framework has one thread. Held: the queue holds an offer. Cold: the queue has told the \
         master that it wants no offers, and must ask for one. Rested: with {REST:?} of silence before \
         each task, so that every thread sleeps and the machine has turned to others; what that alone \
         costs is what a byte takes that is passed on by {WAKE_UPS} threads over sockets."
    ));
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?
        .block_on(async {
            let cluster = Cluster::start("cpus:64;mem:64GiB;disk:64GiB")?;
            for (kind, rest) in [("", None), (", rested", Some(REST))] {
                let held = QueueConfig {
                    hold_offers: true,
                    ..QueueConfig::default()
                };
                let mut samples = measure(&cluster, held, rest).await?;
                tell(
                    report,
                    &format!("held offer{kind}"),
                    &mut samples,
                    rest,
                    0.5,
                );
                let mut samples = measure(&cluster, QueueConfig::default(), rest).await?;
                tell(
                    report,
                    &format!("cold queue{kind}"),
                    &mut samples,
                    rest,
                    1.5,
                );
                let mut samples = wake_ups(rest)?;
                let p50 = percentile(&mut samples, 50.0);
                report.state(format!("{WAKE_UPS} wake-ups alone{kind}, p50"), p50, "ms");
            }
            Ok(())
        })
}

fn tell(report: &mut Report, what: &str, samples: &mut [f64], rest: Option<Duration>, bound: f64) {
    let p50 = percentile(samples, 50.0);
    match rest {
        None => report.promise(format!("{what}, p50"), p50, "ms", Bound::AtMost(bound)),
        Some(_) => report.state(format!("{what}, p50"), p50, "ms"),
    }
    report.state(format!("{what}, p99"), percentile(samples, 99.0), "ms");
}

/// Milliseconds that each task took.
async fn measure(
    cluster: &Cluster,
    config: QueueConfig,
    rest: Option<Duration>,
) -> Result<Vec<f64>> {
    let mut framework = Framework::connect(cluster.url(), config).await?;
    let noop = framework.upload(wasip1::NOOP).await?;
    let resources = Resources::new(100, 4 << 20).with_disk(1 << 20);
    let mut samples = Vec::with_capacity(SAMPLES);
    for (index, task) in tasks("task", WARM_UP + SAMPLES, noop, &resources, &["noop"])?
        .into_iter()
        .enumerate()
    {
        if let Some(rest) = rest {
            tokio::time::sleep(rest).await;
        }
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

/// Milliseconds that a byte takes through a chain of threads and back.
fn wake_ups(rest: Option<Duration>) -> Result<Vec<f64>> {
    let (mut first, mut previous) = UnixStream::pair()?;
    for _ in 1..WAKE_UPS {
        let (mut next, following) = UnixStream::pair()?;
        let mut from = std::mem::replace(&mut previous, following);
        std::thread::spawn(move || {
            let mut byte = [0];
            while from.read_exact(&mut byte).is_ok() && next.write_all(&byte).is_ok() {}
        });
    }
    let mut samples = Vec::with_capacity(SAMPLES);
    for _ in 0..SAMPLES {
        if let Some(rest) = rest {
            std::thread::sleep(rest);
        }
        let began = Instant::now();
        first.write_all(&[1])?;
        previous.read_exact(&mut [0])?;
        samples.push(began.elapsed().as_secs_f64() * 1e3);
    }
    Ok(samples)
}
