//! The cell: the process that holds the sandboxes of one role on one host.
//!
//! It serves its agent on a Unix socket and outlives it: statuses are held until they are acknowledged
//! and said again on each connection. Guests run on the runtime's threads; everything else happens on
//! the process' main thread, which a busy guest cannot hold up. The cell does not know of masters,
//! offers or bundles.

mod attach;
mod directory;
mod executors;
mod health;
mod launcher;
mod ledger;
mod lifetime;
mod measuring;
mod outbox;
mod process;
mod reporter;
mod sandboxes;
mod service;
#[cfg(test)]
mod tests;
mod uplink;

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use nesos_api::v1::cell_service_server::CellServiceServer;
use nesos_api::v1::task_io_service_server::TaskIoServiceServer;
use nesos_runtime::{Runtime, RuntimeConfig, RuntimeError};
use nesos_types::role::Role;
use thiserror::Error;
use tokio::net::UnixListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio_stream::wrappers::UnixListenerStream;
use tonic::transport::Server;

use self::attach::ClientDoor;
use self::lifetime::{End, Graces};
use self::sandboxes::Sandboxes;
use self::service::AgentDoor;
use crate::causes::with_causes;
use crate::unix_socket::{self, SocketError};

pub(crate) use self::attach::read_open;
pub(crate) use self::process::READY;

/// How long connections have to close once the cell has nothing more to say.
const CLOSE_PATIENCE: Duration = Duration::from_secs(1);

/// How a cell is started; its agent fills this in.
#[derive(Clone, Debug, clap::Args)]
pub struct CellArgs {
    /// Where to listen for the agent.
    #[arg(long)]
    pub socket: PathBuf,
    /// Whose sandboxes the cell holds.
    #[arg(long)]
    pub role: Role,
    /// Threads that run guests; as many as there are CPUs if not given.
    #[arg(long)]
    pub guest_threads: Option<usize>,
    /// The most sandboxes at once; what the host's limits allow if not given.
    #[arg(long)]
    pub max_sandboxes: Option<u32>,
    /// How long a cell with sandboxes stays without its agent, in milliseconds.
    #[arg(long, default_value_t = 900_000)]
    pub orphan_grace_ms: u64,
    /// How long a cell without sandboxes stays without its agent, in milliseconds.
    #[arg(long, default_value_t = 60_000)]
    pub idle_grace_ms: u64,
}

/// Why a cell could not start, or did not end well.
#[derive(Debug, Error)]
enum CellError {
    #[error("cannot listen for the agent")]
    Socket(#[from] SocketError),
    #[error("cannot start the runtime")]
    Runtime(#[from] RuntimeError),
    #[error("cannot {action}")]
    System {
        action: &'static str,
        source: std::io::Error,
    },
    #[error("cannot serve the agent")]
    Serve(#[from] tonic::transport::Error),
}

/// Runs a cell to its end. To be called first thing in a process, before anything is opened.
pub fn main(args: CellArgs) -> ExitCode {
    process::detach();
    match run(&args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let message = with_causes(&error);
            tracing::error!("{message}");
            // Whether the agent still listens does not matter to a cell that ends anyway.
            let _ = process::announce(&message);
            ExitCode::FAILURE
        }
    }
}

fn run(args: &CellArgs) -> Result<(), CellError> {
    let system = |action| move |source| CellError::System { action, source };
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(8)
        .build()
        .map_err(system("start the control thread"))?
        .block_on(live(args))
}

async fn live(args: &CellArgs) -> Result<(), CellError> {
    let system = |action| move |source| CellError::System { action, source };
    let mut terminate = signal(SignalKind::terminate()).map_err(system("listen for signals"))?;
    let runtime = Runtime::new(runtime_config(args), tokio::runtime::Handle::current())?;
    let sandboxes = Sandboxes::new(runtime, args.role.clone());
    let listener = unix_socket::listen(&args.socket)?;
    process::announce(READY).map_err(system("let go of the agent's pipe"))?;
    tracing::info!(role = %args.role, "the cell is ready");
    let graces = Graces {
        orphan: Duration::from_millis(args.orphan_grace_ms),
        idle: Duration::from_millis(args.idle_grace_ms),
    };
    let end = async {
        let end = tokio::select! {
            end = lifetime::outlive(&sandboxes, graces) => end,
            _ = terminate.recv() => End::Terminated,
        };
        lifetime::wind_up(&sandboxes, end).await;
        // Whoever looks for the cell from now on finds nobody.
        let _ = std::fs::remove_file(&args.socket);
        sandboxes.hang_up();
    };
    serve(listener, &sandboxes, end).await
}

fn runtime_config(args: &CellArgs) -> RuntimeConfig {
    let cpus = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    RuntimeConfig {
        guest_threads: args.guest_threads.unwrap_or(cpus),
        max_sandboxes: args.max_sandboxes,
        ..RuntimeConfig::default()
    }
}

/// Serves until `end` resolves, and then until everything has been said, within bounds.
async fn serve(
    listener: UnixListener,
    sandboxes: &Arc<Sandboxes<Runtime>>,
    end: impl Future<Output = ()>,
) -> Result<(), CellError> {
    // The agent is trusted and its Hello names every sandbox: no limit on a message's size.
    let agent_door = CellServiceServer::new(AgentDoor::new(sandboxes.clone()))
        .max_decoding_message_size(usize::MAX)
        .max_encoding_message_size(usize::MAX);
    let client_door = TaskIoServiceServer::new(ClientDoor::new(sandboxes.clone()))
        .max_decoding_message_size(nesos_api::MAX_FRAME_BYTES);
    let (closing, closed) = tokio::sync::oneshot::channel();
    let server = Server::builder()
        .add_service(agent_door)
        .add_service(client_door)
        .serve_with_incoming_shutdown(UnixListenerStream::new(listener), async {
            let _ = closed.await;
        });
    let closing = async {
        end.await;
        let _ = closing.send(());
        tokio::time::sleep(CLOSE_PATIENCE).await;
    };
    tokio::select! {
        served = server => Ok(served?),
        () = closing => Ok(()),
    }
}
