//! CPU that a no-op task costs over all processes, and tasks a second.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use nesos_artifacts::{handwritten, wasip1};
use nesos_sdk::QueueConfig;
use nesos_types::bundle::Digest;
use nesos_types::resources::Resources;

use crate::Options;
use crate::cluster::Cluster;
use crate::figure::{Bound, Report};
use crate::framework::{Framework, tasks};

/// Tasks queued, and how often that is measured.
const SIZES: [(usize, usize); 4] = [(1_000, 20), (10_000, 5), (100_000, 1), (1_000_000, 1)];

const CPU_PER_TASK: Bound = Bound::AtMost(80.0);

pub(crate) fn run(options: Options, report: &mut Report) -> Result<()> {
    report.method(
        "A master, an agent and its cell, each a process of its own, and a framework of the SDK in this \
         process with all tasks in its queue when the clock starts. Ends when the terminal status of each \
         task has come; RUNNING and terminal statuses are acknowledged. CPU time of all four processes \
         together, user and system, from /proc. The guest is a Rust command that does nothing, unless \
         it is said to be bare: a module of one empty function.",
    );
    if options.quick {
        report.method("Quick: 1,000,000 tasks are left out.");
    }
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?
        .block_on(measure_all(options, report))
}

async fn measure_all(options: Options, report: &mut Report) -> Result<()> {
    let cluster = Cluster::start("cpus:64;mem:64GiB;disk:64GiB")?;
    let framework = Framework::connect(cluster.url(), QueueConfig::default()).await?;
    let noop = framework.upload(wasip1::NOOP).await?;
    let bare = framework.upload(handwritten::NOOP_BARE).await?;
    let mut bench = Bench {
        cluster,
        framework,
        runs: 0,
    };
    bench.run(noop, 1_000).await?;
    bench.run(bare, 1_000).await?;
    let mut rates = Vec::new();
    for (count, repetitions) in SIZES {
        if options.quick && count >= 1_000_000 {
            continue;
        }
        let cost = bench.repeat(noop, count, repetitions).await?;
        cost.tell(report, &format!("{count} queued"), Some(CPU_PER_TASK));
        rates.push((count, cost.rate()));
    }
    let rate_of = |wanted| rates.iter().find(|(count, _)| *count == wanted);
    if let (Some((_, few)), Some((_, many))) = (rate_of(10_000), rate_of(1_000_000)) {
        report.promise(
            "rate with 1,000,000 over rate with 10,000",
            many / few,
            "×",
            Bound::AtLeast(0.95),
        );
    }
    let cost = bench.repeat(bare, 10_000, 5).await?;
    cost.tell(report, "bare, 10000 queued", None);
    bench.framework.teardown().await
}

struct Bench {
    cluster: Cluster,
    framework: Framework,
    runs: usize,
}

/// What tasks have cost.
#[derive(Default)]
struct Cost {
    tasks: u32,
    cpu: Duration,
    wall: Duration,
}

impl Bench {
    async fn repeat(&mut self, bundle: Digest, count: usize, repetitions: usize) -> Result<Cost> {
        let mut sum = Cost::default();
        for _ in 0..repetitions {
            let cost = self.run(bundle, count).await?;
            sum.tasks += cost.tasks;
            sum.cpu += cost.cpu;
            sum.wall += cost.wall;
        }
        Ok(sum)
    }

    async fn run(&mut self, bundle: Digest, count: usize) -> Result<Cost> {
        self.runs += 1;
        let resources = Resources::new(100, 4 << 20).with_disk(1 << 20);
        let tasks = tasks(
            &format!("run{}", self.runs),
            count,
            bundle,
            &resources,
            &["noop"],
        )?;
        let cpu_before = self.cluster.cpu_time()?;
        let began = Instant::now();
        self.framework.submit(tasks);
        self.framework
            .finished(count)
            .await
            .with_context(|| format!("with {count} tasks queued"))?;
        let wall = began.elapsed();
        Ok(Cost {
            tasks: u32::try_from(count)?,
            cpu: self.cluster.cpu_time()? - cpu_before,
            wall,
        })
    }
}

impl Cost {
    fn rate(&self) -> f64 {
        f64::from(self.tasks) / self.wall.as_secs_f64()
    }

    fn tell(&self, report: &mut Report, what: &str, bound: Option<Bound>) {
        let each = self.cpu.as_secs_f64() * 1e6 / f64::from(self.tasks);
        let cpu = format!("{what}: CPU per task");
        match bound {
            Some(bound) => report.promise(cpu, each, "µs", bound),
            None => report.state(cpu, each, "µs"),
        }
        report.state(format!("{what}: rate"), self.rate(), "tasks/s");
    }
}
