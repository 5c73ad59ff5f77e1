//! Offer constraints: what an agent must be like for a framework to be offered it (after Mesos'
//! `OfferConstraints`). Here they are data; who decides by them compiles the patterns.

use serde::{Deserialize, Serialize};

/// Alternatives, of which one must hold. None at all hold for no agent; a framework that wants any agent
/// states no constraints.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct OfferConstraints {
    /// Groups of constraints; all of a group must hold.
    pub groups: Vec<Vec<Constraint>>,
}

/// One condition on one property of an agent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Constraint {
    /// Of which property.
    pub selector: Selector,
    /// The condition.
    pub predicate: Predicate,
}

/// Names a property of an agent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Selector {
    /// The host's name.
    Hostname,
    /// The region of its fault domain.
    Region,
    /// The zone of its fault domain.
    Zone,
    /// The attribute of this name.
    Attribute(String),
}

/// A condition on a property, which is compared as text: a scalar as `2.5`, ranges as `[1-3,7-9]`.
///
/// The negations hold for what is not there, too: "not in rack 7" is true of an agent without a rack.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Predicate {
    /// The property is there.
    Exists,
    /// It is not there.
    NotExists,
    /// It is this text.
    TextEquals(String),
    /// It is not this text.
    TextNotEquals(String),
    /// All of it matches this regular expression.
    TextMatches(String),
    /// It does not match it as a whole.
    TextNotMatches(String),
}

impl OfferConstraints {
    /// The most groups, and the most constraints of one group.
    pub const MAX_GROUPS: usize = 64;
    /// The longest pattern, in bytes (Mesos: 4 KiB of compiled program).
    pub const MAX_PATTERN_BYTES: usize = 4096;

    /// All of these constraints together.
    #[must_use]
    pub fn all(constraints: Vec<Constraint>) -> Self {
        Self {
            groups: vec![constraints],
        }
    }
}

impl Constraint {
    /// A condition on an attribute.
    #[must_use]
    pub fn attribute(name: &str, predicate: Predicate) -> Self {
        Self {
            selector: Selector::Attribute(name.to_owned()),
            predicate,
        }
    }
}
