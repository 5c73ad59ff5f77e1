//! `nesos demo`: the classic resource-offer example, told while it happens.

use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use nesos_types::resources::Resources;

use crate::cluster::Cluster;
use crate::demo::{self, Director};
use crate::failure::Failure;
use crate::output::{self, Style};
use crate::run::conduct::Signals;

/// Shows how resource offers work: a master, an agent, two frameworks and three tasks, for real
#[derive(Debug, Args)]
pub(crate) struct Demo {}

/// How long the play may last.
const PATIENCE: Duration = Duration::from_secs(60);

impl Demo {
    pub(crate) async fn execute(self) -> Result<ExitCode, Failure> {
        let style = Style::of_stdout();
        let mut signals = Signals::listen()?;
        output::line(demo::prologue(style))?;
        let stage = Resources::new(4000, 4 << 30).with_disk(1 << 30);
        let cluster = Cluster::for_show(stage).await?;
        let played = tokio::select! {
            played = tokio::time::timeout(PATIENCE, Director::play(&cluster, style)) => played,
            signal = signals.next() => {
                cluster.end().await;
                return Ok(ExitCode::from(128 + signal.number));
            }
        };
        cluster.end().await;
        match played {
            Ok(played) => played?,
            Err(_) => return Err(Failure::said("the demo did not come to its end in time")),
        }
        output::line(demo::epilogue(style))?;
        Ok(ExitCode::SUCCESS)
    }
}
