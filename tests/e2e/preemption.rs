//! Preemption: a task of low priority ends for what a framework of high priority waits for.

use std::collections::BTreeSet;
use std::io::Write;
use std::process::Stdio;
use std::time::Duration;

use nesos_artifacts::wasip1 as guests;
use nesos_sdk::{Actions, Driver, MasterClient, Scheduler, SessionConfig};
use nesos_types::framework::FrameworkInfo;
use nesos_types::ids::FrameworkId;
use nesos_types::offer::{Demand, Offer};
use nesos_types::resources::Resources;
use nesos_types::role::Role;
use nesos_types::task::TaskStatus;

use crate::harness::{Dev, Guarded, exit_status, read_until};

/// Waits for room for one task, and stops when it is offered some.
struct Waiting {
    demand: Demand,
}

impl Scheduler for Waiting {
    type Input = ();

    fn subscribed(&mut self, actions: &mut Actions, _: FrameworkId) {
        actions.request(vec![self.demand.clone()]);
    }

    fn offers(&mut self, actions: &mut Actions, offers: Vec<Offer>) {
        // Until the master has heard what it waits for it may be offered anything.
        let fits = offers
            .iter()
            .any(|offer| offer.resources.covers(&self.demand.resources));
        if fits {
            actions.stop();
        }
    }

    fn update(&mut self, _: &mut Actions, _: TaskStatus) {}

    fn input(&mut self, _: &mut Actions, (): ()) {}
}

#[test]
fn a_task_of_low_priority_ends_for_a_demand_of_high_priority() {
    let dev = Dev::start(&["--resources", "cpus:2;mem:1GiB;disk:1GiB"]);
    dev.ask(&["roles", "set", "high", "--priority", "5"]);
    let said = dev.ask(&["policy", "set", "priority", "--preempt", "--grace", "100ms"]);
    assert!(
        said.contains("ends tasks of lower priority within 100ms"),
        "{said}"
    );
    let mut low = dev.nesos();
    let low = low
        .args(["run", "--role", "low", "--cpus", "2", guests::CAT])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut low = Guarded(low.spawn().expect("nesos starts"));
    let mut stdin = low.0.stdin.take().expect("piped");
    stdin.write_all(b"it runs\n").expect("the guest reads");
    read_until(&mut low.0.stdout.take().expect("piped"), "it runs\n");

    tokio::runtime::Runtime::new()
        .expect("a runtime")
        .block_on(wait_for_room(&dev.url));

    assert_eq!(exit_status(low.0.wait().expect("ends")), 137);
    let stderr = &mut low.0.stderr.take().expect("piped");
    read_until(stderr, "make room for one of higher priority");
    drop(stdin);
}

async fn wait_for_room(url: &str) {
    let patience = Duration::from_secs(60);
    let master = MasterClient::connect(url, patience, |_, _| {}).await;
    let role: Role = "high".parse().expect("a role");
    let waiting = Waiting {
        demand: Demand {
            role: role.clone(),
            resources: Resources::new(2000, 128 << 20),
            count: 1,
        },
    };
    let info = FrameworkInfo::new("waiting", BTreeSet::from([role]));
    let master = master.expect("the master is there");
    let (driver, _handle) = Driver::new(waiting, master, SessionConfig::new(info));
    let done = tokio::time::timeout(patience, driver.run()).await;
    done.expect("it is offered room")
        .expect("the master has it");
}
