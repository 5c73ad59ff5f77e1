//! Sets of integers kept as ranges: ports.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::QuantityError;

/// A set of integers, kept as sorted inclusive ranges that neither overlap nor touch.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize)]
#[serde(transparent)]
pub struct RangeSet(Vec<(u64, u64)>);

impl RangeSet {
    /// The set of all integers in the given inclusive ranges, in any order, overlapping or not.
    /// A range whose end is before its begin holds nothing.
    pub fn new(ranges: impl IntoIterator<Item = (u64, u64)>) -> Self {
        let mut ranges: Vec<_> = ranges
            .into_iter()
            .filter(|(low, high)| low <= high)
            .collect();
        ranges.sort_unstable();
        let mut merged: Vec<(u64, u64)> = Vec::with_capacity(ranges.len());
        for (low, high) in ranges {
            match merged.last_mut() {
                Some(last) if low <= last.1.saturating_add(1) => last.1 = last.1.max(high),
                _ => merged.push((low, high)),
            }
        }
        Self(merged)
    }

    /// The ranges, sorted, inclusive at both ends.
    #[must_use]
    pub fn as_slice(&self) -> &[(u64, u64)] {
        &self.0
    }

    /// Whether the set is empty.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many integers the set holds.
    #[must_use]
    pub fn count(&self) -> u128 {
        self.0
            .iter()
            .map(|(low, high)| u128::from(high - low) + 1)
            .sum()
    }

    /// Whether `other` is a subset.
    #[must_use]
    pub fn contains(&self, other: &Self) -> bool {
        other.0.iter().all(|(low, high)| {
            let after = self.0.partition_point(|(have_low, _)| have_low <= low);
            after > 0 && self.0[after - 1].1 >= *high
        })
    }

    /// The union of sets that have nothing in common; `None` if they have.
    #[must_use]
    pub fn checked_union(&self, other: &Self) -> Option<Self> {
        let union = Self::new(self.0.iter().chain(&other.0).copied());
        (union.count() == self.count() + other.count()).then_some(union)
    }

    /// What both have in common.
    #[must_use]
    pub fn intersection(&self, other: &Self) -> Self {
        let pairs = self.0.iter().flat_map(|&(low, high)| {
            let others = other.0.iter();
            others.map(move |&(other_low, other_high)| (low.max(other_low), high.min(other_high)))
        });
        Self::new(pairs)
    }

    /// What is left after taking a subset away; `None` if `other` is not a subset.
    #[must_use]
    pub fn checked_difference(&self, other: &Self) -> Option<Self> {
        if !self.contains(other) {
            return None;
        }
        let mut rest = Vec::new();
        let mut taken = other.0.iter().peekable();
        for &(mut low, high) in &self.0 {
            let mut used_up = false;
            while let Some(&&(taken_low, taken_high)) = taken.peek() {
                if taken_low > high {
                    break;
                }
                if taken_low > low {
                    rest.push((low, taken_low - 1));
                }
                taken.next();
                match taken_high.checked_add(1) {
                    Some(next) if next <= high => low = next,
                    _ => {
                        used_up = true;
                        break;
                    }
                }
            }
            if !used_up {
                rest.push((low, high));
            }
        }
        Some(Self(rest))
    }
}

impl<'de> Deserialize<'de> for RangeSet {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Vec::deserialize(deserializer).map(Self::new)
    }
}

impl fmt::Display for RangeSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[")?;
        for (i, (low, high)) in self.0.iter().enumerate() {
            let comma = if i > 0 { "," } else { "" };
            if low == high {
                write!(f, "{comma}{low}")?;
            } else {
                write!(f, "{comma}{low}-{high}")?;
            }
        }
        f.write_str("]")
    }
}

impl FromStr for RangeSet {
    type Err = QuantityError;

    /// Reads `[31000-31999,40000]`.
    fn from_str(text: &str) -> Result<Self, QuantityError> {
        let malformed = || QuantityError::NotRanges(text.to_owned());
        let inside = text
            .strip_prefix('[')
            .and_then(|rest| rest.strip_suffix(']'))
            .ok_or_else(malformed)?;
        let mut ranges = Vec::new();
        for range in inside
            .split(',')
            .map(str::trim)
            .filter(|range| !range.is_empty())
        {
            let (low, high) = range.split_once('-').unwrap_or((range, range));
            let low: u64 = low.trim().parse().map_err(|_| malformed())?;
            let high: u64 = high.trim().parse().map_err(|_| malformed())?;
            if low > high {
                return Err(malformed());
            }
            ranges.push((low, high));
        }
        Ok(Self::new(ranges))
    }
}
