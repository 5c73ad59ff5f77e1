//! Who is polled next: a pure data structure; time and costs are handed in.
//!
//! Runnable jobs stand in three lanes, served strictly in this order:
//!
//! 1. [`Lane::Owed`]: the bucket is full, so that waiting any longer loses what was accepted. Whoever
//!    accepted a full CPU is always here, and nobody whose share can be caught up is put before it.
//!    New jobs start here too, and so do those that are to be ended.
//! 2. [`Lane::Entitled`]: there is credit.
//! 3. [`Lane::Spare`]: no credit, but leave to use what nobody else wants; or credit, but for CPU that is
//!    somebody else's and can be taken back.
//!
//! Within a lane the order is virtual time (stride scheduling): of frameworks, each weighing the same,
//! so that a thousand jobs of one do not outvote one job of another; then of that framework's jobs,
//! weighed by the CPUs that they accepted. Jobs without credit are parked until they have some.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use nesos_types::ids::FrameworkId;
use slab::Slab;

use super::bucket::Bucket;
use super::job::Job;

/// A job's place in the queue's tables.
pub(crate) type Key = usize;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Lane {
    Owed,
    Entitled,
    Spare,
}

const LANES: [Lane; 3] = [Lane::Owed, Lane::Entitled, Lane::Spare];

/// Where a job is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// Waits for a waker.
    Idle,
    /// Is being polled.
    Running,
    /// Runnable.
    Lane(Lane),
    /// Runnable, but without credit.
    Parked,
}

impl Place {
    fn is_active(self) -> bool {
        matches!(self, Self::Running | Self::Lane(_))
    }
}

#[derive(Debug)]
struct Entry {
    job: Arc<Job>,
    framework: Key,
    place: Place,
    account: Key,
    burst: bool,
    revocable: bool,
    /// Whether the next quantum is not taken from the bucket: it is CPU that nobody wanted.
    gratis: bool,
    /// Goes first whatever its bucket says: it is new, or it is to be ended.
    urgent: bool,
    virtual_ns: u64,
    /// Who came first among those of the same virtual time.
    ticket: u64,
    weight: u64,
    /// When the place is to be thought over: credit has come, or the bucket is full.
    alarm: Option<Instant>,
}

#[derive(Debug)]
struct Framework {
    id: FrameworkId,
    jobs: usize,
    /// Jobs that run or could.
    active: usize,
    virtual_ns: u64,
    /// Virtual time of the job that was served last: where newcomers begin.
    served_ns: u64,
    /// By virtual time, then ticket.
    lanes: [BTreeSet<(u64, u64, Key)>; 3],
}

/// A bucket, and how many jobs pay from it.
#[derive(Debug)]
struct Account {
    bucket: Bucket,
    jobs: usize,
}

/// All jobs of a process.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    entries: Slab<Entry>,
    accounts: Slab<Account>,
    frameworks: Slab<Framework>,
    by_id: HashMap<FrameworkId, Key>,
    lanes: [BTreeSet<(u64, Key)>; 3],
    alarms: BTreeSet<(Instant, Key)>,
    served_ns: u64,
    tickets: u64,
}

/// A new job, for the queue.
#[derive(Debug)]
pub(crate) struct Admission {
    pub(crate) job: Arc<Job>,
    pub(crate) framework: FrameworkId,
    pub(crate) cpu_milli: u64,
    pub(crate) burst: bool,
    pub(crate) revocable: bool,
}

impl Queue {
    /// Takes a job in; it is idle until it is woken.
    pub(crate) fn admit(&mut self, admission: Admission, now: Instant) -> Key {
        let framework = self.join(admission.framework);
        let account = self.accounts.insert(Account {
            bucket: Bucket::new(admission.cpu_milli, now),
            jobs: 1,
        });
        self.entries.insert(Entry {
            job: admission.job,
            framework,
            place: Place::Idle,
            account,
            burst: admission.burst,
            revocable: admission.revocable,
            gratis: false,
            urgent: true,
            virtual_ns: 0,
            ticket: 0,
            weight: admission.cpu_milli.max(1),
            alarm: None,
        })
    }

    /// Takes in a job that pays from the bucket of another one; it is idle until it is woken. None if the
    /// other one is over. Unlike a job with a bucket of its own it waits until there is credit, for else
    /// many short ones would get what nobody accepted.
    pub(crate) fn admit_beside(
        &mut self,
        beside: Key,
        other: &Arc<Job>,
        job: Arc<Job>,
    ) -> Option<Key> {
        let first = self.entry_of(beside, other)?;
        let entry = Entry {
            job,
            framework: first.framework,
            place: Place::Idle,
            account: first.account,
            burst: first.burst,
            revocable: first.revocable,
            gratis: false,
            urgent: false,
            virtual_ns: 0,
            ticket: 0,
            weight: first.weight,
            alarm: None,
        };
        self.frameworks[entry.framework].jobs += 1;
        self.accounts[entry.account].jobs += 1;
        Some(self.entries.insert(entry))
    }

