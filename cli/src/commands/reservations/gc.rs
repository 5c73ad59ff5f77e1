//! `nesos reservations gc`: gives back what frameworks that are over have left behind.

use std::process::ExitCode;

use clap::Args;

use super::super::agents::agent_id;
use super::listed::{self, PartView};
use crate::connect::MasterOptions;
use crate::failure::{Failure, status};
use crate::output;

/// Finds reservations and volumes of frameworks that are over, and gives them back
#[derive(Debug, Args)]
pub(super) struct Gc {
    /// Only say what would be done
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    master: MasterOptions,
}

impl Gc {
    pub(super) async fn execute(self) -> Result<ExitCode, Failure> {
        let mut operator = self.master.connect().await?.operator();
        let state = listed::state(&mut operator).await?;
        let parts = PartView::all(&state);
        let orphans: Vec<_> = parts.iter().filter(|part| part.orphaned).collect();
        if orphans.is_empty() {
            output::line("nothing is orphaned")?;
        }
        let mut failed = false;
        for orphan in orphans {
            let what = orphan.describe();
            if orphan.standing == "used" {
                output::line(format_args!("kept, a task uses it: {what}"))?;
                continue;
            }
            if self.dry_run {
                output::line(format_args!("would give back: {what}"))?;
                continue;
            }
            let agent = agent_id(&orphan.agent)?;
            for change in orphan.cleanup(&state) {
                match operator.change_reservations(agent, &change).await {
                    Ok(()) => output::line(format_args!("{}: {what}", change.name()))?,
                    Err(refused) => {
                        failed = true;
                        output::complain(&format!("{what}: {}", refused.message()));
                        break;
                    }
                }
            }
        }
        Ok(match failed {
            true => ExitCode::from(status::FAILED),
            false => ExitCode::SUCCESS,
        })
    }
}
