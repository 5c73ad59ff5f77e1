//! The subcommands, and which asynchronous runtime each of them wants.

use std::num::NonZero;
use std::process::ExitCode;

use clap::Subcommand;

use crate::failure::Failure;
use crate::output;

mod agent;
mod agents;
mod build;
mod bundles;
mod cell;
mod compile;
mod completions;
mod demo;
mod dev;
mod drain;
mod explain;
mod frameworks;
mod inspect;
mod keys;
mod kill;
mod logs;
mod master;
mod new;
mod offers;
mod policy;
mod pull;
mod push;
mod reservations;
mod roles;
mod run;
mod state;
mod tasks;

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Run(Box<run::Run>),
    New(new::New),
    Build(build::Build),
    Push(push::Push),
    Pull(pull::Pull),
    Bundles(bundles::Bundles),
    Inspect(inspect::Inspect),
    Keys(keys::Keys),
    Demo(demo::Demo),
    Dev(dev::Dev),
    Master(master::Master),
    Agent(agent::Agent),
    State(state::State),
    Tasks(tasks::Tasks),
    Agents(agents::Agents),
    Drain(drain::Drain),
    Frameworks(frameworks::Frameworks),
    Roles(roles::Roles),
    Reservations(reservations::Reservations),
    Offers(offers::Offers),
    Policy(policy::Policy),
    Explain(explain::Explain),
    Kill(kill::Kill),
    Logs(logs::Logs),
    Completions(completions::Completions),
    /// Holds the sandboxes of one role; started by agents.
    #[command(hide = true)]
    Cell(cell::Cell),
    /// Compiles one bundle within limits; started by agents.
    #[command(hide = true)]
    Compile(compile::Compile),
}

/// A master or an agent passes small messages through one task that owns its core. A second thread
/// adds little to that and costs a wake-up at every step: on two CPUs a no-op task took a quarter
/// longer with two threads than with one. Guests have threads of their own.
const CPUS_PER_SERVING_THREAD: usize = 4;

impl Command {
    /// Does it. The exit status of `run` is the guest's.
    pub(crate) fn execute(self) -> Result<ExitCode, Failure> {
        match self {
            Self::Cell(command) => Ok(command.execute()),
            Self::Compile(command) => Ok(command.execute()),
            Self::Run(command) => command.execute(),
            Self::New(command) => command.execute(),
            Self::Build(command) => command.execute(),
            Self::Keys(command) => command.execute(),
            Self::Push(command) => asking(command.execute()),
            Self::Pull(command) => asking(command.execute()),
            Self::Bundles(command) => asking(command.execute()),
            Self::Inspect(command) => asking(command.execute()),
            Self::Completions(command) => command.execute(),
            Self::Demo(command) => {
                output::log("error");
                serving(command.execute())
            }
            Self::Dev(command) => {
                output::log("warn");
                serving(command.execute())
            }
            Self::Master(command) => {
                output::log("info");
                serving(command.execute())
            }
            Self::Agent(command) => {
                output::log("info");
                serving(command.execute())
            }
            Self::State(command) => asking(command.execute()),
            Self::Tasks(command) => asking(command.execute()),
            Self::Drain(command) => asking(command.execute()),
            Self::Agents(command) => asking(command.execute()),
            Self::Frameworks(command) => asking(command.execute()),
            Self::Roles(command) => asking(command.execute()),
            Self::Reservations(command) => asking(command.execute()),
            Self::Offers(command) => asking(command.execute()),
            Self::Policy(command) => asking(command.execute()),
            Self::Explain(command) => asking(command.execute()),
            Self::Kill(command) => asking(command.execute()),
            Self::Logs(command) => asking(command.execute()),
        }
    }
}

/// A command that serves others: a thread for every [`CPUS_PER_SERVING_THREAD`] of the machine.
fn serving(work: impl Future<Output = Result<ExitCode, Failure>>) -> Result<ExitCode, Failure> {
    let cpus = std::thread::available_parallelism().map_or(1, NonZero::get);
    finish(
        tokio::runtime::Builder::new_multi_thread()
            .worker_threads(cpus.div_ceil(CPUS_PER_SERVING_THREAD))
            .enable_all()
            .build(),
        work,
    )
}

/// A command that asks and prints: one thread, started at once.
fn asking(work: impl Future<Output = Result<ExitCode, Failure>>) -> Result<ExitCode, Failure> {
    finish(
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build(),
        work,
    )
}

/// Runs the work and leaves without waiting for threads that may be blocked in a read.
fn finish(
    runtime: std::io::Result<tokio::runtime::Runtime>,
    work: impl Future<Output = Result<ExitCode, Failure>>,
) -> Result<ExitCode, Failure> {
    let runtime = runtime.map_err(|error| Failure::new("cannot start a thread", error))?;
    let result = runtime.block_on(work);
    runtime.shutdown_background();
    result
}
