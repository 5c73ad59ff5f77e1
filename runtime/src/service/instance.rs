//! One instance of a service: a store that answers one request after another, and is dropped at the first that does
//! not end well.

use std::future::Future;
use std::pin::pin;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Poll;
use std::time::Duration;

use hyper::Response;
use nesos_types::task::TaskReason;
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep_until};
use wasmtime::Store;
use wasmtime::component::Instance;
use wasmtime_wasi_http::WasiHttpView as _;
use wasmtime_wasi_http::p2::bindings::Proxy;
use wasmtime_wasi_http::p2::bindings::http::types::{ErrorCode, Scheme};
use wasmtime_wasi_http::p2::body::HyperOutgoingBody;

use super::Desk;
use super::gate::{Next, Place};
use super::refusal::Refusal;
use super::request::{Ask, Errand, Over, Ticket};
use crate::cpu::{Meter, this_quantum_ns};
use crate::exit::{Circumstances, Exit};
use crate::guest::Guest;
use crate::guest_api::ComponentWorld;
use crate::program::{Ended, launch_failed};
use crate::service::Http;
use crate::wasi::Stdin;
use crate::wasi::component::{self, State};

/// How long an instance without work is kept.
const IDLE: Duration = Duration::from_secs(30);

/// Bytes of a request's line that are logged.
const MAX_LINE: usize = 256;

type GuestStore = Store<Guest<ComponentWorld>>;

/// The whole life of an instance.
pub(super) async fn live(desk: &Arc<Desk>, place: Place, first: Ask) {
    let (key, meter) = (place.key, place.meter.clone());
    let _slot = place.slot;
    let guest = Guest {
        world: ComponentWorld {
            wasi: State::within(&desk.surroundings, Stdin::Empty),
            side: desk.side.side(),
            http: Http::default(),
        },
        memory: place.memory,
        meter: meter.clone(),
        fuel: 0,
    };
    let flavour = desk.program.flavour;
    let fuel = flavour.counts_fuel().then(|| desk.fuel_left());
    let mut store = match guest.into_store(&desk.program.engine, fuel) {
        Ok(store) => store,
        Err(error) => {
            desk.log("an instance", &launch_failed(error));
            return first.refuse(Refusal::Failed);
        }
    };
    component::limit_store(&mut store);
    let mut worker = Worker {
        desk,
        meter,
        key,
        instance: None,
    };
    let mut next = Some(first);
    let mut answered = 0;
    while let Some(ask) = next {
        let well = worker.answer(&mut store, ask).await;
        Guest::publish((&store).into());
        answered += 1;
        if !well || answered >= desk.service.requests_per_instance {
            return;
        }
        next = match desk.gate.next() {
            Next::Answer(ask) => Some(ask),
            Next::Wait(asked) => tokio::time::timeout(IDLE, asked)
                .await
                .ok()
                .and_then(Result::ok),
            Next::End => None,
        };
    }
}

/// An instance at work.
struct Worker<'a> {
    desk: &'a Arc<Desk>,
    meter: Arc<Meter>,
    key: usize,
    instance: Option<(Instance, Proxy)>,
}

/// Why a guest was stopped while it answered a request.
enum Stop {
    /// The whole service ends.
    Closing,
    Over(Over),
    CpuTime,
}

/// How a request is answered, by whoever comes first.
type Answering = Arc<Mutex<Option<oneshot::Sender<Result<Response<HyperOutgoingBody>, Refusal>>>>>;

/// Sends the answer, if none was sent before.
fn send(answering: &Answering, answer: Result<Response<HyperOutgoingBody>, Refusal>) -> bool {
    let sender = answering
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .take();
    // A client that has gone away does not mind.
    sender.map(|sender| drop(sender.send(answer))).is_some()
}

