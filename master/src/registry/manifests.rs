//! What may be pushed under which name, found by it, and taken away.

use std::time::SystemTime;

use bytes::Bytes;
use nesos_bundle::oci::MAX_MANIFEST_BYTES;
use nesos_bundle::reference::{validate_name, validate_tag};
use nesos_types::bundle::Digest;

use super::catalog::{self, Entry, Tag, millis};
use super::document::Document;
use super::error::RegistryError;
use super::{Registry, examine, quota};

/// A manifest by tag or by digest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Reference {
    Tag(String),
    Digest(Digest),
}

impl Reference {
    /// Reads the last part of a manifest's address.
    pub(crate) fn parse(text: &str) -> Result<Self, RegistryError> {
        if text.contains(':') {
            let digest = text.parse::<Digest>();
            return digest
                .map(Self::Digest)
                .map_err(|error| RegistryError::Digest(error.to_string()));
        }
        validate_tag(text).map_err(RegistryError::Reference)?;
        Ok(Self::Tag(text.to_owned()))
    }
}
impl std::fmt::Display for Reference {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Tag(tag) => write!(f, "tag {tag}"),
            Self::Digest(digest) => write!(f, "manifest {digest}"),
        }
    }
}

/// Whether the text can be the name of a repository.
pub(crate) fn check_name(name: &str) -> Result<(), RegistryError> {
    validate_name(name).map_err(|why| RegistryError::Name {
        name: name.chars().take(80).collect(),
        why,
    })
}

/// What became of a manifest that was pushed.
#[derive(Clone, Debug)]
pub(crate) struct Pushed {
    pub(crate) digest: Digest,
    pub(crate) subject: Option<Digest>,
}

impl Registry {
    /// Finds a manifest.
    pub(crate) fn find(
        &self,
        name: &str,
        reference: &Reference,
    ) -> Result<(Digest, Entry), RegistryError> {
        self.with_catalog(|catalog| {
            let repository = catalog.repositories.get(name);
            let repository = repository.ok_or_else(|| RegistryError::NoRepository(name.into()))?;
            let digest = match reference {
                Reference::Digest(digest) => Some(*digest),
                Reference::Tag(tag) => repository.tags.get(tag).map(|tag| tag.digest),
            };
            let entry =
                digest.and_then(|digest| Some((digest, repository.manifests.get(&digest)?)));
            entry
                .map(|(digest, entry)| (digest, entry.clone()))
                .ok_or_else(|| no_manifest(name, reference))
        })
    }

    /// The bytes of a manifest.
    pub(crate) async fn manifest_bytes(&self, digest: Digest) -> Result<Bytes, RegistryError> {
        let bytes = self.blobs.read(digest).await?;
        bytes.ok_or(RegistryError::NoBlob(digest))
    }

    /// Takes a manifest, if it makes sense, all that it names is here, it could run and there is room.
    pub(crate) async fn push(
        &self,
        name: &str,
        reference: &Reference,
        sent_as: Option<&str>,
        bytes: Bytes,
    ) -> Result<Pushed, RegistryError> {
        check_name(name)?;
        let digest = check_bytes(reference, &bytes)?;
        let document = Document::parse(&bytes, sent_as)?;
        let _gate = self.gate.read().await;
        self.check_parts(name, &document).await?;
        if document.is_bundle() {
            examine::examine(self, &bytes).await?;
        }
        let _changing = self.changing.lock().await;
        let mut entry = document.entry(bytes.len() as u64, millis(SystemTime::now()));
        let known = self.find(name, &Reference::Digest(digest)).ok();
        if let Some((_, known)) = &known {
            entry.pushed_ms = known.pushed_ms;
        }
        let tag = match reference {
            Reference::Tag(tag) => Some(tag.as_str()),
            Reference::Digest(_) => None,
        };
        self.with_catalog(|catalog| {
            quota::check(catalog, &self.config, name, (digest, &entry), tag)
        })?;
        let is_here = known.is_some() && self.blobs.stat(digest).await?.is_some();
        if !is_here {
            self.blobs.put(bytes).await?;
            catalog::write_manifest(&self.blobs.objects, name, digest, &entry).await?;
        }
        self.record(name, digest, entry, tag).await
    }

    /// Lets others know of a manifest that was written down, and of its tag once that is.
    async fn record(
        &self,
        name: &str,
        digest: Digest,
        entry: Entry,
        tag: Option<&str>,
    ) -> Result<Pushed, RegistryError> {
        let objects = &self.blobs.objects;
        let subject = entry.subject;
        self.change_catalog(|catalog| {
            let repository = catalog.repository(name);
            repository.manifests.insert(digest, entry);
        });
        if let Some(tag) = tag {
            let named = self.new_tag(name, tag, digest);
            catalog::write_tag(objects, name, tag, &named).await?;
            self.change_catalog(|catalog| {
                catalog.repository(name).tags.insert(tag.to_owned(), named);
            });
        }
        tracing::info!(repository = name, tag, %digest, "a manifest was pushed");
        Ok(Pushed { digest, subject })
    }

