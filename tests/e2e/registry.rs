//! The cluster's registry, as other tools and hostile ones meet it.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use nesos_artifacts::{generate, hostile, policies, wasip1 as guests};
use nesos_bundle::digest_of;
use nesos_types::task::{TaskReason, TaskState};
use serde_json::json;

use crate::bundles::Project;
use crate::framework::{Framework, block_on, task};
use crate::harness::Dev;

/// `HOST:PORT` of a cluster.
pub(crate) fn host(dev: &Dev) -> &str {
    dev.url
        .strip_prefix("http://")
        .expect("plain")
        .trim_end_matches('/')
}

/// One request, by hand; answers the status and the body.
fn http(dev: &Dev, request: &str, kind: &str, body: &[u8]) -> (u16, String) {
    let mut stream = TcpStream::connect(host(dev)).expect("the master listens");
    let head = format!(
        "{request} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\nContent-Type: {kind}\r\nContent-Length: {}\r\n\r\n",
        host(dev),
        body.len()
    );
    stream.write_all(head.as_bytes()).expect("written");
    stream.write_all(body).expect("written");
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).expect("answered");
    let answer = String::from_utf8_lossy(&answer).into_owned();
    let status = answer
        .split(' ')
        .nth(1)
        .and_then(|status| status.parse().ok());
    let body = answer
        .split_once("\r\n\r\n")
        .map(|(_, body)| body.to_owned());
    (status.expect("a status"), body.expect("a body"))
}

/// Uploads a blob; answers how a manifest names it.
fn upload(dev: &Dev, name: &str, kind: &str, bytes: &[u8]) -> serde_json::Value {
    let digest = digest_of(bytes).to_string();
    let request = format!("POST /v2/{name}/blobs/uploads/?digest={digest}");
    let (status, said) = http(dev, &request, "application/octet-stream", bytes);
    assert_eq!(status, 201, "{said}");
    json!({"mediaType": kind, "digest": digest, "size": bytes.len()})
}

/// Puts a manifest of these layers, with a configuration as `skopeo`, `oras` and `wkg` make them.
fn put(dev: &Dev, name: &str, layers: &[(&str, &[u8])]) -> (u16, String) {
    let layers: Vec<_> = layers
        .iter()
        .map(|(kind, bytes)| upload(dev, name, kind, bytes))
        .collect();
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": upload(dev, name, "application/vnd.oci.empty.v1+json", b"{}"),
        "layers": layers,
    });
    let request = format!("PUT /v2/{name}/manifests/latest");
    let kind = "application/vnd.oci.image.manifest.v1+json";
    http(dev, &request, kind, manifest.to_string().as_bytes())
}

fn bytes_of(guest: &str) -> Vec<u8> {
    std::fs::read(guest).expect("built")
}

/// A module that nobody has seen before: the guest, and a custom section that says when.
pub(crate) fn unseen(guest: &str) -> Vec<u8> {
    let mut bytes = bytes_of(guest);
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let note = format!(
        "\u{1}n{:032x}{:08x}",
        now.expect("after 1970").as_nanos(),
        std::process::id()
    );
    bytes.push(0);
    bytes.push(u8::try_from(note.len()).expect("short"));
    bytes.extend(note.as_bytes());
    bytes
}

#[test]
fn what_other_tools_push_runs_by_name() {
    let dev = Dev::start(&[]);
    let (status, said) = put(
        &dev,
        "plain-hello",
        &[("application/wasm", &bytes_of(guests::HELLO))],
    );
    assert_eq!(status, 201, "{said}");
    let ours = dev.run(guests::HELLO).go();
    dev.run("plain-hello").go().exits(0).prints(ours.text());
    assert!(dev.ask(&["bundles"]).contains("plain-hello"));
    assert!(dev.ask(&["inspect", "plain-hello:latest"]).contains("wasi"));
}

#[test]
fn a_digest_that_lies_is_refused_and_nothing_is_kept() {
    let dev = Dev::start(&[]);
    let promised = digest_of(b"what was promised");
    let request = format!("POST /v2/a/blobs/uploads/?digest={promised}");
    let (status, said) = http(
        &dev,
        &request,
        "application/octet-stream",
        b"something else",
    );
    assert_eq!(status, 400, "{said}");
    assert!(said.contains("DIGEST_INVALID"), "{said}");
    assert!(
        said.contains(&digest_of(b"something else").to_string()),
        "{said}"
    );
    let (status, _) = http(
        &dev,
        &format!("GET /v2/a/blobs/{promised}"),
        "text/plain",
        b"",
    );
    assert_eq!(status, 404);
}

#[test]
fn a_blob_that_was_damaged_on_the_disk_is_not_run_and_is_healed_by_a_push() {
    let dev = Dev::start(&[]);
    let wasm = unseen(guests::HELLO);
    let project = Project::of(&wasm, "damaged", "");
    project.push(&dev, &[]);
    let path = dev
        .state
        .join("master/bundles/sha256")
        .join(digest_of(&wasm).hex());
    let mut bytes = std::fs::read(&path).expect("kept");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0x55;
    std::fs::write(&path, bytes).expect("written");
    let refused = dev.run("damaged").go();
    assert_ne!(refused.status, 0, "{refused}");
    refused.says(&digest_of(&wasm).to_string());
    dev.ask(&["push", project.path()]);
    dev.run("damaged").go().exits(0);
}

