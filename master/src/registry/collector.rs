//! What nobody needs any more, and its removal.
//!
//! Kept are manifests that a tag or a live task names, what they name and what is about them; blobs that a
//! kept manifest or a live task names; and everything that was pushed or used lately. Whoever pushes asks
//! for each blob or sends it before its manifest, and both counts as use: so nothing vanishes between a
//! blob and its manifest. Bare blobs are named by nothing but their digest and are kept longer; so are damaged ones,
//! to be looked at.

use std::collections::BTreeSet;
use std::time::{Duration, SystemTime};

use nesos_types::bundle::Digest;

use super::Registry;
use super::catalog::{Catalog, Repository, moment};
use super::error::RegistryError;
use super::objects::Meta;

/// What goes, or would go.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Collection {
    /// Repository and digest.
    pub(crate) manifests: Vec<(String, Digest)>,
    /// Digest and size.
    pub(crate) blobs: Vec<(Digest, u64)>,
}

impl Collection {
    /// How many bytes the blobs take.
    pub(crate) fn bytes(&self) -> u64 {
        self.blobs.iter().map(|(_, size)| size).sum()
    }
}

/// How long what nobody names is kept.
#[derive(Clone, Copy, Debug)]
struct Graces {
    bare: Duration,
    layer: Duration,
}

impl Registry {
    /// Finds what nobody needs at this moment, `live` being what tasks run, and removes it unless it is
    /// only asked for.
    pub(crate) async fn collect(
        &self,
        live: &BTreeSet<Digest>,
        now: SystemTime,
        dry_run: bool,
    ) -> Result<Collection, RegistryError> {
        let found = self.unneeded(live, now).await?;
        if !dry_run {
            self.blobs.staging.drop_abandoned(now);
            if let Some(before) = now.checked_sub(self.graces().bare) {
                self.blobs.drop_damaged(before).await?;
            }
            return self.remove(found, live, now).await;
        }
        Ok(found)
    }

    async fn unneeded(
        &self,
        live: &BTreeSet<Digest>,
        now: SystemTime,
    ) -> Result<Collection, RegistryError> {
        let graces = self.graces();
        let listed = self.blobs.list().await?;
        let marked = self.blobs.marked().await?;
        let marked: BTreeSet<_> = marked.into_iter().map(|(digest, _)| digest).collect();
        let (manifests, needed) = self.with_catalog(|catalog| {
            let gone = untagged(catalog, live, now, graces.layer);
            let needed = needed(catalog, &gone);
            (gone, needed)
        });
        let is_unneeded = |(digest, meta): &(Digest, Meta)| {
            let grace = if marked.contains(digest) {
                graces.layer
            } else {
                graces.bare
            };
            let named = needed.contains(digest) || live.contains(digest);
            !named && !self.is_recent(*digest, meta.modified, now, grace)
        };
        let blobs = listed.into_iter().filter(is_unneeded);
        Ok(Collection {
            manifests,
            blobs: blobs.map(|(digest, meta)| (digest, meta.size)).collect(),
        })
    }

    fn graces(&self) -> Graces {
        Graces {
            bare: Duration::from_millis(self.config.keep_unused_ms),
            layer: Duration::from_millis(self.config.keep_unreferenced_ms),
        }
    }

    /// Where a store does not remember use, what this process does not know may have been used just
    /// before it began.
    fn is_recent(
        &self,
        digest: Digest,
        modified: SystemTime,
        now: SystemTime,
        grace: Duration,
    ) -> bool {
        let floor = if self.blobs.objects.remembers_use() {
            modified
        } else {
            self.since
        };
        let used = self.blobs.last_used(digest).unwrap_or(floor);
        let latest = used.max(modified);
        now.duration_since(latest).is_ok_and(|age| age < grace) || latest > now
    }

    /// Removes what was found, except what somebody has begun to need meanwhile.
    async fn remove(
        &self,
        found: Collection,
        live: &BTreeSet<Digest>,
        now: SystemTime,
    ) -> Result<Collection, RegistryError> {
        let graces = self.graces();
        let mut removed = Collection::default();
        {
            let _changing = self.changing.lock().await;
            let still = self.with_catalog(|catalog| untagged(catalog, live, now, graces.layer));
            for (name, digest) in found.manifests {
                if still.contains(&(name.clone(), digest)) {
                    self.forget_manifest(&name, digest).await?;
                    self.change_catalog(|catalog| catalog.tidy(&name));
                    removed.manifests.push((name, digest));
                }
            }
        }
        for (digest, size) in found.blobs {
            let _gate = self.gate.write().await;
            let used = self.blobs.last_used(digest);
            let used = used.is_some_and(|used| {
                now.duration_since(used).is_ok_and(|age| age < graces.layer) || used > now
            });
            if !used && !self.with_catalog(|catalog| catalog.names(digest)) {
                self.blobs.remove(digest).await?;
                removed.blobs.push((digest, size));
            }
        }
        Ok(removed)
    }
}

/// Manifests that nobody names and that were not pushed lately.
fn untagged(
    catalog: &Catalog,
    live: &BTreeSet<Digest>,
    now: SystemTime,
    grace: Duration,
) -> Vec<(String, Digest)> {
    let mut gone = Vec::new();
    for (name, repository) in &catalog.repositories {
        let kept = kept(repository, live, now, grace);
        let all = repository.manifests.keys();
        let left = all.filter(|digest| !kept.contains(digest));
        gone.extend(left.map(|digest| (name.clone(), *digest)));
    }
    gone
}

/// What is named, what that names in turn, and what is about any of it.
fn kept(
    repository: &Repository,
    live: &BTreeSet<Digest>,
    now: SystemTime,
    grace: Duration,
) -> BTreeSet<Digest> {
    let is_recent = |pushed_ms| now.duration_since(moment(pushed_ms)).unwrap_or_default() < grace;
    let recent = repository
        .manifests
        .iter()
        .filter(|(_, entry)| is_recent(entry.pushed_ms));
    let mut next: Vec<_> = recent.map(|(digest, _)| *digest).collect();
    next.extend(repository.tags.values().map(|tag| tag.digest));
    next.extend(live);
    let mut kept = BTreeSet::new();
    while let Some(digest) = next.pop() {
        let Some(entry) = repository.manifests.get(&digest) else {
            continue;
        };
        if kept.insert(digest) {
            next.extend(&entry.manifests);
            next.extend(repository.referrers(digest).map(|(digest, _)| *digest));
        }
    }
    kept
}

/// What is still named once some manifests are gone.
fn needed(catalog: &Catalog, gone: &[(String, Digest)]) -> BTreeSet<Digest> {
    let gone: BTreeSet<_> = gone
        .iter()
        .map(|(name, digest)| (name.as_str(), *digest))
        .collect();
    let mut needed = BTreeSet::new();
    for (name, repository) in &catalog.repositories {
        for (digest, entry) in &repository.manifests {
            if !gone.contains(&(name.as_str(), *digest)) {
                needed.insert(*digest);
                needed.extend(entry.blobs.keys());
            }
        }
    }
    needed
}
