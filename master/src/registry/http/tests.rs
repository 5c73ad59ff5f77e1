//! The specification from a client's side, and clients that mean harm.

use axum::http::HeaderMap;
use http_body_util::BodyExt;
use nesos_bundle::oci::{Descriptor, ImageManifest};
use nesos_bundle::{digest_of, media};
use serde_json::Value;
use tower::ServiceExt;

use super::*;
use crate::config::BundlesConfig;
use crate::store::fence::Fence;

mod hostile;
mod uploading;

/// A router over a registry on the disk.
struct Rig {
    router: Router,
    directory: tempfile::TempDir,
}

/// What was answered.
#[derive(Debug)]
struct Answered {
    status: u16,
    headers: HeaderMap,
    body: Vec<u8>,
}

impl Answered {
    fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .map_or("", |value| value.to_str().unwrap())
    }

    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    /// The code of the refusal.
    fn code(&self) -> String {
        let error = &self.json()["errors"][0];
        assert!(!error["message"].as_str().unwrap().is_empty());
        error["code"].as_str().unwrap().to_owned()
    }
}

impl Rig {
    async fn new() -> Self {
        Self::with(BundlesConfig::default()).await
    }

    async fn with(config: BundlesConfig) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let router = Self::open(&directory, config).await;
        Self { router, directory }
    }

    async fn open(directory: &tempfile::TempDir, config: BundlesConfig) -> Router {
        let registry = Registry::open(directory.path(), false, config, Fence::always())
            .await
            .unwrap();
        router(registry, CancellationToken::new())
    }

    async fn again(self) -> Self {
        let router = Self::open(&self.directory, BundlesConfig::default()).await;
        Self { router, ..self }
    }

    async fn ask(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Body>,
    ) -> Answered {
        let mut request = Request::builder().method(method).uri(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(body.into()).unwrap();
        let (parts, body) = self
            .router
            .clone()
            .oneshot(request)
            .await
            .unwrap()
            .into_parts();
        let body = body.collect().await.map(|all| all.to_bytes().to_vec());
        Answered {
            status: parts.status.as_u16(),
            headers: parts.headers,
            body: body.unwrap_or_else(|_| b"(broke off)".to_vec()),
        }
    }

    async fn get(&self, path: &str) -> Answered {
        self.ask("GET", path, &[], Body::empty()).await
    }

    async fn blob(&self, name: &str, bytes: &[u8]) -> String {
        let digest = digest_of(bytes).to_string();
        let path = format!("/v2/{name}/blobs/uploads/?digest={digest}");
        let answered = self.ask("POST", &path, &[], bytes.to_vec()).await;
        assert_eq!(answered.status, 201, "{answered:?}");
        assert_eq!(
            answered.header("location"),
            format!("/v2/{name}/blobs/{digest}")
        );
        digest
    }

    async fn put(&self, name: &str, at: &str, manifest: &ImageManifest) -> Answered {
        let path = format!("/v2/{name}/manifests/{at}");
        let kind = [("content-type", media::IMAGE_MANIFEST)];
        self.ask("PUT", &path, &kind, manifest.to_bytes()).await
    }

    /// Pushes a small artifact and answers its manifest.
    async fn push(&self, name: &str, tag: &str, layer: &[u8]) -> ImageManifest {
        let manifest = manifest(layer);
        self.blob(name, b"{}").await;
        self.blob(name, layer).await;
        let answered = self.put(name, tag, &manifest).await;
        assert_eq!(answered.status, 201, "{answered:?}");
        let digest = digest_of(&manifest.to_bytes()).to_string();
        assert_eq!(answered.header("docker-content-digest"), digest);
        manifest
    }
}

fn manifest(layer: &[u8]) -> ImageManifest {
    let config = Descriptor::of(media::EMPTY, b"{}");
    ImageManifest::new(config, vec![Descriptor::of("text/plain", layer)])
}

#[tokio::test]
async fn the_root_answers() {
    let rig = Rig::new().await;
    for path in ["/v2", "/v2/"] {
        let answered = rig.get(path).await;
        assert_eq!(answered.status, 200);
        assert_eq!(
            answered.header("docker-distribution-api-version"),
            "registry/2.0"
        );
    }
}

#[tokio::test]
async fn a_blob_is_described_and_read_in_part() {
    let rig = Rig::new().await;
    let digest = rig.blob("ads/web/a", b"0123456789").await;
    let path = format!("/v2/ads/web/a/blobs/{digest}");
    let head = rig.ask("HEAD", &path, &[], Body::empty()).await;
    assert_eq!((head.status, head.body.len()), (200, 0));
    assert_eq!(head.header("content-length"), "10");
    assert_eq!(head.header("docker-content-digest"), digest);
    assert_eq!(rig.get(&path).await.body, b"0123456789");
    let part = rig
        .ask("GET", &path, &[("range", "bytes=2-4")], Body::empty())
        .await;
    assert_eq!((part.status, &part.body[..]), (206, &b"234"[..]));
    assert_eq!(part.header("content-range"), "bytes 2-4/10");
    let mounted = format!("/v2/b/blobs/uploads/?mount={digest}&from=ads/web/a");
    assert_eq!(
        rig.ask("POST", &mounted, &[], Body::empty()).await.status,
        201
    );
    let unknown = digest_of(b"unknown");
    let mounted = format!("/v2/b/blobs/uploads/?mount={unknown}&from=ads/web/a");
    assert_eq!(
        rig.ask("POST", &mounted, &[], Body::empty()).await.status,
        202
    );
    assert_eq!(
        rig.ask("DELETE", &path, &[], Body::empty()).await.status,
        202
    );
    let gone = rig.get(&path).await;
    assert_eq!((gone.status, gone.code().as_str()), (404, "BLOB_UNKNOWN"));
}

