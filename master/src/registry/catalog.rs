//! Which manifests and tags there are: the truth is objects, one for each, and a copy of them in memory
//! answers questions.
//!
//! `repositories/<name>/_manifests/<hex>` says what is known of a manifest, whose bytes are a blob like any
//! other; `repositories/<name>/_tags/<tag>` says what a tag names. Each is written as a whole, so a tag
//! names the old manifest or the new one and never anything else. No component of a repository's name
//! begins with an underscore, so nothing meets.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use futures::{StreamExt, TryStreamExt, stream};
use nesos_types::bundle::Digest;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::error::BundleStoreError;
use super::objects::Objects;

/// How many objects are read at the same time when all are.
const READ_AT_ONCE: usize = 32;
const ROOT: &str = "repositories";

/// What is known of a manifest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Entry {
    pub(crate) media_type: String,
    pub(crate) size: u64,
    /// When it was first pushed, in milliseconds since 1970.
    pub(crate) pushed_ms: u64,
    /// What kind of artifact it is, as it says or as its configuration does.
    #[serde(default)]
    pub(crate) artifact_type: Option<String>,
    /// The manifest that this one is about.
    #[serde(default)]
    pub(crate) subject: Option<Digest>,
    /// Configuration and layers, with their sizes.
    #[serde(default)]
    pub(crate) blobs: BTreeMap<Digest, u64>,
    /// The manifests that an index names.
    #[serde(default)]
    pub(crate) manifests: BTreeSet<Digest>,
    #[serde(default)]
    pub(crate) annotations: BTreeMap<String, String>,
}

/// What a tag names.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Tag {
    pub(crate) digest: Digest,
    /// When it came to name that, in milliseconds since 1970.
    pub(crate) pushed_ms: u64,
    /// What it named before.
    #[serde(default)]
    pub(crate) previous: Option<Digest>,
}

/// One repository.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Repository {
    pub(crate) manifests: BTreeMap<Digest, Entry>,
    pub(crate) tags: BTreeMap<String, Tag>,
}

/// All repositories, by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Catalog {
    pub(crate) repositories: BTreeMap<String, Repository>,
}

/// What a key names.
enum Named<'a> {
    Manifest(&'a str, Digest),
    Tag(&'a str, &'a str),
}

impl Catalog {
    /// Reads all there is.
    pub(crate) async fn load(objects: &Objects) -> Result<Self, BundleStoreError> {
        let keys = objects.list(ROOT).await?;
        let read = stream::iter(keys).map(|(key, _)| async move {
            let bytes = objects.get(&key).await?;
            Ok::<_, BundleStoreError>((key, bytes))
        });
        let mut read = read.buffer_unordered(READ_AT_ONCE);
        let mut catalog = Self::default();
        while let Some((key, bytes)) = read.try_next().await? {
            if let Some(bytes) = bytes
                && catalog.learn(&key, &bytes).is_none()
            {
                tracing::warn!(
                    key,
                    "an object of the registry makes no sense; it is left alone"
                );
            }
        }
        Ok(catalog)
    }

    fn learn(&mut self, key: &str, bytes: &[u8]) -> Option<()> {
        match named(key)? {
            Named::Manifest(name, digest) => {
                let entry = parse(bytes)?;
                self.repository(name).manifests.insert(digest, entry);
            }
            Named::Tag(name, tag) => {
                let named = parse(bytes)?;
                self.repository(name).tags.insert(tag.to_owned(), named);
            }
        }
        Some(())
    }

    /// A repository, which is made if it is not there.
    pub(crate) fn repository(&mut self, name: &str) -> &mut Repository {
        self.repositories.entry(name.to_owned()).or_default()
    }

    /// Forgets a repository in which nothing is left.
    pub(crate) fn tidy(&mut self, name: &str) {
        let empty = |held: &Repository| held.manifests.is_empty() && held.tags.is_empty();
        if self.repositories.get(name).is_some_and(empty) {
            self.repositories.remove(name);
        }
    }

    /// Whether any manifest names this blob, or is it.
    pub(crate) fn names(&self, digest: Digest) -> bool {
        self.repositories.values().any(|repository| {
            repository.manifests.contains_key(&digest)
                || repository
                    .manifests
                    .values()
                    .any(|entry| entry.blobs.contains_key(&digest))
        })
    }
}

impl Repository {
    /// Manifests that are about another one.
    pub(crate) fn referrers(&self, subject: Digest) -> impl Iterator<Item = (&Digest, &Entry)> {
        let about = move |(_, entry): &(&Digest, &Entry)| entry.subject == Some(subject);
        self.manifests.iter().filter(about)
    }
}

/// Writes what is known of a manifest.
pub(crate) async fn write_manifest(
    objects: &Objects,
    name: &str,
    digest: Digest,
    entry: &Entry,
) -> Result<(), BundleStoreError> {
    objects.put(&manifest_key(name, digest), json(entry)).await
}

/// Writes what a tag names.
pub(crate) async fn write_tag(
    objects: &Objects,
    name: &str,
    tag: &str,
    named: &Tag,
) -> Result<(), BundleStoreError> {
    objects.put(&tag_key(name, tag), json(named)).await
}

/// Removes what is known of a manifest.
pub(crate) async fn remove_manifest(
    objects: &Objects,
    name: &str,
    digest: Digest,
) -> Result<(), BundleStoreError> {
    objects.delete(&manifest_key(name, digest)).await
}

/// Removes a tag.
pub(crate) async fn remove_tag(
    objects: &Objects,
    name: &str,
    tag: &str,
) -> Result<(), BundleStoreError> {
    objects.delete(&tag_key(name, tag)).await
}

/// Milliseconds since 1970.
pub(crate) fn millis(at: SystemTime) -> u64 {
    let since = at.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// The moment that so many milliseconds since 1970 are.
pub(crate) fn moment(millis: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_millis(millis)
}

fn manifest_key(name: &str, digest: Digest) -> String {
    format!("{ROOT}/{name}/_manifests/{}", digest.hex())
}

fn tag_key(name: &str, tag: &str) -> String {
    format!("{ROOT}/{name}/_tags/{tag}")
}

fn named(key: &str) -> Option<Named<'_>> {
    let key = key.strip_prefix(ROOT)?.strip_prefix('/')?;
    let (place, last) = key.rsplit_once('/')?;
    let (name, kind) = place.rsplit_once('/')?;
    match kind {
        "_manifests" => Some(Named::Manifest(
            name,
            format!("sha256:{last}").parse().ok()?,
        )),
        "_tags" => Some(Named::Tag(name, last)),
        _ => None,
    }
}

fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Option<T> {
    serde_json::from_slice(bytes).ok()
}

fn json<T: Serialize>(value: &T) -> bytes::Bytes {
    serde_json::to_vec(value)
        .expect("plain structures with text as keys")
        .into()
}
