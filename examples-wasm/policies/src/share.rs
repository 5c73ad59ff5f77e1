//! Sums of resources and exact shares of them, for policies that are about fairness.

use std::cmp::Ordering;

use crate::Amount;

/// Scalars summed over agents: CPU, memory, disk, and what operators have named.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sums {
    fixed: [u128; 3],
    /// Sorted by name, without zeros.
    custom: Vec<(String, u128)>,
}

impl Sums {
    /// Adds an amount.
    pub fn add(&mut self, amount: &Amount) {
        for (sum, more) in self.fixed.iter_mut().zip(fixed(amount)) {
            *sum += u128::from(more);
        }
        for scalar in &amount.custom {
            let more = u128::from(scalar.milli);
            match self.find(&scalar.name) {
                Ok(at) => self.custom[at].1 += more,
                Err(at) => self.custom.insert(at, (scalar.name.clone(), more)),
            }
        }
    }

    /// Takes away what was added before.
    pub fn sub(&mut self, amount: &Amount) {
        for (sum, less) in self.fixed.iter_mut().zip(fixed(amount)) {
            *sum -= u128::from(less);
        }
        for scalar in &amount.custom {
            if let Ok(at) = self.find(&scalar.name) {
                self.custom[at].1 -= u128::from(scalar.milli);
                if self.custom[at].1 == 0 {
                    self.custom.remove(at);
                }
            }
        }
    }

    fn find(&self, name: &str) -> Result<usize, usize> {
        self.custom
            .binary_search_by(|(known, _)| known.as_str().cmp(name))
    }

    /// This against a total: `(held, total)` for each kind that the total has.
    fn against<'a>(&'a self, total: &'a Self) -> impl Iterator<Item = (u128, u128)> + 'a {
        let fixed = self.fixed.into_iter().zip(total.fixed);
        let custom = total.custom.iter().map(|(name, total)| {
            let held = self.find(name).map_or(0, |at| self.custom[at].1);
            (held, *total)
        });
        fixed.chain(custom).filter(|(_, total)| *total > 0)
    }

    /// Whether this is some multiple of `other`, so that shares of either compare alike. It may say no
    /// where it is.
    pub fn is_multiple_of(&self, other: &Self) -> bool {
        let kinds = other.against(other).count();
        if self.against(self).count() != kinds || self.against(other).count() != kinds {
            return false;
        }
        let mut pairs = self.against(other);
        let Some((own, others)) = pairs.next() else {
            return true;
        };
        pairs.all(|(this, that)| {
            let products = (this.checked_mul(others), that.checked_mul(own));
            matches!(products, (Some(left), Some(right)) if left == right)
        })
    }
}

fn fixed(amount: &Amount) -> [u64; 3] {
    [amount.cpu_milli, amount.mem_bytes, amount.disk_bytes]
}

/// An exact fraction of a total, weighed.
#[derive(Clone, Copy, Debug)]
pub struct Share {
    held: u128,
    capacity: u128,
}

impl Share {
    /// The largest share over all kinds, over the weight.
    pub fn dominant(held: &Sums, total: &Sums, weight_milli: u32) -> Self {
        let shares = held.against(total).map(|(held, total)| Self {
            held,
            capacity: total.saturating_mul(u128::from(weight_milli)),
        });
        shares.max().unwrap_or(Self {
            held: 0,
            capacity: 1,
        })
    }
}

/// The product, if both factors are small enough for one multiplication: they nearly always are, and
/// wide products are dear in WebAssembly.
fn small_product(left: u128, right: u128) -> Option<u128> {
    let (left, right) = (u64::try_from(left).ok()?, u64::try_from(right).ok()?);
    Some(u128::from(left) * u128::from(right))
}

impl Ord for Share {
    fn cmp(&self, other: &Self) -> Ordering {
        let small = (
            small_product(self.held, other.capacity),
            small_product(other.held, self.capacity),
        );
        if let (Some(left), Some(right)) = small {
            return left.cmp(&right);
        }
        compare((self.held, self.capacity), (other.held, other.capacity))
    }
}

/// Compares fractions of any size: whole parts, then the reciprocals of the rests the other way round.
fn compare(left: (u128, u128), right: (u128, u128)) -> Ordering {
    let (left_rest, right_rest) = (left.0 % left.1, right.0 % right.1);
    let whole = (left.0 / left.1).cmp(&(right.0 / right.1));
    whole.then_with(|| match (left_rest, right_rest) {
        (0, _) | (_, 0) => left_rest.cmp(&right_rest),
        _ => compare((right.1, right_rest), (left.1, left_rest)),
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
