//! Simulates clusters through faults, seed after seed, for as long as one wants, and shows failures again.

use std::fmt;
use std::io::Write;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use nesos_tests::sim::{Faults, Measured, Options, Sabotage, fresh_seed, measure};

/// Simulates a cluster through faults, one seed after the other.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    /// The first seed; a fresh one if it is not given.
    #[arg(long)]
    first: Option<u64>,
    /// How many seeds.
    #[arg(long, default_value_t = 10)]
    seeds: u64,
    /// How many masters.
    #[arg(long, default_value_t = 1)]
    masters: usize,
    /// How many agents.
    #[arg(long, default_value_t = 6)]
    agents: usize,
    /// How many frameworks.
    #[arg(long, default_value_t = 4)]
    frameworks: usize,
    /// How many jobs each framework has.
    #[arg(long, default_value_t = 60)]
    jobs: usize,
    /// The longest that a task takes, in milliseconds.
    #[arg(long, default_value_t = 20_000)]
    task_time_ms: u64,
    /// The mean time between two faults, in milliseconds; 0 for no faults.
    #[arg(long, default_value_t = 700)]
    fault_every_ms: u64,
    /// When faults end, in seconds of virtual time.
    #[arg(long, default_value_t = 120)]
    faults_until_s: u64,
    /// Of the list of faults: the first that strikes, and how many from there on.
    #[arg(long, value_parser = pair)]
    fault_kinds: Option<(usize, usize)>,
    /// Of how many of a thousand offers a scheduler sets something apart.
    #[arg(long, default_value_t = 0)]
    reserving: u32,
    /// How many of a thousand offers are filled with tasks of an executor.
    #[arg(long, default_value_t = 0)]
    executing: u32,
    /// Agents lend what tasks do not use.
    #[arg(long)]
    lending: bool,
    /// Operators limit what some roles may have.
    #[arg(long)]
    limits: bool,
    /// After how many events everything is checked; 0 for nothing but the end.
    #[arg(long, default_value_t = 7)]
    check_every: u64,
    /// A host betrays its core: the name of a saboteur.
    #[arg(long, value_parser = saboteur)]
    sabotage: Option<Sabotage>,
}

fn pair(text: &str) -> Result<(usize, usize), String> {
    let parts = text.split_once(',').and_then(|(first, count)| {
        let (first, count) = (first.parse().ok()?, count.parse().ok()?);
        Faults::has_kinds((first, count)).then_some((first, count))
    });
    parts.ok_or_else(|| format!("{text:?} is not a place and a count in the list of faults"))
}

fn saboteur(text: &str) -> Result<Sabotage, String> {
    let named = |one: &Sabotage| format!("{one:?}") == text;
    let found = Sabotage::ALL.into_iter().find(named);
    found.ok_or_else(|| {
        format!(
            "there is no saboteur {text:?}; there are {:?}",
            Sabotage::ALL
        )
    })
}

impl Arguments {
    fn options(&self, seed: u64) -> Options {
        let mut options = Options::new(seed, self.agents, self.frameworks, self.jobs)
            .led_by(self.masters)
            .reserving(self.reserving)
            .executing(self.executing)
            .checked_every(self.check_every);
        options.task_time = Duration::from_millis(self.task_time_ms);
        options.lending = self.lending;
        options.limits = self.limits;
        options.sabotage = self.sabotage;
        if self.fault_every_ms > 0 {
            let every = Duration::from_millis(self.fault_every_ms);
            options.faults = Faults::all(every, Duration::from_secs(self.faults_until_s));
        }
        if let Some(kinds) = self.fault_kinds {
            options.faults.kinds = kinds;
        }
        options
    }
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let first = arguments.first.unwrap_or_else(fresh_seed);
    let mut sum = Sum::default();
    for seed in first..first.saturating_add(arguments.seeds) {
        match measure(&arguments.options(seed)) {
            Ok(measured) => sum.add(seed, &measured),
            Err(failure) => {
                eprintln!("{}", failure.explained());
                return ExitCode::FAILURE;
            }
        }
    }
    sum.print();
    ExitCode::SUCCESS
}

/// What the runs came to together.
#[derive(Debug, Default)]
struct Sum {
    virtual_time: Duration,
    cpu_time: Duration,
    events: u64,
    faults: u64,
}

impl Sum {
    fn add(&mut self, seed: u64, measured: &Measured) {
        let outcome = &measured.outcome;
        say(format_args!(
            "seed {seed}: {} jobs in {} tasks, {} faults, {} reigns, {} events, {:.0} s of virtual time, {:.2} s of CPU",
            outcome.jobs_done,
            outcome.attempts,
            outcome.faults,
            outcome.recoveries,
            outcome.events,
            outcome.virtual_time.as_secs_f64(),
            measured.cpu_time.as_secs_f64(),
        ));
        self.virtual_time += outcome.virtual_time;
        self.cpu_time += measured.cpu_time;
        self.events += outcome.events;
        self.faults += outcome.faults;
    }

    fn print(&self) {
        let hours = self.virtual_time.as_secs_f64() / 3600.0;
        let minutes = self.cpu_time.as_secs_f64() / 60.0;
        say(format_args!(
            "all is well: {hours:.2} hours of virtual time, {} faults, {} events; {:.2} virtual hours per CPU minute",
            self.faults,
            self.events,
            hours / minutes.max(f64::MIN_POSITIVE),
        ));
    }
}

/// Prints a line. Whoever does not listen misses it.
fn say(line: fmt::Arguments<'_>) {
    let _ = writeln!(std::io::stdout(), "{line}");
}
