//! Resources: exact integer quantities that never go negative and never round.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::reservation::Claim;
use serde::{Deserialize, Serialize};

mod amounts;
mod notation;
mod parts;
mod ranges;
mod text;

pub use amounts::Amounts;
pub use notation::ResourcesError;
pub use ranges::RangeSet;
pub use text::{QuantityError, format_bytes, format_cpus, parse_bytes, parse_cpus};

/// A bag of resources.
///
/// The quantities are of what nothing sets apart. What is reserved, a persistent volume or revocable is kept
/// beside them, in parts of one [`Claim`] each: see [`Resources::parts`].
///
/// CPU in thousandths of a core, memory and disk in bytes, custom scalars in thousandths, ranges
/// (ports) as sets of integers, sets of named items. A quantity of zero and an absent quantity are
/// the same thing, and equal bags are `==`.
///
/// Addition and subtraction are checked: they answer `None` where the exact result does not exist
/// (an overflow, a negative rest, a port that would be there twice).
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(default)]
pub struct Resources {
    /// CPU in thousandths of a core.
    pub cpu_milli: u64,
    /// Memory in bytes.
    pub mem_bytes: u64,
    /// Disk in bytes.
    pub disk_bytes: u64,
    /// Custom scalars in thousandths, sorted by name, without zeros.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    custom: Vec<(Arc<str>, u64)>,
    /// Named ranges, sorted by name, without empty ones.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    ranges: Vec<(Arc<str>, RangeSet)>,
    /// Named sets, sorted by name, without empty ones.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    sets: Vec<(Arc<str>, BTreeSet<Arc<str>>)>,
    /// What is set apart, by claim, without empty parts. A part has no parts.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    parts: Vec<(Arc<Claim>, Self)>,
}

/// The kinds of scalar by which shares are computed.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Scalar {
    /// CPU, in thousandths of a core.
    Cpu,
    /// Memory, in bytes.
    Memory,
    /// Disk, in bytes.
    Disk,
    /// A custom scalar, in thousandths.
    Custom(Arc<str>),
}

impl Resources {
    /// CPU and memory, nothing else.
    #[must_use]
    pub fn new(cpu_milli: u64, mem_bytes: u64) -> Self {
        Self {
            cpu_milli,
            mem_bytes,
            ..Self::default()
        }
    }

    /// The same with disk.
    #[must_use]
    pub fn with_disk(mut self, disk_bytes: u64) -> Self {
        self.disk_bytes = disk_bytes;
        self
    }

    /// The same with a custom scalar set to `milli` thousandths.
    #[must_use]
    pub fn with_custom(mut self, name: &str, milli: u64) -> Self {
        set_named(&mut self.custom, name, (milli > 0).then_some(milli));
        self
    }

    /// The same with named ranges, for example `ports`.
    #[must_use]
    pub fn with_ranges(mut self, name: &str, ranges: RangeSet) -> Self {
        set_named(
            &mut self.ranges,
            name,
            (!ranges.is_empty()).then_some(ranges),
        );
        self
    }

    /// The same with a named set.
    #[must_use]
    pub fn with_set(mut self, name: &str, items: impl IntoIterator<Item = Arc<str>>) -> Self {
        let items: BTreeSet<_> = items.into_iter().collect();
        set_named(&mut self.sets, name, (!items.is_empty()).then_some(items));
        self
    }

    /// Custom scalars in thousandths, sorted by name.
    pub fn custom(&self) -> impl Iterator<Item = (&Arc<str>, u64)> {
        self.custom.iter().map(|(name, milli)| (name, *milli))
    }

    /// Named ranges, sorted by name.
    pub fn ranges(&self) -> impl Iterator<Item = (&Arc<str>, &RangeSet)> {
        self.ranges.iter().map(|(name, ranges)| (name, ranges))
    }

    /// Named sets, sorted by name.
    pub fn sets(&self) -> impl Iterator<Item = (&Arc<str>, &BTreeSet<Arc<str>>)> {
        self.sets.iter().map(|(name, items)| (name, items))
    }

    /// The scalars that are not zero, of what nothing sets apart.
    pub fn scalars(&self) -> impl Iterator<Item = (Scalar, u64)> {
        [
            (Scalar::Cpu, self.cpu_milli),
            (Scalar::Memory, self.mem_bytes),
            (Scalar::Disk, self.disk_bytes),
        ]
        .into_iter()
        .chain(
            self.custom
                .iter()
                .map(|(name, milli)| (Scalar::Custom(name.clone()), *milli)),
        )
        .filter(|(_, quantity)| *quantity > 0)
    }

    /// How much of one scalar there is that nothing sets apart, in its unit.
    #[must_use]
    pub fn scalar(&self, kind: &Scalar) -> u64 {
        match kind {
            Scalar::Cpu => self.cpu_milli,
            Scalar::Memory => self.mem_bytes,
            Scalar::Disk => self.disk_bytes,
            Scalar::Custom(name) => get_named(&self.custom, name).copied().unwrap_or(0),
        }
    }

    /// The same with one scalar set.
    #[must_use]
    pub fn with_scalar(mut self, kind: &Scalar, amount: u64) -> Self {
        match kind {
            Scalar::Cpu => self.cpu_milli = amount,
            Scalar::Memory => self.mem_bytes = amount,
            Scalar::Disk => self.disk_bytes = amount,
            Scalar::Custom(name) => return self.with_custom(name, amount),
        }
        self
    }

