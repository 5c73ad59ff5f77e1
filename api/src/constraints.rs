//! Offer filters and constraints, to and from the wire.

use std::collections::BTreeMap;

use nesos_types::constraints::{Constraint, OfferConstraints, Predicate, Selector};
use nesos_types::framework::OfferFilters;
use nesos_types::role::Role;

use crate::v1;
use crate::v1::constraint::{Predicate as WirePredicate, Selector as WireSelector};
use crate::wire_error::{WireError, all, parse, required};

impl From<(&Role, &OfferFilters)> for v1::OfferFilter {
    fn from((role, filters): (&Role, &OfferFilters)) -> Self {
        let minimum = filters.min_allocatable.as_ref();
        Self {
            role: role.to_string(),
            min_allocatable: minimum.map(|one_of| v1::MinAllocatable {
                one_of: one_of.iter().map(Into::into).collect(),
            }),
            constraints: filters.constraints.as_ref().map(Into::into),
            revocable: filters.revocable,
        }
    }
}

/// The filters of each role; a role that stands twice is an error.
pub(crate) fn offer_filters(
    wire: Vec<v1::OfferFilter>,
) -> Result<BTreeMap<Role, OfferFilters>, WireError> {
    let mut filters = BTreeMap::new();
    for filter in wire {
        let role: Role = parse("offer_filters.role", &filter.role)?;
        let minimum = filter.min_allocatable.map(|minimum| all(minimum.one_of));
        let wanted = OfferFilters {
            min_allocatable: minimum.transpose()?,
            constraints: filter.constraints.map(TryInto::try_into).transpose()?,
            revocable: filter.revocable,
        };
        if filters.insert(role, wanted).is_some() {
            return Err(WireError::Invalid {
                field: "offer_filters.role",
                why: format!("{} stands twice", filter.role),
            });
        }
    }
    Ok(filters)
}

impl From<&OfferConstraints> for v1::OfferConstraints {
    fn from(constraints: &OfferConstraints) -> Self {
        let groups = constraints.groups.iter().map(|group| v1::ConstraintGroup {
            constraints: group.iter().map(Into::into).collect(),
        });
        Self {
            groups: groups.collect(),
        }
    }
}

impl TryFrom<v1::OfferConstraints> for OfferConstraints {
    type Error = WireError;
    fn try_from(wire: v1::OfferConstraints) -> Result<Self, WireError> {
        let groups = wire.groups.into_iter().map(|group| all(group.constraints));
        Ok(Self {
            groups: groups.collect::<Result<_, _>>()?,
        })
    }
}

impl From<&Constraint> for v1::Constraint {
    fn from(constraint: &Constraint) -> Self {
        let pseudo = |which: v1::PseudoAttribute| WireSelector::PseudoAttribute(which.into());
        let selector = match &constraint.selector {
            Selector::Hostname => pseudo(v1::PseudoAttribute::Hostname),
            Selector::Region => pseudo(v1::PseudoAttribute::Region),
            Selector::Zone => pseudo(v1::PseudoAttribute::Zone),
            Selector::Attribute(name) => WireSelector::Attribute(name.clone()),
        };
        let predicate = match constraint.predicate.clone() {
            Predicate::Exists => WirePredicate::Exists(true),
            Predicate::NotExists => WirePredicate::Exists(false),
            Predicate::TextEquals(text) => WirePredicate::TextEquals(text),
            Predicate::TextNotEquals(text) => WirePredicate::TextNotEquals(text),
            Predicate::TextMatches(pattern) => WirePredicate::TextMatches(pattern),
            Predicate::TextNotMatches(pattern) => WirePredicate::TextNotMatches(pattern),
        };
        Self {
            selector: Some(selector),
            predicate: Some(predicate),
        }
    }
}

impl TryFrom<v1::Constraint> for Constraint {
    type Error = WireError;
    fn try_from(wire: v1::Constraint) -> Result<Self, WireError> {
        let selector = match required("constraint.selector", wire.selector)? {
            WireSelector::Attribute(name) => Selector::Attribute(name),
            WireSelector::PseudoAttribute(which) => pseudo_attribute(which)?,
        };
        let predicate = match required("constraint.predicate", wire.predicate)? {
            WirePredicate::Exists(true) => Predicate::Exists,
            WirePredicate::Exists(false) => Predicate::NotExists,
            WirePredicate::TextEquals(text) => Predicate::TextEquals(text),
            WirePredicate::TextNotEquals(text) => Predicate::TextNotEquals(text),
            WirePredicate::TextMatches(pattern) => Predicate::TextMatches(pattern),
            WirePredicate::TextNotMatches(pattern) => Predicate::TextNotMatches(pattern),
        };
        Ok(Self {
            selector,
            predicate,
        })
    }
}

fn pseudo_attribute(which: i32) -> Result<Selector, WireError> {
    match v1::PseudoAttribute::try_from(which) {
        Ok(v1::PseudoAttribute::Hostname) => Ok(Selector::Hostname),
        Ok(v1::PseudoAttribute::Region) => Ok(Selector::Region),
        Ok(v1::PseudoAttribute::Zone) => Ok(Selector::Zone),
        Ok(v1::PseudoAttribute::Unspecified) | Err(_) => Err(WireError::Invalid {
            field: "constraint.pseudo_attribute",
            why: format!("{which} is not one that this version knows"),
        }),
    }
}
