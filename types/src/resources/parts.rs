//! The parts of a bag of resources that are set apart: reserved, a persistent volume, or revocable.

use std::sync::Arc;

use super::Resources;
use crate::reservation::{Claim, Volume};

impl Resources {
    /// Resources that this claim sets apart. What is set apart in them already is not looked at.
    #[must_use]
    pub fn claimed(claim: Claim, amounts: Self) -> Self {
        let amounts = amounts.into_unclaimed();
        if claim.is_none() || amounts.is_empty() {
            return amounts;
        }
        Self {
            parts: vec![(Arc::new(claim), amounts)],
            ..Self::default()
        }
    }

    /// What is set apart, by claim.
    pub fn parts(&self) -> impl Iterator<Item = (&Claim, &Self)> {
        self.parts.iter().map(|(claim, part)| (&**claim, part))
    }

    /// Everything by claim: what nothing sets apart, if there is any, and then the parts.
    pub fn by_claim(&self) -> impl Iterator<Item = (Claim, Self)> {
        let unclaimed = self.unclaimed();
        (!unclaimed.is_empty())
            .then(|| (Claim::default(), unclaimed))
            .into_iter()
            .chain(
                self.parts()
                    .map(|(claim, part)| (claim.clone(), part.clone())),
            )
    }

    /// Whether anything is set apart.
    #[must_use]
    pub fn has_parts(&self) -> bool {
        !self.parts.is_empty()
    }

    /// What nothing sets apart.
    #[must_use]
    pub fn unclaimed(&self) -> Self {
        self.with_parts_if(|_| false)
    }

    fn into_unclaimed(mut self) -> Self {
        self.parts.clear();
        self
    }

    /// Only what is set apart.
    #[must_use]
    pub fn only_parts(&self) -> Self {
        Self {
            parts: self.parts.clone(),
            ..Self::default()
        }
    }

    /// What nothing sets apart, and of the parts those whose claim is to be kept.
    #[must_use]
    pub fn with_parts_if(&self, keep: impl Fn(&Claim) -> bool) -> Self {
        let parts = self.parts.iter().filter(|(claim, _)| keep(claim)).cloned();
        Self {
            cpu_milli: self.cpu_milli,
            mem_bytes: self.mem_bytes,
            disk_bytes: self.disk_bytes,
            custom: self.custom.clone(),
            ranges: self.ranges.clone(),
            sets: self.sets.clone(),
            parts: parts.collect(),
        }
    }

    /// The volumes among this, each with its size in bytes.
    pub fn volumes(&self) -> impl Iterator<Item = (&Volume, u64)> {
        self.parts()
            .filter_map(|(claim, part)| Some((claim.volume.as_ref()?, part.disk_bytes)))
    }

    /// How much CPU among this is revocable, in thousandths of a core.
    #[must_use]
    pub fn revocable_cpu_milli(&self) -> u64 {
        let parts = self.parts().filter(|(claim, _)| claim.revocable);
        parts.fold(0, |sum, (_, part)| sum.saturating_add(part.cpu_milli))
    }

    /// The same with its CPU revocable: what a task that others may push aside asks for. CPU that something
    /// sets apart already stays what it is.
    ///
    /// ```
    /// use nesos_types::resources::Resources;
    /// let task = Resources::new(500, 64 << 20).with_revocable_cpu();
    /// assert_eq!((task.cpu_milli, task.revocable_cpu_milli()), (0, 500));
    /// ```
    #[must_use]
    pub fn with_revocable_cpu(mut self) -> Self {
        let cpu_milli = std::mem::take(&mut self.cpu_milli);
        let revocable = Self::claimed(Claim::revocable(), Self::new(cpu_milli, 0));
        match self.checked_add(&revocable) {
            Some(sum) => sum,
            // More than 64 bits of it.
            None => Self { cpu_milli, ..self },
        }
    }

    /// All of it as if nothing were set apart; `None` if a sum is beyond 64 bits or an item is there twice,
    /// which cannot be on one agent.
    #[must_use]
    pub fn checked_flattened(&self) -> Option<Self> {
        let mut parts = self.parts.iter();
        parts.try_fold(self.unclaimed(), |sum, (_, part)| sum.checked_add(part))
    }

    /// All of it as if nothing were set apart. A part that does not add up with the others, by a sum beyond
    /// 64 bits or an item that is there twice, is left out: on one agent there is none.
    #[must_use]
    pub fn flattened(&self) -> Self {
        self.flattened_if(|_| true)
    }

    /// The same of what nothing sets apart and of the parts whose claim is to be counted.
    #[must_use]
    pub fn flattened_if(&self, count: impl Fn(&Claim) -> bool) -> Self {
        let counted = self.parts.iter().filter(|(claim, _)| count(claim));
        counted.fold(self.unclaimed(), |sum, (_, part)| {
            sum.checked_add(part).unwrap_or(sum)
        })
    }

