//! Looks after one cell: starts or finds it, speaks with it, sees it end.

use std::sync::Arc;
use std::time::Duration;

use nesos_agent_core::{CellId, Event};
use nesos_types::role::Role;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tracing::info;

use super::conversation::Conversation;
use super::process::CellProcess;
use super::{Connection, Shared};
use crate::causes::with_causes;

/// How long the end of a process may take to be seen once its socket is closed.
const END_PATIENCE: Duration = Duration::from_secs(1);

/// What the core wants of a supervisor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    /// Connect again.
    Connect,
    /// See that the process is gone.
    Discard,
}

/// The task that looks after one cell.
pub(super) struct Supervisor {
    shared: Arc<Shared>,
    cell: CellId,
    orders: mpsc::UnboundedReceiver<Order>,
    connection: Arc<Connection>,
    /// The cell's process, if it is a child of this one.
    process: Option<CellProcess>,
}

/// Why a supervisor has nothing more to do.
enum Over {
    /// The cell is given up.
    Failed(String),
    /// The core wants it gone.
    Discarded,
}

impl Supervisor {
    /// Of a cell that is neither started nor connected.
    pub(super) fn new(
        shared: Arc<Shared>,
        cell: CellId,
        orders: mpsc::UnboundedReceiver<Order>,
        connection: Arc<Connection>,
    ) -> Self {
        Self {
            shared,
            cell,
            orders,
            connection,
            process: None,
        }
    }

    /// Starts the cell and looks after it to its end.
    pub(super) async fn start(mut self, role: Role) {
        let over = match CellProcess::start(&self.shared.config, self.cell, &role).await {
            Ok(process) => {
                let (cell, pid) = (self.cell, process.pid());
                info!(%cell, pid, %role, "a cell has started");
                self.process = Some(process);
                self.tell(Event::CellStarted { cell, pid });
                self.attend().await
            }
            Err(error) => Over::Failed(with_causes(&error)),
        };
        self.finish(over).await;
    }

    /// Looks after a cell that was started earlier.
    pub(super) async fn adopt(mut self) {
        let over = self.attend().await;
        self.finish(over).await;
    }

    /// Speaks with the cell, as often as the core wants to.
    async fn attend(&mut self) -> Over {
        loop {
            if let Err(over) = self.speak().await {
                return over;
            }
            tokio::select! {
                biased;
                status = ended(self.process.as_mut()) => return Over::Failed(status),
                order = self.orders.recv() => match order {
                    Some(Order::Connect) => {}
                    Some(Order::Discard) | None => return Over::Discarded,
                },
            }
        }
    }

    /// One conversation, from the connection to its end.
    async fn speak(&mut self) -> Result<(), Over> {
        let conversation = self.open().await?;
        self.connection.set(Some(conversation.near_end()));
        let cell = self.cell;
        let message = tokio::select! {
            message = conversation.listen(cell, &self.shared) => message,
            () = discarded(&mut self.orders) => {
                self.connection.set(None);
                return Err(Over::Discarded);
            }
        };
        self.connection.set(None);
        info!(%cell, message, "the connection to a cell has ended");
        self.tell(Event::CellDisconnected { cell, message });
        Ok(())
    }

    async fn open(&mut self) -> Result<Conversation, Over> {
        let socket = self.shared.config.socket(self.cell);
        let opened = timeout(self.shared.config.patience, Conversation::open(&socket)).await;
        let why = match opened {
            Ok(Ok(conversation)) => return Ok(conversation),
            Ok(Err(error)) => with_causes(&error),
            Err(_) => "it did not take a connection in time".to_owned(),
        };
        // A dead process explains more than a closed socket.
        let end = match &mut self.process {
            Some(process) => timeout(END_PATIENCE, process.ended()).await.ok(),
            None => None,
        };
        Err(Over::Failed(end.unwrap_or(why)))
    }

    /// Sees that nothing is left of the cell.
    async fn finish(mut self, over: Over) {
        let cell = self.cell;
        if let Over::Failed(message) = over {
            self.shared.places.lost(cell);
            self.tell(Event::CellFailed { cell, message });
            if self.process.is_none() {
                // The core answers with `DiscardCell`, which knows the process' id.
                return;
            }
        }
        if let Some(process) = &mut self.process {
            process.end().await;
        }
        super::process::remove_files(
            &self.shared.config.socket(cell),
            &self.shared.config.log(cell),
        );
    }

    fn tell(&self, event: Event) {
        // A driver that no longer listens is about to end.
        let _ = self.shared.events.send(event);
    }
}

/// Resolves with how the process ended; never, if it is not ours to know.
async fn ended(process: Option<&mut CellProcess>) -> String {
    match process {
        Some(process) => process.ended().await,
        None => std::future::pending().await,
    }
}

/// Resolves when the core wants the cell gone; an order to connect is idle while connected.
async fn discarded(orders: &mut mpsc::UnboundedReceiver<Order>) {
    while orders.recv().await == Some(Order::Connect) {}
}
