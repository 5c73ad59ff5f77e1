//! A framework in the test's own process: the SDK's queue, driven by hand.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use nesos_sdk::{
    Driver, DriverError, Handle, MasterClient, QueueConfig, QueueEvent, QueueInput, SessionConfig,
    TaskQueue, digest_of,
};
use nesos_types::bundle::Digest;
use nesos_types::executor::{Correspondent, ExecutorInfo};
use nesos_types::framework::FrameworkInfo;
use nesos_types::ids::AgentId;
use nesos_types::resources::Resources;
use nesos_types::role::Role;
use nesos_types::task::{TaskInfo, TaskState, TaskStatus, Work};
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::task::JoinHandle;

/// After so much silence something is wrong.
const PATIENCE: Duration = Duration::from_secs(60);

/// Runs a test that has a framework.
pub(crate) fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime")
        .block_on(future)
}

/// A framework that is connected.
pub(crate) struct Framework {
    master: MasterClient,
    pub(crate) handle: Handle<QueueInput>,
    events: UnboundedReceiver<QueueEvent>,
    /// What happened and nobody has picked.
    heard: VecDeque<QueueEvent>,
    driver: JoinHandle<Result<TaskQueue, DriverError>>,
}

impl Framework {
    pub(crate) async fn connect(url: &str) -> Self {
        let master = MasterClient::connect(url, PATIENCE, |_, _| {}).await;
        let master = master.expect("a master");
        let (queue, events) = TaskQueue::new(QueueConfig::default());
        let info = FrameworkInfo::new("e2e", [Role::default_role()]);
        let (driver, handle) = Driver::new(queue, master.clone(), SessionConfig::new(info));
        Self {
            master,
            handle,
            events,
            heard: VecDeque::new(),
            driver: tokio::spawn(driver.run()),
        }
    }

    /// Sees to it that the master has a guest.
    pub(crate) async fn upload(&self, wasm: &str) -> Digest {
        self.upload_bytes(std::fs::read(wasm).expect("a guest"))
            .await
    }

    /// Sees to it that the master has these bytes, whatever they are.
    pub(crate) async fn upload_bytes(&self, bytes: impl Into<Bytes>) -> Digest {
        let bytes = bytes.into();
        let digest = digest_of(&bytes);
        let uploaded = self.master.blobs().ensure(digest, &bytes, |_| {}).await;
        uploaded.expect("uploaded");
        digest
    }

    pub(crate) fn submit(&self, tasks: impl IntoIterator<Item = TaskInfo>) {
        let tasks = tasks.into_iter().map(Into::into).collect();
        self.handle.send(QueueInput::Submit(tasks));
    }

    pub(crate) fn message(&self, agent: AgentId, executor: &str, data: &[u8]) {
        self.handle.send(QueueInput::Message {
            agent,
            to: Correspondent::Executor(executor.parse().expect("an executor id")),
            data: data.to_vec(),
        });
    }

    /// The next thing that this picks out of what happens. What it does not pick stays to be picked.
    pub(crate) async fn await_event<T>(
        &mut self,
        mut pick: impl FnMut(&QueueEvent) -> Option<T>,
    ) -> T {
        let mut at = 0;
        loop {
            while at < self.heard.len() {
                if let Some(picked) = pick(&self.heard[at]) {
                    self.heard.remove(at);
                    return picked;
                }
                at += 1;
            }
            let event = tokio::time::timeout(PATIENCE, self.events.recv()).await;
            let Ok(event) = event else {
                panic!("nothing more happens after {:#?}", self.heard);
            };
            let event = event.expect("the driver runs");
            self.heard.push_back(event);
        }
    }

    /// The status with which a task reaches this state. It must not end otherwise.
    pub(crate) async fn reaches(&mut self, task: &str, state: TaskState) -> TaskStatus {
        let status = self.await_event(|event| match event {
            QueueEvent::Status(status)
                if status.task.as_str() == task
                    && (status.state == state || status.state.is_terminal()) =>
            {
                Some(status.clone())
            }
            _ => None,
        });
        let status = status.await;
        assert_eq!(status.state, state, "{status:?}");
        status
    }

    /// The status with which a task ends, however it does.
    pub(crate) async fn ends(&mut self, task: &str) -> TaskStatus {
        let status = self.await_event(|event| match event {
            QueueEvent::Status(status)
                if status.task.as_str() == task && status.state.is_terminal() =>
            {
                Some(status.clone())
            }
            _ => None,
        });
        status.await
    }

    /// Ends the framework and all its tasks.
    pub(crate) async fn teardown(self) {
        self.handle.send(QueueInput::Teardown);
        let ended = self.driver.await.expect("no panic");
        ended.expect("torn down");
    }
}

/// A task with a sandbox of its own.
pub(crate) fn task(id: &str, bundle: Digest) -> TaskInfo {
    let resources = Resources::new(100, 32 << 20).with_disk(1 << 20);
    let id = id.parse().expect("a task id");
    let mut task = TaskInfo::new(id, bundle, resources);
    task.args = vec![task.id.to_string()];
    task
}

/// An executor that runs this bundle.
pub(crate) fn executor(id: &str, bundle: Digest) -> ExecutorInfo {
    let id = id.parse().expect("an executor id");
    let resources = Resources::new(200, 64 << 20).with_disk(1 << 20);
    ExecutorInfo::new(id, bundle, resources)
}

/// A task that an executor is to run.
pub(crate) fn task_in(executor: &ExecutorInfo, id: &str, data: &[u8]) -> TaskInfo {
    let mut task = task(id, executor.bundle);
    // What is in the executor's folder is the executor's.
    task.resources = Resources::new(100, 32 << 20);
    task.work = Work::InExecutor {
        executor: executor.clone().into(),
        run: None,
    };
    task.data = data.to_vec();
    task
}
