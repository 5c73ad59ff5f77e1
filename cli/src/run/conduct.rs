//! One task from its submission to its end: offers, launch, streams, signals, and what to say of it.
//!
//! Everything that happens arrives in one loop. The streams are pumped by a task of their own, so
//! that a slow reader holds up the guest and nothing else.

use std::pin::Pin;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use nesos_sdk::{
    BlobError, Driver, DriverError, Handle, MasterClient, Placement, QueueConfig, QueueEvent,
    QueueInput, SessionConfig, TaskQueue,
};
use nesos_types::framework::{FrameworkInfo, OfferFilters};
use nesos_types::ids::{FrameworkId, TaskKey};
use nesos_types::role::Role;
use nesos_types::task::{TaskInfo, TaskState, TaskStatus};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until};

use super::bundle::Bundle;
use super::progress::{self, Progress};
use super::pump::{Pump, PumpError};
use super::verdict::Verdict;
use super::waiting;
use crate::failure::Failure;
use crate::output;

pub(crate) use super::signals::{Received, Signals};

/// What is to be run.
#[derive(Debug)]
pub(crate) struct Order {
    pub(crate) bundle: Bundle,
    pub(crate) task: TaskInfo,
    pub(crate) role: Role,
}

/// How long the tasks of a `nesos run` that was killed the hard way outlive it.
const FAILOVER_TIMEOUT: Duration = Duration::from_secs(10);

/// How long to wait for an offer before saying why there is none, and between two such lines.
const OFFER_PATIENCE: Duration = Duration::from_secs(2);
const EXPLAIN_INTERVAL: Duration = Duration::from_secs(15);

/// How long a task that was told to end may take to say that it has.
const KILL_PATIENCE: Duration = Duration::from_secs(6);

/// How long the rest may take when one side of a task is known to have ended: its output after its
/// status, its status after its output broke.
const REST_PATIENCE: Duration = Duration::from_secs(10);

/// How long the master may take to hear that the framework is over.
const TEARDOWN_PATIENCE: Duration = Duration::from_secs(2);

type Upload = Pin<Box<dyn Future<Output = Result<(), BlobError>> + Send>>;
type Inspection = Pin<Box<dyn Future<Output = Result<(), Failure>> + Send>>;

/// Runs a task on this master's cluster and answers its exit status. Signals end the task.
pub(crate) async fn conduct(
    master: MasterClient,
    order: Order,
    signals: &mut Signals,
) -> Result<ExitCode, Failure> {
    let (mem_bytes, serves) = (order.task.resources.mem_bytes, order.task.service.is_some());
    let inspection = order.bundle.clone().inspect(mem_bytes, serves);
    let (mut conduct, mut upload) = Conduct::begin(master, order);
    let result = conduct
        .run(&mut upload, Box::pin(inspection), signals)
        .await;
    conduct.progress.clear();
    conduct.leave().await;
    let verdict = result?;
    for (index, line) in verdict.lines.iter().enumerate() {
        if index == 0 {
            output::complain(line);
        } else {
            output::remark(line);
        }
    }
    Ok(ExitCode::from(verdict.status))
}

/// Where a run stands.
#[derive(Debug)]
struct Conduct {
    master: MasterClient,
    task: Arc<TaskInfo>,
    role: Role,
    bundle_bytes: u64,
    handle: Handle<QueueInput>,
    events: mpsc::UnboundedReceiver<QueueEvent>,
    driver: JoinHandle<Result<TaskQueue, DriverError>>,
    framework: Option<FrameworkId>,
    submitted: bool,
    launched: bool,
    pump: Option<Pump>,
    /// Where a service is reached, once it is known which agent has it.
    address: Option<String>,
    /// Why the streams broke before the task had ended.
    broken: Option<PumpError>,
    status: Option<TaskStatus>,
    signal: Option<Received>,
    progress: Progress,
    explain_at: Instant,
    explained: String,
    spinner_at: Option<Instant>,
    /// Whether the bundle was found to be one that can run.
    inspected: bool,
    /// When to stop waiting for what should come soon.
    give_up_at: Option<Instant>,
}

