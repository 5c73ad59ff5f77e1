//! Reservations and persistent volumes with the real binary.

use nesos_artifacts::wasip1 as guests;
use nesos_sdk::{Actions, Driver, MasterClient, Scheduler, SessionConfig};
use nesos_types::framework::FrameworkInfo;
use nesos_types::ids::VolumeId;
use nesos_types::offer::{Filters, Offer, Operation};
use nesos_types::reservation::{Claim, Owner, Reservation, ReservationChange};
use nesos_types::resources::Resources;
use nesos_types::task::TaskStatus;
use serde_json::Value;

use crate::harness::{Dev, signal};

/// The only agent's id.
fn agent(dev: &Dev) -> String {
    let agents: Value =
        serde_json::from_str(&dev.ask(&["agents", "--output", "json"])).expect("JSON");
    agents[0]["id"].as_str().expect("a text").to_owned()
}

fn reservations(dev: &Dev) -> Value {
    serde_json::from_str(&dev.ask(&["reservations", "--output", "json"])).expect("JSON")
}

fn change(dev: &Dev, arguments: &[&str]) -> String {
    dev.ask(&[&["reservations"], arguments].concat())
}

const ON_DATA: [&str; 4] = ["--role", "team", "--volume", "data::/data"];

fn read(dev: &Dev) -> String {
    let read = dev.run_with(&ON_DATA, guests::READ_FILE);
    read.args(&["/data/x"]).go().exits(0).text().to_owned()
}

#[test]
fn a_volume_outlives_task_and_agent_and_ends_when_it_is_destroyed() {
    let state = tempfile::tempdir().expect("a directory");
    let mut dev = Dev::start_in(state.path());
    let agent = agent(&dev);
    change(&dev, &["reserve", &agent, "team", "disk:16MiB"]);
    change(&dev, &["create-volume", &agent, "team", "data", "16MiB"]);
    dev.run_with(&ON_DATA, guests::WRITE_FILE)
        .args(&["/data/x", "kept"])
        .go()
        .exits(0);
    assert_eq!(read(&dev), "kept");
    // It can be had for reading alone, and is no larger than it was made.
    dev.run_with(
        &["--role", "team", "--volume", "data::/data:ro"],
        guests::WRITE_FILE,
    )
    .args(&["/data/x", "lost"])
    .go()
    .exits(1)
    .says("ead-only");
    dev.run_with(&ON_DATA, guests::DISK_FILL)
        .args(&["64", "/data/fill"])
        .go()
        .exits(0)
        .output_holds("refused after 15 MiB");
    // The cluster is shut down in order, and then the hard way.
    for how in ["TERM", "KILL"] {
        signal(dev.process.0.id(), how);
        dev.process.0.wait().expect("ends");
        dev = Dev::start_in(state.path());
        assert_eq!(read(&dev), "kept", "after {how}");
    }
    change(&dev, &["destroy-volume", &agent, "data"]);
    change(&dev, &["create-volume", &agent, "team", "data", "1MiB"]);
    let read = dev.run_with(&ON_DATA, guests::READ_FILE);
    read.args(&["/data/x"]).go().exits(1).says("o such file");
    change(&dev, &["destroy-volume", &agent, "data"]);
    change(&dev, &["unreserve", &agent, "team", "disk:16MiB"]);
    assert_eq!(reservations(&dev), serde_json::json!([]));
}

#[test]
fn a_task_sums_up_what_is_in_a_volume() {
    let dev = Dev::start(&[]);
    let agent = agent(&dev);
    change(&dev, &["reserve", &agent, "team", "disk:16MiB"]);
    change(&dev, &["create-volume", &agent, "team", "data", "16MiB"]);
    let write = dev.run_with(&ON_DATA, guests::WRITE_FILE);
    write.args(&["/data/x", "hello"]).go().exits(0);
    let sum = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824";
    let checksum = dev.run_with(&ON_DATA, nesos_artifacts::tasks::CHECKSUM);
    checksum.go().exits(0).prints(&format!("{sum}  /data/x\n"));
}

#[test]
fn what_is_reserved_is_for_its_role_alone() {
    let dev = Dev::start(&["--resources", "cpus:1;cpus(team):1;mem:1GiB;disk:1GiB"]);
    dev.run_with(&["--cpus", "2", "--role", "team/a"], guests::HELLO)
        .go()
        .exits(0)
        .prints("Hello, world!\n");
    let mut other = dev.nesos();
    other.args(["run", "--cpus", "2", guests::HELLO]);
    let mut waiting = other
        .stderr(std::process::Stdio::piped())
        .spawn()
        .expect("nesos starts");
    let said = crate::harness::read_until(waiting.stderr.as_mut().expect("piped"), "Waiting for");
    assert!(said.contains("no agent has <2 CPUs"), "{said}");
    signal(waiting.id(), "TERM");
    waiting.wait().expect("ends");
    let listed = dev.ask(&["reservations"]);
    for shown in ["team", "1 CPU", "the agent's configuration", "free"] {
        assert!(listed.contains(shown), "{shown} is not in\n{listed}");
    }
}

