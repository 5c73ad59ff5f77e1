//! What a scheduler of the simulation sets apart, and gives back: a little of everything, at random.

use std::collections::BTreeMap;

use nesos_types::offer::{Offer, Operation};
use nesos_types::reservation::{Claim, ReservationChange};
use nesos_types::resources::Resources;
use rand::Rng;
use rand_chacha::ChaCha8Rng;

/// The most that one scheduler reserves at once: what is reserved for one role cannot finish the jobs of
/// another.
const MAX_KEPT: u32 = 2;

/// The size of each volume.
const VOLUME_BYTES: u64 = 1 << 20;

/// What a scheduler keeps.
#[derive(Debug, Default)]
pub(super) struct Keeper {
    /// Of how many of a thousand offers it changes something.
    pub(super) per_mille: u32,
    kept: u32,
    volumes: u32,
}

impl Keeper {
    /// Something to do with an offer before anything is launched on it, and what it makes of the offer's
    /// resources as far as tasks may use them.
    pub(super) fn change(
        &mut self,
        offer: &Offer,
        wanted: &Resources,
        rng: &mut ChaCha8Rng,
    ) -> Option<Operation> {
        if !rng.random_ratio(self.per_mille, 1000) {
            return None;
        }
        let parts = offer.resources.parts().next();
        let change = match parts {
            Some((claim, part)) => self.change_part(claim, part, rng),
            None if self.kept < MAX_KEPT && offer.resources.contains(wanted) => {
                self.kept += 1;
                ReservationChange::Reserve {
                    resources: wanted.clone().with_disk(VOLUME_BYTES),
                    role: offer.role.clone(),
                    labels: BTreeMap::new(),
                }
            }
            None => return None,
        };
        Some(Operation::Reservation(change))
    }

    fn change_part(
        &mut self,
        claim: &Claim,
        part: &Resources,
        rng: &mut ChaCha8Rng,
    ) -> ReservationChange {
        if let Some(volume) = &claim.volume {
            return ReservationChange::DestroyVolume {
                volume: volume.id.clone(),
            };
        }
        if part.disk_bytes > 0 && rng.random_ratio(2, 3) {
            self.volumes += 1;
            let name = format!("volume-{}-{}", self.volumes, rng.random::<u32>());
            return ReservationChange::CreateVolume {
                volume: name.parse().expect("a volume id"),
                disk: Resources::claimed(
                    claim.clone(),
                    Resources::default().with_disk(part.disk_bytes),
                ),
            };
        }
        self.kept = self.kept.saturating_sub(1);
        ReservationChange::Unreserve {
            resources: Resources::claimed(claim.clone(), part.clone()),
        }
    }
}

/// What a task takes of an offer: what it wants, and all volumes that are there.
pub(super) fn with_volumes(offered: &Resources, wanted: &Resources) -> Option<Resources> {
    let volumes = offered
        .only_parts()
        .with_parts_if(|claim| claim.volume.is_some());
    let both = wanted.checked_add(&volumes)?;
    offered.choose(&both)
}
