//! Executors and tasks that talk: a real framework, a real cluster, real guests.

use nesos_artifacts::{executors as guests, tasks as talking, wasip1};
use nesos_sdk::{QueueEvent, QueueInput};
use nesos_types::executor::Correspondent;
use nesos_types::resources::Resources;
use nesos_types::task::{TaskReason, TaskState};

use crate::framework::{Framework, block_on, executor, task, task_in};
use crate::harness::Dev;

#[path = "../../sdk-framework/examples/executor.rs"]
#[expect(dead_code, reason = "it is a program, and we are its `main`")]
mod example;

impl Framework {
    /// The next message from anybody, as text.
    async fn hears(&mut self) -> String {
        let said = self.await_event(|event| match event {
            QueueEvent::Message { data, .. } => Some(data.clone()),
            _ => None,
        });
        String::from_utf8(said.await).expect("text")
    }

    /// Launches one task into an executor of this guest.
    async fn launch_one(&mut self, guest: &str, data: &[u8]) {
        let executor = executor("x", self.upload(guest).await);
        self.submit([task_in(&executor, "a", data)]);
    }

    /// What the next executor that ends ends as.
    async fn sees_end(&mut self) -> (TaskState, Option<TaskReason>) {
        self.await_event(|event| match event {
            QueueEvent::ExecutorEnded(_, _, end) => Some((end.state, end.reason)),
            _ => None,
        })
        .await
    }
}

#[test]
fn the_example_of_the_readme_runs() {
    let dev = Dev::start(&[]);
    let texts = ["hello".to_owned(), "world".to_owned()];
    let answers = block_on(async {
        let answers = example::answers(&dev.url, guests::CAPITALS.as_ref(), &texts);
        answers.await.expect("answers")
    });
    assert_eq!(answers, ["HELLO", "WORLD"]);
}

#[test]
fn a_warm_model_answers_tasks_and_messages_and_shows_in_the_state() {
    let dev = Dev::start(&[]);
    block_on(async {
        let mut framework = Framework::connect(&dev.url).await;
        let mut executor = executor("model", framework.upload(guests::MODEL).await);
        executor.data = b"abababac".to_vec();
        framework.submit([
            task_in(&executor, "a", b"xa"),
            task_in(&executor, "b", b"xb"),
        ]);
        let answer = framework.reaches("a", TaskState::Finished).await;
        assert_eq!(answer.data, b"xab");
        framework.reaches("b", TaskState::Finished).await;
        let agent = answer.agent.expect("an agent");
        framework.message(agent, "model", b"hea");
        assert_eq!(framework.hears().await, "heab");
        let state = dev.ask(&["state"]);
        assert!(
            state.contains("Executors") && state.contains("model"),
            "{state}"
        );
        let id = "model".parse().expect("an id");
        framework
            .handle
            .send(QueueInput::ShutdownExecutor(agent, id, None));
        let (state, reason) = framework.sees_end().await;
        assert_eq!(
            (state, reason),
            (TaskState::Killed, Some(TaskReason::KillRequested))
        );
        framework.teardown().await;
    });
}

#[test]
fn children_of_an_executor_count_words() {
    let dev = Dev::start(&[]);
    block_on(async {
        let mut framework = Framework::connect(&dev.url).await;
        let mut executor = executor("count", framework.upload(guests::MAP_REDUCE).await);
        executor.resources = Resources::new(500, 256 << 20);
        framework.submit([task_in(&executor, "a", b"to be or\nnot to be\n")]);
        let counted = framework.reaches("a", TaskState::Finished).await;
        let text = String::from_utf8(counted.data).expect("text");
        assert_eq!(text, "be 2\nnot 1\nor 1\nto 2\n");
        framework.teardown().await;
    });
}

#[test]
fn a_timer_ticks_until_its_task_is_done_or_killed() {
    let dev = Dev::start(&[]);
    block_on(async {
        let mut framework = Framework::connect(&dev.url).await;
        let executor = executor("cron", framework.upload(guests::CRON).await);
        framework.submit([
            task_in(&executor, "short", b"10 3"),
            task_in(&executor, "long", b"10 1000000"),
            task_in(&executor, "wrong", b"soon"),
        ]);
        let wrong = framework.reaches("wrong", TaskState::Error).await;
        assert_eq!(wrong.message, "data is not `period times`");
        framework.reaches("short", TaskState::Finished).await;
        framework
            .handle
            .send(QueueInput::Kill("long".parse().expect("an id"), None));
        framework.reaches("long", TaskState::Killed).await;
        framework.teardown().await;
    });
}

