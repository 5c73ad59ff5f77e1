//! One thread of a team: polls its guest, pays for it, and sleeps when there is nothing to pay with.

use std::future::Future;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError};
use std::task::{Context, Poll, Wake};
use std::thread::Thread;
use std::time::{Duration, Instant};

use crate::cpu::thread_cpu_ns;

use super::Team;

/// Runs `future` on the calling thread; none if the team is stopped first.
pub(super) fn drive<F: Future>(team: &Team, future: F) -> Option<F::Output> {
    let mut future = pin!(future);
    let alarm = Arc::new(Alarm {
        thread: std::thread::current(),
        woken: AtomicBool::new(true),
    });
    let waker = alarm.clone().into();
    let mut context = Context::from_waker(&waker);
    while !team.is_stopping() {
        if let Some(wait) = credit_in(team) {
            std::thread::park_timeout(wait);
            continue;
        }
        if !alarm.woken.swap(false, Ordering::AcqRel) {
            std::thread::park();
            continue;
        }
        let before = thread_cpu_ns();
        let polled = future.as_mut().poll(&mut context);
        pay(team, thread_cpu_ns().saturating_sub(before));
        if let Poll::Ready(output) = polled {
            // An error raised by the stopping itself says nothing.
            return Some(output).filter(|_| !team.is_stopping());
        }
    }
    None
}

/// How long to wait for credit, if there is none.
fn credit_in(team: &Team) -> Option<Duration> {
    let bucket = team.account.bucket.lock();
    let mut bucket = bucket.unwrap_or_else(PoisonError::into_inner);
    bucket.fill(Instant::now());
    bucket.is_dry().then(|| bucket.until_enough())
}

fn pay(team: &Team, cpu_ns: u64) {
    team.account
        .meter
        .cpu_ns
        .fetch_add(cpu_ns, Ordering::Relaxed);
    let bucket = team.account.bucket.lock();
    let mut bucket = bucket.unwrap_or_else(PoisonError::into_inner);
    bucket.spend(cpu_ns, Instant::now());
}

/// Wakes the thread.
struct Alarm {
    thread: Thread,
    woken: AtomicBool,
}

impl Wake for Alarm {
    fn wake(self: Arc<Self>) {
        self.woken.store(true, Ordering::Release);
        self.thread.unpark();
    }
}