    /// Forgets a job.
    pub(crate) fn remove(&mut self, key: Key) {
        self.move_to(key, Place::Idle, None);
        let entry = self.entries.remove(key);
        let account = &mut self.accounts[entry.account];
        account.jobs -= 1;
        if account.jobs == 0 {
            self.accounts.remove(entry.account);
        }
        let framework = &mut self.frameworks[entry.framework];
        framework.jobs -= 1;
        if framework.jobs == 0 {
            let framework = self.frameworks.remove(entry.framework);
            self.by_id.remove(&framework.id);
        }
    }

    /// An idle job was woken.
    pub(crate) fn wake(&mut self, key: Key, now: Instant) {
        if self.entries[key].place == Place::Idle {
            self.catch_up_with_virtual_time(key);
            self.put(key, now);
        }
    }

    /// A job that was polled could go on at once.
    pub(crate) fn requeue(&mut self, key: Key, now: Instant) {
        self.put(key, now);
    }

    /// A job that was polled waits for a waker.
    pub(crate) fn rest(&mut self, key: Key) {
        self.move_to(key, Place::Idle, None);
    }

    /// A job is to be polled very soon, whatever its bucket says; an idle one has to be woken as well.
    pub(crate) fn hurry(&mut self, key: Key, job: &Arc<Job>, now: Instant) {
        let Some(entry) = self.entry_of(key, job) else {
            return;
        };
        entry.urgent = true;
        if matches!(entry.place, Place::Lane(_) | Place::Parked) {
            self.put(key, now);
        }
    }

    /// A job may use so much CPU from now on.
    pub(crate) fn set_rate(&mut self, key: Key, job: &Arc<Job>, cpu_milli: u64, now: Instant) {
        let Some(entry) = self.entry_of(key, job) else {
            return;
        };
        entry.weight = cpu_milli.max(1);
        let shared = entry.account;
        let account = &mut self.accounts[shared];
        account.bucket.set_rate(cpu_milli, now);
        let waits = |entry: &Entry| matches!(entry.place, Place::Lane(_) | Place::Parked);
        // Their alarms stand for what the old rate would have brought.
        let waiting: Vec<Key> = if account.jobs > 1 {
            let all = self.entries.iter();
            all.filter(|(_, entry)| entry.account == shared && waits(entry))
                .map(|(key, _)| key)
                .collect()
        } else {
            waits(&self.entries[key])
                .then_some(key)
                .into_iter()
                .collect()
        };
        for key in waiting {
            self.put(key, now);
        }
    }

    /// The entry of a job, whose key may have passed on to another one.
    fn entry_of(&mut self, key: Key, job: &Arc<Job>) -> Option<&mut Entry> {
        let entry = self.entries.get_mut(key);
        entry.filter(|entry| Arc::ptr_eq(&entry.job, job))
    }

    /// The next job to poll.
    pub(crate) fn pop(&mut self, now: Instant) -> Option<(Key, Arc<Job>)> {
        self.ring(now);
        let lane = LANES
            .into_iter()
            .find(|&lane| !self.lanes[lane as usize].is_empty())?;
        let &(framework_ns, framework) = self.lanes[lane as usize].first()?;
        let &(job_ns, _, key) = self.frameworks[framework].lanes[lane as usize].first()?;
        self.served_ns = self.served_ns.max(framework_ns);
        let served_ns = &mut self.frameworks[framework].served_ns;
        *served_ns = job_ns.max(*served_ns);
        self.move_to(key, Place::Running, None);
        let entry = &mut self.entries[key];
        entry.urgent = false;
        entry.gratis = lane == Lane::Spare && !entry.revocable;
        Some((key, entry.job.clone()))
    }

    /// Accounts for a quantum: `cpu_ns` orders the queue, `charge_ns` is taken from the bucket. The two
    /// differ for jobs whose bucket is kept in fuel.
    pub(crate) fn charge(&mut self, key: Key, cpu_ns: u64, charge_ns: u64, now: Instant) {
        let entry = &mut self.entries[key];
        if !entry.gratis {
            self.accounts[entry.account].bucket.spend(charge_ns, now);
        }
        entry.virtual_ns += cpu_ns.saturating_mul(1000) / entry.weight;
        let framework = entry.framework;
        let before = self.frameworks[framework].virtual_ns;
        self.frameworks[framework].virtual_ns += cpu_ns;
        self.move_framework(framework, before);
    }

