//! Resources as people write and read them.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use thiserror::Error;

use super::text::{self, QuantityError, format_bytes, format_cpus, parse_cpus};
use super::{Resources, Scalar};
use crate::ids::IdError;
use crate::reservation::Claim;
use crate::role::Role;

impl fmt::Display for Resources {
    /// `<2 CPUs, 1 GiB> + <1 CPU> reserved for ads`, further kinds behind memory.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut separator = "";
        if !self.has_parts() || !self.unclaimed().is_empty() {
            self.fmt_unclaimed(f)?;
            separator = " + ";
        }
        for (claim, part) in self.parts() {
            f.write_str(separator)?;
            write!(f, "<{}> {claim}", part.words())?;
            separator = " + ";
        }
        Ok(())
    }
}

impl Resources {
    /// What there is of what nothing sets apart, in words: `1 CPU, 64 MiB disk`.
    #[must_use]
    pub fn words(&self) -> String {
        let mut words = Vec::new();
        if self.cpu_milli > 0 {
            words.push(cpus_in_words(self.cpu_milli));
        }
        if self.mem_bytes > 0 {
            words.push(format_bytes(self.mem_bytes));
        }
        self.add_other_words(&mut words);
        words.join(", ")
    }

    fn add_other_words(&self, words: &mut Vec<String>) {
        if self.disk_bytes > 0 {
            words.push(format!("{} disk", format_bytes(self.disk_bytes)));
        }
        for (name, milli) in self.custom() {
            words.push(format!("{} {name}", format_cpus(milli)));
        }
        for (name, ranges) in self.ranges() {
            words.push(format!("{name} {ranges}"));
        }
        for (name, items) in self.sets() {
            let items: Vec<_> = items.iter().map(AsRef::as_ref).collect();
            words.push(format!("{name} {{{}}}", items.join(",")));
        }
    }

    /// CPU and memory always, as every task has some of both.
    fn fmt_unclaimed(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut words = vec![cpus_in_words(self.cpu_milli), format_bytes(self.mem_bytes)];
        self.add_other_words(&mut words);
        write!(f, "<{}>", words.join(", "))
    }
}

fn cpus_in_words(milli: u64) -> String {
    let plural = if milli == 1000 { "" } else { "s" };
    format!("{} CPU{plural}", format_cpus(milli))
}

/// Why a text is not a bag of resources.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ResourcesError {
    /// An entry has no colon.
    #[error("{0:?} is not NAME:AMOUNT; for example cpus:4, mem:4GiB or ports:[31000-32000]")]
    NoColon(String),
    /// A range or a set stands where only amounts make sense.
    #[error("{0:?} is not an amount; only scalars such as cpus, mem and disk can stand here")]
    NotAScalar(String),
    /// A role in parentheses does not end.
    #[error("{0:?} has no closing parenthesis; for example cpus(ads):2")]
    Parenthesis(String),
    /// A role in parentheses is not one.
    #[error("{name}: {source}")]
    Role {
        /// Which entry.
        name: String,
        /// What is wrong with its role.
        source: IdError,
    },
    /// What one role has another has, too.
    #[error("{0:?} holds what another entry holds already, or more than 64 bits")]
    Overlap(String),
    /// A name stands twice.
    #[error("{0:?} stands twice")]
    Twice(String),
    /// An amount is not one.
    #[error("{name}: {source}")]
    Quantity {
        /// Which entry.
        name: String,
        /// What is wrong with its amount.
        source: QuantityError,
    },
}

