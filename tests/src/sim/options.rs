//! What to simulate.

use std::fmt::Write;
use std::time::Duration;

use nesos_master_core::MasterConfig;

use super::faults::Faults;
use super::sabotage::Sabotage;

/// What to simulate.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where everything random comes from.
    pub seed: u64,
    /// How many masters: one with a store of its own, or several of which one leads by a lease.
    pub masters: usize,
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
    /// Whether operators limit what some roles may have.
    pub limits: bool,
    /// Whether agents lend what tasks do not use, and schedulers take it.
    pub lending: bool,
    /// How a host betrays its core, to show that the checker sees it.
    pub sabotage: Option<Sabotage>,
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
            masters: 1,
            agents,
            frameworks,
            jobs,
            task_time: Duration::from_secs(20),
            faults: Faults::none(),
            config: MasterConfig::default(),
            reserving_per_mille: 0,
            executors_per_mille: 0,
            limits: false,
            lending: false,
            sabotage: None,
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

    /// The same with so many masters.
    #[must_use]
    pub fn led_by(mut self, masters: usize) -> Self {
        self.masters = masters;
        self
    }

    /// The same with limits for some roles.
    #[must_use]
    pub fn limited(mut self) -> Self {
        self.limits = true;
        self
    }

    /// The same with a host that betrays its core.
    #[must_use]
    pub fn sabotaged(mut self, sabotage: Sabotage) -> Self {
        self.sabotage = Some(sabotage);
        self
    }

    /// The command that runs this simulation again, if nothing but what the methods here set was changed.
    #[must_use]
    pub fn command(&self) -> String {
        let Faults {
            every,
            until,
            kinds,
            ..
        } = &self.faults;
        let mut text = format!(
            "cargo run -p nesos-tests --bin nesos-sim -- --first {} --seeds 1 --masters {} --agents {} \
             --frameworks {} --jobs {} --task-time-ms {} --check-every {} --reserving {} --executing {}",
            self.seed,
            self.masters,
            self.agents,
            self.frameworks,
            self.jobs,
            self.task_time.as_millis(),
            self.check_every,
            self.reserving_per_mille,
            self.executors_per_mille
        );
        if let Some(every) = every {
            let (every, until) = (every.as_millis(), until.as_secs());
            let (first, count) = kinds;
            let _ = write!(
                text,
                " --fault-every-ms {every} --faults-until-s {until} --fault-kinds {first},{count}"
            );
        }
        text.push_str(if self.lending { " --lending" } else { "" });
        text.push_str(if self.limits { " --limits" } else { "" });
        if let Some(sabotage) = self.sabotage {
            let _ = write!(text, " --sabotage {sabotage:?}");
        }
        text
    }
}