impl Conduct {
    fn begin(master: MasterClient, order: Order) -> (Self, Upload) {
        let revocable = order.task.resources.revocable_cpu_milli() > 0;
        let filters = OfferFilters {
            revocable,
            ..OfferFilters::default()
        };
        let mut info = FrameworkInfo::new("nesos run", [order.role.clone()]);
        info.offer_filters.insert(order.role.clone(), filters);
        info.failover_timeout = FAILOVER_TIMEOUT;
        info.labels
            .insert("program".to_owned(), order.bundle.program());
        // Offers are held until the bundle is there: subscribing and uploading go on side by side.
        let (queue, events) = TaskQueue::new(QueueConfig {
            hold_offers: true,
            report_launches: true,
            ..QueueConfig::default()
        });
        let (driver, handle) = Driver::new(queue, master.clone(), SessionConfig::new(info));
        let mut blobs = master.blobs();
        let bytes = order.bundle.bytes();
        let bundle_bytes = bytes.as_ref().map_or(0, |bytes| bytes.len() as u64);
        let progress = Progress::upload(bundle_bytes);
        let conduct = Self {
            master,
            task: Arc::new(order.task),
            role: order.role,
            bundle_bytes,
            handle,
            events,
            driver: tokio::spawn(driver.run()),
            framework: None,
            submitted: false,
            launched: false,
            pump: None,
            address: None,
            broken: None,
            status: None,
            signal: None,
            progress: progress.clone(),
            explain_at: Instant::now() + OFFER_PATIENCE,
            explained: String::new(),
            spinner_at: None,
            inspected: false,
            give_up_at: None,
        };
        let upload = async move {
            let Some(bytes) = bytes else {
                return Ok(());
            };
            let digest = order.bundle.digest;
            blobs
                .ensure(digest, &bytes, move |sent| progress.at(sent))
                .await
        };
        (conduct, Box::pin(upload))
    }

    async fn run(
        &mut self,
        upload: &mut Upload,
        mut inspection: Inspection,
        signals: &mut Signals,
    ) -> Result<Verdict, Failure> {
        loop {
            if let Some(verdict) = self.verdict()? {
                return Ok(verdict);
            }
            let waits_for_offer = self.submitted && !self.launched && self.status.is_none();
            tokio::select! {
                fit = inspection.as_mut(), if !self.inspected => {
                    fit?;
                    self.inspected = true;
                }
                uploaded = upload.as_mut(), if !self.submitted => self.submit(uploaded?),
                event = self.events.recv() => match event {
                    Some(event) => self.on_event(event)?,
                    None => return Err(self.driver_failure().await),
                },
                ended = pumped(&mut self.pump) => self.on_pump_end(ended),
                signal = signals.next() => self.on_signal(signal),
                () = sleep_until(self.explain_at), if waits_for_offer => self.explain().await,
                () = reached(self.spinner_at) => self.show_spinner(),
                () = reached(self.give_up_at) => return self.give_up(),
            }
        }
    }

    fn submit(&mut self, (): ()) {
        self.progress.clear();
        self.submitted = true;
        self.explain_at = Instant::now() + OFFER_PATIENCE;
        if self.signal.is_none() {
            self.handle
                .send(QueueInput::Submit(vec![self.task.clone()]));
            self.handle.send(QueueInput::HoldOffers(false));
        }
    }

    fn on_event(&mut self, event: QueueEvent) -> Result<(), Failure> {
        match event {
            QueueEvent::Subscribed(framework) => self.framework = Some(framework),
            QueueEvent::Launched(_, placement) => self.on_launched(&placement)?,
            QueueEvent::Status(status) => self.on_status(status),
            QueueEvent::Disconnected => {
                self.remark("lost the connection to the master; trying again")
            }
            QueueEvent::Reconnected => self.remark("connected to the master again"),
            // A program on the command line has nobody to write to, and no executors.
            QueueEvent::Message { .. } | QueueEvent::ExecutorEnded(..) => {}
            QueueEvent::Refused(refusal) => return Err(Failure::said(refusal.to_string())),
        }
        Ok(())
    }

    /// A task that is launched again after a drop has another agent, and a client there attaches anew.
    fn on_launched(&mut self, placement: &Placement) -> Result<(), Failure> {
        let Some(framework) = self.framework else {
            return Ok(());
        };
        let key = TaskKey {
            framework,
            task: self.task.id.clone(),
        };
        self.launched = true;
        let service = self.task.service.as_ref();
        self.address = service.map(|service| address(&placement.agent_url, service.port));
        self.pump = Some(Pump::start(&placement.agent_url, key)?);
        self.spinner_at = Some(Instant::now() + progress::PATIENCE);
        Ok(())
    }

    fn on_status(&mut self, status: TaskStatus) {
        match status.state {
            TaskState::Running | TaskState::Killing => {
                self.spinner_at = None;
                self.progress.clear();
                // Said once, however often it is said to run.
                if let Some(address) = self.address.take() {
                    output::complain(&format!("serving at {address}; Ctrl-C ends it"));
                }
                if status.healthy == Some(false) {
                    output::complain(&status.message);
                }
            }
            TaskState::Unreachable => {
                self.remark("the task's agent cannot be reached; waiting for it to come back");
            }
            state if state.is_terminal() || state == TaskState::Unknown => {
                self.spinner_at = None;
                self.progress.clear();
                self.give_up_at = None;
                self.status = Some(status);
            }
            _ => {}
        }
    }

    /// The streams have ended, well or badly.
    fn on_pump_end(&mut self, ended: Result<(), PumpError>) {
        self.pump = None;
        let Err(error) = ended else {
            return;
        };
        if self.status.is_none() {
            self.kill();
        }
        self.broken = Some(error);
    }

