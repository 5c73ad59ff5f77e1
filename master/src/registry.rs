//! The cluster's own registry of bundles: an OCI distribution registry (specification 1.1), and beside it
//! bare blobs by digest.
//!
//! [`blobs`] keeps bytes, [`catalog`] what manifests and tags there are, [`manifests`] decides what may be
//! pushed, [`examine`] looks into what is to be run, [`quota`] bounds what a role keeps, and [`collector`]
//! removes what nobody needs. [`http`] is the door of the distribution specification; gRPC has its own.
//!
//! Invariant: a blob, manifest or tag that was acknowledged is there after a crash. Invariant: nothing that
//! a tag, a manifest that is kept or a live task names is ever collected.

use std::path::Path;
use std::sync::{Arc, RwLock};
use std::time::SystemTime;

use tokio::sync::{Mutex, RwLock as Gate};

use crate::config::BundlesConfig;
use crate::store::fence::Fence;

pub(crate) mod blobs;
pub(crate) mod catalog;
pub(crate) mod collector;
pub(crate) mod document;
pub(crate) mod error;
pub(crate) mod examine;
pub(crate) mod http;
pub(crate) mod manifests;
pub(crate) mod objects;
pub(crate) mod quota;
pub(crate) mod report;
pub(crate) mod staging;

use blobs::Blobs;
use catalog::Catalog;
use error::BundleStoreError;
use objects::Objects;
use staging::Staging;

/// The registry. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Registry {
    pub(crate) blobs: Blobs,
    pub(crate) config: Arc<BundlesConfig>,
    /// What there is; never held while anything is waited for.
    catalog: Arc<RwLock<Catalog>>,
    /// One change of manifests and tags at a time.
    changing: Arc<Mutex<()>>,
    /// Shared by those who rely on blobs that they have seen, taken alone to remove some.
    gate: Arc<Gate<()>>,
    /// When this process began to know what is used.
    since: SystemTime,
}

impl Registry {
    /// Opens the registry. Uploads are staged in the directory, and blobs are kept there unless the
    /// configuration names another place. Without `flush` a crash of the host may cost what was pushed.
    /// Nothing is changed once the fence has fallen.
    pub(crate) async fn open(
        directory: &Path,
        flush: bool,
        config: BundlesConfig,
        fence: Fence,
    ) -> Result<Self, BundleStoreError> {
        let objects = Objects::open(directory, flush, &config)?.behind(fence);
        Self::over(objects, directory, config).await
    }

    /// Opens the registry over these objects.
    pub(crate) async fn over(
        objects: Objects,
        directory: &Path,
        config: BundlesConfig,
    ) -> Result<Self, BundleStoreError> {
        let staging = Staging::open(directory.join("uploads"))?;
        let catalog = Catalog::load(&objects).await?;
        Ok(Self {
            blobs: Blobs::new(objects, staging),
            config: Arc::new(config),
            catalog: Arc::new(RwLock::new(catalog)),
            changing: Arc::default(),
            gate: Arc::default(),
            since: SystemTime::now(),
        })
    }

    /// Looks something up.
    pub(crate) fn with_catalog<T>(&self, look: impl FnOnce(&Catalog) -> T) -> T {
        look(&self.catalog.read().expect("nobody panics holding it"))
    }

    fn change_catalog<T>(&self, change: impl FnOnce(&mut Catalog) -> T) -> T {
        change(&mut self.catalog.write().expect("nobody panics holding it"))
    }
}

#[cfg(test)]
mod tests;
