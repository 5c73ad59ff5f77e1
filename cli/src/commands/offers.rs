//! `nesos offers`.

use std::process::ExitCode;

use clap::Args;
use nesos_api::v1::StatePart;

use crate::connect::MasterOptions;
use crate::failure::Failure;
use crate::output::OutputOptions;
use crate::views::{OfferView, StateView};

/// Lists outstanding offers
#[derive(Debug, Args)]
pub(crate) struct Offers {
    #[command(flatten)]
    master: MasterOptions,
    #[command(flatten)]
    output: OutputOptions,
}

impl Offers {
    pub(crate) async fn execute(self) -> Result<ExitCode, Failure> {
        let client = self.master.connect().await?;
        let state = client.operator().state(&[StatePart::Offers]).await?;
        let offers = StateView::new(state)?.offers;
        self.output.list(&offers, &OfferView::table(&offers))
    }
}
