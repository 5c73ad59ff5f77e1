//! Components' files, streams and time, through the host traits that their imports end up at.

use std::collections::BTreeSet;

use bytes::Bytes;
use tokio::sync::mpsc;
use wasmtime::Engine;
use wasmtime::component::{Component, Resource};
use wasmtime_wasi::cli::{StdinStream as _, StdoutStream as _};
use wasmtime_wasi::filesystem::Descriptor;
use wasmtime_wasi::p2::bindings::filesystem::preopens::Host as _;
use wasmtime_wasi::p2::bindings::filesystem::types::{
    DescriptorFlags, ErrorCode, HostDescriptor as _, OpenFlags, PathFlags,
};
use wasmtime_wasi::p2::{FsResult, StreamError};

use super::*;
use crate::determinism::Determinism;
use crate::wasi::{Stdin, Stdout, exit_code};

struct Guest {
    state: State,
    _home: tempfile::TempDir,
}

impl WasiView for Guest {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        self.state.view()
    }
}

impl Host for Guest {
    fn state(&mut self) -> &mut State {
        &mut self.state
    }
}

fn guest(change: impl FnOnce(&mut WasiSpec)) -> Guest {
    let home = tempfile::tempdir().unwrap();
    let mut spec = WasiSpec {
        args: vec!["guest".into()],
        env: Vec::new(),
        root: home.path().join("root"),
        mounts: Vec::new(),
        volumes: Vec::new(),
        quotas: Arc::default(),
        stdin: Stdin::Empty,
        stdout: Stdout::Null,
        stderr: Stdout::Null,
        disk_bytes: 1 << 20,
        max_files: 8,
        max_descriptors: 8,
        determinism: None,
    };
    change(&mut spec);
    Guest {
        state: State::new(spec).unwrap(),
        _home: home,
    }
}

/// A second handle of the same resource.
fn again(fd: &Resource<Descriptor>) -> Resource<Descriptor> {
    Resource::new_borrow(fd.rep())
}

impl Guest {
    fn root(&mut self) -> Resource<Descriptor> {
        self.state.files().get_directories().unwrap().remove(0).0
    }

    async fn open(
        &mut self,
        dir: &Resource<Descriptor>,
        path: &str,
        open: OpenFlags,
    ) -> Result<Resource<Descriptor>, ErrorCode> {
        let flags = DescriptorFlags::READ | DescriptorFlags::WRITE;
        let mut files = self.state.files();
        told(
            files
                .open_at(
                    again(dir),
                    PathFlags::SYMLINK_FOLLOW,
                    path.into(),
                    open,
                    flags,
                )
                .await,
        )
    }

    fn used(&self) -> (u64, u64) {
        (self.state.quota().bytes(), self.state.quota().files())
    }
}

/// The error code that a function gave; a trap fails the test.
fn told<T>(done: FsResult<T>) -> Result<T, ErrorCode> {
    done.map_err(|error| error.downcast().unwrap())
}

#[tokio::test]
async fn writes_of_every_kind_are_counted() {
    let mut guest = guest(|_| {});
    let root = guest.root();
    let file = guest.open(&root, "file", OpenFlags::CREATE).await.unwrap();
    let mut files = guest.state.files();
    assert_eq!(
        told(files.write(again(&file), b"hello".to_vec(), 0).await),
        Ok(5)
    );
    let sparse = told(files.write(again(&file), b"x".to_vec(), 1 << 40).await);
    assert_eq!(sparse, Err(ErrorCode::InsufficientSpace));
    assert_eq!(
        told(files.set_size(again(&file), 4 << 40).await),
        Err(ErrorCode::InsufficientSpace)
    );
    assert_eq!(guest.used(), (5, 1));
    let mut files = guest.state.files();
    let appender = told(files.append_via_stream(again(&file))).unwrap();
    let stream = files.table.get_mut(&appender).unwrap();
    stream.write(Bytes::from_static(b" world")).unwrap();
    let full = stream.write(Bytes::from(vec![0; 1 << 20]));
    let Err(StreamError::LastOperationFailed(error)) = full else {
        panic!("wrote more than the quota: {full:?}");
    };
    assert!(error.downcast_ref::<std::io::Error>().is_some());
    assert_eq!(guest.used(), (1 << 20, 1));
    assert!(guest.state.quota().was_exceeded());
}

