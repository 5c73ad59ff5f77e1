//! `nesos push`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use nesos_bundle::artifact::{Packed, pack};
use nesos_bundle::client::{Progress, Remote};
use nesos_bundle::keys::SigningKey;
use nesos_bundle::manifest::Manifest;
use nesos_bundle::media;
use nesos_bundle::reference::{DEFAULT_TAG, Reference};
use nesos_bundle::signature;
use nesos_types::bundle::Digest;
use nesos_types::ids::AgentId;
use nesos_types::resources::format_bytes;

use crate::connect::MasterOptions;
use crate::failure::Failure;
use crate::output;
use crate::project::{Project, read_layout, wasm_of};
use crate::registry::{RegistryOptions, changes, reference};

/// Pushes a bundle into the cluster's registry, or another
///
/// What is pushed is a project that `nesos build` has built, or a WebAssembly file.
#[derive(Debug, Args)]
pub(crate) struct Push {
    /// A project's folder, an OCI layout, or a WebAssembly file
    #[arg(value_name = "PATH|FILE.wasm", default_value = ".")]
    path: PathBuf,
    /// Under which name: `NAME[:TAG]` or `oci://HOST/NAME[:TAG]`; without it as nesos.toml says, under its version
    /// and as the latest
    #[arg(value_name = "NAME[:TAG]", value_parser = reference)]
    name: Option<Reference>,
    /// Sign it with this key; `nesos keys generate` makes one
    #[arg(long, value_name = "KEY")]
    sign: Option<PathBuf>,
    /// Have agents compile it before the first task comes; these agents, or all if none is named
    #[arg(long, value_name = "AGENT", num_args = 0.., value_delimiter = ',', require_equals = true)]
    prewarm: Option<Vec<AgentId>>,
    #[command(flatten)]
    registry: RegistryOptions,
    #[command(flatten)]
    master: MasterOptions,
}

impl Push {
    pub(crate) async fn execute(self) -> Result<ExitCode, Failure> {
        let key = self.sign.as_deref().map(signing_key).transpose()?;
        let (packed, named) = packed(&self.path)?;
        let reference = self.name.clone().or(named).ok_or_else(|| {
            let path = self.path.display();
            Failure::said(format!(
                "{path} says no name; write nesos push {path} NAME[:TAG]"
            ))
        })?;
        if reference.digest.is_some() {
            return Err(Failure::said(format!(
                "{reference}: a bundle's digest follows from its bytes; push it under a tag"
            )));
        }
        let remote = self
            .registry
            .remote(&reference, &self.master.master)
            .await?;
        let mut tags = vec![reference.tag_or_default()];
        if self.name.is_none() && tags != [DEFAULT_TAG] {
            tags.push(DEFAULT_TAG);
        }
        let before = Reference {
            tag: tags.last().map(|tag| (*tag).to_owned()),
            ..reference.clone()
        };
        let changes = changes(&remote, &before, manifest_of(&packed).as_ref()).await;
        remote.push(&packed, &tags, &Progress::default()).await?;
        if let Some(key) = key {
            sign(&remote, &reference, &packed, &key).await?;
        }
        let bytes: usize = packed.blobs.iter().map(|blob| blob.bytes.len()).sum();
        output::line(format_args!(
            "{}:{}  {}  {}",
            reference.repository(),
            tags.join(","),
            format_bytes(bytes as u64),
            packed.manifest.digest()
        ))?;
        for change in changes {
            output::line(format_args!("  {change}"))?;
        }
        if let Some(agents) = &self.prewarm {
            self.prewarm(&reference, packed.manifest.digest(), agents)
                .await?;
        }
        Ok(ExitCode::SUCCESS)
    }

    async fn prewarm(
        &self,
        reference: &Reference,
        bundle: Digest,
        agents: &[AgentId],
    ) -> Result<(), Failure> {
        let client = self.master.connect().await?;
        let repository = reference.repository();
        let told = client
            .operator()
            .prewarm(Some(&repository), bundle, agents)
            .await?;
        output::line(match told {
            1 => "1 agent compiles it".to_owned(),
            told => format!("{told} agents compile it"),
        })?;
        Ok(())
    }
}

/// What a bundle says of itself.
fn manifest_of(packed: &Packed) -> Option<Manifest> {
    let mut blobs = packed.blobs.iter();
    let blob = blobs.find(|blob| blob.descriptor.media_type == media::NESOS_MANIFEST)?;
    Manifest::parse(&blob.bytes).ok()
}

fn signing_key(path: &Path) -> Result<SigningKey, Failure> {
    let what = format!("cannot sign with {}", path.display());
    let pem = fs::read_to_string(path).map_err(|error| Failure::new(&what, error))?;
    SigningKey::from_pem(&pem).map_err(|error| Failure::new(&what, error))
}

async fn sign(
    remote: &Remote,
    reference: &Reference,
    packed: &Packed,
    key: &SigningKey,
) -> Result<(), Failure> {
    let signed = signature::sign(key, &remote.to_string(), &packed.manifest.descriptor);
    remote
        .push_signature(packed.manifest.digest(), &signed)
        .await
        .map_err(|error| {
            Failure::new(
                &format!("{reference} is pushed, but its signature is not"),
                error,
            )
        })
}

/// What lies at a path, and the name that it says of itself.
pub(super) fn packed(path: &Path) -> Result<(Packed, Option<Reference>), Failure> {
    if path.join("oci-layout").exists() {
        return Ok((read_layout(path)?, None));
    }
    if !path.is_dir() {
        let parts = wasm_of(path, None)?;
        let packed = pack(parts)
            .map_err(|error| Failure::new(&format!("cannot pack {}", path.display()), error))?;
        return Ok((packed, None));
    }
    let project = Project::open(path)?;
    let named = format!("{}:{}", project.manifest.name, project.manifest.tag());
    let layout = project.layout();
    if !layout.exists() {
        return Err(Failure::said(format!(
            "{} is not built; nesos build {}",
            project.manifest.name,
            path.display()
        )));
    }
    Ok((read_layout(&layout)?, named.parse().ok()))
}
