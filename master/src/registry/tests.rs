//! What is pushed, kept, paid for and collected, over a store in memory.

use std::collections::BTreeSet;
use std::time::Duration;

use bytes::Bytes;
use nesos_bundle::artifact::{Packed, Parts, pack};
use nesos_bundle::media;
use nesos_bundle::oci::{Descriptor, ImageManifest};
use nesos_types::bundle::Digest;
use object_store::memory::InMemory;

use super::blobs::Purpose;
use super::error::RegistryError;
use super::manifests::{Pushed, Reference};
use super::objects::Objects;
use super::staging::UploadName;
use super::*;

mod collecting;
mod examining;

/// A registry over a store that outlives it, and its uploads.
struct Rig {
    registry: Registry,
    store: Arc<InMemory>,
    directory: tempfile::TempDir,
}

impl Rig {
    async fn new(config: BundlesConfig) -> Self {
        let (store, directory) = (Arc::new(InMemory::new()), tempfile::tempdir().unwrap());
        let objects = Objects::remote(store.clone());
        let registry = Registry::over(objects, directory.path(), config)
            .await
            .unwrap();
        Self {
            registry,
            store,
            directory,
        }
    }

    /// The same after a restart.
    async fn again(self) -> Self {
        let objects = Objects::remote(self.store.clone());
        let config = (*self.registry.config).clone();
        let registry = Registry::over(objects, self.directory.path(), config)
            .await
            .unwrap();
        Self { registry, ..self }
    }

    /// Stores a blob that clients would have uploaded.
    async fn blob(&self, bytes: &[u8], purpose: Purpose) -> Digest {
        let digest = nesos_bundle::digest_of(bytes);
        let staging = &self.registry.blobs.staging;
        let mut upload = staging.resume(&UploadName::of_digest(digest), 0).unwrap();
        upload.append(bytes).unwrap();
        self.registry
            .blobs
            .commit(upload, digest, purpose)
            .await
            .unwrap();
        digest
    }

    async fn push(&self, name: &str, at: &str, bytes: &[u8]) -> Result<Pushed, RegistryError> {
        let reference = Reference::parse(at)?;
        let bytes = Bytes::copy_from_slice(bytes);
        self.registry.push(name, &reference, None, bytes).await
    }

    async fn push_packed(
        &self,
        name: &str,
        at: &str,
        packed: &Packed,
    ) -> Result<Pushed, RegistryError> {
        for blob in &packed.blobs {
            self.blob(&blob.bytes, Purpose::Layer).await;
        }
        self.push(name, at, &packed.manifest.bytes).await
    }

    /// Pushes an artifact that is no bundle, of one layer.
    async fn push_artifact(
        &self,
        name: &str,
        at: &str,
        layer: &[u8],
    ) -> Result<Pushed, RegistryError> {
        let manifest = artifact(layer, None);
        self.blob(b"{}", Purpose::Layer).await;
        self.blob(layer, Purpose::Layer).await;
        self.push(name, at, &manifest).await
    }
}

fn artifact(layer: &[u8], subject: Option<(Digest, u64)>) -> Vec<u8> {
    let config = Descriptor::of(media::EMPTY, b"{}");
    let mut manifest = ImageManifest::new(config, vec![Descriptor::of("text/plain", layer)]);
    manifest.subject = subject.map(|(digest, size)| Descriptor {
        digest,
        size,
        ..Descriptor::of(media::IMAGE_MANIFEST, b"")
    });
    manifest.to_bytes()
}

/// A command, and its `nesos.toml` if it has one.
fn bundle(wat: &str, toml: Option<&str>) -> Packed {
    let manifest = toml.map(|text| Bytes::copy_from_slice(text.as_bytes()));
    pack(Parts {
        wasm: wat::parse_str(wat).unwrap().into(),
        manifest,
        ..Parts::default()
    })
    .unwrap()
}

const COMMAND: &str = r#"(module (memory (export "memory") 2 8) (func (export "_start")))"#;

