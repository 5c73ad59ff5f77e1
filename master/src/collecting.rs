//! Collecting bundles that nobody needs, now and then. What tasks run is asked of the core; what is to go
//! is the registry's affair.

use std::time::{Duration, SystemTime};

use tokio_util::sync::CancellationToken;

use crate::doors::operator::bundles::{live, not_back};
use crate::driver::input::DriverHandle;
use crate::registry::Registry;

/// Collects at every interval until the master stops, or leads no more.
pub(crate) async fn run(registry: Registry, driver: DriverHandle, stop: CancellationToken) {
    let interval = Duration::from_millis(registry.config.collect_interval_ms);
    if interval.is_zero() {
        return;
    }
    let rest = || stop.run_until_cancelled(tokio::time::sleep(interval));
    while rest().await.is_some() {
        collect(&registry, &driver).await;
    }
}

/// A master that has restarted waits until it knows what its agents run.
async fn collect(registry: &Registry, driver: &DriverHandle) {
    let Ok(snapshot) = driver.snapshot().await else {
        return;
    };
    if let Some(agent) = not_back(&snapshot) {
        tracing::debug!(agent, "no bundles are collected before every agent is back");
        return;
    }
    let collected = registry
        .collect(&live(&snapshot), SystemTime::now(), false)
        .await;
    match collected {
        Ok(gone) => tracing::info!(
            manifests = gone.manifests.len(),
            blobs = gone.blobs.len(),
            bytes = gone.bytes(),
            "collected bundles that nobody needs"
        ),
        Err(error) => tracing::warn!(%error, "bundles could not be collected"),
    }
}
