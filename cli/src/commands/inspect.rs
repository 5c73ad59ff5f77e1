//! `nesos inspect`.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use bytes::Bytes;
use clap::Args;
use nesos_bundle::artifact::{Layout, MAX_WASM_BYTES, Packed};
use nesos_bundle::manifest::Manifest;
use nesos_bundle::oci::ImageManifest;
use nesos_bundle::reference::Reference;
use nesos_runtime::{BundleInfo, BundleKind};
use nesos_types::resources::format_bytes;
use serde::Serialize;

use super::push::packed;
use crate::connect::MasterOptions;
use crate::failure::Failure;
use crate::output::{self, Format, OutputOptions};
use crate::project::look;
use crate::registry::{RegistryOptions, changes, find};

/// Says what a bundle is, what it imports, what it wants to be allowed, and what of it is missing here
#[derive(Debug, Args)]
pub(crate) struct Inspect {
    /// A WebAssembly file, a project's folder, an OCI layout, `NAME[:TAG]` or `oci://HOST/NAME[:TAG]`
    #[arg(value_name = "PATH|NAME")]
    what: String,
    #[command(flatten)]
    registry: RegistryOptions,
    #[command(flatten)]
    master: MasterOptions,
    #[command(flatten)]
    output: OutputOptions,
}

/// What there is to say.
#[derive(Debug, Serialize)]
struct Report {
    digest: String,
    name: Option<String>,
    version: Option<String>,
    kind: String,
    encoding: &'static str,
    wasi: Option<String>,
    wasm_bytes: u64,
    files_bytes: u64,
    minimum_memory_bytes: u64,
    /// What its memories can grow to, if all of them say so.
    maximum_memory_bytes: Option<u64>,
    imports: Vec<String>,
    exports: Vec<String>,
    missing: Vec<Missing>,
    network: Vec<String>,
    volumes: Vec<String>,
    /// How many signatures lie beside it; `None` where it is not in a registry.
    signatures: Option<usize>,
    /// What it wants that the version under that name does not, and the other way about.
    changes: Vec<String>,
    changes_since: Option<String>,
}

#[derive(Debug, Serialize)]
struct Missing {
    import: String,
    advice: String,
}

impl Inspect {
    pub(crate) async fn execute(self) -> Result<ExitCode, Failure> {
        let path = PathBuf::from(&self.what);
        let report = if path.exists() {
            self.of_path(&path).await?
        } else {
            let reference: Reference = self.what.parse().map_err(|error| {
                Failure::said(format!("{} is not there, and {error}", self.what))
            })?;
            self.of_stored(&reference).await?
        };
        match self.output.output {
            Format::Json => output::json(&report)?,
            Format::Table => output::line(report.lines().join("\n"))?,
        }
        Ok(ExitCode::SUCCESS)
    }

    async fn of_path(&self, path: &Path) -> Result<Report, Failure> {
        let (packed, named) = packed(path)?;
        let no_bundle =
            |error: &dyn std::error::Error| Failure::said(format!("{}: {error}", path.display()));
        let image =
            ImageManifest::parse(&packed.manifest.bytes).map_err(|error| no_bundle(&error))?;
        let layout = Layout::of(&image).map_err(|error| no_bundle(&error))?;
        let wasm = part(&packed, &layout.wasm);
        let manifest = layout
            .manifest
            .as_ref()
            .map(|layer| Manifest::parse(&part(&packed, layer)));
        let manifest = manifest.transpose().map_err(|error| no_bundle(&error))?;
        let mut report = Report::of(
            packed.manifest.digest().to_string(),
            &layout,
            &wasm,
            manifest.as_ref(),
        )?;
        let named = named.or_else(|| {
            let manifest = manifest.as_ref()?;
            format!("{}:{}", manifest.name, manifest.tag()).parse().ok()
        });
        // A new version is new against the latest.
        if let Some(named) = named {
            let latest = Reference { tag: None, ..named };
            self.compare(&mut report, &latest, manifest.as_ref()).await;
        }
        Ok(report)
    }

    /// Against what the same tag names now. Nobody need be there to ask.
    async fn compare(&self, report: &mut Report, named: &Reference, manifest: Option<&Manifest>) {
        if let Ok(remote) = self.registry.remote(named, &self.master.master).await {
            report.changes = changes(&remote, named, manifest).await;
            let name = format!("{}:{}", named.repository(), named.tag_or_default());
            report.changes_since = Some(name).filter(|_| !report.changes.is_empty());
        }
    }

