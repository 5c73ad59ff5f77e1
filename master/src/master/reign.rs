//! A reign: from a store that nobody else writes to, to the driver and the doors of a master that leads, and
//! to their end.

use std::io;

use axum::Router;
use nesos_api::v1::agent_service_server::AgentServiceServer;
use nesos_api::v1::bundle_service_server::BundleServiceServer;
use nesos_api::v1::operator_service_server::OperatorServiceServer;
use nesos_api::v1::scheduler_service_server::SchedulerServiceServer;
use nesos_api::{MAX_CHUNK_BYTES, MAX_FRAME_BYTES};
use nesos_master_core::Master as Core;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tonic::service::RoutesBuilder;

use super::StartError;
use super::server::Port;
use crate::clock::Clock;
use crate::config::MasterConfig;
use crate::doors::agents::AgentDoor;
use crate::doors::bundles::BundleDoor;
use crate::doors::operator::OperatorDoor;
use crate::doors::scheduler::SchedulerDoor;
use crate::driver::input::DriverHandle;
use crate::driver::{Driver, DriverError};
use crate::policy::{in_full, load_bundle};
use crate::registry::blobs::Blobs;
use crate::registry::{Registry, http};
use crate::store::Store;

/// Everything that is known before anything is served.
pub(super) struct Recovered<S> {
    core: Core,
    clock: Clock,
    store: S,
    registry: Registry,
}

/// A master that leads.
pub(super) struct Reigning {
    driver: JoinHandle<Result<(), DriverError>>,
    /// Cancelled when what does not end with the driver has to end as well.
    stop_streams: CancellationToken,
}

impl<S: Store> Recovered<S> {
    /// Reads what the store has, and opens the bundles.
    pub(super) async fn from(config: &MasterConfig, mut store: S) -> Result<Self, StartError> {
        let loading = tokio::task::spawn_blocking(move || {
            let records = store.load();
            (store, records)
        });
        let (store, records) = loading.await.map_err(StartError::Lost)?;
        let records = records?;
        let clock = Clock::start();
        tracing::info!(records = records.len(), "recovered the registry");
        let mut core = Core::recover(config.core(), seed()?, clock.now(), records);
        let directory = config.state_directory.join("bundles");
        let bundles = config.bundles.clone();
        let registry =
            Registry::open(&directory, !config.ephemeral, bundles, store.fence()).await?;
        restore_policy(&mut core, &registry.blobs).await;
        Ok(Self {
            core,
            clock,
            store,
            registry,
        })
    }

    /// Begins to lead, until `stop` is cancelled or another master does.
    pub(super) async fn reign(
        self,
        config: &MasterConfig,
        port: &Port,
        stop: CancellationToken,
    ) -> Reigning {
        let (handle, inputs) = DriverHandle::new(self.store.fence());
        let stop_streams = CancellationToken::new();
        let doors = Doors {
            clock: self.clock,
            driver: handle.clone(),
            registry: self.registry.clone(),
            stop: stop_streams.clone(),
        };
        let driver = Driver::new(self.core, self.clock, self.store, inputs);
        let driver = tokio::spawn(driver.run(stop));
        let collecting = crate::collecting::run(self.registry, handle, stop_streams.clone());
        tokio::spawn(collecting);
        port.lead(doors.router(config)).await;
        Reigning {
            driver,
            stop_streams,
        }
    }
}

impl Reigning {
    /// Waits until the driver has ended, and ends what does not end with it.
    pub(super) async fn ended(self) -> Result<(), DriverError> {
        let driven = self.driver.await;
        self.stop_streams.cancel();
        driven.unwrap_or_else(|lost| Err(DriverError::Writer(lost)))
    }
}

/// What the doors are made of.
struct Doors {
    clock: Clock,
    driver: DriverHandle,
    registry: Registry,
    stop: CancellationToken,
}

impl Doors {
    fn router(self, config: &MasterConfig) -> Router {
        let most_queued = config.streams.max_queued_messages;
        let scheduler = SchedulerDoor {
            driver: self.driver.clone(),
            most_queued,
        };
        let agents = AgentDoor {
            driver: self.driver.clone(),
            most_queued,
        };
        let bundles = BundleDoor::new(self.registry.clone(), self.stop.clone());
        let pages = http::router(self.registry.clone(), self.stop.clone());
        let operator = OperatorDoor {
            driver: self.driver,
            clock: self.clock,
            registry: self.registry,
            stop: self.stop,
        };
        let mut services = RoutesBuilder::from(pages);
        services
            .add_service(
                SchedulerServiceServer::new(scheduler).max_decoding_message_size(MAX_FRAME_BYTES),
            )
            .add_service(AgentServiceServer::new(agents).max_decoding_message_size(MAX_FRAME_BYTES))
            .add_service(OperatorServiceServer::new(operator))
            .add_service(
                BundleServiceServer::new(bundles).max_decoding_message_size(2 * MAX_CHUNK_BYTES),
            );
        services.routes().into_axum_router()
    }
}

/// Loads the plug-in that was the policy when the last master ended. A master without it works on,
/// with DRF, and says so.
async fn restore_policy(core: &mut Core, bundles: &Blobs) {
    let Some(digest) = core.chosen_plugin() else {
        return;
    };
    let loaded = load_bundle(bundles, digest)
        .await
        .map_err(|error| in_full(&error));
    if let Err(error) = &loaded {
        tracing::warn!(%digest, error, "the policy cannot be loaded; DRF decides");
    }
    core.restore_plugin(loaded);
}

/// A fresh and secret seed, from which the core draws its ids.
fn seed() -> Result<[u8; 32], StartError> {
    use rand::TryRngCore;
    let mut seed = [0; 32];
    rand::rngs::OsRng
        .try_fill_bytes(&mut seed)
        .map_err(|error| StartError::Randomness(io::Error::other(error)))?;
    Ok(seed)
}
