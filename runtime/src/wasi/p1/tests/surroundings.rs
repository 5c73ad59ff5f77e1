//! Streams, time, randomness, arguments, and the way through wasmtime.

use std::future::Future;
use std::task::{Context, Waker};

use wasmtime::{Engine, Linker, Module, Store};

use super::*;
use crate::wasi::exit_code;

/// Relative sleep on the monotonic clock, as a subscription.
fn sleep(nanos: u64, userdata: u64) -> [u8; 48] {
    let mut subscription = [0; 48];
    subscription[..8].copy_from_slice(&userdata.to_le_bytes());
    subscription[16] = 1;
    subscription[24..32].copy_from_slice(&nanos.to_le_bytes());
    subscription
}

/// Readiness of `fd` for reading.
fn readable(fd: u32, userdata: u64) -> [u8; 48] {
    let mut subscription = [0; 48];
    subscription[..8].copy_from_slice(&userdata.to_le_bytes());
    subscription[8] = 1;
    subscription[16..20].copy_from_slice(&fd.to_le_bytes());
    subscription
}

#[tokio::test]
async fn stdin_is_read_to_its_end() {
    let (sender, receiver) = mpsc::channel(4);
    let mut guest = Guest::with(|spec| spec.stdin = Stdin::Attached(receiver));
    sender.send(Bytes::from_static(b"hello ")).await.unwrap();
    sender.send(Bytes::from_static(b"world")).await.unwrap();
    drop(sender);
    assert_eq!(guest.read(0, 4).await.unwrap(), b"hell");
    assert_eq!(guest.read(0, 100).await.unwrap(), b"o ");
    assert_eq!(guest.read(0, 100).await.unwrap(), b"world");
    assert_eq!(guest.read(0, 100).await.unwrap(), b"");
    assert_eq!(guest.seek(0, 0, 0).await, Err(Errno::Spipe));
}

#[tokio::test]
async fn output_arrives_unaltered_is_counted_and_breaks_without_a_reader() {
    let (sender, mut receiver) = mpsc::channel(64);
    let mut guest = Guest::with(|spec| spec.stdout = Stdout::Attached(sender));
    let sent: Vec<u8> = (0..1_000_000_u32).map(|i| (i % 251) as u8).collect();
    assert_eq!(guest.write(1, &sent).await, Ok(1_000_000));
    let mut got = Vec::new();
    while let Ok(frame) = receiver.try_recv() {
        got.extend_from_slice(&frame);
    }
    assert!(got == sent);
    assert_eq!(guest.ctx.output_bytes(), 1_000_000);
    drop(receiver);
    assert_eq!(guest.write(1, b"x").await, Err(Errno::Pipe));
}

#[tokio::test]
async fn polling_waits_for_stdin() {
    let (sender, receiver) = mpsc::channel(1);
    let mut guest = Guest::with(|spec| spec.stdin = Stdin::Attached(receiver));
    guest.put(VECTOR, &readable(0, 77));
    guest.put(VECTOR + 48, &sleep(3_600_000_000_000, 1));
    let memory = &mut GuestMemory::Unshared(&mut guest.memory);
    let poll = async {
        answer(abi::poll_oneoff(&mut guest.ctx, memory, VECTOR, DATA, 2, RESULT).await).unwrap();
    };
    let send = async { sender.send(Bytes::from_static(b"input")).await.unwrap() };
    tokio::join!(poll, send);
    assert_eq!(guest.u32(RESULT), 1);
    assert_eq!(guest.u64(DATA), 77);
    assert_eq!(guest.u64(DATA + 16), 5, "bytes there are");
}

#[tokio::test]
async fn a_poll_for_ever_is_cancelled_by_dropping_it() {
    let (_sender, receiver) = mpsc::channel::<Bytes>(1);
    let mut guest = Guest::with(|spec| spec.stdin = Stdin::Attached(receiver));
    guest.put(VECTOR, &readable(0, 1));
    guest.put(VECTOR + 48, &sleep(u64::MAX, 2));
    let memory = &mut GuestMemory::Unshared(&mut guest.memory);
    {
        let mut poll = Box::pin(abi::poll_oneoff(
            &mut guest.ctx,
            memory,
            VECTOR,
            DATA,
            2,
            RESULT,
        ));
        let mut cx = Context::from_waker(Waker::noop());
        assert!(poll.as_mut().poll(&mut cx).is_pending());
    }
    assert!(guest.create("alive").await.is_ok());
}

