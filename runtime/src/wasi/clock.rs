//! The time and the randomness that a guest gets: the host's, or reproducible ones.
//!
//! Reproducible time begins where it is told to and moves only when the guest looks at it (a microsecond
//! each time) or waits: waiting takes no time at all. So a guest that waits for a moment to come gets there,
//! in the same number of steps on every machine.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rand::TryRngCore as _;
use rand::rngs::OsRng;

use crate::determinism::Determinism;

/// How far reproducible time moves when it is read.
const TICK: Duration = Duration::from_micros(1);

/// The clock of one sandbox. Clones show the same time.
#[derive(Clone, Debug)]
pub(crate) struct Clock {
    /// When the sandbox was made.
    origin: Instant,
    reproducible: Option<Reproducible>,
}

#[derive(Clone, Debug)]
struct Reproducible {
    start: Duration,
    /// Nanoseconds since `start`.
    elapsed: Arc<AtomicU64>,
}

impl Clock {
    pub(crate) fn new(determinism: Option<&Determinism>) -> Self {
        Self {
            origin: Instant::now(),
            reproducible: determinism.map(|determinism| Reproducible {
                start: Duration::from_micros(determinism.start.as_micros()),
                elapsed: Arc::default(),
            }),
        }
    }

    /// Time since the Unix epoch.
    pub(crate) fn wall(&self) -> Duration {
        match &self.reproducible {
            Some(time) => time.start + time.advance(TICK),
            None => SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .unwrap_or_default(),
        }
    }

    /// Time since the sandbox was made.
    pub(crate) fn monotonic(&self) -> Duration {
        match &self.reproducible {
            Some(time) => time.advance(TICK),
            None => self.origin.elapsed(),
        }
    }

    /// [`Self::monotonic`] as an instant of the host's clock.
    pub(crate) fn instant(&self) -> Instant {
        self.origin + self.monotonic()
    }

    /// Waits, or lets reproducible time pass at once. Cancellable by dropping.
    pub(crate) async fn sleep(&self, duration: Duration) {
        // No time at all is not for the timer, which has a grain of a millisecond.
        if self.skip(duration) || duration.is_zero() {
            yield_once().await;
        } else {
            tokio::time::sleep(duration).await;
        }
    }

    /// Lets reproducible time pass; says whether it is that.
    pub(crate) fn skip(&self, duration: Duration) -> bool {
        if let Some(time) = &self.reproducible {
            time.advance(duration);
        }
        self.reproducible.is_some()
    }
}

impl Reproducible {
    fn advance(&self, by: Duration) -> Duration {
        // A guest that sleeps "for ever" must not wrap the clock around: 100 years at once will do.
        let nanos = u64::try_from(by.as_nanos())
            .unwrap_or(u64::MAX)
            .min(100 * 365 * 86_400_000_000_000);
        let before = self.elapsed.fetch_add(nanos, Ordering::Relaxed);
        Duration::from_nanos(before.saturating_add(nanos))
    }
}

/// Random bytes: the kernel's, or a reproducible sequence that is good for simulations and no secret.
#[derive(Clone, Debug)]
pub(crate) enum Random {
    Host,
    /// The state of a `SplitMix64` generator.
    Seeded(u64),
}

impl Random {
    pub(crate) fn new(determinism: Option<&Determinism>) -> Self {
        determinism.map_or(Self::Host, |determinism| Self::Seeded(determinism.seed))
    }

    pub(crate) fn fill(&mut self, bytes: &mut [u8]) {
        match self {
            Self::Host => OsRng
                .try_fill_bytes(bytes)
                .expect("getrandom(2) works on every kernel that we run on"),
            Self::Seeded(state) => {
                for part in bytes.chunks_mut(8) {
                    part.copy_from_slice(&split_mix(state).to_le_bytes()[..part.len()]);
                }
            }
        }
    }

    pub(crate) fn next(&mut self) -> u64 {
        let mut bytes = [0; 8];
        self.fill(&mut bytes);
        u64::from_le_bytes(bytes)
    }
}

/// Steele, Lea and Flood, "Fast splittable pseudorandom number generators", 2014.
fn split_mix(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let z = (*state ^ (*state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// Lets others run: pending once, and woken at once.
pub(crate) async fn yield_once() {
    let mut yielded = false;
    std::future::poll_fn(|cx| {
        if std::mem::replace(&mut yielded, true) {
            return std::task::Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        std::task::Poll::Pending
    })
    .await;
}
