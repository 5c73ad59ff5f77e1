//! `nesos frameworks`.

use std::process::ExitCode;

use clap::Args;
use nesos_api::v1::StatePart;

use crate::connect::MasterOptions;
use crate::failure::Failure;
use crate::output::OutputOptions;
use crate::views::{FrameworkView, StateView};

/// Lists frameworks: who is offered resources, and what they hold
#[derive(Debug, Args)]
pub(crate) struct Frameworks {
    #[command(flatten)]
    master: MasterOptions,
    #[command(flatten)]
    output: OutputOptions,
}

impl Frameworks {
    pub(crate) async fn execute(self) -> Result<ExitCode, Failure> {
        let client = self.master.connect().await?;
        let state = client.operator().state(&[StatePart::Frameworks]).await?;
        let frameworks = StateView::new(state)?.frameworks;
        self.output
            .list(&frameworks, &FrameworkView::table(&frameworks))
    }
}
