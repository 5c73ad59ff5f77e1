//! The simulator: one real master core, thousands of real agent cores, and stand-ins for everything
//! around them (schedulers, cells, disks, the network), in one thread on a virtual clock.
//!
//! Everything random comes from one seed: how long messages and tasks take, which connection breaks
//! and when, which process dies. A run therefore repeats itself exactly, and a failure prints the seed
//! that replays it:
//!
//! ```text
//! NESOS_SIM_SEED=42 cargo test -p nesos-tests --test simulation
//! ```
//!
//! While it runs, the books of the master are checked after each event and the whole state of all
//! cores from time to time. At the end every job must be done, and nothing may be left behind.

use std::time::Duration;

use nesos_master_core::MasterConfig;

mod checks;
mod faults;
mod host;
mod lending;
mod network;
mod queue;
mod reserving;
mod scheduler;
mod world;

pub use faults::Faults;
use world::World;

/// What to simulate.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where everything random comes from.
    pub seed: u64,
    /// How many agents.
    pub agents: usize,
    /// How many frameworks, each in a role of its own or shared with others.
    pub frameworks: usize,
    /// How many jobs each framework has. A job is done when a task for it has finished.
    pub jobs: usize,
    /// The longest that a task takes.
    pub task_time: Duration,
    /// What goes wrong.
    pub faults: Faults,
    /// The master's constants.
    pub config: MasterConfig,
    /// Of how many of a thousand offers a scheduler sets something apart, or gives it back.
    pub reserving_per_mille: u32,
    /// How many of a thousand offers a scheduler fills with tasks of an executor.
    pub executors_per_mille: u32,
    /// Whether agents lend what tasks do not use, and schedulers take it.
    pub lending: bool,
    /// After how many events the whole state of all cores is checked; zero for "at the end only".
    pub check_every: u64,
    /// When, on the virtual clock, everything must be done.
    pub give_up_after: Duration,
}

impl Options {
    /// A cluster of this size in which nothing goes wrong.
    #[must_use]
    pub fn new(seed: u64, agents: usize, frameworks: usize, jobs: usize) -> Self {
        Self {
            seed,
            agents,
            frameworks,
            jobs,
            task_time: Duration::from_secs(20),
            faults: Faults::none(),
            config: MasterConfig::default(),
            reserving_per_mille: 0,
            executors_per_mille: 0,
            lending: false,
            check_every: 0,
            give_up_after: Duration::from_secs(24 * 3600),
        }
    }

    /// The same with faults.
    #[must_use]
    pub fn with_faults(mut self, faults: Faults) -> Self {
        self.faults = faults;
        self
    }

    /// The same with schedulers that reserve, make volumes and give back, at so many of a thousand offers.
    #[must_use]
    pub fn reserving(mut self, per_mille: u32) -> Self {
        self.reserving_per_mille = per_mille;
        self
    }

    /// The same with schedulers that fill so many of a thousand offers with tasks of an executor.
    #[must_use]
    pub fn executing(mut self, per_mille: u32) -> Self {
        self.executors_per_mille = per_mille;
        self
    }

    /// The same with agents that lend what their tasks do not use, and schedulers that take it.
    #[must_use]
    pub fn lending(mut self) -> Self {
        self.lending = true;
        self
    }

    /// The same with the whole state checked every so many events.
    #[must_use]
    pub fn checked_every(mut self, events: u64) -> Self {
        self.check_every = events;
        self
    }
}

/// What a simulation came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// Events that a core or a stand-in handled.
    pub events: u64,
    /// How much virtual time passed.
    pub virtual_time: Duration,
    /// Jobs that are done: all.
    pub jobs_done: usize,
    /// Tasks that it took.
    pub attempts: usize,
    /// Persistent volumes that are there at the end.
    pub volumes: usize,
    /// Tasks that were launched on what others did not use.
    pub borrowed: usize,
    /// How many tasks were launched into an executor.
    pub executed: usize,
    /// Tasks that were ended because it was needed.
    pub preempted: usize,
    /// How often each kind of fault struck.
    pub faults: u64,
    /// A digest of all that happened: equal for equal seeds.
    pub digest: u64,
}

/// Runs a simulation until every job is done and everything is quiet.
///
/// # Panics
/// If anything is not as it must be; the seed is printed then.
#[must_use]
pub fn run(options: &Options) -> Outcome {
    let _replay = Replay { seed: options.seed };
    let mut world = World::new(options);
    world.run();
    world.check_end();
    world.outcome()
}

/// What a simulation cost: for the benchmark.
#[derive(Clone, Debug)]
pub struct Measured {
    /// What it came to.
    pub outcome: Outcome,
    /// CPU time of the run. The simulator has one thread and waits for nothing.
    pub cpu_time: Duration,
}

/// Runs a simulation and measures it.
#[must_use]
pub fn measure(options: &Options) -> Measured {
    let began = cpu_time();
    let outcome = run(options);
    Measured {
        outcome,
        cpu_time: cpu_time().saturating_sub(began),
    }
}

/// The CPU time of this thread so far.
fn cpu_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::try_from(time).unwrap_or_default()
}

/// The seed to begin with: that of `NESOS_SIM_SEED`, else the given one.
///
/// # Panics
/// If the variable is set to something that is not a number.
#[must_use]
pub fn seed_or(default: u64) -> u64 {
    match std::env::var("NESOS_SIM_SEED") {
        Ok(text) => text.parse().expect("NESOS_SIM_SEED is a number"),
        Err(_) => default,
    }
}

/// Says how to replay a run that panics.
struct Replay {
    seed: u64,
}

impl Drop for Replay {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!(
                "the simulation failed; NESOS_SIM_SEED={} replays it",
                self.seed
            );
        }
    }
}