fn code(result: Result<Pushed, RegistryError>) -> String {
    result.expect_err("refused").to_string()
}

#[tokio::test]
async fn what_was_pushed_is_there_after_a_restart() {
    let rig = Rig::new(BundlesConfig::default()).await;
    let first = rig
        .push_artifact("ads/web/hello", "1", b"one")
        .await
        .unwrap();
    let second = rig
        .push_artifact("ads/web/hello", "1", b"two")
        .await
        .unwrap();
    let before = rig.registry.with_catalog(Clone::clone);
    let rig = rig.again().await;
    assert_eq!(rig.registry.with_catalog(Clone::clone), before);
    let tag = Reference::Tag("1".into());
    let (digest, _) = rig.registry.find("ads/web/hello", &tag).unwrap();
    assert_eq!(digest, second.digest);
    let old = Reference::Digest(first.digest);
    assert!(rig.registry.find("ads/web/hello", &old).is_ok());
    let known = before.repositories["ads/web/hello"].tags["1"].clone();
    assert_eq!(known.previous, Some(first.digest));
    assert!(rig.registry.manifest_bytes(digest).await.is_ok());
}

#[tokio::test]
async fn a_manifest_needs_all_that_it_names() {
    let rig = Rig::new(BundlesConfig::default()).await;
    let missing = code(rig.push("a", "1", &artifact(b"layer", None)).await);
    assert!(missing.contains("which is not here"), "{missing}");
    rig.blob(b"{}", Purpose::Layer).await;
    rig.blob(b"layer", Purpose::Layer).await;
    let lying = String::from_utf8(artifact(b"layer", None)).unwrap();
    let lying = lying.replace("\"size\":5", "\"size\":6");
    let lying = code(rig.push("a", "1", lying.as_bytes()).await);
    assert!(
        lying.contains("has 5 bytes, and the manifest says 6"),
        "{lying}"
    );
    rig.push("a", "1", &artifact(b"layer", None)).await.unwrap();
    let index = |digest: &str| {
        format!(
            r#"{{"schemaVersion":2,"mediaType":"{}","manifests":[{{"mediaType":"{}","digest":"{digest}","size":1}}]}}"#,
            media::IMAGE_INDEX,
            media::IMAGE_MANIFEST
        )
    };
    let there = nesos_bundle::digest_of(&artifact(b"layer", None)).to_string();
    rig.push("a", "index", index(&there).as_bytes())
        .await
        .unwrap();
    assert!(
        rig.push("b", "index", index(&there).as_bytes())
            .await
            .is_err(),
        "of another repository"
    );
}

