//! What operators decide of a role: how much it weighs, how it ranks, what it is sure to get and what it
//! may never exceed.

use std::fmt;
use std::num::NonZeroU32;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::Role;
use crate::resources::{Amounts, QuantityError, Scalar, format_cpus, parse_cpus};

/// The weight of a role among its siblings, in thousandths. Never zero: a weight of zero would mean
/// "never serve", which is what suppressing is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Weight(NonZeroU32);

impl Weight {
    /// The weight of a role that was given none.
    pub const ONE: Self = Self(NonZeroU32::new(1000).expect("not zero"));

    /// A weight in thousandths; `None` for zero.
    #[must_use]
    pub fn from_milli(milli: u32) -> Option<Self> {
        NonZeroU32::new(milli).map(Self)
    }

    /// The weight in thousandths.
    #[must_use]
    pub const fn milli(self) -> u32 {
        self.0.get()
    }
}

impl Default for Weight {
    fn default() -> Self {
        Self::ONE
    }
}

impl fmt::Display for Weight {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        format_cpus(u64::from(self.milli())).fmt(f)
    }
}

/// Why a text is not a weight.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum WeightError {
    /// It is no number, or one that has no exact form.
    #[error("a weight is a number such as 2 or 0.5: {0}")]
    Number(#[from] QuantityError),
    /// It is zero or too large.
    #[error("a weight lies between 0.001 and 4294967")]
    OutOfRange,
}

impl FromStr for Weight {
    type Err = WeightError;
    fn from_str(text: &str) -> Result<Self, WeightError> {
        let milli = parse_cpus(text)?;
        let milli = u32::try_from(milli).ok();
        milli
            .and_then(Self::from_milli)
            .ok_or(WeightError::OutOfRange)
    }
}

/// All that operators have decided of a role.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct RoleSettings {
    /// Its weight among its siblings.
    pub weight: Weight,
    /// Its priority among its siblings, where the policy goes by priority: higher is served first.
    pub priority: i32,
    /// What it and the roles below it are sure to get: others are not offered what that needs.
    pub guarantee: Amounts,
    /// What it and the roles below it may never exceed.
    pub limit: Amounts,
    /// Whose signature its tasks' bundles must have, as PEM public keys: one of these. None: nobody's.
    pub signers: Vec<String>,
}

impl RoleSettings {
    /// The same after a change.
    #[must_use]
    pub fn changed(mut self, change: &RoleChange) -> Self {
        self.weight = change.weight.unwrap_or(self.weight);
        self.priority = change.priority.unwrap_or(self.priority);
        if let Some(guarantee) = &change.guarantee {
            self.guarantee.clone_from(guarantee);
        }
        if let Some(limit) = &change.limit {
            self.limit.clone_from(limit);
        }
        if let Some(signers) = &change.signers {
            self.signers.clone_from(signers);
        }
        self
    }

    /// Whether it says anything about quantities.
    #[must_use]
    pub fn has_quota(&self) -> bool {
        !self.guarantee.is_empty() || !self.limit.is_empty()
    }
}

/// What an operator changes of a role; what is `None` stays.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RoleChange {
    /// Which role.
    pub role: Role,
    /// Its new weight.
    pub weight: Option<Weight>,
    /// Its new priority.
    pub priority: Option<i32>,
    /// Its new guarantee, in place of the old one.
    pub guarantee: Option<Amounts>,
    /// Its new limit, in place of the old one.
    pub limit: Option<Amounts>,
    /// Its new signers, in place of the old ones.
    pub signers: Option<Vec<String>>,
}

impl RoleChange {
    /// A change of nothing yet.
    #[must_use]
    pub fn of(role: Role) -> Self {
        Self {
            role,
            weight: None,
            priority: None,
            guarantee: None,
            limit: None,
            signers: None,
        }
    }
}

/// Why changes of roles were not made. Nothing was changed, not even for the roles that were fine.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum RoleRefusal {
    /// A role is changed twice in one request.
    #[error("role {0} stands twice in the request")]
    Twice(Role),
    /// A limit that the guarantee exceeds.
    #[error("role {role}: the limit of {kind} is {} and below the guarantee of {}", kind.format(*limit), kind.format(*guarantee))]
    LimitBelowGuarantee {
        /// Which role.
        role: Role,
        /// Of what.
        kind: Scalar,
        /// The limit.
        limit: u64,
        /// The guarantee.
        guarantee: u64,
    },
    /// Roles below another are guaranteed more than that one may have.
    #[error("role {role}: the roles below it are guaranteed {} {kind}, and its own {what} is {}; change them together", kind.format(*guaranteed), kind.format(*own))]
    ChildrenExceedParent {
        /// The parent.
        role: Role,
        /// Of what.
        kind: Scalar,
        /// What the children are guaranteed.
        guaranteed: u64,
        /// `guarantee` or `limit`.
        what: &'static str,
        /// The parent's.
        own: u64,
    },
    /// There is not as much in the cluster. Can be forced.
    #[error("all guarantees together are {} {kind}, and the cluster has {}; add agents, or force it", kind.format(*guaranteed), kind.format(*total))]
    ExceedsCluster {
        /// Of what.
        kind: Scalar,
        /// The sum of guarantees.
        guaranteed: u64,
        /// What there is.
        total: u64,
    },
    /// The role uses more than the new limit already. Can be forced.
    #[error("role {role}: tasks and reservations use {} {kind} already, and the new limit is {}; end some, or force it", kind.format(*used), kind.format(*limit))]
    LimitBelowUse {
        /// Which role.
        role: Role,
        /// Of what.
        kind: Scalar,
        /// What its tasks use and what is reserved for it.
        used: u64,
        /// The new limit.
        limit: u64,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_are_positive_numbers() {
        assert_eq!("2.5".parse::<Weight>().map(Weight::milli), Ok(2500));
        for negative in ["-1", "-0.5"] {
            let error = negative.parse::<Weight>();
            let number = WeightError::Number(QuantityError::Negative(negative.to_owned()));
            assert_eq!(error, Err(number));
        }
        for bad in ["NaN", "nan", "inf", "-inf", "", "x", "1e3"] {
            let error = bad.parse::<Weight>();
            let number = WeightError::Number(QuantityError::NotANumber(bad.to_owned()));
            assert_eq!(error, Err(number));
        }
        assert!("0.0001".parse::<Weight>().is_err(), "too fine");
        for bad in ["0", "0.000", "5000000"] {
            assert_eq!(bad.parse::<Weight>(), Err(WeightError::OutOfRange));
        }
    }

    #[test]
    fn a_change_leaves_what_it_does_not_name() {
        let role: Role = "a".parse().expect("a role");
        let change = RoleChange {
            priority: Some(3),
            ..RoleChange::of(role)
        };
        let settings = RoleSettings {
            weight: Weight::from_milli(7).expect("not zero"),
            ..RoleSettings::default()
        };
        let changed = settings.clone().changed(&change);
        assert_eq!((changed.weight, changed.priority), (settings.weight, 3));
    }
}