    fn on_signal(&mut self, signal: Received) {
        if self.signal.is_some() || !self.submitted {
            // The second time, or before there is a task: at once.
            self.give_up_at = Some(Instant::now());
        } else {
            self.kill();
        }
        self.signal.get_or_insert(signal);
    }

    fn kill(&mut self) {
        let task = self.task.id.clone();
        // Of a service, the requests that are under way may end.
        let grace = self.task.service.is_none().then_some(Duration::ZERO);
        self.handle.send(QueueInput::Kill(task, grace));
        self.give_up_at = Some(Instant::now() + KILL_PATIENCE);
    }

    async fn explain(&mut self) {
        self.explain_at = Instant::now() + EXPLAIN_INTERVAL;
        let Some(framework) = self.framework else {
            return;
        };
        let mut operator = self.master.operator();
        let why = waiting::why(&mut operator, framework, &self.task, &self.role).await;
        if let Some(why) = why.filter(|why| *why != self.explained) {
            self.remark(&why);
            self.explained = why;
        }
    }

    fn show_spinner(&mut self) {
        self.spinner_at = None;
        self.progress = Progress::spinner(
            "preparing, the first time it is compiled",
            self.bundle_bytes,
        );
    }

    /// Says something in between; not in the way of a bar.
    fn remark(&mut self, text: &str) {
        self.progress.clear();
        output::complain(text);
    }

    /// The verdict, if everything that belongs to it is known.
    fn verdict(&mut self) -> Result<Option<Verdict>, Failure> {
        let Some(status) = self.status.as_ref().filter(|_| self.inspected) else {
            return Ok(None);
        };
        if self.is_output_to_come(status) {
            self.give_up_at
                .get_or_insert_with(|| Instant::now() + REST_PATIENCE);
            if self.pump.as_ref().is_some_and(Pump::is_attached) {
                // Output flows as fast as it is read, and whoever reads it has all the time there is.
                self.give_up_at = self.signal.map(|_| Instant::now() + REST_PATIENCE);
            }
            return Ok(None);
        }
        if let Some(signal) = self.signal {
            return Ok(Some(Verdict::signalled(signal.name, signal.number)));
        }
        match self.broken.take() {
            Some(error) if error.is_own_fault() => Err(error.into()),
            _ => Ok(Some(Verdict::of(status))),
        }
    }

    /// Whether the guest ran and its output has not all been written.
    fn is_output_to_come(&self, status: &TaskStatus) -> bool {
        let ran = status.usage.is_some() || status.exit_code.is_some();
        self.pump
            .as_ref()
            .is_some_and(|pump| ran || pump.is_attached())
    }

    /// What was awaited did not come in time.
    fn give_up(&mut self) -> Result<Verdict, Failure> {
        if let Some(signal) = self.signal {
            return Ok(Verdict::signalled(signal.name, signal.number));
        }
        match (self.broken.take(), &self.status) {
            (Some(error), _) => Err(error.into()),
            (None, Some(status)) => {
                let mut verdict = Verdict::of(status);
                let line = "the end of the task's output did not come".to_owned();
                verdict.lines.push(line);
                Ok(verdict)
            }
            (None, None) => Err(Failure::said("the task did not say how it ended")),
        }
    }

    async fn driver_failure(&mut self) -> Failure {
        match (&mut self.driver).await {
            Ok(Err(error)) => error.into(),
            Ok(Ok(_)) => Failure::said("the framework was torn down by somebody else"),
            Err(error) => Failure::new("the framework's driver was lost", error),
        }
    }

    /// Ends the framework: whatever is left of it ends too.
    async fn leave(mut self) {
        self.pump = None;
        self.handle.send(QueueInput::Teardown);
        if !self.driver.is_finished() {
            // A master that does not answer will notice by itself that the framework is gone.
            let _ = tokio::time::timeout(TEARDOWN_PATIENCE, &mut self.driver).await;
        }
        self.driver.abort();
    }
}

/// Where a service on this agent is reached.
fn address(agent_url: &str, port: u16) -> String {
    let host = agent_url
        .rsplit_once("://")
        .map_or(agent_url, |(_, rest)| rest);
    let host = host.split('/').next().unwrap_or_default();
    let host = host.rsplit_once(':').map_or(host, |(host, _)| host);
    format!("http://{host}:{port}/")
}

/// The end of the streams; never while there are none.
async fn pumped(pump: &mut Option<Pump>) -> Result<(), PumpError> {
    match pump {
        Some(pump) => pump.ended().await,
        None => std::future::pending().await,
    }
}

/// Waits for a moment; for ever if there is none.
async fn reached(at: Option<Instant>) {
    match at {
        Some(at) => sleep_until(at).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_is_where_its_agent_is() {
        for (agent, service) in [
            ("http://127.0.0.1:5051", "http://127.0.0.1:80/"),
            ("http://host.example:5051/", "http://host.example:80/"),
            ("http://[::1]:5051", "http://[::1]:80/"),
        ] {
            assert_eq!(address(agent, 80), service);
        }
    }
}
