//! Time and randomness that a sandbox may be given instead of the host's.

use nesos_types::time::Time;

/// Reproducible time and randomness: the same guest takes the same steps on every machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Determinism {
    /// What all randomness of the guest grows from.
    pub seed: u64,
    /// The wall-clock time at the guest's start.
    pub start: Time,
}