    /// Whether as much is there, whatever sets it apart.
    #[must_use]
    pub fn covers(&self, wanted: &Self) -> bool {
        if !self.has_parts() && !wanted.has_parts() {
            return self.contains(wanted);
        }
        self.flattened().contains(&wanted.flattened())
    }

    /// Chooses out of this as much as is wanted, and says of each part what sets it apart: first what is
    /// reserved, the most refined first, then what nothing sets apart. Volumes are never chosen, and what
    /// is revocable only where `revocable` CPU is wanted. `None` if there is not as much.
    ///
    /// ```
    /// use nesos_types::resources::Resources;
    /// let offered: Resources = "cpus(ads):2;cpus:4;mem:1024".parse().unwrap();
    /// let task = offered.choose(&"cpus:3;mem:512".parse().unwrap()).unwrap();
    /// assert_eq!(task, "cpus(ads):2;cpus:1;mem:512".parse().unwrap());
    /// ```
    #[must_use]
    pub fn choose(&self, wanted: &Self) -> Option<Self> {
        if !self.has_parts() {
            return self.contains(wanted).then(|| wanted.clone());
        }
        let mut missing = wanted.unclaimed();
        let mut chosen = wanted.only_parts();
        let mut left = self.checked_sub(&chosen)?;
        left.parts
            .sort_by_key(|(claim, _)| std::cmp::Reverse(claim.reservations.len()));
        let reserved = left.parts.iter();
        let reserved = reserved.filter(|(claim, _)| claim.volume.is_none() && !claim.revocable);
        for (claim, part) in reserved {
            let common = part.in_common_with(&missing);
            missing = missing.checked_sub(&common)?;
            chosen = chosen.checked_add(&Self::claimed((**claim).clone(), common))?;
        }
        left.contains(&missing)
            .then(|| chosen.checked_add(&missing))
            .flatten()
    }

    /// What is left of this without whatever is in `other`, too.
    #[must_use]
    pub fn saturating_sub(&self, other: &Self) -> Self {
        let others: Vec<_> = other.by_claim().collect();
        let parts = self.by_claim().map(|(claim, part)| {
            let taken = others.iter().find(|(other, _)| *other == claim);
            let left = match taken {
                Some(_) if claim.volume.is_some() => Self::default(),
                Some((_, taken)) => part
                    .checked_sub(&part.in_common_with(taken))
                    .unwrap_or_default(),
                None => part,
            };
            Self::claimed(claim, left)
        });
        parts.fold(Self::default(), |sum, part| {
            sum.checked_add(&part).unwrap_or(sum)
        })
    }

    /// What is both in this and in `other`, neither of which has parts.
    fn in_common_with(&self, other: &Self) -> Self {
        let mut common = Self::new(
            self.cpu_milli.min(other.cpu_milli),
            self.mem_bytes.min(other.mem_bytes),
        )
        .with_disk(self.disk_bytes.min(other.disk_bytes));
        for (name, milli) in &self.custom {
            let least = other
                .scalar(&super::Scalar::Custom(name.clone()))
                .min(*milli);
            common = common.with_custom(name, least);
        }
        for (name, wanted) in &other.ranges {
            if let Some(have) = super::get_named(&self.ranges, name) {
                common = common.with_ranges(name, have.intersection(wanted));
            }
        }
        for (name, wanted) in &other.sets {
            if let Some(have) = super::get_named(&self.sets, name) {
                common = common.with_set(name, have.intersection(wanted).cloned());
            }
        }
        common
    }

    fn part(&self, claim: &Claim) -> Option<&Self> {
        let at = self.parts.binary_search_by(|(have, _)| (**have).cmp(claim));
        at.ok().map(|at| &self.parts[at].1)
    }

    pub(super) fn contains_parts(&self, other: &Self) -> bool {
        other.parts.iter().all(|(claim, wanted)| {
            self.part(claim).is_some_and(|have| match claim.volume {
                Some(_) => have == wanted,
                None => have.contains(wanted),
            })
        })
    }

    pub(super) fn add_parts(&self, other: &Self) -> Option<Vec<(Arc<Claim>, Self)>> {
        let mut sum = self.parts.clone();
        for (claim, part) in &other.parts {
            match sum.binary_search_by(|(have, _)| have.cmp(claim)) {
                Ok(_) if claim.volume.is_some() => return None,
                Ok(at) => sum[at].1 = sum[at].1.checked_add(part)?,
                Err(at) => sum.insert(at, (Arc::clone(claim), part.clone())),
            }
        }
        Some(sum)
    }

    pub(super) fn sub_parts(&self, other: &Self) -> Option<Vec<(Arc<Claim>, Self)>> {
        let mut rest = self.parts.clone();
        for (claim, part) in &other.parts {
            let at = rest.binary_search_by(|(have, _)| have.cmp(claim)).ok()?;
            let left = rest[at].1.checked_sub(part)?;
            match (left.is_empty(), claim.volume.is_some()) {
                (true, _) => drop(rest.remove(at)),
                (false, true) => return None,
                (false, false) => rest[at].1 = left,
            }
        }
        Some(rest)
    }
}
