//! `nesos dev`: a lasting cluster of one machine, in the foreground.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use nesos_types::resources::Resources;

use super::agent::resources;
use crate::cluster::{Cluster, default_state_directory};
use crate::failure::Failure;
use crate::output::{self, Style};
use crate::run::conduct::Signals;

/// Runs a master and an agent on this machine, in the foreground, until it is interrupted
#[derive(Debug, Args)]
pub(crate) struct Dev {
    /// Where the cluster's state is kept
    #[arg(long, value_name = "DIR")]
    state_dir: Option<PathBuf>,
    /// Where the master listens
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:5050")]
    listen: SocketAddr,
    /// What the agent has to give, where it is not what the machine has
    #[arg(long, value_name = "cpus:4;mem:4GiB;disk:10GiB", value_parser = resources)]
    resources: Option<Resources>,
    /// Offer CPU that tasks have accepted and do not use to frameworks that can be pushed aside
    #[arg(long)]
    oversubscribe: bool,
}

impl Dev {
    pub(crate) async fn execute(self) -> Result<ExitCode, Failure> {
        let state = self
            .state_dir
            .unwrap_or_else(|| default_state_directory("dev"));
        nesos_agent::raise_descriptor_limit();
        let mut signals = Signals::listen()?;
        let mut cluster = Cluster::lasting(&state, self.listen, |agent| {
            agent.resources = self.resources;
            agent.oversubscription.enabled = self.oversubscribe;
        })
        .await?;
        output::line(welcome(&cluster, &state, Style::of_stdout()))?;
        let failure = tokio::select! {
            failure = cluster.broken() => Some(failure),
            _ = signals.next() => None,
        };
        cluster.end().await;
        match failure {
            Some(failure) => Err(failure),
            None => Ok(ExitCode::SUCCESS),
        }
    }
}

fn welcome(cluster: &Cluster, state: &std::path::Path, style: Style) -> String {
    let url = cluster.url();
    let command = |text: &str| style.cyan(text);
    format!(
        "{} at {url}\n  agent with {}\n  state in {}\n\n\
         In another terminal:\n  {}\n  {}\n  {}\n  {}\n\nCtrl-C ends the cluster and its tasks.",
        style.bold("Nesos cluster"),
        cluster.resources(),
        state.display(),
        command(&format!("export NESOS_MASTER={url}")),
        command("nesos run FILE.wasm"),
        command("nesos tasks"),
        command("nesos state"),
    )
}
