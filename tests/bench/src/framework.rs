//! A framework of the SDK in this process: a task queue and the driver that connects it.

use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use bytes::Bytes;
use nesos_api::v1::StatePart;
use nesos_sdk::{
    Driver, Handle, MasterClient, QueueConfig, QueueEvent, QueueInput, SessionConfig, TaskQueue,
    digest_of,
};
use nesos_types::bundle::Digest;
use nesos_types::framework::FrameworkInfo;
use nesos_types::ids::TaskId;
use nesos_types::resources::Resources;
use nesos_types::role::Role;
use nesos_types::task::{SharedTask, TaskInfo, TaskState, TaskStatus};
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::task::JoinHandle;

/// After so much silence something is wrong.
const PATIENCE: Duration = Duration::from_secs(60);

/// A framework that is connected.
pub(crate) struct Framework {
    master: MasterClient,
    handle: Handle<QueueInput>,
    events: UnboundedReceiver<QueueEvent>,
    driver: JoinHandle<Result<TaskQueue, nesos_sdk::DriverError>>,
}

impl Framework {
    pub(crate) async fn connect(url: &str, config: QueueConfig) -> Result<Self> {
        let master = MasterClient::connect(url, PATIENCE, |_, _| {}).await?;
        let (queue, events) = TaskQueue::new(config);
        let info = FrameworkInfo::new("nesos-bench", [Role::default_role()]);
        let (driver, handle) = Driver::new(queue, master.clone(), SessionConfig::new(info));
        Ok(Self {
            master,
            handle,
            events,
            driver: tokio::spawn(driver.run()),
        })
    }

    /// Sees to it that the master has a guest.
    pub(crate) async fn upload(&self, wasm: &str) -> Result<Digest> {
        let bytes = Bytes::from(std::fs::read(wasm).with_context(|| wasm.to_owned())?);
        let digest = digest_of(&bytes);
        self.master
            .blobs()
            .ensure(digest, &bytes, |_| {})
            .await
            .context("cannot upload a guest")?;
        Ok(digest)
    }

    pub(crate) fn submit(&self, tasks: Vec<SharedTask>) {
        self.handle.send(QueueInput::Submit(tasks));
    }

    pub(crate) fn send(&self, input: QueueInput) {
        self.handle.send(input);
    }

    /// The next thing that happens.
    pub(crate) async fn event(&mut self) -> Result<QueueEvent> {
        let event = tokio::time::timeout(PATIENCE, self.events.recv())
            .await
            .with_context(|| format!("nothing was heard for {PATIENCE:?}"))?;
        match event.context("the driver has ended")? {
            QueueEvent::Refused(refusal) => bail!("the master refused: {refusal}"),
            QueueEvent::Disconnected => bail!("the connection broke"),
            event => Ok(event),
        }
    }

    /// Waits until something is offered. Nobody is told of offers that a queue holds, so the master is asked.
    pub(crate) async fn offered(&self) -> Result<()> {
        for _ in 0..12_000 {
            let state = self.master.operator().state(&[StatePart::Offers]).await?;
            if !state.offers.is_empty() {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        bail!("nothing was offered for a minute")
    }

    /// The next status of any task.
    pub(crate) async fn status(&mut self) -> Result<TaskStatus> {
        loop {
            if let QueueEvent::Status(status) = self.event().await? {
                return Ok(status);
            }
        }
    }

    /// Waits until so many tasks have finished well.
    pub(crate) async fn finished(&mut self, count: usize) -> Result<()> {
        self.reached(TaskState::Finished, count).await
    }

    /// Waits until so many statuses with this state have come, and no task has ended otherwise.
    pub(crate) async fn reached(&mut self, state: TaskState, count: usize) -> Result<()> {
        let mut reached = 0;
        while reached < count {
            let status = self.status().await?;
            if status.state == state {
                reached += 1;
            } else {
                ensure!(
                    !status.state.is_terminal(),
                    "task {} is {} after {reached} of {count}: {}",
                    status.task,
                    status.state,
                    status.message
                );
            }
        }
        Ok(())
    }

    /// Waits until this task has finished well; what is said again of others after a restart is not heeded.
    pub(crate) async fn finished_well(&mut self, task: &TaskId) -> Result<()> {
        loop {
            let status = self.status().await?;
            if status.task == *task && status.state.is_terminal() {
                let (state, why) = (status.state, &status.message);
                ensure!(
                    state == TaskState::Finished,
                    "task {task} is {state}: {why}"
                );
                return Ok(());
            }
        }
    }

    /// Ends the framework and all its tasks.
    pub(crate) async fn teardown(self) -> Result<()> {
        self.handle.send(QueueInput::Teardown);
        self.driver.await??;
        Ok(())
    }
}

/// Descriptions of `count` tasks that run a guest, called by a prefix and a number.
pub(crate) fn tasks(
    prefix: &str,
    count: usize,
    bundle: Digest,
    resources: &Resources,
    args: &[&str],
) -> Result<Vec<SharedTask>> {
    let args: Vec<String> = args.iter().map(ToString::to_string).collect();
    (0..count)
        .map(|index| {
            let id = format!("{prefix}-{index}").parse()?;
            let mut task = TaskInfo::new(id, bundle, resources.clone());
            task.args.clone_from(&args);
            Ok(SharedTask::new(task))
        })
        .collect()
}
