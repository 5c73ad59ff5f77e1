//! Looking into a bundle before it is taken: what could never run is refused with the layer, import, limit
//! or key that is at fault.

use bytes::Bytes;
use nesos_bundle::artifact::Layout;
use nesos_bundle::manifest::{Kind, Manifest};
use nesos_bundle::oci::ImageManifest;
use nesos_runtime::{BundleInfo, PolicyComponent, inspect_bytes, survey_bytes};
use nesos_types::bundle::Digest;

use super::Registry;
use super::error::RegistryError;

/// The largest module that is looked into here. A larger one is refused: agents would not compile it.
const MAX_MODULE_BYTES: u64 = 256 << 20;
/// What exports of a policy begin with.
const POLICY: &str = "nesos:policy/";

/// What was found in a bundle.
#[derive(Clone, Debug)]
pub(crate) struct Examined {
    pub(crate) layout: Layout,
    /// `nesos.toml`, if the bundle has one.
    pub(crate) manifest: Option<Manifest>,
    pub(crate) kind: Kind,
    pub(crate) info: BundleInfo,
}

/// Refuses what could never run.
pub(crate) async fn examine(
    registry: &Registry,
    manifest: &[u8],
) -> Result<Examined, RegistryError> {
    let image = ImageManifest::parse(manifest).map_err(|error| refused(&error))?;
    let layout = Layout::of(&image).map_err(|error| refused(&error))?;
    if layout.wasm.size > MAX_MODULE_BYTES {
        return Err(RegistryError::Manifest(format!(
            "the layer application/wasm has {} bytes, and a module may have {MAX_MODULE_BYTES}",
            layout.wasm.size
        )));
    }
    let toml = match &layout.manifest {
        Some(part) => Some(read(registry, part.digest).await?),
        None => None,
    };
    let own = toml.map(|bytes| Manifest::parse(&bytes)).transpose();
    let own = own.map_err(|error| refused(&error))?;
    let wasm = read(registry, layout.wasm.digest).await?;
    let declared = own.as_ref().map(|own| own.kind);
    let (kind, info) = tokio::task::spawn_blocking(move || look(&wasm, declared)).await??;
    check_memory(own.as_ref(), &info)?;
    Ok(Examined {
        layout,
        manifest: own,
        kind,
        info,
    })
}

async fn read(registry: &Registry, digest: Digest) -> Result<Bytes, RegistryError> {
    let bytes = registry.blobs.read(digest).await?;
    bytes.ok_or(RegistryError::NamesNothing(digest))
}

/// What a module or component is, and whether it can be that.
fn look(wasm: &[u8], declared: Option<Kind>) -> Result<(Kind, BundleInfo), RegistryError> {
    let survey = survey_bytes(wasm).map_err(|error| in_wasm(&error))?;
    let is_policy = survey.exports.iter().any(|name| name.starts_with(POLICY));
    let kind = declared.unwrap_or(if is_policy {
        Kind::Policy
    } else {
        Kind::Command
    });
    match kind {
        Kind::Command => {
            let info = inspect_bytes(wasm).map_err(|error| in_wasm(&error))?;
            info.check_imports().map_err(|error| in_wasm(&error))?;
            Ok((kind, info))
        }
        Kind::Executor | Kind::Service => {
            survey.check_imports().map_err(|error| in_wasm(&error))?;
            Ok((kind, survey))
        }
        Kind::Policy => {
            PolicyComponent::load(wasm).map_err(|error| in_wasm(&error))?;
            Ok((kind, survey))
        }
    }
}

/// Memory that is not there even at the start would be missing at every start.
fn check_memory(own: Option<&Manifest>, info: &BundleInfo) -> Result<(), RegistryError> {
    let Some(limit) = own.and_then(|own| own.resources.mem) else {
        return Ok(());
    };
    if info.minimum_memory_bytes <= limit {
        return Ok(());
    }
    Err(RegistryError::Manifest(format!(
        "nesos.toml: resources.mem is {limit} bytes, and the memories of the module begin with {}",
        info.minimum_memory_bytes
    )))
}

fn refused(error: &dyn std::fmt::Display) -> RegistryError {
    RegistryError::Manifest(error.to_string())
}

fn in_wasm(error: &dyn std::fmt::Display) -> RegistryError {
    RegistryError::Manifest(format!("the layer application/wasm: {error}"))
}
