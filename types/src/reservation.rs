//! What sets resources apart from others of their kind: reservations, persistent volumes, and that they can
//! be taken back.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::ids::{AgentId, FrameworkId, VolumeId};
use crate::resources::Resources;
use crate::role::Role;

/// What sets a part of an agent's resources apart. The default is "nothing does".
///
/// Parts with different claims are different resources: they are neither summed up nor taken for one
/// another.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(default)]
pub struct Claim {
    /// For whom it is reserved: each entry refines the one before, for a role further down the tree.
    /// The last one counts. None: for anybody.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub reservations: Vec<Reservation>,
    /// The persistent volume that this disk is. A volume is used whole or not at all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub volume: Option<Volume>,
    /// It is somebody else's who does not use it now, and is taken back when they do.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub revocable: bool,
}

/// A set of resources is kept for a role and the roles below it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Reservation {
    /// For whom. Never `*`.
    pub role: Role,
    /// Who made it.
    pub owner: Owner,
    /// Carried along; reservations with other labels are other reservations.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
}

/// Disk of an agent that keeps what tasks write to it until it is destroyed.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Volume {
    /// Its name, unique on its agent.
    pub id: VolumeId,
    /// Who created it.
    pub owner: Owner,
}

/// Who made a reservation or a volume.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Owner {
    /// The agent's configuration: it cannot be undone without changing that.
    Agent,
    /// An operator.
    Operator,
    /// A framework.
    Framework {
        /// Which.
        id: FrameworkId,
        /// In whose name it ran; empty for nobody's.
        principal: String,
    },
}

impl Reservation {
    /// The most bytes that the names and values of labels may have together.
    pub const MAX_LABEL_BYTES: usize = 4096;
}

impl Claim {
    /// The most parts that may be set apart on one agent.
    pub const MAX_PARTS: usize = 512;

    /// Reserved by the agent's configuration.
    #[must_use]
    pub fn reserved_by_agent(role: Role) -> Self {
        Self {
            reservations: vec![Reservation {
                role,
                owner: Owner::Agent,
                labels: BTreeMap::new(),
            }],
            ..Self::default()
        }
    }

    /// What nobody has set apart but what can be taken back.
    #[must_use]
    pub fn revocable() -> Self {
        Self {
            revocable: true,
            ..Self::default()
        }
    }

    /// Whether nothing sets this apart.
    #[must_use]
    pub fn is_none(&self) -> bool {
        self.reservations.is_empty() && self.volume.is_none() && !self.revocable
    }

    /// The reservation that counts.
    #[must_use]
    pub fn reservation(&self) -> Option<&Reservation> {
        self.reservations.last()
    }

    /// Whether somebody in this role may use it: it is reserved for nobody, for that role, or for one
    /// above it.
    #[must_use]
    pub fn is_open_to(&self, role: &Role) -> bool {
        self.reservation()
            .is_none_or(|reservation| reservation.role.holds(role))
    }

    /// The same without what was done at run time: as the agent's configuration has it.
    #[must_use]
    pub fn as_configured(&self) -> Self {
        let by_agent = |reservation: &&Reservation| reservation.owner == Owner::Agent;
        let reservations = self.reservations.iter().take_while(by_agent);
        Self {
            reservations: reservations.cloned().collect(),
            volume: None,
            revocable: self.revocable,
        }
    }
}

impl fmt::Display for Claim {
    /// `reserved for a, volume data`, for people.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let reserved = self
            .reservation()
            .map(|by| format!("reserved for {}", by.role));
        let volume = self
            .volume
            .as_ref()
            .map(|volume| format!("volume {}", volume.id));
        let revocable = self.revocable.then(|| "revocable".to_owned());
        let words: Vec<_> = [reserved, volume, revocable]
            .into_iter()
            .flatten()
            .collect();
        f.write_str(&words.join(", "))
    }
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Agent => f.write_str("the agent's configuration"),
            Self::Operator => f.write_str("an operator"),
            Self::Framework { id, .. } => id.fmt(f),
        }
    }
}

/// All that is set apart on an agent at run time.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct SetApart {
    /// The resources, each part with its claim.
    pub resources: Resources,
    /// Tells each volume among them from earlier ones of its name: what was written to those is nothing to
    /// those who have this one.
    pub incarnations: BTreeMap<VolumeId, u64>,
}

