//! Leaders come and go. Tasks run on, their updates arrive, and a scheduler sees nothing but a connection that
//! is made again.

use nesos_artifacts::wasip1 as guests;
use nesos_sdk::{QueueEvent, QueueInput};
use nesos_types::bundle::Digest;
use nesos_types::task::{TaskInfo, TaskState};

use crate::cluster::{Cluster, wait_until};
use crate::framework::{Framework, block_on, task};

/// A framework of the cluster's, with a task that runs until it is killed.
struct Work {
    framework: Framework,
    sleep: Digest,
    hello: Digest,
}

impl Work {
    async fn start(cluster: &Cluster) -> Self {
        let framework = Framework::connect(&cluster.urls).await;
        let sleep = framework.upload(guests::SLEEP).await;
        let hello = framework.upload(guests::HELLO).await;
        let mut work = Self {
            framework,
            sleep,
            hello,
        };
        work.framework.submit([work.sleeps("long", "600")]);
        work.framework.reaches("long", TaskState::Running).await;
        work
    }

    fn sleeps(&self, id: &str, seconds: &str) -> TaskInfo {
        let mut task = task(id, self.sleep);
        task.args = vec![id.to_owned(), seconds.to_owned()];
        task
    }

    /// The scheduler noticed a new connection and nothing else; a new task runs; the one that ran all the time
    /// still does, and can be killed.
    async fn goes_on(mut self) {
        let reconnected =
            |event: &QueueEvent| matches!(event, QueueEvent::Reconnected).then_some(());
        self.framework.await_event(reconnected).await;
        self.framework.submit([task("after", self.hello)]);
        self.framework.reaches("after", TaskState::Finished).await;
        let long = "long".parse().expect("an id");
        self.framework.handle.send(QueueInput::Kill(long, None));
        self.framework.reaches("long", TaskState::Killed).await;
        self.framework.teardown().await;
    }
}

#[test]
#[ignore = "needs etcd"]
fn a_leader_that_is_killed_is_replaced_and_nothing_is_lost() {
    let Some(mut cluster) = Cluster::start() else {
        return;
    };
    block_on(async {
        let mut work = Work::start(&cluster).await;
        work.framework.submit([work.sleeps("meanwhile", "2")]);
        work.framework
            .reaches("meanwhile", TaskState::Running)
            .await;
        let old = cluster.leader();
        cluster.masters[old].kill();
        cluster.masters.remove(old);
        // It ends while nobody leads, or soon after.
        work.framework
            .reaches("meanwhile", TaskState::Finished)
            .await;
        cluster.leader();
        for master in &cluster.masters {
            let tasks = cluster.ask(&master.url, &["tasks"]);
            assert!(tasks.contains("long"), "at {}: {tasks}", master.url);
        }
        let state = cluster.ask(&cluster.urls, &["state"]);
        assert!(state.contains("active"), "by all addresses: {state}");
        work.goes_on().await;
    });
}

#[test]
#[ignore = "needs etcd"]
fn a_leader_that_was_paused_wakes_up_as_a_standby() {
    let Some(cluster) = Cluster::start() else {
        return;
    };
    block_on(async {
        let work = Work::start(&cluster).await;
        let old = cluster.leader();
        cluster.masters[old].signal("STOP");
        wait_until("another leader", || {
            let others = cluster.masters.iter().enumerate();
            others
                .clone()
                .any(|(at, master)| at != old && master.leads())
        });
        let new = cluster.leader();
        assert_ne!(new, old);
        cluster.masters[old].signal("CONT");
        wait_until("the old leader points to the new one", || {
            let answer = cluster.masters[old].standing().unwrap_or_default();
            assert!(
                !answer.starts_with("HTTP/1.1 200 "),
                "it leads as if nothing had been"
            );
            answer.contains(&format!("location: {}/v2/", cluster.masters[new].url))
        });
        assert!(
            cluster.masters[new].leads(),
            "the new one was not disturbed"
        );
        work.goes_on().await;
    });
}

#[test]
#[ignore = "needs etcd"]
fn masters_without_etcd_stand_by_until_it_is_back() {
    let Some(mut cluster) = Cluster::start() else {
        return;
    };
    block_on(async {
        let mut work = Work::start(&cluster).await;
        work.framework.submit([work.sleeps("meanwhile", "2")]);
        work.framework
            .reaches("meanwhile", TaskState::Running)
            .await;
        cluster.etcd.stop();
        wait_until("nobody leads", || {
            cluster.masters.iter().all(|master| master.says("503"))
        });
        let answer = cluster.masters[0].standing().unwrap_or_default();
        assert!(answer.contains("retry-after"), "{answer}");
        cluster.etcd.restart();
        cluster.leader();
        work.framework
            .reaches("meanwhile", TaskState::Finished)
            .await;
        work.goes_on().await;
    });
}

#[test]
#[ignore = "needs etcd"]
fn a_leader_that_stops_gives_its_lease_back() {
    let Some(mut cluster) = Cluster::start() else {
        return;
    };
    block_on(async {
        let work = Work::start(&cluster).await;
        let old = cluster.leader();
        cluster.masters[old].signal("TERM");
        let ended = cluster.masters[old].process.0.wait().expect("it ends");
        assert!(ended.success(), "{ended}");
        cluster.masters.remove(old);
        cluster.leader();
        work.goes_on().await;
    });
}
