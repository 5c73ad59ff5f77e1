//! Services: components that answer HTTP requests, many instances of one program under one account.
//!
//! A [`Desk`] is what all instances of a service share. The [`door`] listens, reads requests and writes answers, on
//! the threads that serve I/O; a guest runs only as a job on the guest threads, one for each instance, all of
//! which pay from the task's one bucket and draw on its one ledger. The [`gate`] decides whether a request is
//! answered now, waits or is refused; an [`instance`] answers one request after another. Nothing that becomes
//! of a request ends the service: a trap, a limit or a client that is gone ends the instance that answers it.

mod answer;
mod door;
mod gate;
mod instance;
mod refusal;
mod request;
mod world;

use std::io;
use std::net::{Ipv4Addr, TcpListener};
use std::sync::Arc;

use bytes::Bytes;
use nesos_types::service::Service;
use nesos_types::task::SharedTask;
use tokio::sync::{Notify, oneshot, watch};
use wasmtime::Store;
use wasmtime::component::{Instance, InstancePre};
use wasmtime_wasi_http::p2::bindings::{Proxy, ProxyIndices};

use crate::exit::Exit;
use crate::guest::Guest;
use crate::guest_api::{ComponentWorld, Health, HealthIndices, Seed, Side};
use crate::limits::MemoryAccount;
use crate::program::Program;
use crate::sandbox::{Control, Host};
use crate::wasi::component::Surroundings;

use gate::Gate;
use request::{Ask, Errand, Leave, Ticket};

pub(crate) use world::{Http, INTERFACES, add_to_linker};

/// What the name of the interface whose export makes a component a service begins with.
pub(crate) const INCOMING_HANDLER: &str = "wasi:http/incoming-handler@0.2.";

/// A component that exports `wasi:http/incoming-handler`, ready to be instantiated.
pub(crate) struct ServiceProgram {
    pre: InstancePre<Guest<ComponentWorld>>,
    proxy: ProxyIndices,
    health: Option<HealthIndices>,
}

impl ServiceProgram {
    /// Looks for what a service exports.
    pub(crate) fn new(pre: InstancePre<Guest<ComponentWorld>>) -> wasmtime::Result<Self> {
        Ok(Self {
            proxy: ProxyIndices::new(&pre)?,
            health: HealthIndices::new(&pre).ok(),
            pre,
        })
    }

    /// Whether it says how it is.
    pub(crate) fn says_health(&self) -> bool {
        self.health.is_some()
    }

    async fn instantiate(
        &self,
        store: &mut Store<Guest<ComponentWorld>>,
    ) -> wasmtime::Result<(Instance, Proxy)> {
        let instance = self.pre.instantiate_async(&mut *store).await?;
        let proxy = self.proxy.load(&mut *store, &instance)?;
        Ok((instance, proxy))
    }

    fn health(
        &self,
        store: &mut Store<Guest<ComponentWorld>>,
        instance: &Instance,
    ) -> wasmtime::Result<Option<Health>> {
        let health = self.health.as_ref();
        health.map(|it| it.load(store, instance)).transpose()
    }
}

/// What all instances of one service share.
pub(crate) struct Desk {
    program: Arc<Program>,
    task: SharedTask,
    service: Service,
    control: Arc<Control>,
    surroundings: Surroundings,
    side: Seed,
    host: Arc<Host>,
    gate: Gate,
    /// The task's fuel is used up.
    exhausted: Notify,
}

impl std::fmt::Debug for Desk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Desk")
            .field("service", &self.service)
            .finish_non_exhaustive()
    }
}

/// What a desk is made from.
pub(crate) struct DeskSpec {
    pub(crate) program: Arc<Program>,
    pub(crate) task: SharedTask,
    pub(crate) service: Service,
    pub(crate) control: Arc<Control>,
    pub(crate) surroundings: Surroundings,
    pub(crate) side: Side,
    pub(crate) host: Arc<Host>,
}

impl Desk {
    pub(crate) fn new(spec: DeskSpec) -> Arc<Self> {
        let desk = Arc::new(Self {
            gate: Gate::new(spec.service.concurrency),
            program: spec.program,
            task: spec.task,
            service: spec.service,
            control: spec.control,
            surroundings: spec.surroundings,
            side: spec.side.into_seed(),
            host: spec.host,
            exhausted: Notify::new(),
        });
        desk.control.set_desk(&desk);
        desk
    }

    /// Accepts connections until `closing` says so, and returns when the last one is over.
    pub(crate) async fn serve(
        self: Arc<Self>,
        listener: TcpListener,
        closing: watch::Receiver<bool>,
    ) {
        door::serve(self, listener, closing).await;
    }

    /// Waits until the task's fuel is used up.
    pub(crate) async fn exhausted(&self) {
        self.exhausted.notified().await;
    }

    /// Ends all instances and waits until none is left.
    pub(crate) async fn close(&self) {
        self.gate.close();
        self.gate.gone().await;
    }

    /// Asks the guest's function `health` how it is.
    pub(crate) async fn health(self: &Arc<Self>) -> Result<(), String> {
        let ticket = Arc::new(Ticket::default());
        let _leave = Leave::new(ticket.clone());
        let (answer, answered) = oneshot::channel();
        let errand = Errand::Health(answer);
        let deadline = self.deadline();
        let ask = Ask {
            errand,
            ticket,
            deadline,
        };
        self.offer(ask).map_err(|refusal| refusal.to_string())?;
        answered
            .await
            .unwrap_or_else(|_| Err("the call did not come to its end".to_owned()))
    }

    /// When a request that comes now has to be answered.
    fn deadline(&self) -> Option<tokio::time::Instant> {
        let timeout = self.service.request_timeout?;
        tokio::time::Instant::now().checked_add(timeout)
    }

    /// The most memory that one instance may hold.
    fn instance_bytes(&self) -> u64 {
        self.service.instance_mem_bytes.unwrap_or(u64::MAX)
    }

    /// The account of one more instance, if there is memory for it.
    fn memory(&self) -> Option<MemoryAccount> {
        let ledger = self.control.ledger.clone();
        MemoryAccount::of_instance(ledger, self.program.minimum_bytes, self.instance_bytes())
    }

    /// What of the task's fuel is left.
    fn fuel_left(&self) -> u64 {
        let Some(fuel) = self.task.limits.fuel else {
            return u64::MAX;
        };
        fuel.saturating_sub(self.control.usage().fuel)
    }

    /// Writes into the log what became of a request that did not end well. Nobody is held up for it.
    fn log(&self, what: &str, exit: &Exit) {
        let mut text = format!("nesos: {what}: {}\n", exit.message);
        for frame in &exit.backtrace {
            text.push_str("nesos:     ");
            text.push_str(frame);
            text.push('\n');
        }
        let stderr = self.surroundings.stderr();
        if let Err(error) = stderr.try_write(Bytes::from(text)) {
            tracing::debug!(%error, "a line of a service's log was lost");
        }
    }
}

/// Listens on a port of this host.
pub(crate) fn listen(port: u16) -> io::Result<TcpListener> {
    let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, port))?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}