    /// When [`Queue::pop`] may find something although nobody became runnable.
    pub(crate) fn next_alarm(&self) -> Option<Instant> {
        self.alarms.first().map(|&(at, _)| at)
    }

    /// Whether a job waits to be polled.
    pub(crate) fn has_runnable(&self) -> bool {
        self.lanes.iter().any(|lane| !lane.is_empty())
    }

    /// All jobs, to be ended with the process.
    pub(crate) fn jobs(&self) -> Vec<Arc<Job>> {
        self.entries
            .iter()
            .map(|(_, entry)| entry.job.clone())
            .collect()
    }

    fn join(&mut self, id: FrameworkId) -> Key {
        let served_ns = self.served_ns;
        let frameworks = &mut self.frameworks;
        let key = *self.by_id.entry(id).or_insert_with(|| {
            frameworks.insert(Framework {
                id,
                jobs: 0,
                active: 0,
                virtual_ns: served_ns,
                served_ns: 0,
                lanes: Default::default(),
            })
        });
        self.frameworks[key].jobs += 1;
        key
    }

    /// Who wanted nothing, or was not allowed to, must not claim that time afterwards.
    fn catch_up_with_virtual_time(&mut self, key: Key) {
        let entry = &mut self.entries[key];
        let framework = &mut self.frameworks[entry.framework];
        entry.virtual_ns = entry.virtual_ns.max(framework.served_ns);
        if framework.active == 0 {
            framework.virtual_ns = framework.virtual_ns.max(self.served_ns);
        }
    }

    /// Thinks over the places of those whose alarm has come.
    fn ring(&mut self, now: Instant) {
        while let Some(&(at, key)) = self.alarms.first() {
            if at > now {
                return;
            }
            if self.entries[key].place == Place::Parked {
                self.catch_up_with_virtual_time(key);
            }
            self.put(key, now);
        }
    }

    /// Finds the place of a job that could run.
    fn put(&mut self, key: Key, now: Instant) {
        let entry = &mut self.entries[key];
        let bucket = &mut self.accounts[entry.account].bucket;
        bucket.fill(now);
        let soon = |wait: Duration| Some(now + wait.max(Duration::from_micros(1)));
        let (place, alarm) = if entry.urgent {
            (Place::Lane(Lane::Owed), None)
        } else if entry.revocable && !bucket.is_dry() {
            (Place::Lane(Lane::Spare), None)
        } else if bucket.is_full() && !bucket.is_dry() {
            (Place::Lane(Lane::Owed), None)
        } else if !bucket.is_dry() {
            (Place::Lane(Lane::Entitled), soon(bucket.until_full()))
        } else if entry.burst && !entry.revocable {
            (Place::Lane(Lane::Spare), soon(bucket.until_enough()))
        } else {
            (Place::Parked, soon(bucket.until_enough()))
        };
        self.move_to(key, place, alarm);
    }

    fn move_to(&mut self, key: Key, place: Place, alarm: Option<Instant>) {
        let entry = &mut self.entries[key];
        let framework = &mut self.frameworks[entry.framework];
        if let Some(at) = entry.alarm.take() {
            self.alarms.remove(&(at, key));
        }
        if let Place::Lane(lane) = entry.place {
            let jobs = &mut framework.lanes[lane as usize];
            jobs.remove(&(entry.virtual_ns, entry.ticket, key));
            if jobs.is_empty() {
                self.lanes[lane as usize].remove(&(framework.virtual_ns, entry.framework));
            }
        }
        framework.active -= usize::from(entry.place.is_active());
        framework.active += usize::from(place.is_active());
        entry.place = place;
        entry.alarm = alarm;
        if let Some(at) = alarm {
            self.alarms.insert((at, key));
        }
        if let Place::Lane(lane) = place {
            entry.ticket = self.tickets;
            self.tickets += 1;
            framework.lanes[lane as usize].insert((entry.virtual_ns, entry.ticket, key));
            self.lanes[lane as usize].insert((framework.virtual_ns, entry.framework));
        }
    }

    /// Puts a framework where its new virtual time belongs.
    fn move_framework(&mut self, key: Key, before: u64) {
        let now = self.frameworks[key].virtual_ns;
        for lane in &mut self.lanes {
            if lane.remove(&(before, key)) {
                lane.insert((now, key));
            }
        }
    }
}

#[cfg(test)]
mod tests;
