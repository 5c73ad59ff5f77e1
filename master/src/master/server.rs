//! One port with all doors on it, and beside them gRPC's own health and reflection services.

use std::time::Duration;

use nesos_api::v1::agent_service_server::AgentServiceServer;
use nesos_api::v1::bundle_service_server::BundleServiceServer;
use nesos_api::v1::operator_service_server::OperatorServiceServer;
use nesos_api::v1::scheduler_service_server::SchedulerServiceServer;
use nesos_api::{MAX_CHUNK_BYTES, MAX_FRAME_BYTES, v1};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tonic::service::RoutesBuilder;
use tonic::transport::server::TcpIncoming;
use tonic_health::server::HealthReporter;

use crate::clock::Clock;
use crate::config::MasterConfig;
use crate::doors::agents::AgentDoor;
use crate::doors::bundles::BundleDoor;
use crate::doors::operator::OperatorDoor;
use crate::doors::scheduler::SchedulerDoor;
use crate::driver::input::DriverHandle;
use crate::registry::{Registry, http};

/// How much a peer may send on one stream, and on all of a connection, before it is read: enough for
/// a full frame to be under way while another one is worked on.
const STREAM_WINDOW_BYTES: u32 = 4 << 20;
const CONNECTION_WINDOW_BYTES: u32 = 32 << 20;
/// Large pieces, for bundles and full frames.
const HTTP2_FRAME_BYTES: u32 = 256 << 10;
/// How often a silent connection is asked whether it lives, and how long it may take to answer.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(20);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(20);

/// The doors, before they are opened.
pub(super) struct Server {
    scheduler: SchedulerDoor,
    agents: AgentDoor,
    operator: OperatorDoor,
    bundles: BundleDoor,
    registry: Registry,
    /// Cancelled when what does not end with the driver has to end as well.
    stop_streams: CancellationToken,
}

/// The open doors.
pub(super) struct Serving {
    task: JoinHandle<Result<(), tonic::transport::Error>>,
    health: HealthReporter,
    stop_streams: CancellationToken,
}

impl Server {
    pub(super) fn new(
        config: &MasterConfig,
        clock: Clock,
        driver: DriverHandle,
        registry: Registry,
    ) -> Self {
        let stop_streams = CancellationToken::new();
        let most_queued = config.streams.max_queued_messages;
        Self {
            scheduler: SchedulerDoor {
                driver: driver.clone(),
                most_queued,
            },
            agents: AgentDoor {
                driver: driver.clone(),
                most_queued,
            },
            operator: OperatorDoor {
                driver,
                clock,
                registry: registry.clone(),
                stop: stop_streams.clone(),
            },
            bundles: BundleDoor::new(registry.clone(), stop_streams.clone()),
            registry,
            stop_streams,
        }
    }

    /// Opens the doors until `stop` is cancelled.
    pub(super) async fn serve(self, listener: TcpListener, stop: CancellationToken) -> Serving {
        let (health, health_service) = tonic_health::server::health_reporter();
        report_serving(&health).await;
        let reflection = tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(v1::FILE_DESCRIPTOR_SET)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
            .build_v1()
            .expect("the descriptors were generated with the code");
        let pages = http::router(self.registry, self.stop_streams.clone());
        let mut services = RoutesBuilder::from(pages);
        services
            .add_service(health_service)
            .add_service(reflection)
            .add_service(
                SchedulerServiceServer::new(self.scheduler)
                    .max_decoding_message_size(MAX_FRAME_BYTES),
            )
            .add_service(
                AgentServiceServer::new(self.agents).max_decoding_message_size(MAX_FRAME_BYTES),
            )
            .add_service(OperatorServiceServer::new(self.operator))
            .add_service(
                BundleServiceServer::new(self.bundles)
                    .max_decoding_message_size(2 * MAX_CHUNK_BYTES),
            );
        let router = tonic::transport::Server::builder()
            .accept_http1(true)
            .initial_stream_window_size(STREAM_WINDOW_BYTES)
            .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
            .max_frame_size(HTTP2_FRAME_BYTES)
            .http2_keepalive_interval(Some(KEEPALIVE_INTERVAL))
            .http2_keepalive_timeout(Some(KEEPALIVE_TIMEOUT))
            .add_routes(services.routes());
        let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
        let task = tokio::spawn(async move {
            router
                .serve_with_incoming_shutdown(incoming, stop.cancelled())
                .await
        });
        Serving {
            task,
            health,
            stop_streams: self.stop_streams,
        }
    }
}

impl Serving {
    /// Ends what does not end by itself, and waits until all connections are closed.
    pub(super) async fn ended(self) {
        self.stop_streams.cancel();
        report_stopped(&self.health).await;
        if let Ok(Err(error)) = self.task.await {
            tracing::warn!(%error, "the server ended with an error");
        }
    }
}

async fn report_serving(health: &HealthReporter) {
    health
        .set_serving::<SchedulerServiceServer<SchedulerDoor>>()
        .await;
    health.set_serving::<AgentServiceServer<AgentDoor>>().await;
    health
        .set_serving::<OperatorServiceServer<OperatorDoor>>()
        .await;
    health
        .set_serving::<BundleServiceServer<BundleDoor>>()
        .await;
}

/// Ends the streams of those who watch the health; without it they would hold the shutdown up.
async fn report_stopped(health: &HealthReporter) {
    for service in [
        "",
        v1::scheduler_service_server::SERVICE_NAME,
        v1::agent_service_server::SERVICE_NAME,
        v1::operator_service_server::SERVICE_NAME,
        v1::bundle_service_server::SERVICE_NAME,
    ] {
        let mut health = health.clone();
        health.clear_service_status(service).await;
    }
}
