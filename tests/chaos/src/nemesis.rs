//! One run: a cluster, a load, faults in the order of a seed, peace, and the count.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::Args;
use rand::{Rng, SeedableRng, TryRngCore};
use rand_chacha::ChaCha8Rng;
use tokio::time::{Instant, sleep, sleep_until};

use crate::cluster::World;
use crate::faults::{self, Fault, Kind, Target};
use crate::journal::Remembered;
use crate::report::{report, say, say_what_is_left_out};
use crate::verdict::Verdict;

/// How long the load may take to end once nothing is broken any more.
const PEACE: Duration = Duration::from_secs(180);
/// How many things are broken at the same time at most.
const AT_ONCE: usize = 3;

/// Runs a cluster of real processes and breaks it for a while
#[derive(Debug, Args)]
pub(crate) struct Run {
    /// Decides what is broken and when; without it a fresh one, which is printed
    #[arg(long)]
    seed: Option<u64>,
    /// For how long things are broken
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// One master on redb, or several on one etcd, which has to be installed
    #[arg(long, default_value_t = 1)]
    pub(crate) masters: usize,
    #[arg(long, default_value_t = 3)]
    pub(crate) agents: usize,
    /// Volumes on each agent; a task has one for itself
    #[arg(long, default_value_t = 4)]
    pub(crate) volumes: usize,
    /// Tasks that are submitted each second
    #[arg(long, default_value_t = 20)]
    pub(crate) rate: u32,
    /// Where state and logs are kept; without it in a directory that goes away if all is well
    #[arg(long, value_name = "DIR")]
    directory: Option<PathBuf>,
}

impl Run {
    /// Answers whether nothing was lost and nothing done twice.
    pub(crate) async fn execute(self) -> Result<bool> {
        let seed = self.seed.map_or_else(fresh_seed, Ok)?;
        say(format_args!(
            "seed {seed}; again: nesos-chaos run --seed {seed} --seconds {} --masters {}",
            self.seconds, self.masters
        ));
        let (directory, _own) = match &self.directory {
            Some(directory) => {
                std::fs::create_dir_all(directory)?;
                (directory.clone(), None)
            }
            None => {
                let own = tempfile::tempdir()?;
                (own.path().to_owned(), Some(own))
            }
        };
        let mut world = World::start(&self, &directory).await?;
        say_what_is_left_out(&world);
        let injected = self.war(&mut world, seed).await?;
        peace(&mut world).await?;
        let verdict = Verdict::of(&Remembered::read(&world.journal())?, &world.notes().await?);
        let held = held(&world)?;
        report(&injected, &verdict, &held);
        Ok(verdict.is_clean() && held.is_empty())
    }

    /// Breaks and mends until the time is over, and then mends what is left.
    async fn war(
        &self,
        world: &mut World,
        seed: u64,
    ) -> Result<BTreeMap<(Kind, &'static str), usize>> {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let until = Instant::now() + Duration::from_secs(self.seconds);
        let mut injected = BTreeMap::new();
        let mut broken: Vec<(Instant, Fault)> = Vec::new();
        let mut next = Instant::now() + Duration::from_secs(2);
        while Instant::now() < until {
            let mend_at = broken.iter().map(|(at, _)| *at).min();
            sleep_until(mend_at.map_or(next, |at| at.min(next)).min(until)).await;
            mend(world, &mut broken, &mut random)?;
            watch(world, &broken)?;
            if next > Instant::now() || broken.len() >= AT_ONCE {
                next = next.max(Instant::now() + Duration::from_millis(50));
                continue;
            }
            next = Instant::now() + Duration::from_millis(random.random_range(100..2_500));
            let taken: Vec<Target> = broken
                .iter()
                .map(|(_, fault)| fault.target.place())
                .collect();
            let Some(fault) = faults::draw(world, &mut random, &taken) else {
                continue;
            };
            say(format_args!(
                "{} {} for {:?}",
                fault.kind, fault.target, fault.lasts
            ));
            fault.inject(world)?;
            *injected
                .entry((fault.kind, fault.target.noun()))
                .or_default() += 1;
            broken.push((Instant::now() + fault.lasts, fault));
        }
        broken.iter_mut().for_each(|(at, _)| *at = Instant::now());
        mend(world, &mut broken, &mut random)?;
        Ok(injected)
    }
}

fn fresh_seed() -> Result<u64> {
    Ok(rand::rngs::OsRng.try_next_u64()?)
}

/// Mends what has been broken for long enough.
fn mend(
    world: &mut World,
    broken: &mut Vec<(Instant, Fault)>,
    random: &mut impl Rng,
) -> Result<()> {
    let now = Instant::now();
    for (_, fault) in broken.extract_if(.., |(at, _)| *at <= now) {
        fault
            .mend(world, random)
            .with_context(|| format!("{} cannot be mended", fault.target))?;
    }
    Ok(())
}

/// Nobody may end by himself.
fn watch(world: &mut World, broken: &[(Instant, Fault)]) -> Result<()> {
    let is_broken = |target: Target| broken.iter().any(|(_, fault)| fault.target == target);
    let load = (Target::Load, &mut world.load);
    let etcd = world.etcd.iter_mut().map(|process| (Target::Etcd, process));
    let masters = world.masters.iter_mut().enumerate();
    let masters = masters.map(|(number, one)| (Target::Master(number), &mut one.process));
    let agents = world.agents.iter_mut().enumerate();
    let agents = agents.map(|(number, agent)| (Target::Agent(number), &mut agent.process));
    for (target, process) in [load].into_iter().chain(etcd).chain(masters).chain(agents) {
        ensure!(
            is_broken(target) || !process.has_ended(),
            "{target} has ended by itself; it said last:\n{}",
            process.last_words()
        );
    }
    Ok(())
}

/// Waits until every task has run to its end.
async fn peace(world: &mut World) -> Result<()> {
    std::fs::write(world.enough(), "")?;
    let until = Instant::now() + PEACE;
    loop {
        match world.load.ended_well()? {
            Some(true) => return Ok(()),
            Some(false) => anyhow::bail!("the scheduler failed:\n{}", world.load.last_words()),
            None => {}
        }
        if Instant::now() > until {
            let open = Remembered::read(&world.journal())?;
            let open = open
                .attempts
                .into_iter()
                .filter(|(_, attempt)| attempt.end.is_none());
            let open: Vec<_> = open.take(20).collect();
            let state = world
                .ask(&["state"])
                .unwrap_or_else(|error| error.to_string());
            anyhow::bail!("some tasks do not end: {open:?}\n{state}");
        }
        watch(world, &[(until, ended_by_itself())])?;
        sleep(Duration::from_millis(200)).await;
    }
}

/// The load ends when it is done.
fn ended_by_itself() -> Fault {
    Fault {
        kind: Kind::Kill,
        target: Target::Load,
        lasts: Duration::ZERO,
    }
}

/// What agents still hold although nothing runs.
fn held(world: &World) -> Result<Vec<String>> {
    let agents = world.ask(&["tasks", "--output", "json"])?;
    let tasks: serde_json::Value = serde_json::from_str(&agents)?;
    let tasks = tasks.as_array().context("a list of tasks")?;
    Ok(tasks.iter().map(ToString::to_string).collect())
}
