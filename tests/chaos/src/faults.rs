//! What can go wrong, and how it is mended.

use std::fmt;
use std::time::Duration;

use anyhow::{Context, Result};
use rand::Rng;
use rand::seq::IndexedRandom;
use rustix::process::Signal;

use crate::cluster::World;
use crate::process::{Process, signal};
use crate::proxy::Mode;

/// Something to break.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Target {
    Master(usize),
    Agent(usize),
    Cells(usize),
    Load,
    AgentLink(usize),
    LoadLink,
    MasterLink(usize),
    StoreLink(usize),
    Etcd,
    Disk(usize),
}

/// How it is broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    /// SIGKILL, and started again when it is mended.
    Kill,
    /// SIGSTOP, then SIGCONT.
    Pause,
    /// Connections break.
    Cut,
    /// Nothing arrives.
    Silence,
    /// Nothing arrives in one direction.
    HalfSilence,
    /// No space is left.
    Full,
    /// Killed, and started again with another idea of the time of day.
    Skew,
}

/// A fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Fault {
    pub(crate) kind: Kind,
    pub(crate) target: Target,
    /// How long until it is mended.
    pub(crate) lasts: Duration,
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Master(number) => write!(f, "master {number}"),
            Self::MasterLink(number) => write!(f, "the link before master {number}"),
            Self::StoreLink(number) => write!(f, "the link of master {number} to its store"),
            Self::Etcd => f.write_str("the etcd"),
            Self::Agent(number) => write!(f, "agent {number}"),
            Self::Cells(number) => write!(f, "the cells of agent {number}"),
            Self::Load => f.write_str("the scheduler"),
            Self::AgentLink(number) => write!(f, "the link of agent {number}"),
            Self::LoadLink => f.write_str("the link of the scheduler"),
            Self::Disk(number) => write!(f, "the disk of agent {number}"),
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Kill => "kill -9",
            Self::Pause => "pause",
            Self::Cut => "cut",
            Self::Silence => "silence",
            Self::HalfSilence => "silence one way",
            Self::Full => "fill",
            Self::Skew => "skew the clock of",
        })
    }
}

impl Target {
    /// What it is, whichever it is.
    pub(crate) fn noun(self) -> &'static str {
        match self {
            Self::Master(_) => "master",
            Self::MasterLink(_) => "link before a master",
            Self::StoreLink(_) => "link of a master to its store",
            Self::Etcd => "etcd",
            Self::Agent(_) => "agent",
            Self::Cells(_) => "cell",
            Self::Load => "scheduler",
            Self::AgentLink(_) => "link of an agent",
            Self::LoadLink => "link of the scheduler",
            Self::Disk(_) => "disk of an agent",
        }
    }

    fn kinds(self, world: &World) -> Vec<Kind> {
        let skew = world.faketime.as_ref().map(|_| Kind::Skew);
        match self {
            Self::Master(_) | Self::Agent(_) => {
                [Kind::Kill, Kind::Pause].into_iter().chain(skew).collect()
            }
            Self::Cells(_) | Self::Load | Self::Etcd => vec![Kind::Kill, Kind::Pause],
            Self::AgentLink(_) | Self::LoadLink | Self::MasterLink(_) | Self::StoreLink(_) => {
                vec![Kind::Cut, Kind::Silence, Kind::HalfSilence]
            }
            Self::Disk(number) if world.agents[number].own_disk => vec![Kind::Full],
            Self::Disk(_) => Vec::new(),
        }
    }

    /// What must be whole for this to be broken by itself.
    pub(crate) fn place(self) -> Self {
        match self {
            Self::Cells(number) | Self::Disk(number) => Self::Agent(number),
            other => other,
        }
    }
}

