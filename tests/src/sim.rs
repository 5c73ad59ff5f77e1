//! The simulator: real master cores, one or three, thousands of real agent cores, and stand-ins for everything
//! around them (schedulers, cells, disks, clocks, the network, the masters' store), in one thread on a virtual
//! clock.
//!
//! Everything random comes from one seed: how long messages and tasks take, which connection breaks
//! and when, which process dies or stands still. A run therefore repeats itself exactly, and one that fails
//! says what was wrong, what led to it, and with which command it can be seen again:
//!
//! ```text
//! cargo run -p nesos-tests --bin nesos-sim -- --first 42 --seeds 1 --masters 3
//! ```
//!
//! While it runs, books are kept of what really happens (`ledger`) and compared after each event with what cores
//! say and do; the cores' own books are checked as well. At the end every job must be done, nothing may be left
//! behind, and everything is offered again. That the checker can fail is shown by saboteurs (`sabotage`).

use std::time::Duration;

use rand::TryRngCore;
use rand::rngs::OsRng;

mod agents;
mod checks;
mod chores;
mod clock;
mod failure;
mod faults;
mod host;
mod ledger;
mod lending;
mod masters;
mod network;
mod options;
mod pauses;
mod queue;
mod reserving;
mod sabotage;
mod scheduler;
mod schedulers;
mod seat;
mod store;
mod strike;
mod trace;
mod world;

pub use failure::{Failure, try_run};
pub use faults::Faults;
pub use options::Options;
pub use sabotage::Sabotage;

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
    /// How often a master began to lead.
    pub recoveries: u64,
    /// A digest of all that happened: equal for equal seeds.
    pub digest: u64,
}

/// Runs a simulation until every job is done and everything is quiet.
///
/// # Panics
/// If anything is not as it must be. The message says what, what led to it, and how to see it again.
#[must_use]
pub fn run(options: &Options) -> Outcome {
    try_run(options).unwrap_or_else(|failure| panic!("{}", failure.explained()))
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
///
/// # Errors
/// The first thing that was not as it must be.
pub fn measure(options: &Options) -> Result<Measured, Box<Failure>> {
    let began = cpu_time();
    let outcome = try_run(options)?;
    Ok(Measured {
        outcome,
        cpu_time: cpu_time().saturating_sub(began),
    })
}

/// The CPU time of this thread so far.
fn cpu_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::try_from(time).unwrap_or_default()
}

/// A seed that nobody has tried, for all one knows.
///
/// # Panics
/// If the system has no random numbers.
#[must_use]
pub fn fresh_seed() -> u64 {
    let random = OsRng.try_next_u32();
    u64::from(random.expect("the system has random numbers"))
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
