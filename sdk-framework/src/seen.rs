//! Which status updates were delivered already: an update is repeated until its acknowledgement has
//! come through, and a scheduler must see it once.

use std::collections::HashSet;
use std::hash::{BuildHasherDefault, Hasher};

use nesos_types::ids::UpdateId;

/// How many ids a generation holds. Two generations are kept, so that a repetition is recognised
/// among at least this many updates and at most twice as many.
const GENERATION: usize = 1 << 16;

/// Update ids are random already: their low half is as good a hash as any.
#[derive(Clone, Copy, Debug, Default)]
struct LowHalf(u64);

impl Hasher for LowHalf {
    fn finish(&self) -> u64 {
        self.0
    }
    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(byte);
        }
    }
    fn write_u128(&mut self, id: u128) {
        #[expect(
            clippy::cast_possible_truncation,
            reason = "the low half is what is wanted"
        )]
        let low = id as u64;
        self.0 = low;
    }
}

type Ids = HashSet<UpdateId, BuildHasherDefault<LowHalf>>;

/// The update ids of late.
#[derive(Clone, Debug, Default)]
pub(crate) struct Seen {
    young: Ids,
    old: Ids,
}

impl Seen {
    /// Notes an id; answers whether it is new.
    pub(crate) fn is_new(&mut self, id: UpdateId) -> bool {
        if self.old.contains(&id) || !self.young.insert(id) {
            return false;
        }
        if self.young.len() >= GENERATION {
            std::mem::swap(&mut self.young, &mut self.old);
            self.young.clear();
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_repetition_is_recognised_across_generations_and_memory_is_bounded() {
        let mut seen = Seen::default();
        let generation = GENERATION as u128;
        for id in 0..generation * 3 {
            assert!(seen.is_new(UpdateId(id)), "{id}");
        }
        assert!(
            !seen.is_new(UpdateId(generation * 2)),
            "one generation back"
        );
        assert!(!seen.is_new(UpdateId(generation * 3 - 1)), "the latest");
        assert!(seen.is_new(UpdateId(0)), "long forgotten");
        assert!(seen.young.len() + seen.old.len() <= 2 * GENERATION);
    }
}
