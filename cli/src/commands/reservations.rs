//! `nesos reservations`: what is set apart on agents, and how operators change it.

use std::collections::BTreeMap;
use std::process::ExitCode;

use clap::{Args, Subcommand};
use nesos_sdk::Operator;
use nesos_types::ids::VolumeId;
use nesos_types::reservation::{Owner, ReservationChange};
use nesos_types::resources::{Resources, format_bytes};
use nesos_types::role::Role;

use super::agents::{agent_id, named_agent};
use crate::amounts;
use crate::connect::MasterOptions;
use crate::failure::Failure;
use crate::output::{self, OutputOptions};
use crate::views::AgentView;

mod gc;
mod listed;

use listed::PartView;

/// Lists what is reserved on agents, volumes included; its subcommands reserve and give back
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct Reservations {
    #[command(subcommand)]
    change: Option<Change>,
    #[command(flatten)]
    master: MasterOptions,
    #[command(flatten)]
    output: OutputOptions,
}

#[derive(Debug, Subcommand)]
enum Change {
    Reserve(Reserve),
    Unreserve(Unreserve),
    CreateVolume(CreateVolume),
    DestroyVolume(DestroyVolume),
    Gc(gc::Gc),
}

/// Keeps resources of an agent that no task uses for a role and those below it
#[derive(Debug, Args)]
struct Reserve {
    /// The agent: its id or its host's name
    agent: String,
    /// The role
    role: Role,
    /// How much, for example `cpus:2;mem:1GiB`; `cpus(a):2` refines what is reserved for `a`
    resources: Resources,
    /// A label that the reservation carries. May be repeated
    #[arg(long = "label", value_name = "NAME=VALUE", value_parser = label)]
    labels: Vec<(String, String)>,
    #[command(flatten)]
    master: MasterOptions,
}

/// Gives back what was reserved for a role at run time
#[derive(Debug, Args)]
struct Unreserve {
    /// The agent: its id or its host's name
    agent: String,
    /// The role
    role: Role,
    /// How much, for example `cpus:2;mem:1GiB`
    resources: Resources,
    #[command(flatten)]
    master: MasterOptions,
}

/// Makes a persistent volume of disk that is reserved for a role
#[derive(Debug, Args)]
struct CreateVolume {
    /// The agent: its id or its host's name
    agent: String,
    /// The role for which the disk is reserved
    role: Role,
    /// The volume's name, unique on its agent
    volume: VolumeId,
    /// Its size
    #[arg(value_parser = amounts::size)]
    size: u64,
    #[command(flatten)]
    master: MasterOptions,
}

/// Destroys a persistent volume with everything in it
#[derive(Debug, Args)]
struct DestroyVolume {
    /// The agent: its id or its host's name
    agent: String,
    /// The volume
    volume: VolumeId,
    #[command(flatten)]
    master: MasterOptions,
}

fn label(text: &str) -> Result<(String, String), String> {
    let (name, value) = text
        .split_once('=')
        .filter(|(name, _)| !name.is_empty())
        .ok_or_else(|| format!("{text:?} is not NAME=VALUE"))?;
    Ok((name.to_owned(), value.to_owned()))
}

impl Reservations {
    pub(crate) async fn execute(self) -> Result<ExitCode, Failure> {
        match self.change {
            None => {
                let mut operator = self.master.connect().await?.operator();
                let parts = PartView::all(&listed::state(&mut operator).await?);
                self.output.list(&parts, &PartView::table(&parts))
            }
            Some(Change::Reserve(reserve)) => reserve.execute().await,
            Some(Change::Unreserve(unreserve)) => unreserve.execute().await,
            Some(Change::CreateVolume(create)) => create.execute().await,
            Some(Change::DestroyVolume(destroy)) => destroy.execute().await,
            Some(Change::Gc(gc)) => gc.execute().await,
        }
    }
}

/// An agent, and whom to ask about it.
struct At {
    operator: Operator,
    agent: AgentView,
}