#[tokio::test]
async fn truncating_unlinking_and_renaming_give_back() {
    let mut guest = guest(|_| {});
    let root = guest.root();
    for name in ["a", "b"] {
        let file = guest.open(&root, name, OpenFlags::CREATE).await.unwrap();
        let mut files = guest.state.files();
        told(files.write(again(&file), vec![1; 100], 0).await).unwrap();
        files.close(file).unwrap();
    }
    let mut files = guest.state.files();
    told(
        files
            .rename_at(again(&root), "a".into(), again(&root), "b".into())
            .await,
    )
    .unwrap();
    assert_eq!(guest.used(), (100, 1));
    let open = guest.open(&root, "b", OpenFlags::TRUNCATE).await.unwrap();
    assert_eq!(guest.used(), (0, 1));
    let mut files = guest.state.files();
    told(files.write(again(&open), vec![1; 50], 0).await).unwrap();
    told(files.unlink_file_at(again(&root), "b".into()).await).unwrap();
    assert_eq!(guest.used(), (50, 0), "still open");
    guest.state.files().close(open).unwrap();
    assert_eq!(guest.used(), (0, 0));
}

#[tokio::test]
async fn no_path_leads_out_and_descriptors_are_bounded() {
    let mut guest = guest(|spec| spec.max_descriptors = 3);
    let root = guest.root();
    for path in ["../secret", "/etc/passwd", "tmp/../../secret"] {
        let denied = guest.open(&root, path, OpenFlags::CREATE).await;
        assert_eq!(denied.unwrap_err(), ErrorCode::NotPermitted, "{path}");
    }
    for _ in 0..2 {
        guest.open(&root, "a", OpenFlags::CREATE).await.unwrap();
    }
    let denied = guest.open(&root, "b", OpenFlags::CREATE).await;
    assert_eq!(denied.unwrap_err(), ErrorCode::InsufficientMemory);
    assert_eq!(guest.used(), (0, 1));
}

#[tokio::test]
async fn the_root_is_made_when_it_is_used() {
    let mut guest = guest(|_| {});
    let path = guest._home.path().join("root");
    let root = guest.root();
    assert!(!path.exists());
    let mut files = guest.state.files();
    let stat = files.stat_at(again(&root), PathFlags::empty(), "tmp".into());
    told(stat.await).unwrap();
    assert!(path.join("tmp").exists());
}

#[tokio::test]
async fn streams_share_stdin_and_hold_output_back() {
    let (input, receiver) = mpsc::channel(2);
    let stdin = stdio::StdinOf::new(Input::new(Stdin::Attached(receiver)));
    let mut stream = stdin.p2_stream();
    assert_eq!(stream.read(10).unwrap(), "");
    input.send(Bytes::from_static(b"one two")).await.unwrap();
    stream.ready().await;
    assert_eq!(stream.read(4).unwrap(), "one ");
    assert_eq!(stdin.p2_stream().read(10).unwrap(), "two");
    drop(input);
    assert!(matches!(
        stream.blocking_read(1).await,
        Err(StreamError::Closed)
    ));

    let (sender, mut output) = mpsc::channel(1);
    let written = Arc::default();
    let stdout = stdio::StdoutOf(Output::new(Stdout::Attached(sender), Arc::clone(&written)));
    let mut stream = stdout.p2_stream();
    for part in ["first", "second"] {
        assert!(stream.check_write().unwrap() > 0);
        stream.write(Bytes::from_static(part.as_bytes())).unwrap();
    }
    assert_eq!(stream.check_write().unwrap(), 0, "the reader is behind");
    assert_eq!(output.recv().await.unwrap(), "first");
    stream.ready().await;
    assert!(stream.check_write().unwrap() > 0);
    assert_eq!(output.recv().await.unwrap(), "second");
    assert_eq!(written.load(Ordering::Relaxed), 11);
    drop(output);
    assert!(matches!(
        stream.write(Bytes::from_static(b"x")),
        Err(StreamError::Closed)
    ));
}

#[tokio::test]
async fn reproducible_time_passes_by_waiting() {
    use wasmtime_wasi::HostMonotonicClock as _;
    let determinism = Determinism {
        seed: 1,
        start: nesos_types::time::Time::from_micros(5),
    };
    let clock = Clock::new(Some(&determinism));
    let before = clock.now();
    clock.sleep(std::time::Duration::from_secs(3600)).await;
    assert!(clock.now() >= before + 3_600_000_000_000);
}

#[tokio::test]
async fn every_interface_that_is_claimed_is_linked() {
    let mut linker = Linker::<Guest>::new(&engine());
    add_to_linker(&mut linker).unwrap();
    let claimed: BTreeSet<String> = [(INTERFACES_2, VERSION_2), (INTERFACES_3, VERSION_3)]
        .iter()
        .flat_map(|(names, version)| names.iter().map(move |name| format!("{name}@{version}")))
        .collect();
    let something_else = wasmtime::Module::new(&engine(), "(module)").unwrap();
    let mut is_there = |name: &str| linker.root().module(name, &something_else).is_err();
    // These name types only: there is nothing to link.
    let types_only = ["wasi:cli/types@0.3.0", "wasi:clocks/types@0.3.0"];
    for name in claimed {
        if types_only.contains(&name.as_str()) {
            continue;
        }
        // What is there cannot be defined a second time.
        assert!(is_there(&name), "{name} is missing");
    }
    assert!(!is_there("wasi:http/types@0.2.0"));
}