    /// Whether there is nothing at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.cpu_milli == 0 && self.mem_bytes == 0 && self.disk_bytes == 0 && self.is_basic()
    }

    /// Whether there is nothing but CPU, memory and disk that nothing sets apart.
    #[must_use]
    pub fn is_basic(&self) -> bool {
        self.custom.is_empty()
            && self.ranges.is_empty()
            && self.sets.is_empty()
            && self.parts.is_empty()
    }

    /// Whether `other` fits into this: what is set apart into what is set apart by the same claim.
    #[must_use]
    pub fn contains(&self, other: &Self) -> bool {
        self.cpu_milli >= other.cpu_milli
            && self.mem_bytes >= other.mem_bytes
            && self.disk_bytes >= other.disk_bytes
            && other.custom.iter().all(|(name, milli)| {
                get_named(&self.custom, name).is_some_and(|have| have >= milli)
            })
            && other.ranges.iter().all(|(name, wanted)| {
                get_named(&self.ranges, name).is_some_and(|have| have.contains(wanted))
            })
            && other.sets.iter().all(|(name, wanted)| {
                get_named(&self.sets, name).is_some_and(|have| have.is_superset(wanted))
            })
            && self.contains_parts(other)
    }

    /// The exact sum; `None` if a scalar overflows or an item would be there twice.
    #[must_use]
    pub fn checked_add(&self, other: &Self) -> Option<Self> {
        Some(Self {
            cpu_milli: self.cpu_milli.checked_add(other.cpu_milli)?,
            mem_bytes: self.mem_bytes.checked_add(other.mem_bytes)?,
            disk_bytes: self.disk_bytes.checked_add(other.disk_bytes)?,
            custom: add_named(&self.custom, &other.custom, |a, b| a.checked_add(*b))?,
            ranges: add_named(&self.ranges, &other.ranges, RangeSet::checked_union)?,
            sets: add_named(&self.sets, &other.sets, |a, b| {
                a.is_disjoint(b).then(|| a.union(b).cloned().collect())
            })?,
            parts: self.add_parts(other)?,
        })
    }

    /// The exact difference; `None` if `other` does not fit into this.
    #[must_use]
    pub fn checked_sub(&self, other: &Self) -> Option<Self> {
        Some(Self {
            cpu_milli: self.cpu_milli.checked_sub(other.cpu_milli)?,
            mem_bytes: self.mem_bytes.checked_sub(other.mem_bytes)?,
            disk_bytes: self.disk_bytes.checked_sub(other.disk_bytes)?,
            custom: sub_named(
                &self.custom,
                &other.custom,
                |a, b| a.checked_sub(*b),
                |rest| *rest == 0,
            )?,
            ranges: sub_named(
                &self.ranges,
                &other.ranges,
                RangeSet::checked_difference,
                RangeSet::is_empty,
            )?,
            sets: sub_named(
                &self.sets,
                &other.sets,
                |a, b| a.is_superset(b).then(|| a.difference(b).cloned().collect()),
                BTreeSet::is_empty,
            )?,
            parts: self.sub_parts(other)?,
        })
    }
}

fn get_named<'a, V>(entries: &'a [(Arc<str>, V)], name: &str) -> Option<&'a V> {
    entries
        .binary_search_by(|(have, _)| have.as_ref().cmp(name))
        .ok()
        .map(|at| &entries[at].1)
}

fn set_named<V>(entries: &mut Vec<(Arc<str>, V)>, name: &str, value: Option<V>) {
    let at = entries.binary_search_by(|(have, _)| have.as_ref().cmp(name));
    match (at, value) {
        (Ok(at), Some(value)) => entries[at].1 = value,
        (Ok(at), None) => {
            entries.remove(at);
        }
        (Err(at), Some(value)) => entries.insert(at, (name.into(), value)),
        (Err(_), None) => {}
    }
}

fn add_named<V: Clone>(
    left: &[(Arc<str>, V)],
    right: &[(Arc<str>, V)],
    add: impl Fn(&V, &V) -> Option<V>,
) -> Option<Vec<(Arc<str>, V)>> {
    let mut sum = left.to_vec();
    for (name, value) in right {
        match sum.binary_search_by(|(have, _)| have.cmp(name)) {
            Ok(at) => sum[at].1 = add(&sum[at].1, value)?,
            Err(at) => sum.insert(at, (name.clone(), value.clone())),
        }
    }
    Some(sum)
}

fn sub_named<V: Clone>(
    left: &[(Arc<str>, V)],
    right: &[(Arc<str>, V)],
    sub: impl Fn(&V, &V) -> Option<V>,
    is_empty: impl Fn(&V) -> bool,
) -> Option<Vec<(Arc<str>, V)>> {
    let mut rest = left.to_vec();
    for (name, value) in right {
        let at = rest.binary_search_by(|(have, _)| have.cmp(name)).ok()?;
        rest[at].1 = sub(&rest[at].1, value)?;
        if is_empty(&rest[at].1) {
            rest.remove(at);
        }
    }
    Some(rest)
}

#[cfg(test)]
mod tests;
