//! Shares: exact fractions, compared by cross-multiplying. No rounding, so that equal is equal on
//! every machine.

use std::cmp::Ordering;

use nesos_types::role::Weight;

use super::quantities::Quantities;

/// `held / capacity`, where the capacity is the cluster's total times the weight.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Share {
    held: u128,
    capacity: u128,
}

impl Share {
    /// The share of nothing.
    pub(crate) const ZERO: Self = Self {
        held: 0,
        capacity: 1,
    };

    /// The largest share over all kinds of scalar: that of the dominant resource (Ghodsi et al.,
    /// "Dominant Resource Fairness", NSDI 2011), divided by the weight.
    pub(crate) fn dominant(held: &Quantities, total: &Quantities, weight: Weight) -> Self {
        held.against(total)
            .map(|(held, total)| Self {
                held,
                capacity: total.saturating_mul(u128::from(weight.milli())),
            })
            .max()
            .unwrap_or(Self::ZERO)
    }
}

impl Share {
    /// The share in millionths, rounded down, for people to look at.
    pub(crate) fn millionths(&self) -> u64 {
        // The capacity counts weights in thousandths.
        let whole = self.held.checked_mul(1_000_000_000);
        let millionths = match whole {
            Some(whole) => whole / self.capacity,
            None => self.held / (self.capacity / 1_000_000_000).max(1),
        };
        u64::try_from(millionths).unwrap_or(u64::MAX)
    }
}

impl Ord for Share {
    fn cmp(&self, other: &Self) -> Ordering {
        let left = self.held.checked_mul(other.capacity);
        let right = other.held.checked_mul(self.capacity);
        match (left, right) {
            (Some(left), Some(right)) => left.cmp(&right),
            _ => compare_fractions((self.held, self.capacity), (other.held, other.capacity)),
        }
    }
}

/// Compares fractions whose cross products do not fit, by their continued fractions: whole parts
/// first, then the reciprocals of what remains, the other way round. Ends as Euclid's algorithm does.
fn compare_fractions(left: (u128, u128), right: (u128, u128)) -> Ordering {
    let whole = (left.0 / left.1).cmp(&(right.0 / right.1));
    let (left_rest, right_rest) = (left.0 % left.1, right.0 % right.1);
    whole.then_with(|| match (left_rest, right_rest) {
        (0, 0) => Ordering::Equal,
        (0, _) => Ordering::Less,
        (_, 0) => Ordering::Greater,
        _ => compare_fractions((right.1, right_rest), (left.1, left_rest)),
    })
}

impl PartialOrd for Share {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}
impl PartialEq for Share {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}
impl Eq for Share {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_too_large_to_multiply_compare_exactly() {
        let third = |scale: u128| Share {
            held: scale,
            capacity: scale * 3,
        };
        let large = u128::MAX / 3;
        assert_eq!(third(large), third(1));
        assert_eq!(third(large), third(large - 1));
        let above = Share {
            held: large,
            capacity: large * 3 - 1,
        };
        assert!(above > third(large) && above > third(7));
        assert!(Share::ZERO < third(large));
    }
}
