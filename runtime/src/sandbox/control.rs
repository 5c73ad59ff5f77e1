//! What a sandbox and those outside share: orders to end, and the account so far.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::time::{Duration, Instant};

use nesos_types::limits::Usage;
use nesos_types::task::TaskReason;
use tokio::task::AbortHandle;

use crate::cpu::{Bucket, Job, Meter};
use crate::ledger::Ledger;
use crate::mailbox::{Audience, Mailbox};
use crate::service::Desk;

use super::family::Family;

/// Why a sandbox is to end before its guest does.
#[derive(Clone, Debug)]
pub(crate) enum Order {
    /// Somebody asked.
    Kill { reason: TaskReason, message: String },
    /// `limits.timeout` has passed.
    TimeLimit,
}

/// The shared part of a sandbox.
#[derive(Debug)]
pub(crate) struct Control {
    pub(crate) meter: Arc<Meter>,
    /// What a guest on threads of its own pays from; another's bucket is in the queue.
    pub(crate) own_bucket: Arc<Mutex<Bucket>>,
    /// The memory that all of this sandbox draws on.
    pub(crate) ledger: Arc<Ledger>,
    /// What waits for the guest.
    pub(crate) mailbox: Arc<Mailbox>,
    /// An executor's children, and how the CPU is parted among them.
    pub(crate) family: Family,
    /// The data that the guest wants in its last status.
    result: Mutex<Vec<u8>>,
    job: OnceLock<Arc<Job>>,
    /// Where a service's requests go.
    desk: OnceLock<Weak<Desk>>,
    started: OnceLock<Instant>,
    /// Wall-clock time from start to end; zero while it runs.
    final_wall_ns: AtomicU64,
    orders: Mutex<Orders>,
    /// The guest is to be dropped now. Read at every quantum, so it is not behind the lock.
    drop_now: AtomicBool,
    io: tokio::runtime::Handle,
}

#[derive(Debug, Default)]
struct Orders {
    order: Option<Order>,
    /// Whether the guest can learn that it should stop.
    hears: bool,
    over: bool,
    timers: Vec<AbortHandle>,
}

impl Control {
    pub(crate) fn new(io: tokio::runtime::Handle, cpu_milli: u64, mem_bytes: u64) -> Self {
        let bucket = Bucket::new(cpu_milli, Instant::now());
        let meter = Arc::<Meter>::default();
        let ledger = Arc::new(Ledger::new(mem_bytes, meter.clone()));
        Self {
            meter,
            mailbox: Arc::new(Mailbox::new(ledger.clone())),
            ledger,
            family: Family::new(cpu_milli),
            result: Mutex::default(),
            own_bucket: Arc::new(Mutex::new(bucket)),
            job: OnceLock::new(),
            desk: OnceLock::new(),
            started: OnceLock::new(),
            final_wall_ns: AtomicU64::new(0),
            orders: Mutex::default(),
            drop_now: AtomicBool::new(false),
            io,
        }
    }

    /// Joins the job that runs this sandbox.
    pub(crate) fn attach(&self, job: Arc<Job>) {
        let job = self.job.get_or_init(|| job);
        if self.is_dropped() {
            job.hurry();
        }
    }

    /// The job that runs this sandbox, once it is known.
    pub(crate) fn job(&self) -> Option<&Arc<Job>> {
        self.job.get()
    }

    /// This is where its requests go.
    pub(crate) fn set_desk(&self, desk: &Arc<Desk>) {
        self.desk.get_or_init(|| Arc::downgrade(desk));
    }

    /// Where its requests go, if it is a service that has started and is not over.
    pub(crate) fn desk(&self) -> Option<Arc<Desk>> {
        self.desk.get()?.upgrade()
    }

    /// Lets the guest use so much CPU from now on, its children included.
    pub(crate) fn set_cpu(&self, cpu_milli: u64) {
        let own = self.family.set_total(cpu_milli);
        self.set_own_cpu(own);
    }

    /// Lets the guest itself use so much CPU from now on, wherever its bucket is.
    pub(crate) fn set_own_cpu(&self, cpu_milli: u64) {
        let own = self.own_bucket.lock();
        own.unwrap_or_else(PoisonError::into_inner)
            .set_rate(cpu_milli, Instant::now());
        if let Some(job) = self.job.get() {
            job.set_rate(cpu_milli);
        }
    }

    pub(crate) fn kill(self: &Arc<Self>, grace: Duration, reason: TaskReason, message: &str) {
        let mut orders = self.orders();
        if orders.over {
            return;
        }
        let message = message.to_owned();
        orders.order.get_or_insert(Order::Kill { reason, message });
        if orders.hears && !grace.is_zero() {
            self.mailbox.request_stop(Instant::now() + grace);
            let dropped = self.drop_after(grace);
            orders.timers.push(dropped);
        } else {
            drop(orders);
            self.drop_guest();
        }
    }

