//! How much a role may keep. The first components of a repository's name are its role, and a role pays for
//! what lies below it: `ads/web/hello` counts for `ads/web` and for `ads`, `hello` for the default role.
//!
//! A blob counts once for a role, however many of its manifests name it.

use std::collections::BTreeMap;

use nesos_types::bundle::Digest;

use super::catalog::{Catalog, Entry, Repository};
use super::error::RegistryError;
use crate::config::BundlesConfig;

/// The roles that pay for a repository, from the top down.
pub(crate) fn payers(name: &str) -> Vec<&str> {
    let ends: Vec<_> = name.match_indices('/').map(|(at, _)| at).collect();
    if ends.is_empty() {
        return vec!["*"];
    }
    ends.into_iter().map(|end| &name[..end]).collect()
}

/// Whether a repository is of a role or below it.
pub(crate) fn is_below(name: &str, role: &str) -> bool {
    payers(name).contains(&role)
}

/// What a role keeps: the bytes of its blobs and manifests, each counted once.
pub(crate) fn bytes_of<'a>(held: impl Iterator<Item = (&'a Digest, &'a Entry)>) -> u64 {
    let mut blobs = BTreeMap::new();
    for (digest, entry) in held {
        blobs.insert(*digest, entry.size);
        blobs.extend(entry.blobs.iter().map(|(digest, size)| (*digest, *size)));
    }
    blobs
        .values()
        .fold(0, |sum, size| sum.saturating_add(*size))
}

/// Whether a manifest may be added to a repository, under a tag if one is given.
pub(crate) fn check(
    catalog: &Catalog,
    config: &BundlesConfig,
    name: &str,
    manifest: (Digest, &Entry),
    tag: Option<&str>,
) -> Result<(), RegistryError> {
    let existing = catalog.repositories.get(name);
    check_repository(existing, config, name, manifest.0, tag)?;
    if existing.is_some_and(|repository| repository.manifests.contains_key(&manifest.0)) {
        return Ok(());
    }
    for role in payers(name) {
        check_role(catalog, config, role, existing.is_none(), manifest)?;
    }
    Ok(())
}

fn check_repository(
    existing: Option<&Repository>,
    config: &BundlesConfig,
    name: &str,
    digest: Digest,
    tag: Option<&str>,
) -> Result<(), RegistryError> {
    let Some(repository) = existing else {
        return Ok(());
    };
    let quota = |what, would: usize, most, key| {
        exceeded(format!("repository {name}"), what, would as u64, most, key)
    };
    if tag.is_some_and(|tag| !repository.tags.contains_key(tag)) {
        let (would, most) = (repository.tags.len() + 1, config.max_tags_per_repository);
        quota("tags", would, most, "bundles.max_tags_per_repository")?;
    }
    if repository.manifests.contains_key(&digest) {
        return Ok(());
    }
    let (would, most) = (
        repository.manifests.len() + 1,
        config.max_manifests_per_repository,
    );
    quota(
        "manifests",
        would,
        most,
        "bundles.max_manifests_per_repository",
    )
}

fn check_role(
    catalog: &Catalog,
    config: &BundlesConfig,
    role: &str,
    is_new: bool,
    (digest, entry): (Digest, &Entry),
) -> Result<(), RegistryError> {
    let of_role = || {
        let all = catalog.repositories.iter();
        all.filter(|(name, _)| is_below(name, role))
    };
    let whose = format!("role {role}");
    if is_new {
        let (would, most) = (
            of_role().count() as u64 + 1,
            config.max_repositories_per_role,
        );
        let key = "bundles.max_repositories_per_role";
        exceeded(whose.clone(), "repositories", would, most, key)?;
    }
    let held = of_role().flat_map(|(_, repository)| &repository.manifests);
    let would = bytes_of(held.chain([(&digest, entry)]));
    let most = config.max_bytes_per_role;
    exceeded(whose, "bytes", would, most, "bundles.max_bytes_per_role")
}

fn exceeded(
    whose: String,
    what: &'static str,
    would: u64,
    most: u64,
    key: &'static str,
) -> Result<(), RegistryError> {
    if would <= most {
        return Ok(());
    }
    Err(RegistryError::Quota {
        whose,
        what,
        would,
        most,
        key,
    })
}
