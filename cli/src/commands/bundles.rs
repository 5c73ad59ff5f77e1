//! `nesos bundles`.

use std::process::ExitCode;

use clap::{Args, Subcommand};
use nesos_bundle::reference::Reference;
use nesos_types::resources::format_bytes;
use serde::Serialize;

use crate::connect::MasterOptions;
use crate::failure::Failure;
use crate::output::{self, OutputOptions};
use crate::registry::{RegistryOptions, reference};
use crate::table::Table;

/// Lists the bundles in the cluster's registry, or the tags of one
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct Bundles {
    #[command(subcommand)]
    action: Option<Action>,
    /// Only this one: NAME or `oci://HOST/NAME`
    #[arg(value_name = "NAME", value_parser = reference)]
    name: Option<Reference>,
    #[command(flatten)]
    at: At,
    #[command(flatten)]
    output: OutputOptions,
}

#[derive(Debug, Args)]
struct At {
    #[command(flatten)]
    registry: RegistryOptions,
    #[command(flatten)]
    master: MasterOptions,
}

#[derive(Debug, Subcommand)]
enum Action {
    Rm(Remove),
    Gc(Collect),
}

/// Takes a tag away, or with @DIGEST a version and all its tags; what runs goes on
#[derive(Debug, Args)]
struct Remove {
    /// Which: NAME:TAG or NAME@DIGEST
    #[arg(value_name = "NAME:TAG", value_parser = reference)]
    name: Reference,
    #[command(flatten)]
    at: At,
}

/// Removes what no tag names and no task uses from the cluster's registry
#[derive(Debug, Args)]
struct Collect {
    /// Only say what would go
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    master: MasterOptions,
}

/// One tag.
#[derive(Debug, Serialize)]
struct Row {
    name: String,
    tag: String,
    digest: String,
    /// What its `nesos.toml` says, if it has one.
    kind: Option<String>,
}

impl Bundles {
    pub(crate) async fn execute(self) -> Result<ExitCode, Failure> {
        match self.action {
            Some(Action::Rm(remove)) => return remove.execute().await,
            Some(Action::Gc(collect)) => return collect.execute().await,
            None => {}
        }
        let mut rows = Vec::new();
        for reference in self.repositories().await? {
            rows.extend(self.at.tags(&reference).await?);
        }
        let mut table = Table::new(["NAME", "TAG", "KIND", "DIGEST"]);
        for row in &rows {
            let kind = row.kind.as_deref().unwrap_or("-");
            table.row([&row.name, &row.tag, kind, &row.digest].map(str::to_owned));
        }
        self.output.list(&rows, &table)
    }

    async fn repositories(&self) -> Result<Vec<Reference>, Failure> {
        if let Some(name) = &self.name {
            return Ok(vec![name.clone()]);
        }
        let any = Reference {
            registry: None,
            name: "any".to_owned(),
            tag: None,
            digest: None,
        };
        let remote = self
            .at
            .registry
            .remote(&any, &self.at.master.master)
            .await?;
        let names = remote.repositories().await?.into_iter();
        Ok(names
            .map(|name| Reference {
                name,
                ..any.clone()
            })
            .collect())
    }
}

impl At {
    /// The tags of a repository, without those of signatures.
    async fn tags(&self, reference: &Reference) -> Result<Vec<Row>, Failure> {
        let remote = self.registry.remote(reference, &self.master.master).await?;
        let mut rows = Vec::new();
        for tag in remote.tags().await? {
            if tag.starts_with("sha256-") {
                continue;
            }
            let at = Reference {
                tag: Some(tag.clone()),
                digest: None,
                ..reference.clone()
            };
            // What is no bundle, or was just taken away, is not listed.
            let Ok(found) = crate::registry::find(&remote, &at).await else {
                continue;
            };
            rows.push(Row {
                name: reference.repository().to_string(),
                tag,
                digest: found.digest.to_string(),
                kind: found.manifest.map(|manifest| manifest.kind.to_string()),
            });
        }
        Ok(rows)
    }
}

impl Collect {
    async fn execute(self) -> Result<ExitCode, Failure> {
        let client = self.master.connect().await?;
        let gone = client.operator().collect_bundles(self.dry_run).await?;
        let verb = if self.dry_run { "would go" } else { "are gone" };
        output::line(format_args!(
            "{} bundles and {} blobs of {} {verb}",
            gone.manifests.len(),
            gone.blobs.len(),
            format_bytes(gone.bytes)
        ))?;
        Ok(ExitCode::SUCCESS)
    }
}

impl Remove {
    async fn execute(self) -> Result<ExitCode, Failure> {
        if self.name.tag.is_none() && self.name.digest.is_none() {
            return Err(Failure::said(format!(
                "{}: which version? write {}:TAG or {}@DIGEST",
                self.name, self.name, self.name
            )));
        }
        let remote = self
            .at
            .registry
            .remote(&self.name, &self.at.master.master)
            .await?;
        let digest = self.name.digest.map(|digest| digest.to_string());
        remote
            .remove(digest.as_deref().unwrap_or(self.name.tag_or_default()))
            .await?;
        output::line(format_args!("{} is removed", self.name))?;
        Ok(ExitCode::SUCCESS)
    }
}
