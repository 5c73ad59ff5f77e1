//! Which request is answered now, which waits, and which is refused.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use slab::Slab;
use tokio::sync::{Notify, OwnedSemaphorePermit, oneshot};

use super::refusal::Refusal;
use super::request::Ask;
use super::{Desk, instance};
use crate::cpu::{Job, Meter};
use crate::limits::MemoryAccount;

/// Requests that may wait for each one that is answered at a time, within [`LEAST_WAITING`] and [`MOST_WAITING`].
const WAITING_PER_INSTANCE: u32 = 4;
const LEAST_WAITING: u32 = 64;
const MOST_WAITING: u32 = 4096;

/// The queue before the instances of a service.
pub(super) struct Gate {
    state: Mutex<State>,
    concurrency: usize,
    max_waiting: usize,
    /// All instances are to end.
    closed: AtomicBool,
    changed: Notify,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<Ask>,
    /// Instances without work, which take the next request by these.
    idle: Vec<oneshot::Sender<Ask>>,
    /// Instances that are not over.
    live: Slab<Option<Arc<Job>>>,
}

/// What an instance is made in.
pub(super) struct Place {
    pub(super) key: usize,
    pub(super) slot: OwnedSemaphorePermit,
    pub(super) memory: MemoryAccount,
    pub(super) meter: Arc<Meter>,
}

/// What an instance does after a request.
pub(super) enum Next {
    /// It answers another one.
    Answer(Ask),
    /// It waits for one.
    Wait(oneshot::Receiver<Ask>),
    /// It ends.
    End,
}

impl Gate {
    pub(super) fn new(concurrency: u32) -> Self {
        let waiting = concurrency.saturating_mul(WAITING_PER_INSTANCE);
        Self {
            state: Mutex::default(),
            concurrency: concurrency as usize,
            max_waiting: waiting.clamp(LEAST_WAITING, MOST_WAITING) as usize,
            closed: AtomicBool::new(false),
            changed: Notify::new(),
        }
    }

    /// What an instance that has answered a request does next.
    pub(super) fn next(&self) -> Next {
        let mut state = self.state();
        if self.is_closed() {
            return Next::End;
        }
        if let Some(ask) = state.next_waiting() {
            return Next::Answer(ask);
        }
        let (sender, receiver) = oneshot::channel();
        state.idle.push(sender);
        Next::Wait(receiver)
    }

    /// The job in which this instance runs.
    pub(super) fn job(&self, key: usize) -> Option<Arc<Job>> {
        self.state().live.get(key)?.clone()
    }

    /// Answers nothing any more, and lets all instances end.
    pub(super) fn close(&self) {
        let mut state = self.state();
        self.closed.store(true, Ordering::SeqCst);
        state.idle.clear();
        let waiting = std::mem::take(&mut state.waiting);
        let jobs: Vec<_> = state
            .live
            .iter()
            .filter_map(|(_, job)| job.clone())
            .collect();
        drop(state);
        waiting
            .into_iter()
            .for_each(|ask| ask.refuse(Refusal::Closing));
        jobs.iter().for_each(Job::hurry);
    }

    /// Whether all instances are to end.
    pub(super) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::SeqCst)
    }

    /// Waits until no instance is left.
    pub(super) async fn gone(&self) {
        loop {
            let changed = self.changed.notified();
            if self.state().live.is_empty() {
                return;
            }
            changed.await;
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// The first who waits and is still waited for.
    fn next_waiting(&mut self) -> Option<Ask> {
        loop {
            let ask = self.waiting.pop_front()?;
            if !ask.is_forsaken() {
                return Some(ask);
            }
        }
    }

    /// Hands a request to an instance without work; gives it back if there is none.
    fn hand_over(&mut self, mut ask: Ask) -> Option<Ask> {
        while let Some(idle) = self.idle.pop() {
            match idle.send(ask) {
                Ok(()) => return None,
                Err(refused) => ask = refused,
            }
        }
        Some(ask)
    }
}

impl Desk {
    /// Lets a request be answered, now or when it is its turn.
    pub(super) fn offer(self: &Arc<Self>, ask: Ask) -> Result<(), Refusal> {
        let gate = &self.gate;
        let mut state = gate.state();
        if gate.is_closed() {
            return Err(Refusal::Closing);
        }
        let Some(ask) = state.hand_over(ask) else {
            return Ok(());
        };
        if state.waiting.is_empty()
            && let Some(place) = self.place(&mut state)
        {
            self.start(&mut state, place, ask);
            return Ok(());
        }
        if state.waiting.len() >= gate.max_waiting {
            state.waiting.retain(|ask| !ask.is_forsaken());
        }
        // Whoever waits is called by an instance that ends.
        if state.live.is_empty() || state.waiting.len() >= gate.max_waiting {
            return Err(Refusal::Busy);
        }
        state.waiting.push_back(ask);
        Ok(())
    }

    /// Room for one more instance, if there is any.
    fn place(&self, state: &mut State) -> Option<Place> {
        if state.live.len() >= self.gate.concurrency {
            return None;
        }
        let slot = self.host.slots.try_take(self.task.limits.metering)?;
        let memory = self.memory()?;
        Some(Place {
            key: state.live.insert(None),
            slot,
            memory,
            meter: Arc::new(Meter::part_of(self.control.meter.clone())),
        })
    }

    fn start(self: &Arc<Self>, state: &mut State, place: Place, first: Ask) {
        let (key, meter) = (place.key, place.meter.clone());
        let desk = self.clone();
        let life = async move {
            // Dropped last: only then is what the instance held free again.
            let _departure = Departure {
                desk: desk.clone(),
                key,
            };
            instance::live(&desk, place, first).await;
        };
        let spawner = &self.host.spawner;
        let job = self.control.job();
        match job.and_then(|job| spawner.spawn_beside(job, meter, life)) {
            Some(job) => state.live[key] = Some(job),
            // The service is ending; the request is dropped, which its client is told.
            None => drop(state.live.remove(key)),
        }
    }

    /// An instance is over: whoever waits may have its place.
    fn departed(self: &Arc<Self>, key: usize) {
        let mut state = self.gate.state();
        state.live.remove(key);
        while !state.waiting.is_empty()
            && let Some(place) = self.place(&mut state)
        {
            match state.next_waiting() {
                Some(ask) => self.start(&mut state, place, ask),
                None => drop(state.live.remove(place.key)),
            }
        }
        let forlorn = if state.live.is_empty() {
            std::mem::take(&mut state.waiting)
        } else {
            VecDeque::new()
        };
        drop(state);
        forlorn
            .into_iter()
            .for_each(|ask| ask.refuse(Refusal::Busy));
        self.gate.changed.notify_waiters();
    }
}

/// Tells the gate that an instance is over, however it came to its end.
struct Departure {
    desk: Arc<Desk>,
    key: usize,
}

impl Drop for Departure {
    fn drop(&mut self) {
        self.desk.departed(self.key);
    }
}