impl Resources {
    /// This in the form that [`Resources::from_str`] reads. Of what sets resources apart only the role
    /// can be written.
    #[must_use]
    pub fn notation(&self) -> String {
        let mut entries = Vec::new();
        for (claim, part) in self.by_claim() {
            let role = claim.reservation().map(|by| format!("({})", by.role));
            let role = role.unwrap_or_default();
            for (kind, amount) in part.scalars() {
                let amount = match kind {
                    Scalar::Cpu | Scalar::Custom(_) => format_cpus(amount),
                    Scalar::Memory | Scalar::Disk => format!("{amount}B"),
                };
                entries.push(format!("{kind}{role}:{amount}"));
            }
            for (name, ranges) in part.ranges() {
                entries.push(format!("{name}{role}:{ranges}"));
            }
            for (name, items) in part.sets() {
                let items: Vec<_> = items.iter().map(AsRef::as_ref).collect();
                entries.push(format!("{name}{role}:{{{}}}", items.join(",")));
            }
        }
        entries.join(";")
    }
}

impl FromStr for Resources {
    type Err = ResourcesError;

    /// Reads Mesos' form: `cpus:4;mem:4GiB;disk:10GiB;ports:[31000-32000];gpu:1;zones:{a,b}`, where
    /// `cpus(ads):2` is reserved for the role `ads`. Memory and disk without a unit are in MiB, as in
    /// Mesos.
    fn from_str(text: &str) -> Result<Self, ResourcesError> {
        let mut seen = BTreeSet::new();
        let mut resources = Self::default();
        for entry in text
            .split(';')
            .map(str::trim)
            .filter(|entry| !entry.is_empty())
        {
            let (full_name, amount) = entry
                .split_once(':')
                .map(|(name, amount)| (name.trim(), amount.trim()))
                .filter(|(name, _)| !name.is_empty())
                .ok_or_else(|| ResourcesError::NoColon(entry.to_owned()))?;
            let (name, role) = name_and_role(full_name)?;
            if !seen.insert((name, role.clone())) {
                return Err(ResourcesError::Twice(full_name.to_owned()));
            }
            let amounts = Self::default().with_entry(name, amount).map_err(|source| {
                ResourcesError::Quantity {
                    name: full_name.to_owned(),
                    source,
                }
            })?;
            let claim = role.map_or_else(Claim::default, Claim::reserved_by_agent);
            resources = resources
                .checked_add(&Self::claimed(claim, amounts))
                .ok_or_else(|| ResourcesError::Twice(full_name.to_owned()))?;
            if resources.checked_flattened().is_none() {
                return Err(ResourcesError::Overlap(full_name.to_owned()));
            }
        }
        Ok(resources)
    }
}

/// Takes `cpus(ads)` apart.
fn name_and_role(name: &str) -> Result<(&str, Option<Role>), ResourcesError> {
    let Some((name_alone, rest)) = name.split_once('(') else {
        return Ok((name, None));
    };
    let role = rest
        .strip_suffix(')')
        .ok_or_else(|| ResourcesError::Parenthesis(name.to_owned()))?;
    let role: Role = role.parse().map_err(|source| ResourcesError::Role {
        name: name.to_owned(),
        source,
    })?;
    Ok((name_alone, (role != Role::default_role()).then_some(role)))
}

impl Resources {
    fn with_entry(mut self, name: &str, amount: &str) -> Result<Self, QuantityError> {
        match name {
            "cpus" => self.cpu_milli = parse_cpus(amount)?,
            "mem" => self.mem_bytes = text::parse_bytes_or_mebibytes(amount)?,
            "disk" => self.disk_bytes = text::parse_bytes_or_mebibytes(amount)?,
            _ if amount.starts_with('[') => return Ok(self.with_ranges(name, amount.parse()?)),
            _ if amount.starts_with('{') => {
                let items = amount
                    .strip_prefix('{')
                    .and_then(|rest| rest.strip_suffix('}'))
                    .ok_or_else(|| QuantityError::NotASet(amount.to_owned()))?;
                let items = items
                    .split(',')
                    .map(str::trim)
                    .filter(|item| !item.is_empty());
                return Ok(self.with_set(name, items.map(Arc::from)));
            }
            _ => return Ok(self.with_custom(name, parse_cpus(amount)?)),
        }
        Ok(self)
    }
}