    async fn of_stored(&self, reference: &Reference) -> Result<Report, Failure> {
        let remote = self.registry.remote(reference, &self.master.master).await?;
        let found = find(&remote, reference).await?;
        let most = usize::try_from(MAX_WASM_BYTES).unwrap_or(usize::MAX);
        let wasm = remote.blob_bytes(found.layout.wasm.digest, most).await?;
        let digest = found.digest.to_string();
        let mut report = Report::of(digest, &found.layout, &wasm, found.manifest.as_ref())?;
        report.signatures = Some(remote.signatures(found.digest).await?.len());
        if reference.digest.is_some() {
            let tagged = Reference {
                digest: None,
                ..reference.clone()
            };
            self.compare(&mut report, &tagged, found.manifest.as_ref())
                .await;
        }
        Ok(report)
    }
}

fn part(packed: &Packed, layer: &nesos_bundle::oci::Descriptor) -> Bytes {
    let mut blobs = packed.blobs.iter();
    let blob = blobs.find(|blob| blob.digest() == layer.digest);
    blob.map(|blob| blob.bytes.clone()).unwrap_or_default()
}

impl Report {
    fn of(
        digest: String,
        layout: &Layout,
        wasm: &[u8],
        manifest: Option<&Manifest>,
    ) -> Result<Self, Failure> {
        let declared = manifest.map(|manifest| manifest.kind);
        let looked = look(wasm, declared);
        let (kind, info) = looked.map_err(|error| Failure::new("its Wasm cannot be run", error))?;
        let wants = manifest
            .map(|manifest| manifest.capabilities.clone())
            .unwrap_or_default();
        let volume = |volume: &nesos_bundle::manifest::Volume| {
            let how = if volume.read_only { " (read only)" } else { "" };
            format!("{} at {}{how}", volume.name, volume.guest)
        };
        Ok(Self {
            digest,
            name: manifest.map(|manifest| manifest.name.clone()),
            version: manifest.and_then(|manifest| Some(manifest.version.as_ref()?.to_string())),
            kind: kind.to_string(),
            encoding: encoding(&info),
            wasi: info.wasi.map(|wasi| wasi.to_string()),
            wasm_bytes: layout.wasm.size,
            files_bytes: layout.files.as_ref().map_or(0, |layer| layer.size),
            minimum_memory_bytes: info.minimum_memory_bytes,
            maximum_memory_bytes: info.maximum_memory_bytes,
            imports: info.imports,
            exports: info.exports,
            missing: info
                .missing
                .iter()
                .map(|missing| Missing {
                    import: missing.name.clone(),
                    advice: missing.advice.to_owned(),
                })
                .collect(),
            network: wants.network.iter().map(ToString::to_string).collect(),
            volumes: wants.volumes.iter().map(volume).collect(),
            signatures: None,
            changes: Vec::new(),
            changes_since: None,
        })
    }

    fn most_memory(&self) -> String {
        self.maximum_memory_bytes
            .map(|most| format!(", grows to at most {}", format_bytes(most)))
            .unwrap_or_default()
    }

    /// For people.
    fn lines(&self) -> Vec<String> {
        let name = self.name.as_deref().unwrap_or("-");
        let version = self.version.as_deref().unwrap_or("-");
        let wasi = self.wasi.as_deref().unwrap_or("no WASI");
        let mut lines = vec![
            format!("{name} {version}  {}", self.digest),
            format!("{}: {}, {wasi}", self.kind, self.encoding),
            format!(
                "{} of Wasm, {} of files, starts with {} of memory{}",
                format_bytes(self.wasm_bytes),
                format_bytes(self.files_bytes),
                format_bytes(self.minimum_memory_bytes),
                self.most_memory()
            ),
        ];
        lines.extend(self.signatures.map(|count| match count {
            0 => "not signed".to_owned(),
            count => format!("signed ({count})"),
        }));
        section(&mut lines, "imports", self.imports.iter().cloned());
        section(&mut lines, "exports", self.exports.iter().cloned());
        let missing = self.missing.iter();
        section(
            &mut lines,
            "missing here",
            missing.map(|one| format!("{}: {}", one.import, one.advice)),
        );
        section(&mut lines, "wants network to", self.network.iter().cloned());
        section(&mut lines, "wants volumes", self.volumes.iter().cloned());
        let since = self.changes_since.as_deref().unwrap_or_default();
        let heading = format!("changes since {since}");
        section(&mut lines, &heading, self.changes.iter().cloned());
        lines
    }
}

fn section(lines: &mut Vec<String>, heading: &str, items: impl Iterator<Item = String>) {
    let items: Vec<_> = items.map(|item| format!("  {item}")).collect();
    if !items.is_empty() {
        lines.push(format!("{heading}:"));
        lines.extend(items);
    }
}

fn encoding(info: &BundleInfo) -> &'static str {
    match info.kind {
        BundleKind::Module => "module",
        BundleKind::ThreadedModule => "module with threads",
        BundleKind::Component | BundleKind::Executor | BundleKind::Service => "component",
    }
}
