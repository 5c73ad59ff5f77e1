//! Sums of scalars over many agents. Wide enough never to overflow; ports and sets have no place in a
//! sum over agents, nor in a share.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use nesos_types::resources::{Resources, Scalar};

/// Scalars summed over agents.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Quantities {
    cpu_milli: u128,
    mem_bytes: u128,
    disk_bytes: u128,
    /// Without zeros, so that equal sums are `==`.
    custom: BTreeMap<Arc<str>, u128>,
}

impl Quantities {
    /// Adds everything, whatever sets it apart.
    pub(crate) fn add(&mut self, resources: &Resources) {
        self.add_unclaimed(resources);
        for (_, part) in resources.parts() {
            self.add_unclaimed(part);
        }
    }

    /// Adds what nothing sets apart.
    pub(crate) fn add_unclaimed(&mut self, resources: &Resources) {
        self.cpu_milli += u128::from(resources.cpu_milli);
        self.mem_bytes += u128::from(resources.mem_bytes);
        self.disk_bytes += u128::from(resources.disk_bytes);
        for (name, milli) in resources.custom() {
            *self.custom.entry(Arc::clone(name)).or_default() += u128::from(milli);
        }
    }

    /// Takes away what was added before.
    pub(crate) fn sub(&mut self, resources: &Resources) {
        self.sub_unclaimed(resources);
        for (_, part) in resources.parts() {
            self.sub_unclaimed(part);
        }
    }

    /// Takes away what nothing sets apart.
    pub(crate) fn sub_unclaimed(&mut self, resources: &Resources) {
        self.cpu_milli -= u128::from(resources.cpu_milli);
        self.mem_bytes -= u128::from(resources.mem_bytes);
        self.disk_bytes -= u128::from(resources.disk_bytes);
        for (name, milli) in resources.custom() {
            let sum = self.custom.entry(Arc::clone(name)).or_default();
            *sum -= u128::from(milli);
            if *sum == 0 {
                self.custom.remove(name);
            }
        }
    }

    /// The sum of one kind.
    pub(crate) fn get(&self, kind: &Scalar) -> u128 {
        match kind {
            Scalar::Cpu => self.cpu_milli,
            Scalar::Memory => self.mem_bytes,
            Scalar::Disk => self.disk_bytes,
            Scalar::Custom(name) => self.custom.get(name).copied().unwrap_or(0),
        }
    }

    /// The same without some kinds.
    pub(crate) fn without(&self, excluded: &BTreeSet<Scalar>) -> Self {
        let mut rest = self.clone();
        for kind in excluded {
            match kind {
                Scalar::Cpu => rest.cpu_milli = 0,
                Scalar::Memory => rest.mem_bytes = 0,
                Scalar::Disk => rest.disk_bytes = 0,
                Scalar::Custom(name) => drop(rest.custom.remove(name)),
            }
        }
        rest
    }

    /// Adds another sum.
    pub(crate) fn extend(&mut self, other: &Self) {
        self.cpu_milli += other.cpu_milli;
        self.mem_bytes += other.mem_bytes;
        self.disk_bytes += other.disk_bytes;
        for (name, milli) in &other.custom {
            *self.custom.entry(Arc::clone(name)).or_default() += milli;
        }
    }

    /// This against a total, kind by kind: `(held, total)` for each kind that the total has.
    pub(crate) fn against<'a>(
        &'a self,
        total: &'a Self,
    ) -> impl Iterator<Item = (u128, u128)> + 'a {
        [
            (self.cpu_milli, total.cpu_milli),
            (self.mem_bytes, total.mem_bytes),
            (self.disk_bytes, total.disk_bytes),
        ]
        .into_iter()
        .chain(total.custom.iter().map(|(name, total)| {
            let held = self.custom.get(name).copied().unwrap_or(0);
            (held, *total)
        }))
        .filter(|(_, total)| *total > 0)
    }

    /// Whether this is some multiple of `other`, so that shares of either compare alike. Says no where
    /// the numbers are too large to tell.
    pub(crate) fn is_proportional_to(&self, other: &Self) -> bool {
        let kinds = self.against(other).count();
        let same_kinds =
            kinds == self.against(self).count() && kinds == other.against(other).count();
        let mut pairs = self.against(other);
        let Some((own, others)) = pairs.next() else {
            return same_kinds;
        };
        same_kinds
            && pairs.all(|(mine, theirs)| {
                let (left, right) = (mine.checked_mul(others), theirs.checked_mul(own));
                left.is_some() && left == right
            })
    }

    /// The share of the scarcest kind, for people to look at. Decisions compare exact shares.
    #[expect(clippy::cast_precision_loss, reason = "a figure for people")]
    pub(crate) fn dominant_share(&self, total: &Self) -> f64 {
        self.against(total)
            .map(|(held, total)| held as f64 / total as f64)
            .fold(0.0, f64::max)
    }

    /// The same as resources; what does not fit is capped.
    pub(crate) fn to_resources(&self) -> Resources {
        let cap = |sum: u128| u64::try_from(sum).unwrap_or(u64::MAX);
        let scalars = Resources::new(cap(self.cpu_milli), cap(self.mem_bytes))
            .with_disk(cap(self.disk_bytes));
        self.custom.iter().fold(scalars, |sum, (name, milli)| {
            sum.with_custom(name, cap(*milli))
        })
    }
}

impl<'a> FromIterator<&'a Resources> for Quantities {
    fn from_iter<I: IntoIterator<Item = &'a Resources>>(bags: I) -> Self {
        let mut sum = Self::default();
        bags.into_iter().for_each(|resources| sum.add(resources));
        sum
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sum(cpu_milli: u64, mem_bytes: u64, gpus: u64) -> Quantities {
        [&Resources::new(cpu_milli, mem_bytes).with_custom("gpus", gpus)]
            .into_iter()
            .collect()
    }

    #[test]
    fn proportional_is_the_same_multiple_of_each_kind() {
        let basis = sum(2, 6, 10);
        assert!(sum(3, 9, 15).is_proportional_to(&basis));
        assert!(sum(1, 3, 5).is_proportional_to(&basis));
        for other in [
            sum(2, 6, 11),
            sum(2, 6, 0),
            sum(0, 6, 10),
            Quantities::default(),
        ] {
            assert!(!other.is_proportional_to(&basis), "{other:?}");
            assert!(!basis.is_proportional_to(&other), "{other:?}");
        }
    }
}
