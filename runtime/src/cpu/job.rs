//! A job: a future that is polled in quanta, and the account of what it has used.

use std::fmt;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};
use std::task::{Context, Poll, Wake, Waker};

use super::queue::Key;
use super::threads::Shared;

/// What a job may use.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Share {
    /// Thousandths of a CPU.
    pub(crate) cpu_milli: u64,
    /// Whether it may use CPU that nobody else wants.
    pub(crate) burst: bool,
    /// Whether its CPU is somebody else's who does not use it now.
    pub(crate) revocable: bool,
    /// Set if the bucket is kept in fuel: units that make up one second of CPU.
    pub(crate) fuel_per_second: Option<u64>,
}

/// What a job and the guest in it have used; written by the thread that polls it, read by anyone.
#[derive(Debug, Default)]
pub(crate) struct Meter {
    /// CPU time, in nanoseconds.
    pub(crate) cpu_ns: AtomicU64,
    /// Units of fuel, as of the last time that the store could be asked.
    pub(crate) fuel: AtomicU64,
    /// Bytes of memory, at most.
    pub(crate) peak_memory_bytes: AtomicU64,
    /// Bytes on disk, at most.
    pub(crate) peak_disk_bytes: AtomicU64,
    /// Bytes written to stdout and stderr.
    pub(crate) output_bytes: AtomicU64,
    /// What this is a part of, and is added to.
    whole: Option<Arc<Self>>,
}

impl Meter {
    /// The meter of one of several jobs that make up a sandbox.
    pub(crate) fn part_of(whole: Arc<Self>) -> Self {
        Self {
            whole: Some(whole),
            ..Self::default()
        }
    }

    fn add_cpu(&self, cpu_ns: u64) {
        self.cpu_ns.fetch_add(cpu_ns, Ordering::Relaxed);
        if let Some(whole) = &self.whole {
            whole.add_cpu(cpu_ns);
        }
    }

    /// Shows what a store says of itself: the fuel that it has burnt, and what was written by all who share its
    /// disk and its output.
    pub(crate) fn show(&self, fuel: u64, peak_disk_bytes: u64, output_bytes: u64) {
        let before = self.fuel.swap(fuel, Ordering::Relaxed);
        let meter = match &self.whole {
            None => self,
            Some(whole) => {
                let burnt = fuel.saturating_sub(before);
                whole.fuel.fetch_add(burnt, Ordering::Relaxed);
                whole
            }
        };
        let shown = [
            (&meter.peak_disk_bytes, peak_disk_bytes),
            (&meter.output_bytes, output_bytes),
        ];
        for (shown, bytes) in shown {
            shown.fetch_max(bytes, Ordering::Relaxed);
        }
    }
}

/// The states in which a wake-up finds a job.
mod state {
    /// Waits for a waker.
    pub(super) const IDLE: u8 = 0;
    /// Stands in the queue, or is about to.
    pub(super) const QUEUED: u8 = 1;
    /// Is being polled.
    pub(super) const RUNNING: u8 = 2;
    /// Is being polled and was woken meanwhile.
    pub(super) const WOKEN: u8 = 3;
}

/// Units of fuel between two yields of a guest: 0.2 to 0.7 ms.
pub(crate) const FUEL_PER_QUANTUM: u64 = 1_000_000;

type BoxedFuture = Pin<Box<dyn Future<Output = ()> + Send>>;

/// A future with an account.
pub(crate) struct Job {
    state: AtomicU8,
    future: Mutex<Option<BoxedFuture>>,
    pub(super) share: Share,
    meter: Arc<Meter>,
    /// Fuel that the bucket has been charged for.
    charged_fuel: AtomicU64,
    pub(super) key: OnceLock<Key>,
    pub(super) shared: Weak<Shared>,
    waker: OnceLock<Waker>,
}

impl fmt::Debug for Job {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Job")
            .field("state", &self.state)
            .field("share", &self.share)
            .field("meter", &self.meter)
            .finish_non_exhaustive()
    }
}

impl Job {
    pub(super) fn new(
        share: Share,
        meter: Arc<Meter>,
        shared: Weak<Shared>,
        future: BoxedFuture,
    ) -> Self {
        Self {
            state: AtomicU8::new(state::QUEUED),
            future: Mutex::new(Some(future)),
            share,
            meter,
            charged_fuel: AtomicU64::new(0),
            key: OnceLock::new(),
            shared,
            waker: OnceLock::new(),
        }
    }