#[test]
fn what_cannot_be_set_apart_is_said_with_its_field_and_nothing_changes() {
    let dev = Dev::start(&["--resources", "cpus:2;mem:1GiB;disk:1GiB;cpus(fix):1"]);
    let agent = agent(&dev);
    let before = reservations(&dev);
    for (arguments, why) in [
        (
            &["reserve", &agent, "*", "cpus:1"][..],
            "role: nothing can be reserved for \"*\"",
        ),
        (
            &["reserve", &agent, "a", "cpus:64"],
            "resources: <64 CPUs, 0 B> are wanted",
        ),
        (&["reserve", &agent, "a", ""], "resources: there are none"),
        (
            &["reserve", &agent, "fix", "cpus(fix):1"],
            "and fix is not below it",
        ),
        (
            &["reserve", "nobody", "a", "cpus:1"],
            "there is no agent nobody",
        ),
        (&["reserve", &agent, "a b", "cpus:1"], "whitespace"),
        (&["reserve", &agent, "a", "cpus:-1"], "is negative"),
        (
            &["unreserve", &agent, "a", "cpus:1"],
            "nothing can be had of what is reserved for a",
        ),
        (
            &["unreserve", &agent, "fix", "cpus:1"],
            "nothing can be had",
        ),
        (
            &["create-volume", &agent, "a", "v", "1MiB"],
            "nothing can be had",
        ),
        (
            &["create-volume", &agent, "a", "../v", "1MiB"],
            "is not a volume id",
        ),
        (
            &["destroy-volume", &agent, "v"],
            "volume: the agent has no volume v",
        ),
    ] {
        let mut change = dev.nesos();
        let output = change.arg("reservations").args(arguments).output();
        let output = output.expect("nesos starts");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(
            !output.status.success() && said.contains(why),
            "{arguments:?}: {said}"
        );
    }
    assert_eq!(reservations(&dev), before);
    dev.run_with(&["--volume", "v::/v", "--timeout", "1s"], guests::HELLO)
        .with(|command| {
            command.env_remove("NESOS_MASTER");
        })
        .go()
        .exits(125)
        .says("a cluster of its own has no volumes");
}

/// Reserves some of the first offer, makes a volume, and is over when it has seen both.
struct Hoarder;

impl Scheduler for Hoarder {
    type Input = ();

    fn offers(&mut self, actions: &mut Actions, offers: Vec<Offer>) {
        for offer in offers {
            if offer.resources.volumes().next().is_some() {
                actions.teardown();
                return;
            }
            let disk = Resources::default().with_disk(1 << 20);
            let claim = Claim {
                reservations: vec![Reservation {
                    role: offer.role.clone(),
                    owner: Owner::Framework {
                        id: offer.framework,
                        principal: String::new(),
                    },
                    labels: [].into(),
                }],
                ..Claim::default()
            };
            let changes = [
                ReservationChange::Reserve {
                    resources: Resources::new(1000, 0).with_disk(1 << 20),
                    role: offer.role.clone(),
                    labels: [].into(),
                },
                ReservationChange::CreateVolume {
                    volume: "hoard".parse::<VolumeId>().expect("an id"),
                    disk: Resources::claimed(claim, disk),
                },
            ];
            let operations = changes.map(Operation::Reservation).to_vec();
            actions.accept(vec![offer.id], operations, Filters::none());
        }
    }

    fn update(&mut self, _: &mut Actions, status: TaskStatus) {
        panic!("it launches nothing: {status:?}");
    }

    fn input(&mut self, _: &mut Actions, (): ()) {}
}

#[test]
fn what_a_framework_leaves_behind_is_found_and_given_back() {
    let dev = Dev::start(&["--resources", "cpus:2;mem:1GiB;disk:1GiB"]);
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let ended = runtime.block_on(async {
        let master = MasterClient::new(&dev.url).expect("an address");
        let info = FrameworkInfo::new("hoarder", ["hoard".parse().expect("a role")]);
        let (driver, _handle) = Driver::new(Hoarder, master, SessionConfig::new(info));
        driver.run().await
    });
    assert!(ended.is_ok(), "{:?}", ended.err());
    let listed = dev.ask(&["reservations"]);
    assert_eq!(listed.matches("orphaned").count(), 2, "{listed}");
    let would = change(&dev, &["gc", "--dry-run"]);
    assert_eq!(would.matches("would give back").count(), 2, "{would}");
    assert_eq!(dev.ask(&["reservations"]), listed, "nothing was done");
    let done = change(&dev, &["gc"]);
    for line in ["destroy_volume: volume hoard", "unreserve: "] {
        assert!(done.contains(line), "{done}");
    }
    assert_eq!(reservations(&dev), serde_json::json!([]));
    assert_eq!(change(&dev, &["gc"]), "nothing is orphaned\n");
}
