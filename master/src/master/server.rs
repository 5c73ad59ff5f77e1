//! The master's port: gRPC's health and reflection, and behind them the doors, if this master leads.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::middleware::map_response;
use axum::response::Response;
use nesos_api::v1;
use nesos_api::v1::agent_service_server::SERVICE_NAME as AGENTS;
use nesos_api::v1::bundle_service_server::SERVICE_NAME as BUNDLES;
use nesos_api::v1::operator_service_server::SERVICE_NAME as OPERATOR;
use nesos_api::v1::scheduler_service_server::SERVICE_NAME as SCHEDULER;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tonic::service::RoutesBuilder;
use tonic::transport::server::TcpIncoming;
use tonic_health::ServingStatus;
use tonic_health::server::HealthReporter;
use tower::ServiceExt;

use super::standing::Standing;

/// How much a peer may send on one stream, and on all of a connection, before it is read: enough for
/// a full frame to be under way while another one is worked on.
const STREAM_WINDOW_BYTES: u32 = 4 << 20;
const CONNECTION_WINDOW_BYTES: u32 = 32 << 20;
/// Large pieces, for bundles and full frames.
const HTTP2_FRAME_BYTES: u32 = 256 << 10;
/// How often a silent connection is asked whether it lives, and how long it may take to answer.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(20);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(20);

/// The port. It is open as long as the master runs; who answers at it changes.
pub(super) struct Port {
    task: JoinHandle<Result<(), tonic::transport::Error>>,
    health: HealthReporter,
    behind: Arc<RwLock<Behind>>,
}

/// What is behind the port.
#[derive(Clone)]
enum Behind {
    /// The doors of a master that leads.
    Doors(Router),
    /// What a master says that does not.
    Nobody(Arc<Standing>),
}

impl Port {
    /// Serves until `stop` is cancelled; nobody is behind the port yet.
    pub(super) fn open(listener: TcpListener, stop: CancellationToken) -> Self {
        let (health, health_service) = tonic_health::server::health_reporter();
        let reflection = tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(v1::FILE_DESCRIPTOR_SET)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
            .build_v1()
            .expect("the descriptors were generated with the code");
        let behind = Arc::new(RwLock::new(Behind::Nobody(Arc::new(Standing::Recovering))));
        let (answering, marking) = (Arc::clone(&behind), Arc::clone(&behind));
        let pages =
            Router::new().fallback(move |request: Request| answer(current(&answering), request));
        let mut services = RoutesBuilder::from(pages);
        services.add_service(health_service).add_service(reflection);
        let pages = services.routes().into_axum_router();
        let marked = pages.layer(map_response(move |response: Response| {
            let behind = current(&marking);
            async move { mark(&behind, response) }
        }));
        let router = tonic::transport::Server::builder()
            .accept_http1(true)
            .initial_stream_window_size(STREAM_WINDOW_BYTES)
            .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
            .max_frame_size(HTTP2_FRAME_BYTES)
            .http2_keepalive_interval(Some(KEEPALIVE_INTERVAL))
            .http2_keepalive_timeout(Some(KEEPALIVE_TIMEOUT))
            .add_routes(RoutesBuilder::from(marked).routes());
        let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
        let task = tokio::spawn(async move {
            router
                .serve_with_incoming_shutdown(incoming, stop.cancelled())
                .await
        });
        Self {
            task,
            health,
            behind,
        }
    }

    /// This master leads from now on, and these are its doors.
    pub(super) async fn lead(&self, doors: Router) {
        self.put(Behind::Doors(doors));
        self.report(ServingStatus::Serving).await;
    }

    /// This master does not lead.
    pub(super) async fn stand_by(&self, standing: Standing) {
        self.put(Behind::Nobody(Arc::new(standing)));
        self.report(ServingStatus::NotServing).await;
    }

    fn put(&self, behind: Behind) {
        let mut current = self.behind.write().unwrap_or_else(PoisonError::into_inner);
        *current = behind;
    }

    async fn report(&self, status: ServingStatus) {
        for service in [SCHEDULER, AGENTS, OPERATOR, BUNDLES] {
            self.health.set_service_status(service, status).await;
        }
    }

    /// Waits until all connections are closed. Those who watch the health are told that there is nothing to
    /// watch any more; without it they would hold the shutdown up.
    pub(super) async fn ended(self) {
        for service in ["", SCHEDULER, AGENTS, OPERATOR, BUNDLES] {
            let mut health = self.health.clone();
            health.clear_service_status(service).await;
        }
        if let Ok(Err(error)) = self.task.await {
            tracing::warn!(%error, "the server ended with an error");
        }
    }
}

fn current(behind: &RwLock<Behind>) -> Behind {
    behind
        .read()
        .unwrap_or_else(PoisonError::into_inner)
        .clone()
}

/// Answers what is neither health nor reflection.
async fn answer(behind: Behind, request: Request) -> Response {
    match behind {
        Behind::Doors(doors) => match doors.oneshot(request).await {
            Ok(response) => response.map(Body::new),
            Err(never) => match never {},
        },
        Behind::Nobody(standing) => standing.answer(&request),
    }
}

/// Whatever is answered by a master that does not lead says who does.
fn mark(behind: &Behind, mut response: Response) -> Response {
    if let Behind::Nobody(standing) = behind {
        standing.mark(response.headers_mut());
    }
    response
}
