//! A run that failed: what was wrong, with the seed, a shorter run that fails as well, what led to it, and the
//! command that shows it again.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use super::ledger::Complaint;
use super::world::World;
use super::{Options, Outcome, cpu_time};

/// How many lines of what led to it are shown.
const LINES: usize = 60;

/// How much CPU time is spent to find a shorter run.
const PATIENCE: Duration = Duration::from_secs(20);

/// A simulation that failed.
#[derive(Clone, Debug)]
pub struct Failure {
    /// What was wrong.
    pub what: String,
    /// When, on the virtual clock since the begin.
    pub at: Duration,
    /// After how many events.
    pub events: u64,
    /// What was simulated.
    pub options: Options,
    /// What led to it, as far as it touches what was wrong. Empty until the failure is explained.
    pub trace: Vec<String>,
    words: Vec<String>,
}

/// Runs a simulation to its end, good or bad.
///
/// # Errors
/// The first thing that was not as it must be.
pub fn try_run(options: &Options) -> Result<Outcome, Box<Failure>> {
    attempt(options, false)
}

fn attempt(options: &Options, traced: bool) -> Result<Outcome, Box<Failure>> {
    let mut world = World::new(options, traced);
    let run = catch_unwind(AssertUnwindSafe(|| world.run()));
    let complaint = match run {
        Ok(Ok(())) => return Ok(world.outcome()),
        Ok(Err(complaint)) => complaint,
        Err(panic) => Complaint {
            what: words_of(&*panic),
            words: Vec::new(),
        },
    };
    let trace = world.trace.as_ref();
    let trace = trace.map(|trace| trace.last(LINES, &complaint.words, world.began));
    Err(Box::new(Failure {
        what: complaint.what,
        at: world.now.since(world.began),
        events: world.events,
        options: options.clone(),
        trace: trace.unwrap_or_default(),
        words: complaint.words,
    }))
}

fn words_of(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
    text.unwrap_or("a panic without a word").to_owned()
}

impl Failure {
    /// The same in the smallest run that was found to fail, with what led to it.
    #[must_use]
    pub fn explained(&self) -> Self {
        let mut smallest = self.clone();
        let began = cpu_time();
        while let Some(smaller) = smallest.smaller(began) {
            smallest = smaller;
        }
        match attempt(&smallest.options, true) {
            Err(traced) => *traced,
            Ok(_) => smallest,
        }
    }

    /// A smaller run that fails as well, if one of the obvious ones does.
    fn smaller(&self, began: Duration) -> Option<Self> {
        for options in smaller_than(&self.options) {
            if cpu_time().saturating_sub(began) > PATIENCE {
                return None;
            }
            if let Err(failure) = try_run(&options) {
                return Some(*failure);
            }
        }
        None
    }
}

/// The same with fewer of everything, one kind at a time.
fn smaller_than(options: &Options) -> Vec<Options> {
    let mut all = Vec::new();
    let mut with = |change: &dyn Fn(&mut Options)| {
        let mut less = options.clone();
        change(&mut less);
        all.push(less);
    };
    let (first, count) = options.faults.kinds;
    if options.agents > 1 {
        with(&|less| less.agents = options.agents.div_ceil(2));
    }
    if options.frameworks > 1 {
        with(&|less| less.frameworks = options.frameworks.div_ceil(2));
    }
    if options.jobs > 4 {
        with(&|less| less.jobs = options.jobs.div_ceil(2));
    }
    if count > 1 && options.faults.every.is_some() {
        let half = count / 2;
        with(&|less| less.faults.kinds = (first, half));
        with(&|less| less.faults.kinds = (first + half, count - half));
    }
    all
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Options {
            seed,
            agents,
            masters,
            ..
        } = self.options;
        writeln!(f, "the simulation with seed {seed} failed: {}", self.what)?;
        writeln!(
            f,
            "after {:?} of virtual time and {} events, with {agents} agents and {masters} masters",
            self.at, self.events
        )?;
        if !self.trace.is_empty() {
            let about = self.words.join(", ");
            writeln!(f, "what led to it ({about}; faults):")?;
        }
        for line in &self.trace {
            writeln!(f, "  {line}")?;
        }
        write!(f, "to see it again:\n  {}", self.options.command())
    }
}
