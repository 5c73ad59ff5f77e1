//! Amounts of some scalars. Unlike in a bag of resources, nothing said and zero are two things: a limit
//! of zero GPUs is not the same as no limit on GPUs.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::{Resources, ResourcesError, Scalar, format_bytes, format_cpus};

/// Amounts of the scalars that are named, each in its unit: thousandths of a core, bytes, thousandths.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Amounts(BTreeMap<Scalar, u64>);

impl Amounts {
    /// The same with one scalar set.
    #[must_use]
    pub fn with(mut self, kind: Scalar, amount: u64) -> Self {
        self.0.insert(kind, amount);
        self
    }

    /// The amount of one scalar; `None` if nothing is said about it.
    #[must_use]
    pub fn get(&self, kind: &Scalar) -> Option<u64> {
        self.0.get(kind).copied()
    }

    /// What is said, by kind.
    pub fn iter(&self) -> impl Iterator<Item = (&Scalar, u64)> {
        self.0.iter().map(|(kind, amount)| (kind, *amount))
    }

    /// Whether nothing is said.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl FromIterator<(Scalar, u64)> for Amounts {
    fn from_iter<I: IntoIterator<Item = (Scalar, u64)>>(amounts: I) -> Self {
        Self(amounts.into_iter().collect())
    }
}

impl fmt::Display for Amounts {
    /// The form that [`Amounts::from_str`] reads.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, (kind, amount)) in self.0.iter().enumerate() {
            let separator = if at == 0 { "" } else { ";" };
            write!(f, "{separator}{kind}:{}", kind.format(*amount))?;
        }
        Ok(())
    }
}

impl FromStr for Amounts {
    type Err = ResourcesError;

    /// Reads `cpus:4;mem:8GiB;disk:0;gpus:2`; memory and disk without a unit are in MiB. Only scalars.
    fn from_str(text: &str) -> Result<Self, ResourcesError> {
        let all: Resources = text.parse()?;
        if let Some((claim, _)) = all.parts().next() {
            return Err(ResourcesError::NotAScalar(claim.to_string()));
        }
        if let Some(name) = all
            .ranges()
            .map(|(name, _)| name)
            .chain(all.sets().map(|(name, _)| name))
            .next()
        {
            return Err(ResourcesError::NotAScalar(name.to_string()));
        }
        let names = text
            .split(';')
            .filter_map(|entry| Some(entry.split_once(':')?.0.trim()));
        Ok(names
            .map(Scalar::named)
            .map(|kind| {
                let amount = all.scalar(&kind);
                (kind, amount)
            })
            .collect())
    }
}

impl Scalar {
    /// The scalar of this name; any name that is not one of ours is a custom one.
    #[must_use]
    pub fn named(name: &str) -> Self {
        match name {
            "cpus" => Self::Cpu,
            "mem" => Self::Memory,
            "disk" => Self::Disk,
            custom => Self::Custom(custom.into()),
        }
    }

    /// Its name: `cpus`, `mem`, `disk`, or its own.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::Cpu => "cpus",
            Self::Memory => "mem",
            Self::Disk => "disk",
            Self::Custom(name) => name,
        }
    }

    /// An amount of it, for people.
    #[must_use]
    pub fn format(&self, amount: u64) -> String {
        match self {
            Self::Cpu | Self::Custom(_) => format_cpus(amount),
            // Without the space, so that the text can be read again.
            Self::Memory | Self::Disk => format_bytes(amount).replace(' ', ""),
        }
    }
}

impl fmt::Display for Scalar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl Serialize for Scalar {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

impl<'de> Deserialize<'de> for Scalar {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = String::deserialize(deserializer)?;
        Ok(Self::named(&name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zero_is_said_and_nothing_is_not() {
        let amounts: Amounts = "cpus:0;mem:2GiB;gpus:1.5".parse().expect("reads");
        assert_eq!(amounts.get(&Scalar::Cpu), Some(0));
        assert_eq!(amounts.get(&Scalar::Memory), Some(2 << 30));
        assert_eq!(amounts.get(&Scalar::Disk), None);
        assert_eq!(amounts.to_string().parse(), Ok(amounts.clone()));
        assert_eq!("".parse(), Ok(Amounts::default()));
    }

    #[test]
    fn only_scalars_have_amounts() {
        for bad in [
            "ports:[1-2]",
            "zones:{a}",
            "cpus",
            "cpus:-1",
            "cpus:NaN",
            "cpus:1;cpus:2",
        ] {
            assert!(bad.parse::<Amounts>().is_err(), "{bad}");
        }
    }
}
