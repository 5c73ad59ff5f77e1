//! Masters that start without an etcd, or with something that is none.

use crate::cluster::{Cluster, Server, master, wait_until};
use crate::etcd::Etcd;
use crate::harness::nesos;

const LOOPBACK: &str = "127.0.0.1:0";

fn refused(listen: &str, args: &[&str]) -> String {
    let directory = tempfile::tempdir().expect("a directory");
    let output = nesos()
        .args(["master", "--listen", listen, "--state-dir"])
        .arg(directory.path())
        .args(args)
        .output()
        .expect("nesos starts");
    assert!(!output.status.success(), "{args:?}");
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn what_is_no_store_is_refused_with_what_to_write() {
    for (store, why) in [
        ("zk://a:2181", "nothing is known of zk://"),
        ("etcd://a", "is not HOST:PORT"),
    ] {
        let said = refused(LOOPBACK, &["--store", store]);
        assert!(said.contains(why), "{said}");
        assert!(said.contains("etcd://HOST:PORT"), "{said}");
    }
}

#[test]
fn what_is_no_address_of_a_master_is_not_told_to_others() {
    let store = ["--store", "etcd://127.0.0.1:1"];
    let said = refused(
        LOOPBACK,
        &[&store[..], &["--advertise", "nowhere"]].concat(),
    );
    assert!(said.contains("http://HOST:PORT"), "{said}");
    let said = refused("0.0.0.0:0", &store);
    assert!(said.contains("--advertise"), "{said}");
}

#[test]
fn a_master_without_etcd_stands_by_and_says_why() {
    let directory = tempfile::tempdir().expect("a directory");
    let master = master(directory.path(), "etcd://127.0.0.1:1");
    wait_until("it says why", || {
        said_by(&master).contains("etcd://127.0.0.1:1/nesos cannot be reached")
    });
    assert!(master.says("503"));
}

/// What a client is told.
fn said_by(master: &Server) -> String {
    let output = nesos()
        .args(["state", "--connect-timeout", "0s", "--master", &master.url])
        .output()
        .expect("nesos starts");
    assert!(!output.status.success(), "nobody leads");
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
#[ignore = "needs etcd"]
fn a_master_waits_for_etcd_and_then_leads() {
    let Some(mut etcd) = Etcd::start() else {
        return;
    };
    etcd.stop();
    let directory = tempfile::tempdir().expect("a directory");
    let master = master(directory.path(), &format!("etcd://{}", etcd.member()));
    wait_until("it stands by", || master.says("503"));
    etcd.restart();
    wait_until("it leads", || master.leads());
}

#[test]
#[ignore = "needs etcd"]
fn a_master_that_joins_stands_by_and_points_to_the_leader() {
    let Some(cluster) = Cluster::start() else {
        return;
    };
    let leader = cluster.leader();
    let late = master(cluster.directory.path(), &cluster.store);
    wait_until("it stands by", || late.says("307"));
    let answer = late.standing().unwrap_or_default();
    assert!(answer.contains(&cluster.masters[leader].url), "{answer}");
    let shown = cluster.ask(&late.url, &["state"]);
    assert!(shown.contains(&cluster.masters[leader].url), "{shown}");
}