#[tokio::test]
async fn a_manifest_is_found_by_tag_and_by_digest() {
    let rig = Rig::new().await;
    let manifest = rig.push("ads/a", "v1", b"layer").await;
    let digest = digest_of(&manifest.to_bytes()).to_string();
    for at in ["v1", &digest] {
        let path = format!("/v2/ads/a/manifests/{at}");
        let found = rig.get(&path).await;
        assert_eq!(found.body, manifest.to_bytes());
        assert_eq!(found.header("content-type"), media::IMAGE_MANIFEST);
        let head = rig.ask("HEAD", &path, &[], Body::empty()).await;
        assert_eq!((head.status, head.body.len()), (200, 0));
        assert_eq!(head.header("docker-content-digest"), digest);
        let other = rig
            .ask(
                "GET",
                &path,
                &[("accept", media::IMAGE_INDEX)],
                Body::empty(),
            )
            .await;
        assert_eq!(
            (other.status, other.code().as_str()),
            (404, "MANIFEST_UNKNOWN")
        );
        let any = rig
            .ask(
                "GET",
                &path,
                &[("accept", "text/x, */*;q=0.1")],
                Body::empty(),
            )
            .await;
        assert_eq!(any.status, 200);
    }
    let delete = rig
        .ask("DELETE", "/v2/ads/a/manifests/v1", &[], Body::empty())
        .await;
    assert_eq!(delete.status, 202);
    assert_eq!(
        rig.get("/v2/ads/a/manifests/v1").await.code(),
        "MANIFEST_UNKNOWN"
    );
    let path = format!("/v2/ads/a/manifests/{digest}");
    assert_eq!(
        rig.ask("DELETE", &path, &[], Body::empty()).await.status,
        202
    );
    assert_eq!(
        rig.get(&path).await.code(),
        "NAME_UNKNOWN",
        "nothing is left"
    );
}

#[tokio::test]
async fn referrers_are_listed_and_filtered() {
    let rig = Rig::new().await;
    let subject = rig.push("a", "v1", b"layer").await;
    let subject = Descriptor::of(media::IMAGE_MANIFEST, &subject.to_bytes());
    for kind in ["application/x", "application/y"] {
        let mut about = manifest(b"layer");
        about.artifact_type = Some(kind.to_owned());
        about.subject = Some(subject.clone());
        about.annotations.insert("k".into(), "v".into());
        let at = digest_of(&about.to_bytes()).to_string();
        let answered = rig.put("a", &at, &about).await;
        assert_eq!(answered.header("oci-subject"), subject.digest.to_string());
    }
    let all = rig
        .get(&format!("/v2/a/referrers/{}", subject.digest))
        .await;
    assert_eq!(all.header("content-type"), media::IMAGE_INDEX);
    assert_eq!(all.json()["manifests"].as_array().unwrap().len(), 2);
    let path = format!(
        "/v2/a/referrers/{}?artifactType=application%2Fx",
        subject.digest
    );
    let some = rig.get(&path).await;
    assert_eq!(some.header("oci-filters-applied"), "artifactType");
    let some = some.json()["manifests"].as_array().unwrap().clone();
    assert_eq!(some.len(), 1);
    assert_eq!(some[0]["annotations"]["k"], "v");
    let none = rig
        .get(&format!("/v2/b/referrers/{}", subject.digest))
        .await;
    assert_eq!(
        (
            none.status,
            none.json()["manifests"].as_array().unwrap().len()
        ),
        (200, 0)
    );
}

#[tokio::test]
async fn ten_thousand_tags_are_listed_page_by_page() {
    let rig = Rig::new().await;
    let manifest = rig.push("a", "t00000", b"layer").await;
    for number in 1..10_000 {
        let answered = rig.put("a", &format!("t{number:05}"), &manifest).await;
        assert_eq!(answered.status, 201, "{answered:?}");
    }
    let mut path = "/v2/a/tags/list?n=999".to_owned();
    let mut tags: Vec<String> = Vec::new();
    loop {
        let page = rig.get(&path).await;
        let listed = page.json()["tags"].as_array().unwrap().clone();
        assert!(listed.len() <= 999);
        tags.extend(listed.iter().map(|tag| tag.as_str().unwrap().to_owned()));
        let Some(link) = page.header("link").strip_prefix('<') else {
            break;
        };
        path = link.split('>').next().unwrap().to_owned();
    }
    assert_eq!(tags.len(), 10_000);
    assert!(tags.is_sorted());
    let page = rig.get("/v2/a/tags/list?n=0").await;
    assert_eq!(page.json()["tags"].as_array().unwrap().len(), 0);
    let page = rig.get("/v2/a/tags/list?n=18446744073709551615").await;
    assert_eq!(page.json()["tags"].as_array().unwrap().len(), 1000);
    assert_eq!(rig.get("/v2/b/tags/list").await.code(), "NAME_UNKNOWN");
    assert_eq!(rig.get("/v2/_catalog").await.json()["repositories"][0], "a");
}
