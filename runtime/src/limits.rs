//! Memory: one account over all memories, tables, GC heaps and the stack of a sandbox.

use std::fmt;
use std::sync::Arc;

use wasmtime::ResourceLimiter;

use crate::engine::{MEMORIES_PER_MODULE, TABLE_ELEMENTS, TABLES_PER_MODULE, WASM_STACK_BYTES};
use crate::ledger::Ledger;

/// What a sandbox costs beside what the guest allocates: host structures, page tables.
const HOST_BYTES: u64 = 128 << 10;

/// What is charged to every sandbox from the start: the host's side of it, and the guest's stack.
pub(crate) const FIXED_BYTES: u64 = HOST_BYTES + WASM_STACK_BYTES as u64;

/// What a table's element takes on the host.
pub(crate) const TABLE_ELEMENT_BYTES: u64 = 8;

/// Instances of modules in one sandbox; a component has several.
const INSTANCES: usize = 64;

/// A number of bytes, for a person.
pub(crate) struct Bytes(pub(crate) u64);

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (shift, unit) in [(30, "GiB"), (20, "MiB"), (10, "KiB")] {
            let whole = self.0 >> shift;
            if whole > 0 {
                let hundredths = ((self.0 - (whole << shift)) * 100) >> shift;
                return match hundredths {
                    0 => write!(f, "{whole} {unit}"),
                    _ => write!(f, "{whole}.{hundredths:02} {unit}"),
                };
            }
        }
        write!(f, "{} bytes", self.0)
    }
}

/// The account of one sandbox, as wasmtime asks it before anything grows.
///
/// Growing fails softly: the guest sees −1 and may carry on. The account remembers whether the last
/// attempt was refused, for a guest that then dies has died of that.
#[derive(Debug)]
pub(crate) struct MemoryAccount {
    ledger: Arc<Ledger>,
    /// What is charged for this account, to be given back with it.
    held: u64,
    /// Of that, what nothing has used yet.
    prepaid: u64,
    /// The most that it may hold, whatever the ledger says.
    cap: u64,
    /// What the last attempt added, to be taken back if the host cannot deliver.
    granted: u64,
    refused: Option<u64>,
}

impl MemoryAccount {
    /// An account that draws on `ledger`, which is charged [`FIXED_BYTES`].
    pub(crate) fn new(ledger: Arc<Ledger>) -> Self {
        ledger.add(FIXED_BYTES);
        Self {
            ledger,
            held: FIXED_BYTES,
            prepaid: 0,
            cap: u64::MAX,
            granted: 0,
            refused: None,
        }
    }

    /// An account of one of several instances that draw on `ledger`: it holds `cap` bytes at most, and what
    /// it needs to start it has already. None if there is not so much left.
    pub(crate) fn of_instance(ledger: Arc<Ledger>, minimum: u64, cap: u64) -> Option<Self> {
        let held = FIXED_BYTES.saturating_add(minimum);
        // An account that is dropped gives back what it holds: none is made before it is paid for.
        if held > cap || !ledger.take(held) {
            return None;
        }
        Some(Self {
            ledger,
            held,
            prepaid: minimum,
            cap,
            granted: 0,
            refused: None,
        })
    }

    /// The bytes that were asked for in vain, if the last attempt to grow was refused.
    pub(crate) fn last_refused(&self) -> Option<u64> {
        self.refused
    }

    /// Charges `bytes` if they fit.
    pub(crate) fn grow(&mut self, bytes: u64) -> bool {
        let paid = bytes.min(self.prepaid);
        let charge = bytes - paid;
        let fits = self.held.saturating_add(charge) <= self.cap;
        let taken = fits && self.ledger.take(charge);
        self.refused = (!taken).then_some(bytes);
        self.granted = if taken { charge } else { 0 };
        if taken {
            self.prepaid -= paid;
            self.held += charge;
        }
        taken
    }

    fn take_back(&mut self) {
        let granted = std::mem::take(&mut self.granted);
        self.held -= granted;
        self.ledger.give_back(granted);
    }
}

