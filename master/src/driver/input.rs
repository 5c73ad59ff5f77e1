//! What the doors hand to the driver, and the handle by which they do it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use nesos_master_core::snapshot::PolicyView;
use nesos_master_core::{
    ConnectionId, Explanation, NewPolicy, OperatorReply, OperatorRequest, Snapshot,
};
use nesos_types::ids::FrameworkId;
use nesos_types::message::{AgentCommand, AgentEvent, SchedulerCall, SchedulerEvent};
use nesos_types::resources::Resources;
use thiserror::Error;
use tokio::sync::{mpsc, oneshot};

use super::outbox::Outbox;
use super::watch::Watching;
use crate::store::fence::Fence;

/// How many frames and requests may wait for the driver before the doors stop reading.
const QUEUE: usize = 1024;

/// Something that a door heard. What came in one frame stays together.
#[derive(Debug)]
pub(crate) enum Input {
    SchedulerConnected(ConnectionId, Outbox<SchedulerEvent>),
    SchedulerCalled(ConnectionId, Vec<SchedulerCall>),
    SchedulerDisconnected(ConnectionId),
    AgentConnected(ConnectionId, Outbox<AgentCommand>),
    AgentSaid(ConnectionId, Vec<AgentEvent>),
    AgentDisconnected(ConnectionId),
    Operator(OperatorRequest, oneshot::Sender<OperatorReply>),
    SetPolicy(NewPolicy, oneshot::Sender<PolicyView>),
    Snapshot(oneshot::Sender<Arc<Snapshot>>),
    Explain(FrameworkId, Option<Resources>, oneshot::Sender<Explanation>),
    Watch(oneshot::Sender<Watching>),
}

/// The driver has ended, because the master is stopping or was deposed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("the master is stopping, or leads no more")]
pub(crate) struct Stopping;

/// The way to the driver. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct DriverHandle {
    inputs: mpsc::Sender<Input>,
    connections: Arc<AtomicU64>,
    fence: Fence,
}

impl DriverHandle {
    /// A handle to a driver that works behind this fence, and the end at which it listens.
    pub(crate) fn new(fence: Fence) -> (Self, mpsc::Receiver<Input>) {
        let (inputs, receiver) = mpsc::channel(QUEUE);
        let handle = Self {
            inputs,
            connections: Arc::default(),
            fence,
        };
        (handle, receiver)
    }

    /// A number for a new connection.
    pub(crate) fn next_connection(&self) -> ConnectionId {
        ConnectionId(self.connections.fetch_add(1, Ordering::Relaxed))
    }

    /// Hands something in; waits while the driver has too much to do, which holds up the peer.
    pub(crate) async fn send(&self, input: Input) -> Result<(), Stopping> {
        self.inputs.send(input).await.map_err(|_| Stopping)
    }

    /// What is asked before something is said to a peer.
    pub(crate) fn fence(&self) -> Fence {
        self.fence.clone()
    }

    /// Waits until the driver has ended.
    pub(crate) async fn ended(&self) {
        self.inputs.closed().await;
    }

    /// Everything that an operator may see, at one moment.
    pub(crate) async fn snapshot(&self) -> Result<Arc<Snapshot>, Stopping> {
        self.ask(Input::Snapshot).await
    }

    /// The same, and what happens from then on.
    pub(crate) async fn watch(&self) -> Result<Watching, Stopping> {
        self.ask(Input::Watch).await
    }

    /// Why a framework waits, with a task of some shape if one is given.
    pub(crate) async fn explain(
        &self,
        framework: FrameworkId,
        shape: Option<Resources>,
    ) -> Result<Explanation, Stopping> {
        self.ask(|reply| Input::Explain(framework, shape, reply))
            .await
    }

    /// What an operator asks for.
    pub(crate) async fn operate(
        &self,
        request: OperatorRequest,
    ) -> Result<OperatorReply, Stopping> {
        self.ask(|reply| Input::Operator(request, reply)).await
    }

    /// Another policy decides from now on; answers what operators see of it.
    pub(crate) async fn set_policy(&self, policy: NewPolicy) -> Result<PolicyView, Stopping> {
        self.ask(|reply| Input::SetPolicy(policy, reply)).await
    }

    async fn ask<T>(
        &self,
        question: impl FnOnce(oneshot::Sender<T>) -> Input,
    ) -> Result<T, Stopping> {
        let (reply, answer) = oneshot::channel();
        self.send(question(reply)).await?;
        answer.await.map_err(|_| Stopping)
    }
}