/// A change of what is set apart on an agent: by a framework, of resources that it accepts; or by an
/// operator, of what no task uses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReservationChange {
    /// Keep resources for a role: that of the offer, or for an operator any.
    Reserve {
        /// The resources as they are now: reserved for nobody, or for a role above.
        resources: Resources,
        /// For whom.
        role: Role,
        /// Carried along.
        labels: BTreeMap<String, String>,
    },
    /// Undo the last reservation of each of these resources.
    Unreserve {
        /// The resources as they are now.
        resources: Resources,
    },
    /// Make a persistent volume of reserved disk.
    CreateVolume {
        /// Its name.
        volume: VolumeId,
        /// The disk as it is now: of one reservation, and nothing else.
        disk: Resources,
    },
    /// Destroy a volume with all that is in it. Its disk stays reserved.
    DestroyVolume {
        /// Its name.
        volume: VolumeId,
    },
}

impl ReservationChange {
    /// Its name, as refusals give it.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Reserve { .. } => "reserve",
            Self::Unreserve { .. } => "unreserve",
            Self::CreateVolume { .. } => "create_volume",
            Self::DestroyVolume { .. } => "destroy_volume",
        }
    }
}

/// Why nothing was set apart, or given back. Nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ReservationRefusal {
    /// There is no such agent.
    #[error("no agent of this cluster has the id {0}")]
    AgentUnknown(AgentId),
    /// What it holds is not known.
    #[error(
        "agent {0} has not come back since the master restarted, and what it holds is not known; wait for it"
    )]
    AgentAway(AgentId),
    /// It is more than there can be.
    #[error("resources: they are more than any agent has, or something stands twice")]
    TooMuch,
    /// Labels are for people and small programs.
    #[error("labels: there are {0} bytes of them; the most are {max}", max = Reservation::MAX_LABEL_BYTES)]
    LabelsTooLong(usize),
    /// All that is set apart on an agent is told together.
    #[error("the agent has {max} parts with claims of their own; give some back first", max = Claim::MAX_PARTS)]
    TooManyParts,
    /// It is about nothing.
    #[error("resources: there are none")]
    Nothing,
    /// There is not as much.
    #[error("resources: {wanted} are wanted, and {available} are there")]
    NotThere {
        /// What was named.
        wanted: Box<Resources>,
        /// What could be named.
        available: Box<Resources>,
    },
    /// `*` stands for everybody.
    #[error("role: nothing can be reserved for \"*\", which is everybody")]
    DefaultRole,
    /// A framework reserves for somebody else.
    #[error("role: the offer is for {offered}, and what is accepted cannot be reserved for {role}")]
    OtherRole {
        /// The role that was named.
        role: Role,
        /// The offer's.
        offered: Role,
    },
    /// A reservation can only be refined down the tree.
    #[error("role: {} are reserved for {holder}, and {role} is not below it", resources.words())]
    NotBelow {
        /// What is reserved.
        resources: Box<Resources>,
        /// For whom.
        holder: Role,
        /// The role that was named.
        role: Role,
    },
    /// What can be taken back at any time cannot be promised to anybody.
    #[error("resources: what is revocable cannot be reserved")]
    Revocable,
    /// The role has no room for it.
    #[error("role: {0} would exceed its limit; raise the limit first")]
    QuotaLimit(Role),
    /// It is not reserved.
    #[error("resources: {} are not reserved", .0.words())]
    NotReserved(Box<Resources>),
    /// The agent's configuration says so.
    #[error("resources: {} are reserved by the agent's configuration; change that and restart it", .0.words())]
    Static(Box<Resources>),
    /// Somebody else made it.
    #[error("{what} belongs to {owner}, which alone can undo it, or an operator")]
    SomebodyElses {
        /// Of what.
        what: String,
        /// Whose it is.
        owner: Owner,
    },
    /// It is a volume.
    #[error("resources: volume {0} lies on them; destroy it first")]
    HoldsVolume(VolumeId),
    /// A volume is made of disk.
    #[error(
        "disk: a volume is made of reserved disk of one reservation, and nothing else; {0} are not"
    )]
    NotDisk(Box<Resources>),
    /// The name is taken.
    #[error("volume: the agent has a volume {0} already")]
    VolumeExists(VolumeId),
    /// There is no such volume.
    #[error("volume: the agent has no volume {0}")]
    VolumeUnknown(VolumeId),
    /// Somebody has it.
    #[error("volume: {0} is in use, or offered; it can be destroyed when it is free or accepted")]
    VolumeInUse(VolumeId),
}
