//! Resources, attributes, frameworks, agents and offers, to and from the wire.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use nesos_types::agent::{AgentInfo, Attribute, FaultDomain};
use nesos_types::bundle::Digest;
use nesos_types::framework::FrameworkInfo;
use nesos_types::offer::{Demand, Filters, Offer};
use nesos_types::resources::{Amounts, RangeSet, Resources, Scalar};
use nesos_types::role::{RoleChange, Weight};
use prost::Message;

use crate::MAX_INFO_BYTES;
use crate::constraints::offer_filters;
use crate::reservation::{wire_parts, with_parts};
use crate::v1;
use crate::wire_error::{WireError, parse, required};

/// A duration as the wire has it: microseconds.
pub fn to_micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

impl From<&Amounts> for v1::Amounts {
    fn from(amounts: &Amounts) -> Self {
        let amounts = amounts.iter();
        Self {
            amounts: amounts
                .map(|(kind, amount)| (kind.name().to_owned(), amount))
                .collect(),
        }
    }
}

impl TryFrom<v1::Amounts> for Amounts {
    type Error = WireError;
    fn try_from(wire: v1::Amounts) -> Result<Self, WireError> {
        if wire.amounts.contains_key("") {
            return Err(WireError::Invalid {
                field: "amounts",
                why: "a resource has no name".to_owned(),
            });
        }
        let amounts = wire.amounts.into_iter();
        Ok(amounts
            .map(|(name, amount)| (Scalar::named(&name), amount))
            .collect())
    }
}

impl From<&RoleChange> for v1::RoleChange {
    fn from(change: &RoleChange) -> Self {
        Self {
            role: change.role.to_string(),
            weight_milli: change.weight.map(Weight::milli),
            priority: change.priority,
            guarantee: change.guarantee.as_ref().map(Into::into),
            limit: change.limit.as_ref().map(Into::into),
            signers: change.signers.clone().map(|keys| v1::Signers { keys }),
        }
    }
}

impl TryFrom<v1::RoleChange> for RoleChange {
    type Error = WireError;
    fn try_from(wire: v1::RoleChange) -> Result<Self, WireError> {
        let weight = |milli| {
            Weight::from_milli(milli).ok_or(WireError::Invalid {
                field: "weight_milli",
                why: "a weight is more than zero".to_owned(),
            })
        };
        Ok(Self {
            role: parse("role", &wire.role)?,
            weight: wire.weight_milli.map(weight).transpose()?,
            priority: wire.priority,
            guarantee: wire.guarantee.map(TryInto::try_into).transpose()?,
            limit: wire.limit.map(TryInto::try_into).transpose()?,
            signers: wire.signers.map(|signers| signers.keys),
        })
    }
}

impl From<&Resources> for v1::Resources {
    fn from(resources: &Resources) -> Self {
        Self {
            cpu_milli: resources.cpu_milli,
            mem_bytes: resources.mem_bytes,
            disk_bytes: resources.disk_bytes,
            custom: resources
                .custom()
                .map(|(name, milli)| v1::CustomScalar {
                    name: name.to_string(),
                    milli,
                })
                .collect(),
            ranges: resources
                .ranges()
                .map(|(name, ranges)| v1::NamedRanges {
                    name: name.to_string(),
                    ranges: wire_ranges(ranges.as_slice()),
                })
                .collect(),
            sets: resources
                .sets()
                .map(|(name, items)| v1::NamedSet {
                    name: name.to_string(),
                    items: items.iter().map(ToString::to_string).collect(),
                })
                .collect(),
            parts: wire_parts(resources),
        }
    }
}

impl TryFrom<v1::Resources> for Resources {
    type Error = WireError;
    fn try_from(wire: v1::Resources) -> Result<Self, WireError> {
        let mut resources = Self::new(wire.cpu_milli, wire.mem_bytes).with_disk(wire.disk_bytes);
        for scalar in wire.custom {
            let name = resource_name(scalar.name)?;
            resources = resources.with_custom(&name, scalar.milli);
        }
        for named in wire.ranges {
            let name = resource_name(named.name)?;
            resources = resources.with_ranges(&name, RangeSet::new(pairs(&named.ranges)?));
        }
        for set in wire.sets {
            let name = resource_name(set.name)?;
            resources = resources.with_set(&name, set.items.into_iter().map(Into::into));
        }
        with_parts(resources, wire.parts)
    }
}

