//! What a store holds beside the guest's own memory: its account and its world.

use std::sync::Arc;

use crate::cpu::Meter;
use crate::limits::MemoryAccount;

/// The data of a sandbox' store.
#[derive(Debug)]
pub(crate) struct Guest {
    pub(crate) memory: MemoryAccount,
    pub(crate) meter: Arc<Meter>,
    /// The fuel that the store was given.
    pub(crate) fuel: u64,
}