fn engine() -> Engine {
    let mut config = wasmtime::Config::new();
    config.wasm_component_model_async(true);
    Engine::new(&config).unwrap()
}

/// Calls `wasi:cli/exit` with an error from `wasi:cli/run`.
const EXITS: &str = r#"(component
    (import "wasi:cli/exit@0.2.0" (instance $exit
        (export "exit" (func (param "status" (result))))))
    (core func $exit (canon lower (func $exit "exit")))
    (core module $m
        (import "" "exit" (func $exit (param i32)))
        (func (export "run") (result i32) (call $exit (i32.const 1)) (i32.const 0)))
    (core instance $i (instantiate $m (with "" (instance (export "exit" (func $exit))))))
    (func $run (result (result)) (canon lift (core func $i "run")))
    (instance $cli (export "run" (func $run)))
    (export "wasi:cli/run@0.2.0" (instance $cli)))"#;

#[tokio::test]
async fn a_command_runs_and_its_exit_is_recognised() {
    let engine = engine();
    let mut linker = Linker::<Guest>::new(&engine);
    add_to_linker(&mut linker).unwrap();
    let component = Component::new(&engine, EXITS).unwrap();
    let command = CommandPre::new(linker.instantiate_pre(&component).unwrap()).unwrap();
    let mut store = Store::new(&engine, guest(|_| {}));
    limit_store(&mut store);
    let error = command.run(&mut store).await.unwrap_err();
    assert_eq!(exit_code(&error), Some(1));
}

/// Waits for one pollable, named so many times in one call.
fn polls(times: u32) -> String {
    r#"(component
    (import "wasi:io/poll@0.2.0" (instance $poll
        (export "pollable" (type $pollable (sub resource)))
        (export "poll" (func (param "in" (list (borrow $pollable))) (result (list u32))))))
    (alias export $poll "pollable" (type $pollable))
    (import "wasi:clocks/monotonic-clock@0.2.0" (instance $clock
        (alias outer 1 $pollable (type $outer))
        (export "pollable" (type $own (eq $outer)))
        (export "subscribe-duration" (func (param "when" u64) (result (own $own))))))
    (core module $memory
        (memory (export "memory") 10)
        (func (export "realloc") (param i32 i32 i32 i32) (result i32) (i32.const 300000)))
    (core instance $memory (instantiate $memory))
    (alias core export $memory "memory" (core memory $pages))
    (core func $poll (canon lower (func $poll "poll")
        (memory $pages) (realloc (core func $memory "realloc"))))
    (core func $after (canon lower (func $clock "subscribe-duration")))
    (core module $m
        (import "" "memory" (memory 10))
        (import "" "poll" (func $poll (param i32 i32 i32)))
        (import "" "after" (func $after (param i64) (result i32)))
        (func (export "run") (result i32)
            (local $at i32) (local $pollable i32)
            (local.set $pollable (call $after (i64.const 0)))
            (loop $next
                (i32.store (local.get $at) (local.get $pollable))
                (local.set $at (i32.add (local.get $at) (i32.const 4)))
                (br_if $next (i32.lt_u (local.get $at) (i32.const {bytes}))))
            (call $poll (i32.const 0) (i32.const {times}) (i32.const 640000))
            (i32.const 0)))
    (core instance $i (instantiate $m (with "" (instance
        (export "memory" (memory $pages))
        (export "poll" (func $poll))
        (export "after" (func $after))))))
    (func $run (result (result)) (canon lift (core func $i "run")))
    (instance $cli (export "run" (func $run)))
    (export "wasi:cli/run@0.2.0" (instance $cli)))"#
        .replace("{bytes}", &(times * 4).to_string())
        .replace("{times}", &times.to_string())
}

#[tokio::test]
async fn nobody_polls_more_than_there_can_be() {
    let engine = engine();
    let mut linker = Linker::<Guest>::new(&engine);
    add_to_linker(&mut linker).unwrap();
    let ended = async |times| {
        let component = Component::new(&engine, polls(times)).unwrap();
        let command = CommandPre::new(linker.instantiate_pre(&component).unwrap()).unwrap();
        let mut store = Store::new(&engine, guest(|_| {}));
        limit_store(&mut store);
        command.run(&mut store).await
    };
    assert_eq!(ended(65_536).await.unwrap(), Ok(()));
    let error = format!("{:#}", ended(65_537).await.unwrap_err());
    assert!(
        error.contains("65537 pollables are polled at once"),
        "{error}"
    );
}