fn resource_name(name: String) -> Result<String, WireError> {
    if name.is_empty() || ["cpus", "mem", "disk"].contains(&name.as_str()) {
        return Err(WireError::Invalid {
            field: "resources",
            why: format!("{name:?} is not a name for a custom resource"),
        });
    }
    Ok(name)
}

fn wire_ranges(ranges: &[(u64, u64)]) -> Vec<v1::Range> {
    ranges
        .iter()
        .map(|&(low, high)| v1::Range { low, high })
        .collect()
}

fn pairs(ranges: &[v1::Range]) -> Result<Vec<(u64, u64)>, WireError> {
    ranges
        .iter()
        .map(|range| {
            (range.low <= range.high)
                .then_some((range.low, range.high))
                .ok_or_else(|| WireError::Invalid {
                    field: "ranges",
                    why: format!("{}-{} ends before it begins", range.low, range.high),
                })
        })
        .collect()
}

fn wire_attributes(attributes: &BTreeMap<String, Attribute>) -> Vec<v1::Attribute> {
    use v1::attribute::Value;
    attributes
        .iter()
        .map(|(name, value)| v1::Attribute {
            name: name.clone(),
            value: Some(match value {
                Attribute::Text(text) => Value::Text(text.clone()),
                Attribute::ScalarMilli(milli) => Value::ScalarMilli(*milli),
                Attribute::Ranges(ranges) => Value::Ranges(v1::RangeList {
                    ranges: wire_ranges(ranges),
                }),
            }),
        })
        .collect()
}

fn attributes(wire: Vec<v1::Attribute>) -> Result<BTreeMap<String, Attribute>, WireError> {
    use v1::attribute::Value;
    wire.into_iter()
        .map(|attribute| {
            let value = match required("attribute.value", attribute.value)? {
                Value::Text(text) => Attribute::Text(text),
                Value::ScalarMilli(milli) => Attribute::ScalarMilli(milli),
                Value::Ranges(list) => Attribute::Ranges(pairs(&list.ranges)?),
            };
            Ok((attribute.name, value))
        })
        .collect()
}

impl From<&FrameworkInfo> for v1::FrameworkInfo {
    fn from(info: &FrameworkInfo) -> Self {
        Self {
            name: info.name.clone(),
            roles: info.roles.iter().map(ToString::to_string).collect(),
            principal: info.principal.clone(),
            failover_timeout_us: Some(to_micros(info.failover_timeout)),
            hostname: info.hostname.clone(),
            webui_url: info.webui_url.clone(),
            labels: info.labels.clone().into_iter().collect(),
            offer_filters: info.offer_filters.iter().map(Into::into).collect(),
        }
    }
}

/// Registries keep what frameworks and agents say of themselves, and no store takes a record of any size.
fn check_size(info: &impl Message) -> Result<(), WireError> {
    let bytes = info.encoded_len();
    if bytes > MAX_INFO_BYTES {
        return Err(WireError::Invalid {
            field: "info",
            why: format!("it has {bytes} bytes, and {MAX_INFO_BYTES} are taken at most"),
        });
    }
    Ok(())
}

impl TryFrom<v1::FrameworkInfo> for FrameworkInfo {
    type Error = WireError;
    fn try_from(wire: v1::FrameworkInfo) -> Result<Self, WireError> {
        check_size(&wire)?;
        Ok(Self {
            name: wire.name,
            roles: wire
                .roles
                .iter()
                .map(|role| parse("info.roles", role))
                .collect::<Result<_, _>>()?,
            principal: wire.principal,
            failover_timeout: wire
                .failover_timeout_us
                .map_or(Self::DEFAULT_FAILOVER_TIMEOUT, Duration::from_micros),
            hostname: wire.hostname,
            webui_url: wire.webui_url,
            labels: wire.labels.into_iter().collect(),
            offer_filters: offer_filters(wire.offer_filters)?,
        })
    }
}

