//! Work that several want at once and that is done once.

use std::fmt;
use std::hash::Hash;
use std::sync::Arc;

use dashmap::DashMap;
use dashmap::mapref::entry::Entry;
use futures::FutureExt;
use futures::future::{BoxFuture, Shared};

type Flights<K, V> = DashMap<K, Shared<BoxFuture<'static, V>>>;

/// Work in progress, by what it is about. It goes on while anybody waits for it, and its result is
/// not kept.
pub(crate) struct SingleFlight<K, V> {
    flights: Arc<Flights<K, V>>,
}

impl<K, V> SingleFlight<K, V>
where
    K: Clone + Eq + Hash + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
{
    /// No work.
    pub(crate) fn new() -> Self {
        Self {
            flights: Arc::new(DashMap::new()),
        }
    }

    /// Joins the work on `key`, which is begun if nobody has begun it.
    pub(crate) fn join<W>(&self, key: K, work: W) -> Shared<BoxFuture<'static, V>>
    where
        W: Future<Output = V> + Send + 'static,
    {
        match self.flights.entry(key.clone()) {
            Entry::Occupied(flight) => flight.get().clone(),
            Entry::Vacant(slot) => {
                let flights = self.flights.clone();
                let flight = work.map(move |result| {
                    flights.remove(&key);
                    result
                });
                slot.insert(flight.boxed().shared()).clone()
            }
        }
    }
}

impl<K: Eq + Hash, V> fmt::Debug for SingleFlight<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let flights = self.flights.len();
        f.debug_struct("SingleFlight")
            .field("flights", &flights)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use futures::executor::block_on;

    use super::*;

    #[test]
    fn work_is_done_once_for_all_who_wait_and_anew_for_those_who_come_later() {
        let flights = SingleFlight::new();
        let count = Arc::new(AtomicU32::new(0));
        let work = || {
            let count = count.clone();
            async move { count.fetch_add(1, Ordering::Relaxed) + 1 }
        };
        let (first, second) = (flights.join("a", work()), flights.join("a", work()));
        let other = flights.join("b", work());
        assert_eq!(block_on(async { futures::join!(first, second) }), (1, 1));
        assert_eq!(block_on(other), 2);
        assert_eq!(block_on(flights.join("a", work())), 3);
    }

    #[test]
    fn work_whose_first_waiter_leaves_is_finished_by_the_next() {
        let flights = SingleFlight::new();
        let (done, result) = futures::channel::oneshot::channel();
        let mut first = flights.join((), async { result.await.unwrap_or(0) });
        assert!((&mut first).now_or_never().is_none());
        drop(first);
        done.send(7).expect("the work still waits");
        assert_eq!(block_on(flights.join((), async { 8 })), 7);
    }
}