    fn new_tag(&self, name: &str, tag: &str, digest: Digest) -> Tag {
        let old = self.with_catalog(|catalog| {
            let repository = catalog.repositories.get(name)?;
            repository.tags.get(tag).cloned()
        });
        let previous = match old {
            Some(old) if old.digest == digest => old.previous,
            old => old.map(|old| old.digest),
        };
        Tag {
            digest,
            pushed_ms: millis(SystemTime::now()),
            previous,
        }
    }

    /// Everything that a manifest names must be here, as long as it promises.
    async fn check_parts(&self, name: &str, document: &Document) -> Result<(), RegistryError> {
        for part in document.parts() {
            let size = self.blobs.stat(part.digest).await?;
            let size = size.ok_or(RegistryError::NamesNothing(part.digest))?;
            if size != part.size {
                return Err(RegistryError::Manifest(format!(
                    "{} of type {:?} has {size} bytes, and the manifest says {}",
                    part.digest, part.media_type, part.size
                )));
            }
        }
        for one in &document.manifests {
            if self.find(name, &Reference::Digest(one.digest)).is_err() {
                return Err(RegistryError::NamesNothing(one.digest));
            }
        }
        Ok(())
    }

    /// Takes a tag away, or a manifest with all tags that name it.
    pub(crate) async fn delete(
        &self,
        name: &str,
        reference: &Reference,
    ) -> Result<(), RegistryError> {
        let _changing = self.changing.lock().await;
        match reference {
            Reference::Tag(tag) => {
                self.with_catalog(|catalog| {
                    let repository = catalog.repositories.get(name);
                    let there = repository.is_some_and(|known| known.tags.contains_key(tag));
                    there
                        .then_some(())
                        .ok_or_else(|| no_manifest(name, reference))
                })?;
                self.forget_tag(name, tag).await?;
            }
            Reference::Digest(digest) => {
                self.find(name, reference)?;
                self.forget_manifest(name, *digest).await?;
            }
        }
        self.change_catalog(|catalog| catalog.tidy(name));
        tracing::info!(repository = name, %reference, "deleted");
        Ok(())
    }

    async fn forget_tag(&self, name: &str, tag: &str) -> Result<(), RegistryError> {
        catalog::remove_tag(&self.blobs.objects, name, tag).await?;
        self.change_catalog(|catalog| catalog.repository(name).tags.remove(tag));
        Ok(())
    }

    /// Whoever calls holds `changing`.
    pub(super) async fn forget_manifest(
        &self,
        name: &str,
        digest: Digest,
    ) -> Result<(), RegistryError> {
        let tags: Vec<_> = self.with_catalog(|catalog| {
            let repository = catalog.repositories.get(name);
            let tags = repository.into_iter().flat_map(|known| &known.tags);
            tags.filter(|(_, tag)| tag.digest == digest)
                .map(|(tag, _)| tag.clone())
                .collect()
        });
        for tag in tags {
            self.forget_tag(name, &tag).await?;
        }
        catalog::remove_manifest(&self.blobs.objects, name, digest).await?;
        self.change_catalog(|catalog| catalog.repository(name).manifests.remove(&digest));
        Ok(())
    }

    /// Takes a blob away that no manifest names.
    pub(crate) async fn delete_blob(&self, digest: Digest) -> Result<(), RegistryError> {
        let _gate = self.gate.write().await;
        if self.blobs.stat(digest).await?.is_none() {
            return Err(RegistryError::NoBlob(digest));
        }
        if self.with_catalog(|catalog| catalog.names(digest)) {
            return Err(RegistryError::InUse(format!(
                "a manifest names the blob {digest}; delete the manifest, and the blob goes by itself"
            )));
        }
        Ok(self.blobs.remove(digest).await?)
    }
}

fn check_bytes(reference: &Reference, bytes: &[u8]) -> Result<Digest, RegistryError> {
    if bytes.len() > MAX_MANIFEST_BYTES {
        return Err(RegistryError::TooLarge {
            what: "the manifest",
            bytes: bytes.len() as u64,
            most: MAX_MANIFEST_BYTES as u64,
        });
    }
    let found = nesos_bundle::digest_of(bytes);
    match reference {
        Reference::Digest(expected) if *expected != found => Err(RegistryError::Digest(format!(
            "the manifest that was sent as {expected} is in fact {found}"
        ))),
        _ => Ok(found),
    }
}

fn no_manifest(name: &str, reference: &Reference) -> RegistryError {
    RegistryError::NoManifest {
        name: name.to_owned(),
        reference: reference.to_string(),
    }
}