impl From<&AgentInfo> for v1::AgentInfo {
    fn from(info: &AgentInfo) -> Self {
        Self {
            hostname: info.hostname.clone(),
            url: info.url.clone(),
            resources: Some((&info.resources).into()),
            attributes: wire_attributes(&info.attributes),
            fuel_per_cpu_second: info.fuel_per_cpu_second,
            host_mounts: info.host_mounts,
            version: info.version.clone(),
            domain: info.domain.as_ref().map(wire_domain),
            features: info.features.iter().cloned().collect(),
            max_sandboxes: info.max_sandboxes,
        }
    }
}

impl TryFrom<v1::AgentInfo> for AgentInfo {
    type Error = WireError;
    fn try_from(wire: v1::AgentInfo) -> Result<Self, WireError> {
        check_size(&wire)?;
        Ok(Self {
            hostname: wire.hostname,
            url: wire.url,
            resources: required("info.resources", wire.resources)?.try_into()?,
            attributes: attributes(wire.attributes)?,
            fuel_per_cpu_second: wire.fuel_per_cpu_second,
            host_mounts: wire.host_mounts,
            version: wire.version,
            domain: wire.domain.map(domain),
            features: Arc::new(wire.features.into_iter().collect()),
            max_sandboxes: wire.max_sandboxes,
        })
    }
}

/// Each as text.
pub(crate) fn texts<T: ToString>(items: impl IntoIterator<Item = T>) -> Vec<String> {
    items.into_iter().map(|item| item.to_string()).collect()
}

pub(crate) fn digests(field: &'static str, wire: &[String]) -> Result<Vec<Digest>, WireError> {
    wire.iter().map(|digest| parse(field, digest)).collect()
}

impl From<&Offer> for v1::Offer {
    fn from(offer: &Offer) -> Self {
        Self {
            id: offer.id.to_string(),
            framework_id: offer.framework.to_string(),
            role: offer.role.to_string(),
            agent_id: offer.agent.to_string(),
            agent: Some(offer.agent_info.as_ref().into()),
            resources: Some((&offer.resources).into()),
            free_sandboxes: offer.free_sandboxes,
            compiled_bundles: texts(&offer.compiled_bundles),
        }
    }
}

impl TryFrom<v1::Offer> for Offer {
    type Error = WireError;
    fn try_from(wire: v1::Offer) -> Result<Self, WireError> {
        Ok(Self {
            id: parse("offer.id", &wire.id)?,
            framework: parse("offer.framework_id", &wire.framework_id)?,
            role: parse("offer.role", &wire.role)?,
            agent: parse("offer.agent_id", &wire.agent_id)?,
            agent_info: Arc::new(required("offer.agent", wire.agent)?.try_into()?),
            resources: required("offer.resources", wire.resources)?.try_into()?,
            free_sandboxes: wire.free_sandboxes,
            compiled_bundles: digests("offer.compiled_bundles", &wire.compiled_bundles)?,
        })
    }
}

fn wire_domain(domain: &FaultDomain) -> v1::FaultDomain {
    v1::FaultDomain {
        region: domain.region.clone(),
        zone: domain.zone.clone(),
    }
}

fn domain(wire: v1::FaultDomain) -> FaultDomain {
    FaultDomain {
        region: wire.region,
        zone: wire.zone,
    }
}

impl From<&Demand> for v1::Demand {
    fn from(demand: &Demand) -> Self {
        Self {
            role: demand.role.to_string(),
            resources: Some((&demand.resources).into()),
            count: demand.count,
        }
    }
}

impl TryFrom<v1::Demand> for Demand {
    type Error = WireError;
    fn try_from(wire: v1::Demand) -> Result<Self, WireError> {
        Ok(Self {
            role: parse("demand.role", &wire.role)?,
            resources: required("demand.resources", wire.resources)?.try_into()?,
            count: wire.count,
        })
    }
}

impl From<Filters> for v1::Filters {
    fn from(filters: Filters) -> Self {
        Self {
            refuse_us: filters.refuse.map(to_micros),
        }
    }
}

/// Filters from the wire, where absent ones are the default.
pub(crate) fn filters(wire: Option<v1::Filters>) -> Filters {
    Filters {
        refuse: wire
            .and_then(|filters| filters.refuse_us)
            .map(Duration::from_micros),
    }
}