#[test]
fn a_manifest_with_a_key_that_nobody_knows_is_refused_with_its_place() {
    let dev = Dev::start(&[]);
    let project = Project::guest(guests::HELLO, "slip", "[resources]\nmemory = \"1GiB\"");
    let refused = dev.tell(&["build", project.path()]).exits(125);
    refused.says("nesos.toml").says("memory").says("line 3");
    // Whoever pushes by other means is told the same.
    let text = b"name = \"slip\"\n[resources]\nmemory = \"1GiB\"\n";
    let wasm = bytes_of(guests::HELLO);
    let manifest = ("application/vnd.nesos.manifest.v1+toml", &text[..]);
    let (status, said) = put(&dev, "slip", &[("application/wasm", &wasm), manifest]);
    assert_eq!(status, 400, "{said}");
    assert!(
        said.contains("MANIFEST_INVALID") && said.contains("memory"),
        "{said}"
    );
    dev.run("slip").go().exits(127);
}

#[test]
fn two_layers_of_wasm_are_no_bundle() {
    let dev = Dev::start(&[]);
    let (hello, other) = (bytes_of(guests::HELLO), bytes_of(guests::ARGS_ENV));
    let layers = [
        ("application/wasm", &hello[..]),
        ("application/wasm", &other[..]),
    ];
    let (status, said) = put(&dev, "two", &layers);
    assert_eq!(status, 400, "{said}");
    assert!(said.contains("MANIFEST_INVALID"), "{said}");
    assert!(said.contains("application/wasm"), "{said}");
    dev.run("two").go().exits(127);
}

#[test]
fn what_is_prewarmed_is_compiled_before_the_first_task() {
    let dev = Dev::start(&[]);
    let wasm = unseen(guests::HELLO);
    let said = Project::of(&wasm, "warm", "").push(&dev, &["--prewarm"]);
    assert!(said.ends_with("1 agent compiles it\n"), "{said}");
    let images = Path::new(env!("CARGO_TARGET_TMPDIR")).join("e2e-cache/nesos/compiled");
    let hex = digest_of(&wasm).hex();
    let is_there = || {
        let names = std::fs::read_dir(&images).into_iter().flatten().flatten();
        names
            .map(|entry| entry.file_name())
            .any(|name| name.to_string_lossy().starts_with(&hex))
    };
    let deadline = Instant::now() + Duration::from_secs(60);
    while !is_there() {
        assert!(
            Instant::now() < deadline,
            "{said}: nothing of {hex} in {images:?}"
        );
        thread::sleep(Duration::from_millis(20));
    }
    dev.run("warm").go().exits(0);
}

/// What a compiler would think about for days.
fn costly() -> Vec<u8> {
    generate::many_locals_and_loops(5_000, 5_000)
}

#[test]
fn what_would_cost_a_compiler_too_much_is_refused_when_it_is_pushed() {
    let dev = Dev::start(&[]);
    let (status, said) = put(&dev, "costly", &[("application/wasm", &costly())]);
    assert_eq!(status, 400, "{said}");
    assert!(said.contains("too costly to compile"), "{said}");
    assert!(said.contains("5000 locals and 5000 loops"), "{said}");
    dev.run("costly").go().exits(127);
    dev.run(guests::HELLO).go().exits(0);
}

#[test]
fn whoever_goes_past_the_registry_meets_the_agent_and_it_stays_healthy() {
    use TaskReason::{CompileLimit, InvalidModule};
    let dev = Dev::start(&[]);
    let (huge, tables) = (unseen(hostile::TABLE_MINIMUM), unseen(hostile::TABLES_MANY));
    block_on(async {
        let mut framework = Framework::connect(&dev.url).await;
        let hello = framework.upload(guests::HELLO).await;
        for (name, module, reason) in [
            ("costly", costly(), CompileLimit),
            ("crowd", generate::many_functions(600_000), CompileLimit),
            ("masses", generate::many_functions(2_000_000), InvalidModule),
            ("huge", huge, InvalidModule),
            ("tables", tables, InvalidModule),
            ("noise", vec![0x55; 1 << 20], InvalidModule),
        ] {
            let digest = framework.upload_bytes(module).await;
            framework.submit([task(name, digest)]);
            let end = framework.ends(name).await;
            assert_eq!(end.reason, Some(reason), "{name}: {end:?}");
            assert_eq!(end.state, TaskState::Error, "{name}: {end:?}");
            assert!(!end.message.is_empty(), "{name}: {end:?}");
            let after = format!("after-{name}");
            framework.submit([task(&after, hello)]);
            framework.reaches(&after, TaskState::Finished).await;
        }
        framework.teardown().await;
    });
}

#[test]
fn many_functions_and_deep_blocks_are_compiled_and_run() {
    let dev = Dev::start(&[]);
    block_on(async {
        let mut framework = Framework::connect(&dev.url).await;
        for (name, module) in [
            ("functions", generate::many_functions(100_000)),
            ("blocks", generate::deep_blocks(100_000)),
        ] {
            let digest = framework.upload_bytes(module).await;
            framework.submit([task(name, digest)]);
            framework.reaches(name, TaskState::Finished).await;
        }
        framework.teardown().await;
    });
}

#[test]
fn a_policy_is_pushed_as_what_it_is() {
    let dev = Dev::start(&[]);
    let said = dev.ask(&["push", policies::PRIORITY, "infra/priority"]);
    assert!(said.starts_with("infra/priority:latest "), "{said}");
    assert!(
        dev.ask(&["inspect", policies::PRIORITY])
            .contains("\npolicy: component")
    );
    let refused = dev.run("infra/priority").go();
    assert!(![0, 124, 137].contains(&refused.status), "{refused}");
}
