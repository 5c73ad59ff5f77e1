//! The registry in operators' hands: what is in it, what a bundle is, and what may go.

use std::collections::BTreeSet;
use std::time::SystemTime;

use nesos_api::v1;
use nesos_api::v1::CapabilityChangeKind as Kind;
use nesos_bundle::difference::Change;
use nesos_bundle::reference::DEFAULT_TAG;
use nesos_master_core::Snapshot;
use nesos_master_core::snapshot::AgentStanding;
use nesos_runtime::BundleKind;
use nesos_types::bundle::Digest;
use nesos_types::task::Work;
use tonic::Status;

use crate::registry::Registry;
use crate::registry::error::RegistryError;
use crate::registry::manifests::Reference;
use crate::registry::report::{Listed, Report};

/// Removes what nobody needs, or says what would go.
pub(super) async fn collect(
    registry: &Registry,
    snapshot: &Snapshot,
    dry_run: bool,
) -> Result<v1::CollectBundlesResponse, Status> {
    if let (false, Some(agent)) = (dry_run, not_back(snapshot)) {
        return Err(Status::failed_precondition(format!(
            "the agent {agent} is not back since the master started, so nobody knows what its tasks run; \
             try again when it is"
        )));
    }
    let collected = registry
        .collect(&live(snapshot), SystemTime::now(), dry_run)
        .await;
    let collected = collected.map_err(|error| status_of(&error))?;
    Ok(v1::CollectBundlesResponse {
        bytes: collected.bytes(),
        manifests: collected
            .manifests
            .iter()
            .map(|(repository, digest)| v1::CollectedManifest {
                repository: repository.clone(),
                digest: digest.to_string(),
            })
            .collect(),
        blobs: collected
            .blobs
            .iter()
            .map(|(digest, bytes)| v1::CollectedBlob {
                digest: digest.to_string(),
                bytes: *bytes,
            })
            .collect(),
    })
}

/// An agent whose tasks a restarted master does not know yet.
pub(crate) fn not_back(snapshot: &Snapshot) -> Option<&str> {
    let mut agents = snapshot.agents.iter();
    let missing = agents.find(|agent| agent.standing == AgentStanding::Recovered);
    missing.map(|agent| agent.hostname.as_str())
}

/// What tasks run or ran lately, what executors run, and what decides.
pub(crate) fn live(snapshot: &Snapshot) -> BTreeSet<Digest> {
    let frameworks = snapshot
        .frameworks
        .iter()
        .chain(&snapshot.completed_frameworks);
    let tasks = frameworks.flat_map(|framework| {
        let tasks = framework.tasks.iter().chain(&framework.unreachable_tasks);
        tasks.chain(&framework.completed_tasks)
    });
    tasks
        .flat_map(|task| {
            let executor = match &task.info.work {
                Work::InExecutor { executor, .. } => Some(executor.bundle),
                Work::Sandbox | Work::Executor { .. } => None,
            };
            [Some(task.info.bundle), executor]
        })
        .flatten()
        .chain(snapshot.policy.digest)
        .collect()
}

/// Looks into a bundle.
pub(super) async fn inspect(
    registry: &Registry,
    request: &v1::InspectBundleRequest,
) -> Result<v1::InspectBundleResponse, Status> {
    let reference = match request.reference.as_str() {
        "" => DEFAULT_TAG,
        named => named,
    };
    let reference = Reference::parse(reference).map_err(|error| status_of(&error))?;
    let report = registry.report(&request.repository, &reference).await;
    report
        .map(|report| response(&report))
        .map_err(|error| status_of(&error))
}

