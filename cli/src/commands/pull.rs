//! `nesos pull`.

use std::path::PathBuf;
use std::process::ExitCode;

use bytes::Bytes;
use clap::Args;
use nesos_bundle::artifact::{Blob, Packed};
use nesos_bundle::client::Remote;
use nesos_bundle::oci::Descriptor;
use nesos_bundle::reference::Reference;

use crate::connect::MasterOptions;
use crate::failure::Failure;
use crate::output;
use crate::project::write_layout;
use crate::registry::{RegistryOptions, find, reference};

/// Pulls a bundle out of the cluster's registry, or another, as an OCI layout on this disk
#[derive(Debug, Args)]
pub(crate) struct Pull {
    /// Which: `NAME[:TAG][@DIGEST]` or `oci://HOST/NAME[:TAG][@DIGEST]`
    #[arg(value_name = "NAME", value_parser = reference)]
    name: Reference,
    /// Where it goes; without it a folder NAME.nesos here
    #[arg(long, short = 'O', value_name = "PATH")]
    into: Option<PathBuf>,
    #[command(flatten)]
    registry: RegistryOptions,
    #[command(flatten)]
    master: MasterOptions,
}

impl Pull {
    pub(crate) async fn execute(self) -> Result<ExitCode, Failure> {
        let remote = self
            .registry
            .remote(&self.name, &self.master.master)
            .await?;
        let folder = self.into.unwrap_or_else(|| {
            let last = self.name.name.rsplit('/').next().unwrap_or_default();
            PathBuf::from(format!("{last}.nesos"))
        });
        if folder.exists() && !folder.join("oci-layout").exists() {
            return Err(Failure::said(format!(
                "{} is there and is no bundle; choose another place with --into",
                folder.display()
            )));
        }
        let packed = pull(&remote, &self.name).await?;
        write_layout(&folder, &packed)?;
        output::line(format_args!(
            "{}  {}",
            folder.display(),
            packed.manifest.digest()
        ))?;
        Ok(ExitCode::SUCCESS)
    }
}

/// All of a bundle, every digest compared.
pub(super) async fn pull(remote: &Remote, reference: &Reference) -> Result<Packed, Failure> {
    let found = find(remote, reference).await?;
    let mut blobs = Vec::new();
    for descriptor in [&found.image.config].into_iter().chain(&found.image.layers) {
        blobs.push(Blob {
            descriptor: descriptor.clone(),
            bytes: blob(remote, descriptor).await?,
        });
    }
    Ok(Packed {
        blobs,
        manifest: found.document,
    })
}

pub(super) async fn blob(remote: &Remote, descriptor: &Descriptor) -> Result<Bytes, Failure> {
    let most = usize::try_from(descriptor.size).unwrap_or(usize::MAX);
    Ok(remote.blob_bytes(descriptor.digest, most).await?)
}
