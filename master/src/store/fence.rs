//! Until when a master may speak and write, by its own clock.
//!
//! A master whose lease has run out is a master no more, even if it has not heard of it: it may have been
//! paused in the middle of a batch. Whoever is about to do something that others see asks the fence first.
//! Once it has fallen it never stands again.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

/// The fence of one reign. Cheap to clone; clones are the same fence.
#[derive(Clone, Debug)]
pub(crate) struct Fence(Option<Arc<Lease>>);

#[derive(Debug)]
struct Lease {
    origin: Instant,
    /// When the lease may have run out, in microseconds since the origin.
    until_us: AtomicU64,
    fallen: CancellationToken,
}

impl Fence {
    /// The fence of a master whose store nobody else can write to.
    pub(crate) fn always() -> Self {
        Self(None)
    }

    /// A fence that stands until a moment, unless it is moved.
    pub(crate) fn until(moment: Instant) -> Self {
        let fence = Self(Some(Arc::new(Lease {
            origin: Instant::now(),
            until_us: AtomicU64::new(0),
            fallen: CancellationToken::new(),
        })));
        fence.move_to(moment);
        fence
    }

    /// The lease was renewed. It never becomes shorter.
    pub(crate) fn move_to(&self, moment: Instant) {
        if let Some(lease) = &self.0 {
            let us = micros(moment.saturating_duration_since(lease.origin));
            lease.until_us.fetch_max(us, Ordering::Relaxed);
        }
    }

    /// The lease is lost, whatever the clock says.
    pub(crate) fn fall(&self) {
        if let Some(lease) = &self.0 {
            lease.fallen.cancel();
        }
    }

    /// Whether the lease cannot have run out.
    pub(crate) fn holds(&self) -> bool {
        let Some(lease) = &self.0 else {
            return true;
        };
        if micros(lease.origin.elapsed()) >= lease.until_us.load(Ordering::Relaxed) {
            lease.fallen.cancel();
        }
        !lease.fallen.is_cancelled()
    }

    /// How long it stands if it is not moved.
    pub(crate) fn left(&self) -> Duration {
        let Some(lease) = &self.0 else {
            return Duration::MAX;
        };
        let until = Duration::from_micros(lease.until_us.load(Ordering::Relaxed));
        until.saturating_sub(lease.origin.elapsed())
    }

    /// Resolves when somebody has seen it fallen.
    pub(crate) async fn fallen(&self) {
        match &self.0 {
            Some(lease) => lease.fallen.cancelled().await,
            None => std::future::pending().await,
        }
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_stands_until_its_moment_and_never_again() {
        let fence = Fence::until(Instant::now() + Duration::from_secs(60));
        assert!(fence.holds());
        assert!(fence.left() > Duration::from_secs(50));
        let late = Fence::until(Instant::now());
        assert!(!late.holds());
        late.move_to(Instant::now() + Duration::from_secs(60));
        assert!(!late.holds(), "a fence that was seen fallen stays so");
    }

    #[test]
    fn a_renewal_moves_it_and_a_loss_ends_it() {
        let fence = Fence::until(Instant::now() + Duration::from_secs(1));
        fence.move_to(Instant::now() + Duration::from_secs(60));
        assert!(fence.left() > Duration::from_secs(50));
        fence.move_to(Instant::now());
        assert!(fence.holds(), "it never becomes shorter");
        fence.clone().fall();
        assert!(!fence.holds());
    }

    #[test]
    fn the_fence_of_a_single_master_always_holds() {
        let fence = Fence::always();
        fence.fall();
        assert!(fence.holds());
    }
}
