//! Claims on resources and their changes, to and from the wire.

use nesos_types::reservation::{Claim, Owner, Reservation, ReservationChange, SetApart, Volume};
use nesos_types::resources::Resources;

use crate::v1;
use crate::wire_error::{WireError, all, parse, required};

impl From<&Owner> for v1::Owner {
    fn from(owner: &Owner) -> Self {
        let (kind, framework_id, principal) = match owner {
            Owner::Agent => (v1::OwnerKind::Agent, String::new(), String::new()),
            Owner::Operator => (v1::OwnerKind::Operator, String::new(), String::new()),
            Owner::Framework { id, principal } => {
                (v1::OwnerKind::Framework, id.to_string(), principal.clone())
            }
        };
        Self {
            kind: kind.into(),
            framework_id,
            principal,
        }
    }
}

impl TryFrom<v1::Owner> for Owner {
    type Error = WireError;
    fn try_from(wire: v1::Owner) -> Result<Self, WireError> {
        match wire.kind() {
            v1::OwnerKind::Unspecified => Err(WireError::Missing("owner.kind")),
            v1::OwnerKind::Agent => Ok(Self::Agent),
            v1::OwnerKind::Operator => Ok(Self::Operator),
            v1::OwnerKind::Framework => Ok(Self::Framework {
                id: parse("owner.framework_id", &wire.framework_id)?,
                principal: wire.principal,
            }),
        }
    }
}

impl From<&Reservation> for v1::Reservation {
    fn from(reservation: &Reservation) -> Self {
        Self {
            role: reservation.role.to_string(),
            owner: Some((&reservation.owner).into()),
            labels: reservation.labels.clone().into_iter().collect(),
        }
    }
}

impl TryFrom<v1::Reservation> for Reservation {
    type Error = WireError;
    fn try_from(wire: v1::Reservation) -> Result<Self, WireError> {
        Ok(Self {
            role: parse("reservation.role", &wire.role)?,
            owner: required("reservation.owner", wire.owner)?.try_into()?,
            labels: wire.labels.into_iter().collect(),
        })
    }
}

impl From<&Volume> for v1::Volume {
    fn from(volume: &Volume) -> Self {
        Self {
            id: volume.id.to_string(),
            owner: Some((&volume.owner).into()),
        }
    }
}

impl TryFrom<v1::Volume> for Volume {
    type Error = WireError;
    fn try_from(wire: v1::Volume) -> Result<Self, WireError> {
        Ok(Self {
            id: parse("volume.id", &wire.id)?,
            owner: required("volume.owner", wire.owner)?.try_into()?,
        })
    }
}

impl From<&Claim> for v1::Claim {
    fn from(claim: &Claim) -> Self {
        Self {
            reservations: claim.reservations.iter().map(Into::into).collect(),
            volume: claim.volume.as_ref().map(Into::into),
            revocable: claim.revocable,
        }
    }
}

impl TryFrom<v1::Claim> for Claim {
    type Error = WireError;
    fn try_from(wire: v1::Claim) -> Result<Self, WireError> {
        Ok(Self {
            reservations: all(wire.reservations)?,
            volume: wire.volume.map(TryInto::try_into).transpose()?,
            revocable: wire.revocable,
        })
    }
}

pub(crate) fn wire_parts(resources: &Resources) -> Vec<v1::ResourcesPart> {
    let parts = resources.parts().map(|(claim, part)| v1::ResourcesPart {
        claim: Some(claim.into()),
        amounts: Some(part.into()),
    });
    parts.collect()
}

/// Adds the parts to what nothing sets apart.
pub(crate) fn with_parts(
    resources: Resources,
    wire: Vec<v1::ResourcesPart>,
) -> Result<Resources, WireError> {
    wire.into_iter().try_fold(resources, |sum, part| {
        let claim = Claim::try_from(required("part.claim", part.claim)?)?;
        let amounts = required("part.amounts", part.amounts)?;
        if !amounts.parts.is_empty() {
            return Err(invalid("a part has parts of its own"));
        }
        let part = Resources::claimed(claim, amounts.try_into()?);
        sum.checked_add(&part)
            .ok_or_else(|| invalid("a volume or a port stands twice, or a sum is beyond 64 bits"))
    })
}

fn invalid(why: &str) -> WireError {
    WireError::Invalid {
        field: "parts",
        why: why.to_owned(),
    }
}

impl From<&ReservationChange> for v1::ReservationChange {
    fn from(change: &ReservationChange) -> Self {
        use v1::reservation_change::Change;
        let change = match change {
            ReservationChange::Reserve {
                resources,
                role,
                labels,
            } => Change::Reserve(v1::Reserve {
                resources: Some(resources.into()),
                role: role.to_string(),
                labels: labels.clone().into_iter().collect(),
            }),
            ReservationChange::Unreserve { resources } => Change::Unreserve(v1::Unreserve {
                resources: Some(resources.into()),
            }),
            ReservationChange::CreateVolume { volume, disk } => {
                Change::CreateVolume(v1::CreateVolume {
                    volume_id: volume.to_string(),
                    disk: Some(disk.into()),
                })
            }
            ReservationChange::DestroyVolume { volume } => {
                Change::DestroyVolume(v1::DestroyVolume {
                    volume_id: volume.to_string(),
                })
            }
        };
        Self {
            change: Some(change),
        }
    }
}

impl TryFrom<v1::ReservationChange> for ReservationChange {
    type Error = WireError;
    fn try_from(wire: v1::ReservationChange) -> Result<Self, WireError> {
        use v1::reservation_change::Change;
        let change = wire
            .change
            .ok_or(WireError::UnknownMessage("ReservationChange"))?;
        Ok(match change {
            Change::Reserve(change) => Self::Reserve {
                resources: required("reserve.resources", change.resources)?.try_into()?,
                role: parse("reserve.role", &change.role)?,
                labels: change.labels.into_iter().collect(),
            },
            Change::Unreserve(change) => Self::Unreserve {
                resources: required("unreserve.resources", change.resources)?.try_into()?,
            },
            Change::CreateVolume(change) => Self::CreateVolume {
                volume: parse("create_volume.volume_id", &change.volume_id)?,
                disk: required("create_volume.disk", change.disk)?.try_into()?,
            },
            Change::DestroyVolume(change) => Self::DestroyVolume {
                volume: parse("destroy_volume.volume_id", &change.volume_id)?,
            },
        })
    }
}

impl From<&SetApart> for v1::SetApart {
    fn from(set_apart: &SetApart) -> Self {
        let incarnations = set_apart.incarnations.iter();
        Self {
            resources: Some((&set_apart.resources).into()),
            incarnations: incarnations
                .map(|(volume, incarnation)| (volume.to_string(), *incarnation))
                .collect(),
        }
    }
}

impl TryFrom<v1::SetApart> for SetApart {
    type Error = WireError;
    fn try_from(wire: v1::SetApart) -> Result<Self, WireError> {
        let incarnations = wire.incarnations.into_iter();
        Ok(Self {
            resources: required("set_apart.resources", wire.resources)?.try_into()?,
            incarnations: incarnations
                .map(|(volume, incarnation)| {
                    Ok((parse("set_apart.incarnations", &volume)?, incarnation))
                })
                .collect::<Result<_, WireError>>()?,
        })
    }
}