/// Draws a fault of something that is whole.
pub(crate) fn draw(world: &World, random: &mut impl Rng, broken: &[Target]) -> Option<Fault> {
    let several = world.masters.len() > 1;
    let per_agent = (0..world.agents.len()).flat_map(|number| {
        [
            Some(Target::Agent(number)),
            Some(Target::Cells(number)),
            Some(Target::Disk(number)),
            (!several).then_some(Target::AgentLink(number)),
        ]
    });
    let per_master = (0..world.masters.len()).flat_map(|number| {
        [
            Some(Target::Master(number)),
            several.then_some(Target::MasterLink(number)),
            several.then_some(Target::StoreLink(number)),
        ]
    });
    let others = [
        Some(Target::Load),
        (!several).then_some(Target::Master(0)),
        (!several).then_some(Target::LoadLink),
        several.then_some(Target::Etcd),
    ];
    let whole = others
        .into_iter()
        .chain(per_agent)
        .chain(per_master)
        .flatten();
    let whole = whole.filter(|target| !broken.contains(&target.place()));
    let choices: Vec<(Target, Kind)> = whole
        .flat_map(|target| {
            target
                .kinds(world)
                .into_iter()
                .map(move |kind| (target, kind))
        })
        .collect();
    let (target, kind) = *choices.choose(random)?;
    Some(Fault {
        kind,
        target,
        lasts: Duration::from_millis(random.random_range(100..6_000)),
    })
}

impl Fault {
    pub(crate) fn inject(&self, world: &mut World) -> Result<()> {
        match (self.kind, self.target) {
            (Kind::Kill, Target::Cells(number)) => {
                signal_all(&world.cells(number), Signal::KILL);
            }
            (Kind::Pause, Target::Cells(number)) => {
                signal_all(&world.cells(number), Signal::STOP);
            }
            (Kind::Full, Target::Disk(number)) => world.fill_disk(number, true)?,
            (Kind::Cut | Kind::Silence | Kind::HalfSilence, _) => self.set_link(world, false)?,
            (Kind::Pause, _) => self.process(world)?.pause(),
            _ => self.process(world)?.kill()?,
        }
        Ok(())
    }

    pub(crate) fn mend(&self, world: &mut World, random: &mut impl Rng) -> Result<()> {
        match (self.kind, self.target) {
            (Kind::Kill, Target::Cells(_)) => {}
            (Kind::Pause, Target::Cells(number)) => {
                signal_all(&world.cells(number), Signal::CONT);
            }
            (Kind::Full, Target::Disk(number)) => world.fill_disk(number, false)?,
            (Kind::Cut | Kind::Silence | Kind::HalfSilence, _) => self.set_link(world, true)?,
            (Kind::Pause, _) => self.process(world)?.resume(),
            (Kind::Skew, _) => {
                let seconds = random.random_range(-86_400..86_400_i64);
                let library = world.faketime.clone().context("no faketime")?;
                let process = self.process(world)?;
                process.set_env(vec![
                    ("LD_PRELOAD".into(), library.display().to_string()),
                    ("FAKETIME".into(), format!("{seconds:+}s")),
                    ("FAKETIME_DONT_FAKE_MONOTONIC".into(), "1".into()),
                ]);
                process.start()?;
            }
            _ => self.process(world)?.start()?,
        }
        Ok(())
    }

    fn process<'a>(&self, world: &'a mut World) -> Result<&'a mut Process> {
        match self.target {
            Target::Master(number) => Ok(&mut world.masters[number].process),
            Target::Etcd => world.etcd.as_mut().context("there is no etcd"),
            Target::Agent(number) => Ok(&mut world.agents[number].process),
            Target::Load => Ok(&mut world.load),
            other => anyhow::bail!("{other} is no process"),
        }
    }

    fn set_link(&self, world: &World, open: bool) -> Result<()> {
        let link = match self.target {
            Target::AgentLink(number) => &world.agents[number].link,
            Target::LoadLink => &world.load_link,
            Target::MasterLink(number) => &world.masters[number].link,
            Target::StoreLink(number) => &world.masters[number].store_link,
            other => anyhow::bail!("{other} is no link"),
        };
        link.as_ref()
            .context("there is no such link")?
            .set(match self.kind {
                _ if open => Mode::Open,
                Kind::Cut => Mode::Cut,
                Kind::Silence => Mode::Silent,
                _ if self.lasts.as_millis().is_multiple_of(2) => Mode::ClientsUnheard,
                _ => Mode::ServersUnheard,
            });
        Ok(())
    }
}

fn signal_all(pids: &[u32], what: Signal) {
    pids.iter().for_each(|pid| signal(*pid, what));
}
