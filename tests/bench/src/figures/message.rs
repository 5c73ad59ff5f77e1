//! From a scheduler's message to an executor until its answer is there.

use std::time::Instant;

use anyhow::{Context, Result};
use nesos_artifacts::executors;
use nesos_sdk::{QueueConfig, QueueEvent, QueueInput};
use nesos_types::executor::{Correspondent, ExecutorInfo};
use nesos_types::resources::Resources;
use nesos_types::task::{TaskInfo, TaskState, Work};

use crate::Options;
use crate::cluster::Cluster;
use crate::figure::{Bound, Report};
use crate::framework::Framework;
use crate::statistics::percentile;

const SAMPLES: usize = 2000;
const WARM_UP: usize = 200;

pub(crate) fn run(_: Options, report: &mut Report) -> Result<()> {
    report.method(&format!(
        "{SAMPLES} messages of 8 bytes to an executor (Rust, keeps a model in memory), one after another, \
         from handing the message to the SDK until the executor's answer comes out; master, agent and cell \
         are processes of their own, the framework has one thread."
    ));
    let mut samples = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?
        .block_on(measure())?;
    let p50 = percentile(&mut samples, 50.0);
    report.promise(
        "round trip, p50".to_owned(),
        p50,
        "µs",
        Bound::AtMost(400.0),
    );
    let p99 = percentile(&mut samples, 99.0);
    report.state("round trip, p99".to_owned(), p99, "µs");
    Ok(())
}

/// Microseconds that each round trip took.
async fn measure() -> Result<Vec<f64>> {
    let cluster = Cluster::start("cpus:64;mem:64GiB;disk:64GiB")?;
    let mut framework = Framework::connect(cluster.url(), QueueConfig::default()).await?;
    let bundle = framework.upload(executors::MODEL).await?;
    let own = Resources::new(1000, 64 << 20);
    let executor = ExecutorInfo::new("model".parse()?, bundle, own);
    let resources = Resources::new(100, 16 << 20);
    let mut task = TaskInfo::new("first".parse()?, bundle, resources);
    task.work = Work::InExecutor {
        executor: executor.clone().into(),
        run: None,
    };
    framework.submit(vec![task.into()]);
    let agent = loop {
        let status = framework.status().await?;
        if status.state == TaskState::Finished {
            break status.agent.context("a status without an agent")?;
        }
    };
    let mut samples = Vec::with_capacity(SAMPLES);
    for index in 0..WARM_UP + SAMPLES {
        let began = Instant::now();
        framework.send(QueueInput::Message {
            agent,
            to: Correspondent::Executor(executor.id.clone()),
            data: b"question".to_vec(),
        });
        loop {
            if let QueueEvent::Message { .. } = framework.event().await? {
                break;
            }
        }
        if index >= WARM_UP {
            samples.push(began.elapsed().as_secs_f64() * 1e6);
        }
    }
    framework.teardown().await?;
    Ok(samples)
}