#[tokio::test]
async fn nonsense_is_refused_with_what_is_wrong() {
    let rig = Rig::new(BundlesConfig::default()).await;
    for (name, at, bytes, words) in [
        ("A", "1", "{}", "write a"),
        ("../etc", "1", "{}", "not a part of a name"),
        ("a", "-", "{}", "not a tag"),
        ("a", "sha256:12", "{}", "not a digest"),
        ("a", "1", "", "cannot be read"),
        ("a", "1", "{}", "cannot be read"),
        ("a", "1", r#"{"schemaVersion":1}"#, "schemaVersion 1"),
        ("a", "1", r#"{"schemaVersion":2}"#, "config is missing"),
        (
            "a",
            "1",
            r#"{"schemaVersion":2,"mediaType":"text/x"}"#,
            "text/x",
        ),
        (
            "a",
            "1",
            r#"{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","layers":[{"mediaType":"a","digest":"sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855","size":0}]}"#,
            "an index has manifests",
        ),
        (
            "a",
            "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
            "{}",
            "is in fact",
        ),
    ] {
        let said = code(rig.push(name, at, bytes.as_bytes()).await);
        assert!(said.contains(words), "{name} {at} {bytes}: {said}");
    }
    let large = vec![b' '; nesos_bundle::oci::MAX_MANIFEST_BYTES + 1];
    assert!(code(rig.push("a", "1", &large).await).contains("at most"));
}

#[tokio::test]
async fn a_role_pays_once_for_a_blob_and_for_those_below_it() {
    let rig = Rig::new(BundlesConfig {
        max_bytes_per_role: 4000,
        max_repositories_per_role: 2,
        max_tags_per_repository: 2,
        ..BundlesConfig::default()
    })
    .await;
    let large = vec![7; 2500];
    rig.push_artifact("ads/a", "1", &large).await.unwrap();
    rig.push_artifact("ads/web/b", "1", &large)
        .await
        .expect("the layer is paid for");
    let more = code(rig.push_artifact("ads/a", "2", &vec![8; 1400]).await);
    assert!(
        more.contains("role ads would have") && more.contains("4000 are allowed"),
        "{more}"
    );
    let third = code(rig.push_artifact("ads/c", "1", b"small").await);
    assert!(
        third.contains("3 repositories, and 2 are allowed"),
        "{third}"
    );
    rig.push_artifact("other/c", "1", &large)
        .await
        .expect("another role");
    rig.push_artifact("ads/a", "2", &large)
        .await
        .expect("nothing new");
    let tags = code(rig.push_artifact("ads/a", "3", &large).await);
    assert!(tags.contains("3 tags, and 2 are allowed"), "{tags}");
    rig.registry
        .delete("ads/a", &Reference::Tag("1".into()))
        .await
        .unwrap();
    rig.push_artifact("ads/a", "3", &large)
        .await
        .expect("there is room again");
}

#[tokio::test]
async fn a_deleted_manifest_takes_its_tags_along() {
    let rig = Rig::new(BundlesConfig::default()).await;
    let pushed = rig.push_artifact("a", "1", b"one").await.unwrap();
    rig.push_artifact("a", "2", b"one").await.unwrap();
    rig.push_artifact("a", "3", b"three").await.unwrap();
    rig.registry
        .delete("a", &Reference::Tag("2".into()))
        .await
        .unwrap();
    assert!(
        rig.registry
            .delete("a", &Reference::Tag("2".into()))
            .await
            .is_err()
    );
    rig.registry
        .delete("a", &Reference::Digest(pushed.digest))
        .await
        .unwrap();
    let left = |registry: &Registry| {
        registry.with_catalog(|catalog| {
            catalog.repositories["a"]
                .tags
                .keys()
                .cloned()
                .collect::<Vec<_>>()
        })
    };
    assert_eq!(left(&rig.registry), ["3"]);
    let rig = rig.again().await;
    assert_eq!(left(&rig.registry), ["3"]);
    let layer = nesos_bundle::digest_of(b"three");
    let used = rig.registry.delete_blob(layer).await.unwrap_err();
    assert!(used.to_string().contains("a manifest names"), "{used}");
    rig.registry
        .delete_blob(nesos_bundle::digest_of(b"one"))
        .await
        .unwrap();
    rig.registry
        .delete("a", &Reference::Tag("3".into()))
        .await
        .unwrap();
}

#[tokio::test]
async fn a_master_that_was_deposed_changes_no_bundles() {
    let (store, directory) = (Arc::new(InMemory::new()), tempfile::tempdir().unwrap());
    let fence = Fence::until(std::time::Instant::now() + Duration::from_secs(60));
    let objects = Objects::remote(store.clone()).behind(fence.clone());
    let registry = Registry::over(objects, directory.path(), BundlesConfig::default())
        .await
        .unwrap();
    let bytes = Bytes::from_static(b"a blob");
    let digest = registry.blobs.put(bytes.clone()).await.unwrap();
    fence.fall();
    let removed = registry.blobs.remove(digest).await;
    assert!(
        matches!(removed, Err(BundleStoreError::Deposed)),
        "{removed:?}"
    );
    let put = registry.blobs.put(Bytes::from_static(b"another")).await;
    assert!(matches!(put, Err(BundleStoreError::Deposed)), "{put:?}");
    let left = registry.blobs.read(digest).await.unwrap();
    assert_eq!(left, Some(bytes), "it may still be read");
}
