//! The guest threads: OS threads that poll jobs, one quantum after another.

use std::fmt;
use std::future::Future;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::thread::JoinHandle;
use std::time::Instant;

use nesos_types::ids::FrameworkId;

use super::clock::{begin_quantum, thread_cpu_ns};
use super::job::{Job, Meter, Share};
use super::queue::{Admission, Key, Queue};

/// The threads and their queue. Dropping it drops every job unfinished and joins the threads.
#[derive(Debug)]
pub(crate) struct GuestThreads {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

/// What the threads and the wakers share.
pub(crate) struct Shared {
    state: Mutex<State>,
    work: Condvar,
    stopping: AtomicBool,
    live: AtomicUsize,
}

#[derive(Debug, Default)]
struct State {
    queue: Queue,
    /// Threads without work.
    idle: usize,
    /// Whether one of them watches the queue's alarm; the others sleep until they are called.
    watched: bool,
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared")
            .field("live", &self.live)
            .finish_non_exhaustive()
    }
}

impl GuestThreads {
    /// So many threads, within the given runtime for their timers and I/O.
    pub(crate) fn start(count: usize, io: &tokio::runtime::Handle) -> std::io::Result<Self> {
        let shared = Arc::new(Shared {
            state: Mutex::new(State::default()),
            work: Condvar::new(),
            stopping: AtomicBool::new(false),
            live: AtomicUsize::new(0),
        });
        let mut guest_threads = Self {
            shared,
            threads: Vec::with_capacity(count),
        };
        for index in 0..count.max(1) {
            let (shared, io) = (guest_threads.shared.clone(), io.clone());
            let thread = std::thread::Builder::new()
                .name(format!("guest-{index}"))
                .spawn(move || {
                    let _io = io.enter();
                    shared.run();
                })?;
            guest_threads.threads.push(thread);
        }
        Ok(guest_threads)
    }

    /// Who starts jobs on these threads.
    pub(crate) fn spawner(&self) -> Spawner {
        Spawner(Arc::downgrade(&self.shared))
    }

    /// Jobs that are not over.
    pub(crate) fn live(&self) -> usize {
        self.shared.live.load(Ordering::Relaxed)
    }
}

/// Starts jobs. A job may hold one, for it keeps no thread alive.
#[derive(Clone, Debug)]
pub(crate) struct Spawner(Weak<Shared>);

impl Spawner {
    /// Starts a job. Its future is polled on the guest threads only, and dropped there. None if the threads
    /// are no more.
    pub(crate) fn spawn(
        &self,
        framework: FrameworkId,
        share: Share,
        meter: Arc<Meter>,
        future: impl Future<Output = ()> + Send + 'static,
    ) -> Option<Arc<Job>> {
        let shared = self.0.upgrade()?;
        let job = Job::new(share, meter, self.0.clone(), Box::pin(future));
        let job = Arc::new(job);
        shared.live.fetch_add(1, Ordering::Relaxed);
        shared.with_queue(|queue, now| {
            let admission = Admission {
                job: job.clone(),
                framework,
                cpu_milli: share.cpu_milli,
                burst: share.burst,
                revocable: share.revocable,
            };
            let key = queue.admit(admission, now);
            job.key.get_or_init(|| key);
            queue.wake(key, now);
        });
        Some(job)
    }
}

impl Spawner {
    /// Starts a job that pays from the bucket of another one, whose share it has. None if that is over.
    pub(crate) fn spawn_beside(
        &self,
        other: &Arc<Job>,
        meter: Arc<Meter>,
        future: impl Future<Output = ()> + Send + 'static,
    ) -> Option<Arc<Job>> {
        let shared = self.0.upgrade()?;
        let &beside = other.key.get()?;
        let job = Job::new(other.share, meter, self.0.clone(), Box::pin(future));
        let job = Arc::new(job);
        let mut admitted = false;
        shared.with_queue(|queue, now| {
            if let Some(key) = queue.admit_beside(beside, other, job.clone()) {
                admitted = true;
                job.key.get_or_init(|| key);
                shared.live.fetch_add(1, Ordering::Relaxed);
                queue.wake(key, now);
            }
        });
        admitted.then_some(job)
    }
}

impl Drop for GuestThreads {
    fn drop(&mut self) {
        {
            let _state = self.shared.lock();
            self.shared.stopping.store(true, Ordering::Release);
            self.shared.work.notify_all();
        }
        for thread in self.threads.drain(..) {
            // A thread that panicked has said so already.
            let _ = thread.join();
        }
        let jobs = self.shared.lock().queue.jobs();
        for job in jobs {
            job.abandon();
        }
    }
}

impl Shared {
    pub(super) fn wake(&self, key: Key) {
        self.with_queue(|queue, now| queue.wake(key, now));
    }

    pub(super) fn hurry(&self, key: Key, job: &Arc<Job>) {
        self.with_queue(|queue, now| queue.hurry(key, job, now));
    }

    pub(super) fn set_rate(&self, key: Key, job: &Arc<Job>, cpu_milli: u64) {
        self.with_queue(|queue, now| queue.set_rate(key, job, cpu_milli, now));
    }

    /// Changes the queue from outside, and calls a thread if there is work for it.
    fn with_queue(&self, change: impl FnOnce(&mut Queue, Instant)) {
        let now = Instant::now();
        let mut state = self.lock();
        change(&mut state.queue, now);
        self.call_if_needed(state);
    }

    /// Calls an idle thread if a job waits, or if nobody watches the alarm.
    fn call_if_needed(&self, state: MutexGuard<'_, State>) {
        let unwatched = !state.watched && state.queue.next_alarm().is_some();
        let call = state.idle > 0 && (state.queue.has_runnable() || unwatched);
        drop(state);
        if call {
            self.work.notify_one();
        }
    }

    fn run(&self) {
        let mut cpu_ns = thread_cpu_ns();
        let mut state = self.lock();
        while !self.stopping.load(Ordering::Acquire) {
            let Some((key, job)) = state.queue.pop(Instant::now()) else {
                state = self.sleep(state);
                cpu_ns = thread_cpu_ns();
                continue;
            };
            self.call_if_needed(state);
            begin_quantum(cpu_ns);
            let over = job.poll();
            let before = std::mem::replace(&mut cpu_ns, thread_cpu_ns());
            state = self.settle(key, &job, over, cpu_ns.saturating_sub(before));
        }
    }

    /// Books a quantum and puts the job where it belongs now.
    fn settle(&self, key: Key, job: &Arc<Job>, over: bool, cpu_ns: u64) -> MutexGuard<'_, State> {
        let charge_ns = job.account(cpu_ns);
        let now = Instant::now();
        let mut state = self.lock();
        state.queue.charge(key, cpu_ns, charge_ns, now);
        if over {
            state.queue.remove(key);
            self.live.fetch_sub(1, Ordering::Relaxed);
        } else if job.comes_to_rest() {
            state.queue.rest(key);
        } else {
            state.queue.requeue(key, now);
        }
        state
    }

    /// Waits until there may be work.
    fn sleep<'a>(&'a self, mut state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
        state.idle += 1;
        let alarm = state.queue.next_alarm().filter(|_| !state.watched);
        let mut state = match alarm {
            None => self
                .work
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner),
            Some(at) => {
                state.watched = true;
                let wait = at.saturating_duration_since(Instant::now());
                let (mut state, _) = self
                    .work
                    .wait_timeout(state, wait)
                    .unwrap_or_else(PoisonError::into_inner);
                state.watched = false;
                state
            }
        };
        state.idle -= 1;
        state
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
