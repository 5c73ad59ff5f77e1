//! Several masters on one etcd, as real processes: killed, paused, cut off from etcd, and asked by clients that
//! know no more than their addresses. What needs etcd is ignored unless it is asked for, as `.ci/run` does where
//! etcd is installed.

mod cluster;
#[path = "../src/etcd.rs"]
#[expect(
    unreachable_pub,
    reason = "the same file is a module of a library, for the benchmarks"
)]
mod etcd;
mod failover;
#[path = "../e2e/framework.rs"]
#[expect(
    dead_code,
    reason = "the same file serves tests with executors, of which there are none here"
)]
mod framework;
#[path = "../e2e/harness.rs"]
#[expect(
    dead_code,
    reason = "the same file serves tests that look at what a run prints"
)]
mod harness;
mod starting;