    /// The handle of the runtime that serves timers and I/O.
    pub(crate) fn io(&self) -> &tokio::runtime::Handle {
        &self.io
    }

    /// When the guest started.
    pub(crate) fn started(&self) -> Option<Instant> {
        self.started.get().copied()
    }

    /// The guest starts now. Says no if it is not to start any more.
    pub(crate) fn start(self: &Arc<Self>, timeout: Option<Duration>, hears: bool) -> bool {
        let mut orders = self.orders();
        if orders.order.is_some() {
            return false;
        }
        orders.hears = hears;
        self.started.get_or_init(Instant::now);
        if let Some(timeout) = timeout {
            let control = self.clone();
            let timer = self.io.spawn(async move {
                tokio::time::sleep(timeout).await;
                control.orders().order.get_or_insert(Order::TimeLimit);
                control.drop_guest();
            });
            orders.timers.push(timer.abort_handle());
        }
        true
    }

    /// The sandbox is over; returns why somebody wanted that, if so.
    pub(crate) fn finish(&self) -> Option<Order> {
        self.mailbox.open(Audience::Over);
        let mut orders = self.orders();
        orders.over = true;
        orders.timers.drain(..).for_each(|timer| timer.abort());
        if let Some(started) = self.started.get() {
            self.final_wall_ns
                .store(nanos(started.elapsed()).max(1), Ordering::Relaxed);
        }
        orders.order.clone()
    }

    /// Whether the guest has ever run.
    pub(crate) fn has_started(&self) -> bool {
        self.started.get().is_some()
    }

    /// Whether the guest is to be dropped now.
    pub(crate) fn is_dropped(&self) -> bool {
        self.drop_now.load(Ordering::Acquire)
    }

    /// CPU time that the guest and its children have used, in nanoseconds.
    pub(crate) fn cpu_ns(&self) -> u64 {
        self.meter.cpu_ns.load(Ordering::Relaxed) + self.family.cpu_ns()
    }

    /// Sets the data of the last status. It is charged to the guest's memory until then.
    pub(crate) fn set_result(&self, data: Vec<u8>) {
        let mut result = self.result();
        self.ledger.add(data.len() as u64);
        let before = std::mem::replace(&mut *result, data);
        self.ledger.give_back(before.len() as u64);
    }

    /// The data of the last status.
    pub(crate) fn take_result(&self) -> Vec<u8> {
        let data = std::mem::take(&mut *self.result());
        self.ledger.give_back(data.len() as u64);
        data
    }

    fn result(&self) -> MutexGuard<'_, Vec<u8>> {
        self.result.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn usage(&self) -> Usage {
        let wall_ns = match (
            self.final_wall_ns.load(Ordering::Relaxed),
            self.started.get(),
        ) {
            (0, Some(started)) => nanos(started.elapsed()),
            (wall_ns, _) => wall_ns,
        };
        Usage {
            cpu_ns: self.cpu_ns(),
            wall_ns,
            fuel: self.meter.fuel.load(Ordering::Relaxed),
            peak_memory_bytes: self.meter.peak_memory_bytes.load(Ordering::Relaxed),
            peak_disk_bytes: self.meter.peak_disk_bytes.load(Ordering::Relaxed),
            output_bytes: self.meter.output_bytes.load(Ordering::Relaxed),
        }
    }

    fn drop_after(self: &Arc<Self>, grace: Duration) -> AbortHandle {
        let control = self.clone();
        let timer = self.io.spawn(async move {
            tokio::time::sleep(grace).await;
            control.drop_guest();
        });
        timer.abort_handle()
    }

    /// Drops the guest as soon as may be.
    pub(crate) fn drop_guest(&self) {
        self.drop_now.store(true, Ordering::Release);
        if let Some(job) = self.job.get() {
            job.hurry();
        }
    }

    fn orders(&self) -> MutexGuard<'_, Orders> {
        self.orders.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_result_is_paid_for_until_it_is_taken() {
        let control = Control::new(tokio::runtime::Handle::current(), 100, 1 << 20);
        control.set_result(vec![0; 1000]);
        control.set_result(vec![0; 600]);
        assert_eq!(control.ledger.used(), 600);
        assert_eq!(control.take_result().len(), 600);
        assert_eq!(control.ledger.used(), 0);
        assert_eq!(control.usage().peak_memory_bytes, 1600);
    }
}