impl At {
    async fn find(master: &MasterOptions, name: &str) -> Result<Self, Failure> {
        let mut operator = master.connect().await?.operator();
        let state = listed::state(&mut operator).await?;
        let agent = named_agent(state, name)?;
        Ok(Self { operator, agent })
    }

    async fn change(&mut self, change: &ReservationChange) -> Result<(), Failure> {
        let agent = agent_id(&self.agent.id)?;
        Ok(self.operator.change_reservations(agent, change).await?)
    }

    /// What is reserved for a role here: as its claims have it, volumes and what others have refined
    /// aside.
    fn reserved_for(&self, role: &Role) -> Resources {
        let all = self.agent.total.only_parts();
        all.with_parts_if(|claim| {
            let reserved = claim.reservation().is_some_and(|by| by.role == *role);
            reserved && claim.volume.is_none()
        })
    }

    fn choose(
        &self,
        of: &Resources,
        wanted: &Resources,
        role: &Role,
    ) -> Result<Resources, Failure> {
        of.choose(wanted).ok_or_else(|| {
            let there = match of.is_empty() {
                true => "nothing".to_owned(),
                false => of.flattened().words(),
            };
            let host = &self.agent.info.hostname;
            Failure::said(format!(
                "{} are wanted, and of {host} {there} can be had of what is reserved for {role}",
                wanted.words()
            ))
        })
    }
}

impl Reserve {
    async fn execute(self) -> Result<ExitCode, Failure> {
        let mut at = At::find(&self.master, &self.agent).await?;
        let mut resources = self.resources.unclaimed();
        for (claim, amounts) in self.resources.parts() {
            let holder = claim.reservation().map(|by| by.role.clone());
            let holder = holder.unwrap_or_default();
            let refined = at.choose(&at.reserved_for(&holder), amounts, &holder)?;
            resources = resources
                .checked_add(&refined)
                .ok_or_else(|| Failure::said("resources: something stands twice"))?;
        }
        let shown = resources.flattened().words();
        let change = ReservationChange::Reserve {
            resources,
            role: self.role.clone(),
            labels: self.labels.into_iter().collect::<BTreeMap<_, _>>(),
        };
        at.change(&change).await?;
        said(format_args!(
            "{shown} of {} are reserved for {}",
            at.agent.info.hostname, self.role
        ))
    }
}

impl Unreserve {
    async fn execute(self) -> Result<ExitCode, Failure> {
        let mut at = At::find(&self.master, &self.agent).await?;
        let at_run_time = at.reserved_for(&self.role).with_parts_if(|claim| {
            claim
                .reservation()
                .is_some_and(|by| by.owner != Owner::Agent)
        });
        let resources = at.choose(&at_run_time, &self.resources, &self.role)?;
        let shown = resources.flattened().words();
        at.change(&ReservationChange::Unreserve { resources })
            .await?;
        said(format_args!(
            "{shown} of {} are given back",
            at.agent.info.hostname
        ))
    }
}

impl CreateVolume {
    async fn execute(self) -> Result<ExitCode, Failure> {
        let mut at = At::find(&self.master, &self.agent).await?;
        let wanted = Resources::default().with_disk(self.size);
        let disk = at.choose(&at.reserved_for(&self.role), &wanted, &self.role)?;
        let change = ReservationChange::CreateVolume {
            volume: self.volume.clone(),
            disk,
        };
        at.change(&change).await?;
        let size = format_bytes(self.size);
        said(format_args!(
            "volume {} of {size} is on {}",
            self.volume, at.agent.info.hostname
        ))
    }
}

impl DestroyVolume {
    async fn execute(self) -> Result<ExitCode, Failure> {
        let mut at = At::find(&self.master, &self.agent).await?;
        let change = ReservationChange::DestroyVolume {
            volume: self.volume.clone(),
        };
        at.change(&change).await?;
        said(format_args!("volume {} is destroyed", self.volume))
    }
}

fn said(line: std::fmt::Arguments<'_>) -> Result<ExitCode, Failure> {
    output::line(line)?;
    Ok(ExitCode::SUCCESS)
}