impl Worker<'_> {
    /// Does what is asked. Says whether the instance can do more.
    async fn answer(&mut self, store: &mut GuestStore, ask: Ask) -> bool {
        let Ask {
            errand,
            ticket,
            deadline,
        } = ask;
        if let Some(job) = self.desk.gate.job(self.key) {
            ticket.taken_by(&job);
        }
        let meter = self.meter.clone();
        let limits = Limits::new(self.desk, &meter, &ticket, deadline);
        match errand {
            Errand::Http { request, answer } => {
                let line = (request.method().clone(), request.uri().clone());
                let answering: Answering = Arc::new(Mutex::new(Some(answer)));
                let handled = self.handle(store, request, answering.clone());
                let done = limits.over(handled).await;
                self.settle(store, &ticket, done, |refusal| {
                    send(&answering, Err(refusal));
                    let mut line = format!("{} {}", line.0, line.1);
                    line.truncate(line.floor_char_boundary(MAX_LINE));
                    line.escape_debug().to_string()
                })
            }
            Errand::Health(answer) => {
                let called = self.health(store);
                let done = limits.over(called).await;
                match done {
                    Ok(Ok(said)) => {
                        // Whoever asked may have lost patience.
                        drop(answer.send(said));
                        true
                    }
                    done => self.settle(store, &ticket, done.map(|it| it.map(drop)), |refusal| {
                        drop(answer.send(Err(refusal.to_string())));
                        "a call of `healthy`".to_owned()
                    }),
                }
            }
        }
    }

    /// Lets the guest answer a request.
    async fn handle(
        &mut self,
        store: &mut GuestStore,
        request: Box<hyper::Request<super::request::RequestBody>>,
        answering: Answering,
    ) -> wasmtime::Result<()> {
        let (_, proxy) = self.instantiated(store).await?;
        let mut http = store.data_mut().http();
        let request = http.new_incoming_request(Scheme::Http, *request)?;
        let answered = answering.clone();
        let answer = http.new_response_outparam_from_callback(move |response| {
            send(&answered, response.map_err(|_: ErrorCode| Refusal::Failed));
        })?;
        let handler = proxy.wasi_http_incoming_handler();
        handler.call_handle(&mut *store, request, answer).await?;
        if send(&answering, Err(Refusal::Failed)) {
            return Err(wasmtime::format_err!("it returned without an answer"));
        }
        Ok(())
    }

    /// Asks the guest how it is.
    async fn health(&mut self, store: &mut GuestStore) -> wasmtime::Result<Result<(), String>> {
        let desk = self.desk;
        let &(instance, _) = self.instantiated(store).await?;
        let Some(program) = desk.program.service() else {
            return Ok(Ok(()));
        };
        match program.health(store, &instance)? {
            Some(health) => {
                let health = health.nesos_guest_health();
                health.call_healthy(&mut *store).await
            }
            None => Ok(Err("it does not export nesos:guest/health".to_owned())),
        }
    }

    /// The instance, which the first request makes: its start counts as part of that request.
    async fn instantiated(
        &mut self,
        store: &mut GuestStore,
    ) -> wasmtime::Result<&(Instance, Proxy)> {
        let instance = match (self.instance.take(), self.desk.program.service()) {
            (Some(instance), _) => instance,
            (None, Some(program)) => program.instantiate(store).await?,
            (None, None) => return Err(wasmtime::format_err!("it is no service")),
        };
        Ok(self.instance.insert(instance))
    }

    /// Draws the consequences of how a request ended; says whether the instance can do more. `refuse` gives
    /// the client an answer, if it has none yet, and says what it was that did not end well.
    fn settle(
        &self,
        store: &GuestStore,
        ticket: &Ticket,
        done: Result<wasmtime::Result<()>, Stop>,
        refuse: impl FnOnce(Refusal) -> String,
    ) -> bool {
        let (refusal, exit) = match done {
            Ok(Ok(())) => return true,
            Ok(Err(error)) => {
                let circumstances = self.circumstances(store);
                let exit = Ended::Raised(error).into_exit(&circumstances);
                (Refusal::Failed, exit)
            }
            Err(Stop::CpuTime) => (Refusal::CpuTime, self.stopped("its CPU time is used up")),
            Err(Stop::Over(Over::Late)) => (Refusal::Late, self.stopped("its time has passed")),
            Err(Stop::Over(Over::Gone | Over::Failed)) => return false,
            Err(Stop::Closing) => {
                refuse(Refusal::Closing);
                ticket.end(Over::Failed);
                return false;
            }
        };
        if exit.reason == TaskReason::FuelExhausted {
            self.desk.exhausted.notify_one();
        }
        // Before the store is gone and the client sees the end of the answer.
        ticket.end(Over::Failed);
        let what = refuse(refusal);
        self.desk.log(&what, &exit);
        false
    }

    fn stopped(&self, why: &str) -> Exit {
        Exit::failed(TaskReason::TimeLimit, why)
    }

    fn circumstances(&self, store: &GuestStore) -> Circumstances {
        let desk = self.desk;
        let quota = desk.surroundings.quota();
        Circumstances {
            memory_refused: store.data().memory.last_refused(),
            memory_bytes: desk.control.ledger.limit().min(desk.instance_bytes()),
            disk_exceeded: quota.was_exceeded(),
            disk_bytes: quota.max_bytes(),
            fuel: desk.task.limits.fuel,
        }
    }
}

/// Under which conditions a request may go on.
struct Limits<'a> {
    desk: &'a Desk,
    meter: &'a Meter,
    ticket: &'a Ticket,
    deadline: Option<Instant>,
    /// What the meter shows when its CPU time is used up.
    cpu_ns: Option<u64>,
}

impl<'a> Limits<'a> {
    fn new(
        desk: &'a Desk,
        meter: &'a Meter,
        ticket: &'a Ticket,
        deadline: Option<Instant>,
    ) -> Self {
        let mut limits = Self {
            desk,
            meter,
            ticket,
            deadline,
            cpu_ns: None,
        };
        limits.cpu_ns = desk.service.request_cpu.map(|limit| {
            let limit = u64::try_from(limit.as_nanos()).unwrap_or(u64::MAX);
            limits.used_ns().saturating_add(limit)
        });
        limits
    }

    fn used_ns(&self) -> u64 {
        self.meter.cpu_ns.load(Ordering::Relaxed) + this_quantum_ns()
    }

    /// Why the guest may not go on, if so. Asked before each quantum.
    fn stop(&self) -> Option<Stop> {
        if self.desk.gate.is_closed() {
            return Some(Stop::Closing);
        }
        if let Some(over) = self.ticket.over() {
            return Some(Stop::Over(over));
        }
        if self.desk.fuel_left() == 0 {
            self.desk.exhausted.notify_one();
        }
        let spent = self.cpu_ns.is_some_and(|limit| self.used_ns() > limit);
        spent.then_some(Stop::CpuTime)
    }

    /// Polls `work` for as long as it may go on.
    async fn over<F: Future>(&self, work: F) -> Result<F::Output, Stop> {
        let mut timer = None;
        let mut work = pin!(work);
        std::future::poll_fn(|cx| {
            if let Some(stop) = self.stop() {
                return Poll::Ready(Err(stop));
            }
            if let Poll::Ready(done) = work.as_mut().poll(cx) {
                return Poll::Ready(Ok(done));
            }
            let Some(deadline) = self.deadline else {
                return Poll::Pending;
            };
            let timer = timer.get_or_insert_with(|| Box::pin(sleep_until(deadline)));
            timer
                .as_mut()
                .poll(cx)
                .map(|()| Err(Stop::Over(Over::Late)))
        })
        .await
    }
}