    /// Polls for one quantum; says whether the job is over.
    pub(super) fn poll(self: &Arc<Self>) -> bool {
        self.state.store(state::RUNNING, Ordering::Release);
        let waker = self.waker.get_or_init(|| self.make_waker());
        let mut slot = self.future.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(future) = slot.as_mut() else {
            return true;
        };
        let mut context = Context::from_waker(waker);
        // A bug in one host function must not take the thread from all other guests.
        let polled = catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(&mut context)));
        let over = !matches!(polled, Ok(Poll::Pending));
        if over {
            *slot = None;
        }
        over
    }

    /// Charges the meter and says what the quantum costs the bucket, in nanoseconds of CPU.
    pub(super) fn account(&self, cpu_ns: u64) -> u64 {
        self.meter.add_cpu(cpu_ns);
        match self.share.fuel_per_second {
            None => cpu_ns,
            Some(per_second) => nanoseconds_worth(self.fuel_since_last_quantum(), per_second),
        }
    }

    /// The store says at its epochs and at its end what was burnt; in between, a yield is a quantum's
    /// worth. What was estimated wrongly is put right as soon as the store has spoken again.
    fn fuel_since_last_quantum(&self) -> u64 {
        let charged = self.charged_fuel.load(Ordering::Relaxed);
        let known = self.meter.fuel.load(Ordering::Relaxed);
        let yielded = self.state.load(Ordering::Relaxed) == state::WOKEN;
        let estimate = charged + if yielded { FUEL_PER_QUANTUM } else { 0 };
        let burnt = estimate.max(known);
        self.charged_fuel.store(burnt, Ordering::Relaxed);
        burnt - charged
    }

    /// Drops the future unfinished.
    pub(super) fn abandon(&self) {
        drop(
            self.future
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .take(),
        );
    }

    /// After a poll: whether the job now waits for a waker. Called with the queue locked, so that no
    /// wake-up comes between this and the queue's knowing of it.
    pub(super) fn comes_to_rest(&self) -> bool {
        let rests = self.state.compare_exchange(
            state::RUNNING,
            state::IDLE,
            Ordering::AcqRel,
            Ordering::Acquire,
        );
        if rests.is_err() {
            self.state.store(state::QUEUED, Ordering::Release);
        }
        rests.is_ok()
    }

    /// Whether the caller has to put the job into the queue.
    fn note_wake(&self) -> bool {
        loop {
            let (from, to) = match self.state.load(Ordering::Acquire) {
                state::IDLE => (state::IDLE, state::QUEUED),
                state::RUNNING => (state::RUNNING, state::WOKEN),
                _ => return false,
            };
            let changed =
                self.state
                    .compare_exchange_weak(from, to, Ordering::AcqRel, Ordering::Acquire);
            if changed.is_ok() {
                return from == state::IDLE;
            }
        }
    }

    fn make_waker(self: &Arc<Self>) -> Waker {
        // Weak, for the job itself keeps the waker.
        Waker::from(Arc::new(JobWaker(Arc::downgrade(self))))
    }

    /// Lets the job be polled.
    pub(crate) fn wake(self: &Arc<Self>) {
        if self.note_wake()
            && let (Some(shared), Some(&key)) = (self.shared.upgrade(), self.key.get())
        {
            shared.wake(key);
        }
    }

    /// Lets the job use so much CPU from now on.
    pub(crate) fn set_rate(self: &Arc<Self>, cpu_milli: u64) {
        if let (Some(shared), Some(&key)) = (self.shared.upgrade(), self.key.get()) {
            shared.set_rate(key, self, cpu_milli);
        }
    }

    /// Lets the job be polled very soon, whatever its bucket says.
    pub(crate) fn hurry(self: &Arc<Self>) {
        if let (Some(shared), Some(&key)) = (self.shared.upgrade(), self.key.get()) {
            shared.hurry(key, self);
        }
        self.wake();
    }
}

/// What so much fuel is worth at a rate, in nanoseconds of CPU.
fn nanoseconds_worth(fuel: u64, per_second: u64) -> u64 {
    let nanoseconds = u128::from(fuel) * 1_000_000_000 / u128::from(per_second.max(1));
    u64::try_from(nanoseconds).unwrap_or(u64::MAX)
}

struct JobWaker(Weak<Job>);

impl Wake for JobWaker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if let Some(job) = self.0.upgrade() {
            job.wake();
        }
    }
}
