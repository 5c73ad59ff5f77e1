//! A framework whose tasks run in one executor: `executor FILE.wasm TEXT…` runs a task for each text and prints what the
//! executor makes of it. The scheduler of the README.

use std::error::Error;
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use nesos_sdk::{
    Driver, MasterClient, QueueConfig, QueueEvent, QueueInput, SessionConfig, TaskQueue, digest_of,
};
use nesos_types::executor::ExecutorInfo;
use nesos_types::framework::FrameworkInfo;
use nesos_types::resources::Resources;
use nesos_types::role::Role;
use nesos_types::task::{TaskInfo, TaskState, Work};

#[expect(clippy::print_stdout, reason = "an example that prints answers")]
#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args().skip(1);
    let wasm = args.next().ok_or("usage: executor FILE.wasm TEXT...")?;
    let texts: Vec<_> = args.collect();
    let url = std::env::var("NESOS_MASTER").unwrap_or("127.0.0.1:5050".to_owned());
    for answer in answers(&url, Path::new(&wasm), &texts).await? {
        println!("{answer}");
    }
    Ok(())
}

/// What the executor in this file makes of the texts, in the order in which it does.
pub(crate) async fn answers(
    url: &str,
    wasm: &Path,
    texts: &[String],
) -> Result<Vec<String>, Box<dyn Error>> {
    let master = MasterClient::connect(url, Duration::from_secs(10), |_, _| {}).await?;
    let bytes = Bytes::from(std::fs::read(wasm)?);
    let bundle = digest_of(&bytes);
    master.blobs().ensure(bundle, &bytes, |_| {}).await?;

    // The first task on an agent starts the executor there, the others join it.
    let executor = ExecutorInfo::new("one".parse()?, bundle, Resources::new(200, 64 << 20));
    let mut tasks = Vec::new();
    for (index, text) in texts.iter().enumerate() {
        let id = format!("text-{index}").parse()?;
        let mut task = TaskInfo::new(id, bundle, Resources::new(10, 1 << 20));
        task.work = Work::InExecutor {
            executor: executor.clone().into(),
            run: None,
        };
        task.data = text.clone().into_bytes();
        tasks.push(task.into());
    }

    let (queue, mut events) = TaskQueue::new(QueueConfig::default());
    let info = FrameworkInfo::new("texts", [Role::default_role()]);
    let (driver, handle) = Driver::new(queue, master, SessionConfig::new(info));
    let driver = tokio::spawn(driver.run());
    handle.send(QueueInput::Submit(tasks));
    let mut answers = Vec::new();
    while answers.len() < texts.len() {
        match events.recv().await.ok_or("the framework has ended")? {
            QueueEvent::Status(status) if status.state == TaskState::Finished => {
                answers.push(String::from_utf8(status.data)?);
            }
            QueueEvent::Status(status) if status.state.is_terminal() => {
                return Err(
                    format!("{} is {}: {}", status.task, status.state, status.message).into(),
                );
            }
            _ => {}
        }
    }
    handle.send(QueueInput::Teardown);
    driver.await??;
    Ok(answers)
}
