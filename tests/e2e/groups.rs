//! Groups of tasks: one directory, one fate.

use nesos_artifacts::wasip1 as guests;
use nesos_sdk::{Actions, Driver, MasterClient, Scheduler, SessionConfig};
use nesos_types::framework::FrameworkInfo;
use nesos_types::offer::{Filters, Offer, Operation};
use nesos_types::role::Role;
use nesos_types::task::{TaskInfo, TaskReason, TaskState, TaskStatus};

use crate::framework::{Framework, block_on, task};
use crate::harness::Dev;

/// Launches its tasks together on the first offer, and stops when so many have ended.
struct Together {
    tasks: Vec<TaskInfo>,
    left: usize,
    ended: Vec<TaskStatus>,
}

impl Scheduler for Together {
    type Input = ();

    fn offers(&mut self, actions: &mut Actions, offers: Vec<Offer>) {
        for offer in offers {
            let tasks = std::mem::take(&mut self.tasks);
            let tasks = tasks.into_iter().map(Into::into).collect();
            let group = vec![Operation::LaunchGroup(tasks)];
            actions.accept(vec![offer.id], group, Filters::default());
        }
    }

    fn update(&mut self, actions: &mut Actions, status: TaskStatus) {
        if status.state.is_terminal() {
            self.left -= 1;
            self.ended.push(status);
        }
        if self.left == 0 {
            actions.stop();
        }
    }

    fn input(&mut self, _: &mut Actions, (): ()) {}
}

/// How the first so many tasks of a group ended, in the order in which they did.
async fn run_together(url: &str, tasks: Vec<TaskInfo>, count: usize) -> Vec<TaskStatus> {
    let patience = std::time::Duration::from_secs(60);
    let master = MasterClient::connect(url, patience, |_, _| {}).await;
    let info = FrameworkInfo::new("group", [Role::default_role()]);
    let together = Together {
        left: count,
        tasks,
        ended: Vec::new(),
    };
    let master = master.expect("a master");
    let (driver, _handle) = Driver::new(together, master, SessionConfig::new(info));
    let ended = tokio::time::timeout(patience, driver.run()).await;
    ended.expect("in time").expect("no error").ended
}

#[test]
fn members_have_a_directory_in_common_while_one_of_them_lives() {
    let dev = Dev::start(&[]);
    block_on(async {
        let framework = Framework::connect(&dev.url).await;
        let mut writer = task("writer", framework.upload(guests::WRITE_FILE).await);
        writer.args = ["write_file", "/group/file", "hello"]
            .map(Into::into)
            .into();
        let mut stays = task("stays", framework.upload(guests::SLEEP).await);
        stays.args = ["sleep", "600"].map(Into::into).into();
        let ended = run_together(&dev.url, vec![stays, writer], 1).await;
        assert_eq!(ended[0].state, TaskState::Finished, "{ended:?}");
        let groups = dev.state.join("agent/volumes/groups");
        let mut groups = std::fs::read_dir(groups).expect("the directory of groups");
        let group = groups.next().expect("a group").expect("readable");
        let text = std::fs::read_to_string(group.path().join("file"));
        assert_eq!(text.expect("a file"), "hello");
        framework.teardown().await;
    });
}

#[test]
fn a_group_of_which_one_does_not_fit_is_not_launched_at_all() {
    let dev = Dev::start(&["--resources", "cpus:1;mem:1GiB;disk:1GiB"]);
    block_on(async {
        let framework = Framework::connect(&dev.url).await;
        let bundle = framework.upload(guests::NOOP).await;
        let (fits, mut huge) = (task("fits", bundle), task("huge", bundle));
        huge.resources.cpu_milli = 950;
        let ended = run_together(&dev.url, vec![fits, huge], 2).await;
        for status in ended {
            assert_eq!(status.state, TaskState::Error, "{status:?}");
            assert_eq!(status.reason, Some(TaskReason::TaskInvalid));
        }
        framework.teardown().await;
    });
}

#[test]
fn one_that_fails_ends_the_others() {
    let dev = Dev::start(&[]);
    block_on(async {
        let framework = Framework::connect(&dev.url).await;
        let mut fails = task("fails", framework.upload(guests::EXIT_CODE).await);
        fails.args = ["exit_code", "3"].map(Into::into).into();
        let mut waits = task("waits", framework.upload(guests::SLEEP).await);
        waits.args = ["sleep", "600"].map(Into::into).into();
        let ended = run_together(&dev.url, vec![waits, fails], 2).await;
        let how: Vec<_> = ended
            .iter()
            .map(|status| (status.task.as_str(), status.state, status.reason))
            .collect();
        let expected = [
            ("fails", TaskState::Failed, Some(TaskReason::Exited)),
            ("waits", TaskState::Killed, Some(TaskReason::GroupEnded)),
        ];
        assert_eq!(how, expected);
        framework.teardown().await;
    });
}