impl Drop for MemoryAccount {
    fn drop(&mut self) {
        self.ledger.give_back(self.held);
    }
}

impl ResourceLimiter for MemoryAccount {
    fn memory_growing(
        &mut self,
        current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        // Beyond the module's own maximum it fails anyway, and that is no fault of the limit.
        let possible = maximum.is_none_or(|maximum| desired <= maximum);
        Ok(possible && self.grow(desired.saturating_sub(current) as u64))
    }

    fn memory_grow_failed(&mut self, error: wasmtime::Error) -> wasmtime::Result<()> {
        tracing::debug!(%error, "a memory could not grow");
        self.take_back();
        Ok(())
    }

    fn table_growing(
        &mut self,
        current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let possible =
            maximum.is_none_or(|maximum| desired <= maximum) && desired <= TABLE_ELEMENTS;
        let elements = desired.saturating_sub(current) as u64;
        Ok(possible && self.grow(elements.saturating_mul(TABLE_ELEMENT_BYTES)))
    }

    fn table_grow_failed(&mut self, error: wasmtime::Error) -> wasmtime::Result<()> {
        tracing::debug!(%error, "a table could not grow");
        self.take_back();
        Ok(())
    }

    fn instances(&self) -> usize {
        INSTANCES
    }

    fn tables(&self) -> usize {
        INSTANCES * TABLES_PER_MODULE as usize
    }

    fn memories(&self) -> usize {
        INSTANCES * MEMORIES_PER_MODULE as usize
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering;

    use super::*;
    use crate::cpu::Meter;

    fn account(limit: u64, meter: &Arc<Meter>) -> MemoryAccount {
        MemoryAccount::new(Arc::new(Ledger::new(limit, meter.clone())))
    }

    #[test]
    fn a_refusal_is_remembered_until_something_grows_again() {
        let meter = Arc::new(Meter::default());
        let mut account = account(FIXED_BYTES + 100, &meter);
        assert!(!account.memory_growing(0, 101, None).unwrap());
        assert_eq!(account.last_refused(), Some(101));
        assert!(account.memory_growing(0, 60, None).unwrap());
        assert_eq!(account.last_refused(), None);
        assert!(!account.table_growing(0, 6, None).unwrap());
        assert_eq!(
            meter.peak_memory_bytes.load(Ordering::Relaxed),
            FIXED_BYTES + 60
        );
    }

    #[test]
    fn what_the_host_cannot_deliver_is_not_charged() {
        let mut account = account(FIXED_BYTES + 100, &Arc::default());
        assert!(account.memory_growing(0, 100, None).unwrap());
        account
            .memory_grow_failed(wasmtime::format_err!("no room"))
            .unwrap();
        assert!(account.memory_growing(0, 100, None).unwrap());
    }

    #[test]
    fn an_instance_holds_no_more_than_its_cap_and_gives_all_of_it_back() {
        let ledger = Arc::new(Ledger::new(10 * FIXED_BYTES, Arc::default()));
        let instance = |cap| MemoryAccount::of_instance(ledger.clone(), 100, FIXED_BYTES + cap);
        assert!(instance(99).is_none());
        let mut account = instance(150).unwrap();
        assert_eq!(ledger.used(), FIXED_BYTES + 100);
        // What was paid at the start is used first.
        assert!(account.memory_growing(0, 100, None).unwrap());
        assert_eq!(ledger.used(), FIXED_BYTES + 100);
        assert!(account.memory_growing(100, 150, None).unwrap());
        assert!(!account.memory_growing(150, 151, None).unwrap());
        drop(account);
        assert_eq!(ledger.used(), 0);
        ledger.add(9 * FIXED_BYTES);
        assert!(instance(150).is_none());
    }

    #[test]
    fn bytes_are_written_for_people() {
        let written = [512, 65_536, 1_100_000, 3 << 30].map(|bytes| Bytes(bytes).to_string());
        assert_eq!(written, ["512 bytes", "64 KiB", "1.04 MiB", "3 GiB"]);
    }
}