fn response(report: &Report) -> v1::InspectBundleResponse {
    let (examined, entry) = (&report.examined, &report.entry);
    let (info, manifest) = (&examined.info, examined.manifest.as_ref());
    let capabilities = manifest
        .map(|manifest| manifest.capabilities.clone())
        .unwrap_or_default();
    let version = manifest.and_then(|manifest| manifest.version.as_ref());
    v1::InspectBundleResponse {
        digest: report.digest.to_string(),
        kind: examined.kind.to_string(),
        name: manifest
            .map(|manifest| manifest.name.clone())
            .unwrap_or_default(),
        version: version.map(ToString::to_string).unwrap_or_default(),
        format: format_name(info.kind).to_owned(),
        wasi: info.wasi.map(|wasi| wasi.to_string()).unwrap_or_default(),
        imports: info.imports.clone(),
        exports: info.exports.clone(),
        missing: info.missing.iter().map(ToString::to_string).collect(),
        minimum_memory_bytes: info.minimum_memory_bytes,
        maximum_memory_bytes: info.maximum_memory_bytes,
        bytes: entry.size + entry.blobs.values().sum::<u64>(),
        module_bytes: examined.layout.wasm.size,
        files_bytes: examined.layout.files.as_ref().map_or(0, |files| files.size),
        pushed_us: entry.pushed_ms.saturating_mul(1000),
        signatures: report.signatures.iter().map(ToString::to_string).collect(),
        network: capabilities
            .network
            .iter()
            .map(ToString::to_string)
            .collect(),
        volumes: capabilities
            .volumes
            .into_iter()
            .map(|volume| v1::WantedVolume {
                name: volume.name.to_string(),
                guest: volume.guest,
                read_only: volume.read_only,
            })
            .collect(),
        previous: report
            .previous
            .as_ref()
            .map(|(digest, _)| digest.to_string()),
        changes: report
            .previous
            .iter()
            .flat_map(|(_, changes)| changes)
            .map(change)
            .collect(),
    }
}

fn format_name(kind: BundleKind) -> &'static str {
    match kind {
        BundleKind::Module => "module",
        BundleKind::ThreadedModule => "threaded module",
        BundleKind::Component | BundleKind::Executor | BundleKind::Service => "component",
    }
}

fn change(change: &Change) -> v1::CapabilityChange {
    let (kind, what) = match change {
        Change::NetworkWanted(peer) => (Kind::NetworkWanted, peer.to_string()),
        Change::NetworkDropped(peer) => (Kind::NetworkDropped, peer.to_string()),
        Change::VolumeWanted(volume) => (Kind::VolumeWanted, volume.name.to_string()),
        Change::VolumeWritten(volume) => (Kind::VolumeWritten, volume.name.to_string()),
        Change::VolumeOnlyRead(volume) => (Kind::VolumeOnlyRead, volume.name.to_string()),
        Change::VolumeDropped(volume) => (Kind::VolumeDropped, volume.name.to_string()),
    };
    v1::CapabilityChange {
        kind: kind.into(),
        what,
        wants_more: change.wants_more(),
        sentence: change.to_string(),
    }
}

/// What the registry holds.
pub(super) fn list(
    registry: &Registry,
    request: &v1::ListBundlesRequest,
) -> v1::ListBundlesResponse {
    let role = (!request.role.is_empty()).then_some(request.role.as_str());
    let listed = registry.listed(role).into_iter();
    v1::ListBundlesResponse {
        bundles: listed.map(listed_bundle).collect(),
    }
}

fn listed_bundle(listed: Listed) -> v1::ListedBundle {
    v1::ListedBundle {
        repository: listed.repository,
        tag: listed.tag.unwrap_or_default(),
        digest: listed.digest.to_string(),
        bytes: listed.bytes,
        pushed_us: listed.pushed_ms.saturating_mul(1000),
        signed: listed.is_signed,
    }
}

fn status_of(error: &RegistryError) -> Status {
    let text = error.to_string();
    match error {
        RegistryError::Name { .. } | RegistryError::Reference(_) | RegistryError::Digest(_) => {
            Status::invalid_argument(text)
        }
        RegistryError::NoRepository(_)
        | RegistryError::NoManifest { .. }
        | RegistryError::NoBlob(_)
        | RegistryError::NamesNothing(_) => Status::not_found(text),
        RegistryError::Manifest(_) => Status::failed_precondition(text),
        RegistryError::Store(error) => Status::internal(error.in_full()),
        _ => Status::internal(text),
    }
}
