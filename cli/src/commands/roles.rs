//! `nesos roles`: the tenants, their shares, and what operators decide about them.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Subcommand};
use nesos_api::v1::StatePart;
use nesos_bundle::keys::VerifyingKey;
use nesos_types::resources::Amounts;
use nesos_types::role::{Role, RoleChange, Weight};

use crate::connect::MasterOptions;
use crate::failure::Failure;
use crate::output::{self, OutputOptions};
use crate::views::{RoleView, StateView};

/// Lists roles, the tenants of the cluster, and their shares; `roles set` changes them
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct Roles {
    #[command(subcommand)]
    change: Option<Change>,
    #[command(flatten)]
    master: MasterOptions,
    #[command(flatten)]
    output: OutputOptions,
}

#[derive(Debug, Subcommand)]
enum Change {
    Set(Box<Set>),
}

/// Changes what is decided about a role; what is not named stays
#[derive(Debug, Args)]
struct Set {
    /// The role, for example `org/team`
    role: Role,
    /// Its weight among its siblings: with 2 it is due twice the share of one with 1
    #[arg(long, value_name = "NUMBER")]
    weight: Option<Weight>,
    /// Its priority among its siblings, where the policy goes by priority; higher is served first
    #[arg(long, value_name = "NUMBER", allow_negative_numbers = true)]
    priority: Option<i32>,
    /// What is always left for the role and those below it; `none` takes it away
    #[arg(long, value_name = "cpus:4;mem:8GiB", value_parser = amounts)]
    guarantee: Option<Amounts>,
    /// What the role and those below it may never exceed; `none` takes it away
    #[arg(long, value_name = "cpus:4;mem:8GiB", value_parser = amounts)]
    limit: Option<Amounts>,
    /// A file with the PEM public key of somebody who must have signed what tasks run; several: one of them.
    /// `none` takes all away
    #[arg(long = "signer", value_name = "KEY.pub")]
    signers: Vec<PathBuf>,
    /// Do it even if the cluster is too small for all guarantees, or tasks use more than the limit
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    master: MasterOptions,
}

fn amounts(text: &str) -> Result<Amounts, String> {
    if text == "none" {
        return Ok(Amounts::default());
    }
    text.parse()
        .map_err(|error: nesos_types::resources::ResourcesError| error.to_string())
}

/// The keys in these files; `None` where none is named.
fn signers(files: &[PathBuf]) -> Result<Option<Vec<String>>, Failure> {
    match files {
        [] => Ok(None),
        [none] if none.as_os_str() == "none" => Ok(Some(Vec::new())),
        files => files
            .iter()
            .map(|file| signer(file))
            .collect::<Result<_, _>>()
            .map(Some),
    }
}

fn signer(file: &Path) -> Result<String, Failure> {
    let what = format!("cannot use {} as a signer", file.display());
    let pem = std::fs::read_to_string(file).map_err(|error| Failure::new(&what, error))?;
    let key: VerifyingKey = pem.parse().map_err(|error| Failure::new(&what, error))?;
    Ok(key.to_pem())
}

impl Roles {
    pub(crate) async fn execute(self) -> Result<ExitCode, Failure> {
        if let Some(Change::Set(set)) = self.change {
            return set.execute().await;
        }
        let client = self.master.connect().await?;
        let state = client.operator().state(&[StatePart::Roles]).await?;
        let roles = StateView::new(state)?.roles;
        self.output.list(&roles, &RoleView::table(&roles))
    }
}

impl Set {
    async fn execute(self) -> Result<ExitCode, Failure> {
        let change = RoleChange {
            signers: signers(&self.signers)?,
            role: self.role,
            weight: self.weight,
            priority: self.priority,
            guarantee: self.guarantee,
            limit: self.limit,
        };
        if change == RoleChange::of(change.role.clone()) {
            return Err(Failure::said(
                "nothing to change: say --weight, --priority, --guarantee, --limit or --signer",
            ));
        }
        let client = self.master.connect().await?;
        let changes = [change];
        client.operator().change_roles(&changes, self.force).await?;
        output::line(format_args!("role {} is changed", changes[0].role))?;
        Ok(ExitCode::SUCCESS)
    }
}
