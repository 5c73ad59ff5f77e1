//! Unguessable ids, drawn from the stream of the seed that the master was given.

use nesos_types::ids::{AgentId, FrameworkId, GroupId, OfferId, RunId};
use rand::{RngCore, SeedableRng};
use rand_chacha::ChaCha12Rng;

use crate::table::{OfferSlot, Slot};

/// The low bits of an offer's id that are its slot.
const SLOT_BITS: u32 = 32;

/// Where ids come from. The generator is a cryptographic one: who sees some ids learns nothing of
/// the others.
#[derive(Debug)]
pub(crate) struct IdSource(ChaCha12Rng);

impl IdSource {
    pub(crate) fn new(seed: [u8; 32]) -> Self {
        Self(ChaCha12Rng::from_seed(seed))
    }

    pub(crate) fn framework(&mut self) -> FrameworkId {
        FrameworkId(self.draw())
    }

    pub(crate) fn agent(&mut self) -> AgentId {
        AgentId(self.draw())
    }

    pub(crate) fn run(&mut self) -> RunId {
        RunId(self.draw())
    }

    pub(crate) fn group(&mut self) -> GroupId {
        GroupId(self.draw())
    }

    /// Offers never outlive the master, so their ids carry their slot and are found without a search.
    /// The other 96 bits are random, and whoever looks an offer up compares the whole id.
    pub(crate) fn offer(&mut self, slot: OfferSlot) -> OfferId {
        OfferId((self.draw() >> SLOT_BITS) << SLOT_BITS | slot.index() as u128)
    }

    /// Tells a volume from earlier ones of its name.
    pub(crate) fn incarnation(&mut self) -> u64 {
        self.0.next_u64()
    }

    fn draw(&mut self) -> u128 {
        u128::from(self.0.next_u64()) << 64 | u128::from(self.0.next_u64())
    }
}

/// The slot that an offer of this id would have.
pub(crate) fn offer_slot(id: OfferId) -> OfferSlot {
    let slot = id.0 & ((1 << SLOT_BITS) - 1);
    OfferSlot::at(usize::try_from(slot).expect("32 bits fit"))
}
