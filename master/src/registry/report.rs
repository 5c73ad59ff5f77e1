//! What operators are told of a bundle, and of what there is.

use nesos_bundle::difference::{self, Change};
use nesos_bundle::media;
use nesos_types::bundle::Digest;

use super::Registry;
use super::catalog::{Entry, Repository};
use super::error::RegistryError;
use super::examine::{Examined, examine};
use super::manifests::{Reference, check_name};
use super::quota::is_below;

/// A bundle that was looked into.
#[derive(Clone, Debug)]
pub(crate) struct Report {
    pub(crate) digest: Digest,
    pub(crate) entry: Entry,
    pub(crate) examined: Examined,
    /// Manifests of signatures.
    pub(crate) signatures: Vec<Digest>,
    /// What the tag named before, and what it wants more or less than that.
    pub(crate) previous: Option<(Digest, Vec<Change>)>,
}

/// A tag, or a manifest that no tag names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Listed {
    pub(crate) repository: String,
    pub(crate) tag: Option<String>,
    pub(crate) digest: Digest,
    /// Of the manifest and all that it names.
    pub(crate) bytes: u64,
    pub(crate) pushed_ms: u64,
    pub(crate) is_signed: bool,
}

impl Registry {
    /// Looks into a bundle, and into what its tag named before.
    pub(crate) async fn report(
        &self,
        name: &str,
        reference: &Reference,
    ) -> Result<Report, RegistryError> {
        check_name(name)?;
        let (digest, entry) = self.find(name, reference)?;
        let examined = self.examined(digest).await?;
        let (previous, signatures) = self.with_catalog(|catalog| {
            let repository = catalog.repositories.get(name);
            let previous = repository.and_then(|known| previous(known, reference));
            let signatures = repository.map(|known| signatures(known, digest));
            (previous, signatures.unwrap_or_default())
        });
        let previous = match previous {
            Some(old) => self.examined(old).await.ok().map(|before| {
                let (before, now) = (before.manifest, examined.manifest.as_ref());
                (old, difference::between(before.as_ref(), now))
            }),
            None => None,
        };
        Ok(Report {
            digest,
            entry,
            examined,
            signatures,
            previous,
        })
    }

    async fn examined(&self, digest: Digest) -> Result<Examined, RegistryError> {
        let bytes = self.manifest_bytes(digest).await?;
        examine(self, &bytes).await
    }

    /// Everything in a role and below it; without a role, everything.
    pub(crate) fn listed(&self, role: Option<&str>) -> Vec<Listed> {
        self.with_catalog(|catalog| {
            let all = catalog.repositories.iter();
            let below = all.filter(|(name, _)| role.is_none_or(|role| is_below(name, role)));
            below
                .flat_map(|(name, known)| listed(name, known))
                .collect()
        })
    }
}

/// What the tag named before, if it is still here.
fn previous(repository: &Repository, reference: &Reference) -> Option<Digest> {
    let Reference::Tag(tag) = reference else {
        return None;
    };
    let previous = repository.tags.get(tag)?.previous?;
    repository
        .manifests
        .contains_key(&previous)
        .then_some(previous)
}

/// Signatures are about the manifest, or lie under the tag that follows from its digest.
fn signatures(repository: &Repository, digest: Digest) -> Vec<Digest> {
    let about = repository.referrers(digest);
    let signing =
        about.filter(|(_, entry)| entry.artifact_type.as_deref() == Some(media::COSIGN_SIGNATURE));
    let mut found: Vec<_> = signing.map(|(digest, _)| *digest).collect();
    let tagged = repository.tags.get(&nesos_bundle::signature::tag(digest));
    found.extend(
        tagged
            .map(|tag| tag.digest)
            .filter(|tagged| !found.contains(tagged)),
    );
    found
}

fn listed(name: &str, repository: &Repository) -> Vec<Listed> {
    let row = |tag: Option<&str>, digest: Digest, pushed_ms| {
        let entry = repository.manifests.get(&digest)?;
        Some(Listed {
            repository: name.to_owned(),
            tag: tag.map(str::to_owned),
            digest,
            bytes: entry.size + entry.blobs.values().sum::<u64>(),
            pushed_ms,
            is_signed: !signatures(repository, digest).is_empty(),
        })
    };
    let tags = repository.tags.iter();
    let mut rows: Vec<_> = tags
        .filter_map(|(tag, named)| row(Some(tag), named.digest, named.pushed_ms))
        .collect();
    let tagged = |digest: &Digest| repository.tags.values().any(|tag| tag.digest == *digest);
    // What is about another manifest is told with that one.
    let others = repository.manifests.iter();
    let others = others.filter(|(digest, entry)| entry.subject.is_none() && !tagged(digest));
    rows.extend(others.filter_map(|(digest, entry)| row(None, *digest, entry.pushed_ms)));
    rows
}
