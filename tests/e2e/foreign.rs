//! Bundles of other registries: named by `oci://`, with credentials, through connections that break.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::thread;

use nesos_artifacts::wasip1 as guests;
use serde_json::json;

use crate::bundles::Project;
use crate::harness::Dev;
use crate::registry::{host, unseen};

#[test]
fn a_bundle_of_another_registry_runs_here() {
    let (here, there) = (Dev::start(&[]), Dev::start(&[]));
    let name = format!("oci://{}/team/hello:1", host(&there));
    Project::guest(guests::HELLO, "hello", "").push(&here, &[&name]);
    assert!(!here.ask(&["bundles"]).contains("hello"));
    assert!(here.ask(&["bundles", &name]).contains("/team/hello"));
    let ours = here.run(guests::HELLO).go();
    here.run(&name).go().exits(0).prints(ours.text());
    // A program on a cluster of its own finds it as well.
    crate::harness::run(&name).go().exits(0).prints(ours.text());
    there
        .run_with(&["--role", "team"], "team/hello:1")
        .go()
        .exits(0);
    let nobodys = format!("oci://{}/team/nothing", host(&there));
    here.run(&nobodys)
        .go()
        .exits(127)
        .says("team/nothing:latest")
        .says(host(&there));
    drop(there);
    here.run(&name)
        .go()
        .exits(125)
        .says("cannot speak with the registry");
}

/// In front of a cluster's registry: wants a password, and breaks off the first answer that is longer than
/// 20,000 bytes in its midst.
struct Guard {
    address: String,
}

/// `user:secret`, as HTTP has it.
const AUTHORIZATION: &str = "Basic dXNlcjpzZWNyZXQ=";

impl Guard {
    fn before(registry: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("bound").to_string();
        let registry = registry.to_owned();
        let broken = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (registry, broken) = (registry.clone(), broken.clone());
                // A client that goes away is no concern of the guard's.
                thread::spawn(move || drop(serve(stream, &registry, &broken)));
            }
        });
        Self { address }
    }
}

/// One request of one connection, without a body.
fn serve(
    mut client: TcpStream,
    registry: &str,
    broken: &std::sync::atomic::AtomicBool,
) -> std::io::Result<()> {
    let mut head = String::new();
    let mut lines = BufReader::new(client.try_clone()?);
    while !head.ends_with("\r\n\r\n") {
        if lines.read_line(&mut head)? == 0 {
            return Ok(());
        }
    }
    if !head.contains(AUTHORIZATION) {
        return client.write_all(
            b"HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Basic realm=\"guard\"\r\n\
              Connection: close\r\nContent-Length: 0\r\n\r\n",
        );
    }
    let mut server = TcpStream::connect(registry)?;
    let head = head.replacen("\r\n", "\r\nConnection: close\r\n", 1);
    server.write_all(head.as_bytes())?;
    let mut answer = Vec::new();
    server.read_to_end(&mut answer)?;
    let is_long = answer.len() > 20_000;
    if is_long && !broken.swap(true, std::sync::atomic::Ordering::SeqCst) {
        answer.truncate(15_000);
    }
    client.write_all(&answer)
}

#[test]
fn a_registry_that_wants_a_password_and_breaks_off_is_read_to_the_end() {
    let login = tempfile::tempdir().expect("a directory");
    let there = Dev::start(&[]);
    Project::of(&unseen(guests::HELLO), "hello", "").push(&there, &[]);
    let guard = Guard::before(host(&there));
    let config = json!({"auths": {&guard.address: {"auth": "dXNlcjpzZWNyZXQ="}}});
    std::fs::write(login.path().join("config.json"), config.to_string()).expect("written");
    let name = format!("oci://{}/hello", guard.address);

    let strangers = tempfile::tempdir().expect("a directory");
    let here = Dev::start_with(|command| {
        command.env("DOCKER_CONFIG", login.path());
    });
    let run = |folder: &Path| {
        let folder = folder.to_owned();
        here.run(&name).with(|command| {
            command.env("DOCKER_CONFIG", folder);
        })
    };
    run(strangers.path()).go().exits(125).says("docker login");
    run(login.path()).go().exits(0);

    // An agent without credentials is told so, and says it.
    let here = Dev::start_with(|command| {
        command.env("DOCKER_CONFIG", strangers.path());
    });
    let refused = here.run(&name).with(|command| {
        command.env("DOCKER_CONFIG", login.path());
    });
    let refused = refused.go();
    assert_ne!(refused.status, 0, "{refused}");
    refused.says("docker login");
}