#[test]
fn an_executor_that_traps_takes_its_own_tasks_with_it_and_no_others() {
    let dev = Dev::start(&[]);
    block_on(async {
        let mut framework = Framework::connect(&dev.url).await;
        let good = executor("good", framework.upload(guests::CRON).await);
        framework.submit([task_in(&good, "other", b"20 1000000")]);
        framework.reaches("other", TaskState::Running).await;
        framework.launch_one(guests::EVIL_TRAP, b"").await;
        let failed = framework.reaches("a", TaskState::Failed).await;
        assert_eq!(failed.reason, Some(TaskReason::Trap), "{failed:?}");
        let (state, reason) = framework.sees_end().await;
        assert_eq!((state, reason), (TaskState::Failed, Some(TaskReason::Trap)));
        // Its own executor goes on.
        framework.reaches("other", TaskState::Running).await;
        framework.teardown().await;
    });
}

#[test]
fn what_an_executor_may_not_say_it_is_told() {
    let dev = Dev::start(&[]);
    block_on(async {
        let mut framework = Framework::connect(&dev.url).await;
        framework.launch_one(guests::EVIL_TWICE, b"").await;
        let mut said = Vec::new();
        for _ in 0..4 {
            said.push(framework.hears().await);
        }
        assert!(said[0] == "Ok(())" && said[2] == "Ok(())", "{said:?}");
        assert!(
            said[1].contains("NotAllowed") && said[3].contains("Ended"),
            "{said:?}"
        );
        framework.teardown().await;

        for (guest, data, words) in [
            (guests::EVIL_UNKNOWN_TASK, "", "Unknown"),
            (guests::EVIL_LONG_ID, "", "Unknown"),
            (guests::EVIL_LARGE_DATA, "100000", "TooLarge"),
        ] {
            let mut framework = Framework::connect(&dev.url).await;
            framework.launch_one(guest, data.as_bytes()).await;
            let said = framework.hears().await;
            assert!(said.contains(words), "{guest}: {said}");
            framework.teardown().await;
        }
    });
}

#[test]
fn ten_megabytes_of_status_data_are_refused_and_twenty_are_the_end() {
    let dev = Dev::start(&[]);
    block_on(async {
        let mut framework = Framework::connect(&dev.url).await;
        framework
            .launch_one(guests::EVIL_LARGE_DATA, b"10000000")
            .await;
        assert_eq!(framework.hears().await, "Err(TooLarge(65536))");
        framework.reaches("a", TaskState::Finished).await;
        framework.teardown().await;

        let mut framework = Framework::connect(&dev.url).await;
        framework
            .launch_one(guests::EVIL_LARGE_DATA, b"20000000")
            .await;
        let failed = framework.reaches("a", TaskState::Failed).await;
        assert!(failed.message.contains("too much data"), "{failed:?}");
        framework.teardown().await;
    });
}

#[test]
fn a_flood_of_updates_is_refused_and_the_cluster_goes_on() {
    let dev = Dev::start(&[]);
    block_on(async {
        let mut framework = Framework::connect(&dev.url).await;
        framework.launch_one(guests::EVIL_FLOOD, b"").await;
        let refused: u32 = framework.hears().await.parse().expect("a number");
        assert!(refused > 0, "{refused} of a million");
        let noop = framework.upload(wasip1::NOOP).await;
        framework.submit([task("fine", noop)]);
        framework.reaches("fine", TaskState::Finished).await;
        framework.teardown().await;
    });
}

#[test]
fn a_child_does_not_outlive_its_executor() {
    let dev = Dev::start(&[]);
    block_on(async {
        for (how, end) in [
            ("stop", (TaskState::Finished, Some(TaskReason::Exited))),
            ("exit", (TaskState::Failed, Some(TaskReason::Exited))),
        ] {
            let mut framework = Framework::connect(&dev.url).await;
            let mut x = executor("x", framework.upload(guests::EVIL_ORPHAN).await);
            x.resources = Resources::new(1000, 64 << 20);
            framework.submit([task_in(&x, "a", how.as_bytes())]);
            assert!(framework.hears().await.starts_with("Ok("));
            assert_eq!(framework.sees_end().await, end);
            framework.teardown().await;
        }
    });
}

