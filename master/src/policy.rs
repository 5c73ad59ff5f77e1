//! Policy plug-ins between the core, which knows no sandbox, and the sandbox, which knows no master.

use nesos_master_core::{PolicyFault, PolicyGuest};
use nesos_runtime::{MAX_POLICY_BYTES, PolicyComponent, PolicyError, PolicyStop};
use nesos_types::bundle::Digest;
use nesos_types::resources::Resources;
use nesos_types::role::{Role, RoleSettings};
use nesos_types::time::Time;
use thiserror::Error;

use crate::registry::blobs::Blobs;
use crate::registry::error::BundleStoreError;

/// Why a bundle cannot be the policy.
#[derive(Debug, Error)]
pub(crate) enum LoadError {
    /// It was not uploaded.
    #[error("there is no bundle {0}; upload it first")]
    NotThere(Digest),
    /// It cannot be read.
    #[error(transparent)]
    Store(#[from] BundleStoreError),
    /// It is no policy.
    #[error(transparent)]
    Policy(#[from] PolicyError),
    /// Compiling it was lost: a bug.
    #[error("the policy could not be compiled")]
    Lost(#[source] tokio::task::JoinError),
}

/// An error with its cause.
pub(crate) fn in_full(error: &dyn std::error::Error) -> String {
    match error.source() {
        Some(cause) => format!("{error}: {cause}"),
        None => error.to_string(),
    }
}

/// Makes a component the guest of a core. Compiles, and so takes a while.
///
/// # Errors
/// If it is no policy.
pub fn load_policy(component: &[u8]) -> Result<Box<dyn PolicyGuest>, PolicyError> {
    Ok(Box::new(Guest(PolicyComponent::load(component)?)))
}

/// The same with a component among the bundles, compiled where that holds up nobody.
pub(crate) async fn load_bundle(
    bundles: &Blobs,
    digest: Digest,
) -> Result<Box<dyn PolicyGuest>, LoadError> {
    let blob = bundles.open(digest).await?;
    let size = blob.ok_or(LoadError::NotThere(digest))?.size;
    let size = usize::try_from(size).unwrap_or(usize::MAX);
    if size > MAX_POLICY_BYTES {
        return Err(PolicyError::TooLarge(size).into());
    }
    let bytes = bundles.read(digest).await?;
    let bytes = bytes.ok_or(LoadError::NotThere(digest))?;
    let loading = tokio::task::spawn_blocking(move || load_policy(&bytes));
    Ok(loading.await.map_err(LoadError::Lost)??)
}

/// A component as the core sees it.
#[derive(Debug)]
struct Guest(PolicyComponent);

impl PolicyGuest for Guest {
    fn configure(&mut self, role: &Role, settings: &RoleSettings) {
        self.0
            .configure(role, settings.weight.milli(), settings.priority);
    }

    fn grow(&mut self, agent: &Resources) {
        self.0.grow(agent);
    }

    fn shrink(&mut self, agent: &Resources) {
        self.0.shrink(agent);
    }

    fn put_client(&mut self, client: u32, role: &Role) {
        self.0.put_client(client, role);
    }

    fn remove_client(&mut self, client: u32) {
        self.0.remove_client(client);
    }

    fn set_wanting(&mut self, client: u32, wanting: bool) {
        self.0.set_wanting(client, wanting);
    }

    fn charge(&mut self, client: u32, resources: &Resources) {
        self.0.charge(client, resources);
    }

    fn refund(&mut self, client: u32, resources: &Resources) {
        self.0.refund(client, resources);
    }

    fn served(&mut self, client: u32) {
        self.0.served(client);
    }

    fn begin(&mut self, agents: usize) {
        self.0.begin(agents);
    }

    fn turn(&mut self, now: Time) -> Result<Option<u32>, PolicyFault> {
        self.0.turn(now.as_micros() / 1000).map_err(fault)
    }

    fn another(&mut self, most: u32) -> Result<Vec<u32>, PolicyFault> {
        self.0.another(most).map_err(fault)
    }

    fn fuel_used(&self) -> u64 {
        self.0.fuel_used()
    }
}

fn fault(stop: PolicyStop) -> PolicyFault {
    match stop {
        PolicyStop::OutOfFuel => PolicyFault::OutOfFuel,
        PolicyStop::Trapped(why) => PolicyFault::Trapped(why),
    }
}
