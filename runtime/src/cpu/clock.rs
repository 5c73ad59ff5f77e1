//! The thread CPU clock, and what of it belongs to the quantum that runs.

use std::cell::Cell;

use rustix::time::{ClockId, clock_gettime};

thread_local! {
    static QUANTUM_BEGAN: Cell<u64> = const { Cell::new(0) };
}

/// CPU time that the calling thread has used, in nanoseconds. A system call of about 0.7 µs.
pub(crate) fn thread_cpu_ns() -> u64 {
    let now = clock_gettime(ClockId::ThreadCPUTime);
    let [seconds, nanoseconds] =
        [now.tv_sec, now.tv_nsec].map(|part| u64::try_from(part).unwrap_or(0));
    seconds * 1_000_000_000 + nanoseconds
}

/// Remembers what the clock showed when the quantum that now runs on this thread began.
pub(crate) fn begin_quantum(cpu_ns: u64) {
    QUANTUM_BEGAN.set(cpu_ns);
}

/// CPU time of the quantum that runs on this thread, which no meter shows yet.
pub(crate) fn this_quantum_ns() -> u64 {
    thread_cpu_ns().saturating_sub(QUANTUM_BEGAN.get())
}
