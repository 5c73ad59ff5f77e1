//! The agent's side of its cells: processes that it starts or finds, and the conversation with each.
//!
//! Performs the core's effects about cells and answers with its events. Each cell has a supervisor, a
//! task of its own, so that no call waits. Nobody asks a cell at intervals whether it lives: its
//! socket or its end says so.

mod backlog;
mod conversation;
mod process;
mod supervisor;

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use dashmap::DashMap;
use nesos_agent_core::{CellId, Event};
use nesos_api::v1;
use nesos_types::cell::{CellCommand, CellEvent};
use nesos_types::role::Role;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tonic::transport::Channel;

use self::backlog::Backlog;
use self::supervisor::{Order, Supervisor};
use crate::task_io::TaskPlaces;

/// How cells are started.
#[derive(Clone, Debug)]
pub struct CellLinkConfig {
    /// The binary whose subcommand `cell` is the cell; the agent's own by default.
    pub executable: PathBuf,
    /// Where sockets and logs of cells are.
    pub directory: PathBuf,
    /// Threads that run guests in each cell; as many as there are CPUs if not given.
    pub guest_threads: Option<usize>,
    /// The most sandboxes in one cell; what the host's limits allow if not given.
    pub max_sandboxes: Option<u32>,
    /// How long a cell with sandboxes stays without its agent.
    pub orphan_grace: Duration,
    /// How long a cell without sandboxes stays without its agent.
    pub idle_grace: Duration,
    /// How long a cell may take to start, or to take a connection.
    pub patience: Duration,
}

impl CellLinkConfig {
    /// Cells of this binary, with their sockets in `directory`; everything else at its default.
    ///
    /// # Errors
    /// If the system does not say which binary this is.
    pub fn new(directory: PathBuf) -> std::io::Result<Self> {
        Ok(Self {
            executable: std::env::current_exe()?,
            directory,
            guest_threads: None,
            max_sandboxes: None,
            orphan_grace: Duration::from_secs(15 * 60),
            idle_grace: Duration::from_secs(60),
            patience: Duration::from_secs(20),
        })
    }

    fn socket(&self, cell: CellId) -> PathBuf {
        self.directory.join(format!("{cell}.sock"))
    }

    fn log(&self, cell: CellId) -> PathBuf {
        self.directory.join(format!("{cell}.log"))
    }
}

/// All cells that the agent has to do with. Must be used within a tokio runtime.
#[derive(Clone, Debug)]
pub struct CellLinks {
    shared: Arc<Shared>,
}

/// What the supervisors have in common.
#[derive(Debug)]
struct Shared {
    config: CellLinkConfig,
    places: Arc<TaskPlaces>,
    events: mpsc::UnboundedSender<Event>,
    backlog: Backlog,
    links: DashMap<CellId, Link>,
    /// The supervisors.
    tasks: TaskTracker,
    /// Cancelled when the cells are to go on without this agent.
    let_go: CancellationToken,
}

/// The near end of one cell.
#[derive(Debug)]
struct Link {
    orders: mpsc::UnboundedSender<Order>,
    /// Whether an earlier agent process has started the cell: then nobody here waits for its end.
    adopted: bool,
    connection: Arc<Connection>,
}

/// The connection to a cell, while it stands.
#[derive(Debug, Default)]
struct Connection {
    open: Mutex<Option<Open>>,
}

#[derive(Debug)]
struct Open {
    channel: Channel,
    commands: mpsc::UnboundedSender<v1::CellCommand>,
}

impl Connection {
    fn set(&self, open: Option<Open>) {
        *self.open.lock().unwrap_or_else(PoisonError::into_inner) = open;
    }

    fn send(&self, command: &CellCommand) {
        let command = command.into();
        if let Some(open) = &*self.open.lock().unwrap_or_else(PoisonError::into_inner) {
            // A closed queue is a connection that is about to be seen to end.
            let _ = open.commands.send(command);
        }
    }

    fn channel(&self) -> Option<Channel> {
        let open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.as_ref().map(|open| open.channel.clone())
    }
}

impl CellLinks {
    /// Links that say what happens through `events` and keep `places` up to date. What a cell has said is to be
    /// acknowledged by [`heard`](Self::heard), or cells are listened to no further.
    #[must_use]
    pub fn new(
        config: CellLinkConfig,
        places: Arc<TaskPlaces>,
        events: mpsc::UnboundedSender<Event>,
    ) -> Self {
        Self {
            shared: Arc::new(Shared {
                config,
                places,
                events,
                backlog: Backlog::new(),
                links: DashMap::new(),
                tasks: TaskTracker::new(),
                let_go: CancellationToken::new(),
            }),
        }
    }

    /// Performs [`Effect::StartCell`](nesos_agent_core::Effect::StartCell).
    pub fn start(&self, cell: CellId, role: Role) {
        let supervisor = self.supervisor(cell, false);
        self.supervise(supervisor.start(role));
    }

    /// Performs [`Effect::ConnectCell`](nesos_agent_core::Effect::ConnectCell).
    pub fn connect(&self, cell: CellId) {
        if let Some(link) = self.shared.links.get(&cell)
            && link.orders.send(Order::Connect).is_ok()
        {
            return;
        }
        let supervisor = self.supervisor(cell, true);
        self.supervise(supervisor.adopt());
    }

    /// Performs [`Effect::SendCell`](nesos_agent_core::Effect::SendCell).
    pub fn send(&self, cell: CellId, command: &CellCommand) {
        match command {
            CellCommand::Launch(launch) => self.shared.places.launched(cell, launch),
            CellCommand::Assign { key, task } => self.shared.places.assigned(cell, key, task),
            _ => {}
        }
        if let Some(link) = self.shared.links.get(&cell) {
            link.connection.send(command);
        }
    }

    /// Performs [`Effect::DiscardCell`](nesos_agent_core::Effect::DiscardCell).
    pub fn discard(&self, cell: CellId, pid: Option<u32>) {
        let link = self.shared.links.remove(&cell);
        if let Some((_, link)) = link
            && link.orders.send(Order::Discard).is_ok()
            && !link.adopted
        {
            return;
        }
        let config = &self.shared.config;
        process::discard_stranger(pid, &config.socket(cell), &config.log(cell));
    }

    /// The driver has heard what a cell said.
    pub fn heard(&self, event: &CellEvent) {
        self.shared.backlog.leave(event);
    }

    /// Waits until every cell that was discarded has ended and nothing is left of it.
    pub(crate) async fn gone(&self) {
        self.shared.tasks.close();
        self.shared.tasks.wait().await;
    }

    /// Leaves the cells to themselves: they go on, and wait for another agent.
    pub(crate) async fn let_go(&self) {
        self.shared.let_go.cancel();
        self.gone().await;
    }

    fn supervise(&self, supervisor: impl Future<Output = ()> + Send + 'static) {
        let let_go = self.shared.let_go.clone();
        self.shared.tasks.spawn(async move {
            let_go.run_until_cancelled(supervisor).await;
        });
    }

    /// The connection on which the cell serves clients, if it stands.
    pub(crate) fn channel(&self, cell: CellId) -> Option<Channel> {
        self.shared.links.get(&cell)?.connection.channel()
    }

    fn supervisor(&self, cell: CellId, adopted: bool) -> Supervisor {
        let (orders, queue) = mpsc::unbounded_channel();
        let connection = Arc::new(Connection::default());
        let link = Link {
            orders,
            adopted,
            connection: connection.clone(),
        };
        self.shared.links.insert(cell, link);
        Supervisor::new(self.shared.clone(), cell, queue, connection)
    }
}
