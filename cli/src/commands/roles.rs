//! `nesos roles`.

use std::process::ExitCode;

use clap::Args;
use nesos_api::v1::StatePart;

use crate::connect::MasterOptions;
use crate::failure::Failure;
use crate::output::OutputOptions;
use crate::views::{RoleView, StateView};

/// Lists roles: the tenants, and their shares
#[derive(Debug, Args)]
pub(crate) struct Roles {
    #[command(flatten)]
    master: MasterOptions,
    #[command(flatten)]
    output: OutputOptions,
}

impl Roles {
    pub(crate) async fn execute(self) -> Result<ExitCode, Failure> {
        let client = self.master.connect().await?;
        let state = client.operator().state(&[StatePart::Roles]).await?;
        let roles = StateView::new(state)?.roles;
        self.output.list(&roles, &RoleView::table(&roles))
    }
}
