//! `nesos policy`: who decides in which order frameworks are served.

use std::ffi::OsString;
use std::process::ExitCode;
use std::time::Duration;

use bytes::Bytes;
use clap::{Args, Subcommand};
use nesos_api::v1;
use nesos_api::v1::set_policy_request::Policy as Requested;
use nesos_bundle::manifest::Kind;
use nesos_bundle::reference::Reference;
use nesos_sdk::digest_of;

use super::pull::blob;
use crate::amounts;
use crate::connect::MasterOptions;
use crate::failure::{Failure, status};
use crate::output::{self, Format, OutputOptions};
use crate::program::Program;
use crate::registry::{self, RegistryOptions};
use crate::run::bundle::Bundle;
use crate::views::{PolicyView, StateView};

/// Shows the allocation policy, which decides who is served next; `policy set` changes it
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct Policy {
    #[command(subcommand)]
    change: Option<Change>,
    #[command(flatten)]
    master: MasterOptions,
    #[command(flatten)]
    output: OutputOptions,
}

#[derive(Debug, Subcommand)]
enum Change {
    Set(Set),
}

/// Sets the policy, at once and for as long as the master's state lasts
///
/// A plug-in is a WebAssembly component of the world `nesos:policy`. It runs under limits on fuel and
/// memory; one that fails is put aside, and DRF decides in its place until a policy is set again.
#[derive(Debug, Args)]
struct Set {
    /// `drf` (fair shares), `priority` (roles of higher priority first), or a plug-in: its file, or its name in
    /// the cluster's registry or another
    #[arg(value_name = "drf|priority|NAME|FILE.wasm")]
    policy: OsString,
    /// With `priority`: end tasks of lower priority for what frameworks of higher priority have said to
    /// wait for and cannot be served otherwise
    #[arg(long)]
    preempt: bool,
    /// How long such a task has to end by itself, in place of what it asks for itself
    #[arg(long, value_name = "TIME", requires = "preempt", value_parser = amounts::duration)]
    grace: Option<Duration>,
    #[command(flatten)]
    registry: RegistryOptions,
    #[command(flatten)]
    master: MasterOptions,
}

/// The policies that the master has; a file of that name is written `./drf`.
const BUILT_IN: [&str; 2] = ["drf", "priority"];

impl Policy {
    pub(crate) async fn execute(self) -> Result<ExitCode, Failure> {
        if let Some(Change::Set(set)) = self.change {
            return set.execute().await;
        }
        let client = self.master.connect().await?;
        let state = client.operator().state(&[v1::StatePart::Roles]).await?;
        let policy = StateView::new(state)?.master.policy;
        match self.output.output {
            Format::Json => output::json(&policy)?,
            Format::Table => output::line(&policy)?,
        }
        Ok(ExitCode::SUCCESS)
    }
}

impl Set {
    async fn execute(self) -> Result<ExitCode, Failure> {
        let built_in = self
            .policy
            .to_str()
            .filter(|name| BUILT_IN.contains(name))
            .map(|name| Requested::BuiltIn(name.to_owned()));
        let requested = match built_in {
            Some(built_in) => built_in,
            None => self.upload().await?,
        };
        let client = self.master.connect().await?;
        let set = client
            .operator()
            .set_policy(requested, self.preemption())
            .await?;
        output::line(format_args!("the policy is {}", PolicyView::new(set)))?;
        Ok(ExitCode::SUCCESS)
    }

    fn preemption(&self) -> Option<v1::Preemption> {
        self.preempt.then(|| v1::Preemption {
            grace_us: self.grace.map(nesos_api::to_micros),
        })
    }

    /// Sees to it that the master has the plug-in.
    async fn upload(&self) -> Result<Requested, Failure> {
        let (name, wasm) = match Program::named(&self.policy)? {
            Program::File(path) => {
                let bundle = Bundle::open(&path)?;
                (bundle.program(), bundle.bytes().unwrap_or_default())
            }
            Program::Stored(reference) => (reference.to_string(), self.stored(&reference).await?),
        };
        let digest = digest_of(&wasm);
        let client = self.master.connect().await?;
        client.blobs().ensure(digest, &wasm, |_| {}).await?;
        let digest = digest.to_string();
        Ok(Requested::Plugin(v1::PolicyPlugin { name, digest }))
    }

    /// The plug-in of this name.
    async fn stored(&self, reference: &Reference) -> Result<Bytes, Failure> {
        let remote = self.registry.remote(reference, &self.master.master).await?;
        let found = registry::find(&remote, reference).await?;
        if let Some(manifest) = found.manifest.filter(|said| said.kind != Kind::Policy) {
            let line = format!(
                "{reference} is a bundle of the kind {}, no policy",
                manifest.kind
            );
            return Err(Failure::said(line).with_status(status::CANNOT_RUN));
        }
        blob(&remote, &found.layout.wasm).await
    }
}