#[test]
fn a_fork_bomb_runs_into_what_its_executor_has() {
    let dev = Dev::start(&[]);
    block_on(async {
        for (guest, words) in [
            (guests::EVIL_FORK_BOMB, " children; "),
            (guests::EVIL_GRANDCHILDREN, "NotAnExecutor"),
        ] {
            let mut framework = Framework::connect(&dev.url).await;
            let mut x = executor("x", framework.upload(guest).await);
            x.resources = Resources::new(1000, 128 << 20);
            framework.submit([task_in(&x, "a", b"")]);
            let said = framework.hears().await;
            assert!(said.contains(words), "{said}");
            let noop = framework.upload(wasip1::NOOP).await;
            framework.submit([task("fine", noop)]);
            framework.reaches("fine", TaskState::Finished).await;
            framework.teardown().await;
        }
    });
}

#[test]
fn a_task_talks_to_its_scheduler_until_it_is_asked_to_stop() {
    let dev = Dev::start(&[]);
    block_on(async {
        let mut framework = Framework::connect(&dev.url).await;
        let converse = framework.upload(talking::CONVERSE).await;
        framework.submit([task("talk", converse)]);
        let running = framework.reaches("talk", TaskState::Running).await;
        let id: nesos_types::ids::TaskId = "talk".parse().expect("an id");
        framework.handle.send(QueueInput::Message {
            agent: running.agent.expect("an agent"),
            to: Correspondent::Task(id.clone()),
            data: b"hello".to_vec(),
        });
        assert_eq!(framework.hears().await, "HELLO");
        framework.handle.send(QueueInput::Kill(id, None));
        let killed = framework.reaches("talk", TaskState::Killed).await;
        assert_eq!(
            killed.data, b"1 messages",
            "it ended by itself within its grace"
        );
        framework.teardown().await;
    });
}

#[test]
fn a_task_reports_progress_and_a_result() {
    let dev = Dev::start(&[]);
    let files = tempfile::tempdir().expect("a directory");
    std::fs::write(files.path().join("one"), b"1").expect("written");
    std::fs::write(files.path().join("two"), b"2").expect("written");
    block_on(async {
        let mut framework = Framework::connect(&dev.url).await;
        let checksum = framework.upload(talking::CHECKSUM).await;
        let mut sum = task("sum", checksum);
        sum.mounts = vec![nesos_types::task::Mount {
            host: files.path().to_str().expect("UTF-8").to_owned(),
            guest: "/data".to_owned(),
            read_only: true,
        }];
        framework.submit([sum]);
        let last = framework
            .await_event(|event| match event {
                QueueEvent::Status(status) if status.message == "2 of 2 files" => {
                    Some(status.clone())
                }
                _ => None,
            })
            .await;
        assert_eq!(last.state, TaskState::Running);
        let finished = framework.reaches("sum", TaskState::Finished).await;
        assert_eq!(finished.data.len(), 64, "a sum in hexadecimal");
        framework.teardown().await;
    });
}

#[test]
fn an_executor_that_is_no_executor_says_so() {
    let dev = Dev::start(&[]);
    block_on(async {
        let mut framework = Framework::connect(&dev.url).await;
        let command = executor("x", framework.upload(wasip1::NOOP).await);
        framework.submit([task_in(&command, "a", b"")]);
        let ended = framework
            .await_event(|event| match event {
                QueueEvent::Status(status) if status.state.is_terminal() => Some(status.clone()),
                _ => None,
            })
            .await;
        assert_eq!(
            (ended.state, ended.reason),
            (TaskState::Error, Some(TaskReason::TaskInvalid))
        );
        assert!(
            ended.message.contains("the bundle is no executor"),
            "{ended:?}"
        );
        // Nor is an executor a task.
        let bundle = framework.upload(guests::CRON).await;
        framework.submit([task("b", bundle)]);
        let ended = framework.reaches("b", TaskState::Error).await;
        assert!(
            ended.message.contains("the bundle is an executor"),
            "{ended:?}"
        );
        framework.teardown().await;
    });
}

#[test]
fn an_executor_on_the_command_line_is_told_who_starts_it() {
    let outcome = crate::harness::run(guests::CRON).go().exits(126);
    outcome.says("it is an executor");
}