#[tokio::test]
async fn all_that_is_ready_is_told() {
    let mut guest = Guest::new();
    let fd = guest.create("a").await.unwrap();
    guest.put(VECTOR, &readable(0, 1));
    guest.put(VECTOR + 48, &readable(fd.cast_unsigned(), 2));
    guest.put(VECTOR + 96, &sleep(0, 3));
    let memory = &mut GuestMemory::Unshared(&mut guest.memory);
    answer(abi::poll_oneoff(&mut guest.ctx, memory, VECTOR, DATA, 3, RESULT).await).unwrap();
    let count = guest.u32(RESULT);
    let ready: Vec<u64> = (0..count)
        .map(|i| guest.u64(DATA + 32 * i.cast_signed()))
        .collect();
    assert!(
        ready.contains(&1),
        "an empty stdin is at its end: {ready:?}"
    );
    assert!(ready.contains(&2), "a file is always ready: {ready:?}");
}

fn reproducible() -> Guest {
    Guest::with(|spec| {
        spec.determinism = Some(Determinism {
            seed: 42,
            start: nesos_types::time::Time::from_micros(1_000_000),
        });
    })
}

/// What a guest sees of time and chance, in order.
async fn observations() -> Vec<u64> {
    let mut guest = reproducible();
    let mut seen = Vec::new();
    for round in 0..4 {
        guest.put(VECTOR, &sleep(round * 1_000_000_000_000, 0));
        let memory = &mut GuestMemory::Unshared(&mut guest.memory);
        let ctx = &mut guest.ctx;
        answer(abi::clock_time_get(ctx, memory, 0, 0, RESULT).await).unwrap();
        answer(abi::clock_time_get(ctx, memory, 1, 0, RESULT + 8).await).unwrap();
        answer(abi::random_get(ctx, memory, RESULT + 16, 8).await).unwrap();
        answer(abi::poll_oneoff(ctx, memory, VECTOR, DATA, 1, DATA + 64).await).unwrap();
        seen.extend([0, 8, 16].map(|at| guest.u64(RESULT + at)));
    }
    seen
}

#[tokio::test]
async fn time_and_chance_can_be_reproduced() {
    let first = observations().await;
    assert_eq!(first, observations().await);
    assert_eq!(first[0] / 10_000, 100_000, "it begins where it was told to");
    assert!(
        first[9] >= 1_000_000_000 + 3_000_000_000_000,
        "sleeping passes time"
    );
    assert!(first[2] != first[5], "randomness goes on");
}

#[tokio::test]
async fn random_bytes_fill_all_that_was_asked_for() {
    let mut guest = Guest::new();
    let memory = &mut GuestMemory::Unshared(&mut guest.memory);
    answer(abi::random_get(&mut guest.ctx, memory, DATA, 1 << 20).await).unwrap();
    let zeros = guest
        .bytes(DATA, 1 << 20)
        .iter()
        .filter(|b| **b == 0)
        .count();
    assert!(zeros < 10_000, "{zeros} zero bytes of a million");
}

const HELLO: &str = r#"(module
    (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
    (memory (export "memory") 1)
    (data (i32.const 8) "\10\00\00\00\06\00\00\00hello\0a")
    (func (export "_start")
        (drop (call $write (i32.const 1) (i32.const 8) (i32.const 1) (i32.const 64)))
        (call $exit (i32.const 7))))"#;

#[tokio::test]
async fn a_module_prints_and_exits_through_the_linker() {
    let engine = Engine::default();
    let mut linker = Linker::new(&engine);
    super::super::add_to_linker(&mut linker, |ctx: &mut Ctx| ctx).unwrap();
    let module = Module::new(&engine, HELLO).unwrap();
    let (sender, mut receiver) = mpsc::channel(1);
    let guest = Guest::with(|spec| spec.stdout = Stdout::Attached(sender));
    let mut store = Store::new(&engine, guest.ctx.clone());
    let instance = linker.instantiate_async(&mut store, &module).await.unwrap();
    let start = instance
        .get_typed_func::<(), ()>(&mut store, "_start")
        .unwrap();
    let error = start.call_async(&mut store, ()).await.unwrap_err();
    assert_eq!(exit_code(&error), Some(7));
    assert_eq!(receiver.recv().await.unwrap(), "hello\n");
}
