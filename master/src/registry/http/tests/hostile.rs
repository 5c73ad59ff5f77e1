//! Digests that lie, names that climb, ranges that nothing has, uploads that never end.

use super::*;

#[tokio::test]
async fn a_digest_that_lies_leaves_nothing() {
    let rig = Rig::new().await;
    let digest = digest_of(b"promised");
    let path = format!("/v2/a/blobs/uploads/?digest={digest}");
    let lie = rig.ask("POST", &path, &[], "something else").await;
    assert_eq!((lie.status, lie.code().as_str()), (400, "DIGEST_INVALID"));
    assert_eq!(rig.get(&format!("/v2/a/blobs/{digest}")).await.status, 404);
    let uploads = std::fs::read_dir(rig.directory.path().join("uploads")).unwrap();
    assert_eq!(uploads.count(), 0);
}

#[tokio::test]
async fn addresses_that_climb_or_make_no_sense_are_refused() {
    let rig = Rig::new().await;
    let digest = digest_of(b"x");
    for (method, path, status) in [
        ("GET", "/v2/../../etc/manifests/passwd".to_owned(), 400),
        ("GET", "/v2/a/../b/tags/list".to_owned(), 400),
        ("GET", "/v2/%2e%2e/tags/list".to_owned(), 400),
        ("GET", "/v2/A/tags/list".to_owned(), 400),
        ("GET", "/v2//tags/list".to_owned(), 400),
        ("GET", format!("/v2/{}/tags/list", "a".repeat(300)), 400),
        ("GET", "/v2/a/manifests/..".to_owned(), 400),
        ("PUT", "/v2/a/manifests/%2e%2e%2fx".to_owned(), 400),
        ("GET", "/v2/a/blobs/sha256:..".to_owned(), 400),
        ("GET", "/v2/a/blobs/sha512:00".to_owned(), 400),
        (
            "GET",
            format!("/v2/a/blobs/{}", digest.to_string().to_uppercase()),
            400,
        ),
        ("GET", "/v2/a/blobs/uploads/..".to_owned(), 404),
        ("GET", "/v2/a/blobs/uploads/x".to_owned(), 404),
        ("GET", "/v2/_catalog?n=x".to_owned(), 416),
        ("GET", "/v2/a/nothing/x".to_owned(), 405),
        ("GET", "/v2/nothing".to_owned(), 405),
        ("POST", format!("/v2/a/blobs/{digest}"), 405),
        (
            "POST",
            "/v2/a/blobs/uploads/?digest=sha256:1".to_owned(),
            400,
        ),
        (
            "POST",
            "/v2/a/blobs/uploads/?mount=nonsense".to_owned(),
            400,
        ),
    ] {
        let answered = rig.ask(method, &path, &[], Body::empty()).await;
        assert_eq!(answered.status, status, "{method} {path}: {answered:?}");
        answered.code();
    }
    let outside = rig.directory.path().parent().unwrap().join("passwd");
    assert!(!outside.exists());
}

#[tokio::test]
async fn an_upload_belongs_to_its_repository() {
    let rig = Rig::new().await;
    let begun = rig
        .ask("POST", "/v2/a/blobs/uploads/", &[], Body::empty())
        .await;
    let place = begun.header("location").replace("/v2/a/", "/v2/b/");
    assert_eq!(
        rig.ask("PATCH", &place, &[], "bytes").await.code(),
        "BLOB_UPLOAD_UNKNOWN"
    );
}

#[tokio::test]
async fn absurd_ranges_are_refused() {
    let rig = Rig::new().await;
    let digest = rig.blob("a", b"0123456789").await;
    for range in [
        "bytes=10-",
        "bytes=9-2",
        "bytes=x-y",
        "bytes=99999999999999999999-",
        "0-1",
    ] {
        let path = format!("/v2/a/blobs/{digest}");
        let answered = rig
            .ask("GET", &path, &[("range", range)], Body::empty())
            .await;
        assert_eq!(answered.status, 416, "{range}");
    }
    let begun = rig
        .ask("POST", "/v2/a/blobs/uploads/", &[], Body::empty())
        .await;
    for range in [
        "18446744073709551615-0",
        "0-18446744073709551615",
        "x",
        "-",
        "0-1,3-4",
    ] {
        let headers = [("content-range", range), ("content-length", "5")];
        let answered = rig
            .ask("PATCH", begun.header("location"), &headers, "bytes")
            .await;
        assert_eq!(answered.status, 416, "{range}: {answered:?}");
    }
}

#[tokio::test]
async fn what_is_too_large_is_refused_with_the_limit() {
    let rig = Rig::with(BundlesConfig {
        max_bytes: 100,
        ..BundlesConfig::default()
    })
    .await;
    let bytes = vec![1; 101];
    let path = format!("/v2/a/blobs/uploads/?digest={}", digest_of(&bytes));
    let said = rig
        .ask("POST", &path, &[("content-length", "101")], bytes.clone())
        .await;
    assert_eq!((said.status, said.code().as_str()), (413, "SIZE_INVALID"));
    assert_eq!(said.json()["errors"][0]["detail"]["most"], 100);
    let silent = Body::from_stream(futures::stream::iter([Ok::<_, std::io::Error>(bytes)]));
    let silent = rig.ask("POST", &path, &[], silent).await;
    assert_eq!(
        (silent.status, silent.code().as_str()),
        (413, "SIZE_INVALID")
    );
    let large = vec![b' '; nesos_bundle::oci::MAX_MANIFEST_BYTES + 1];
    let large = rig.ask("PUT", "/v2/a/manifests/v1", &[], large).await;
    assert_eq!(large.code(), "SIZE_INVALID");
}

#[tokio::test]
async fn uploads_that_are_never_finished_have_an_end() {
    let rig = Rig::with(BundlesConfig {
        max_uploads: 3,
        ..BundlesConfig::default()
    })
    .await;
    for _ in 0..3 {
        let begun = rig
            .ask("POST", "/v2/a/blobs/uploads/", &[], Body::empty())
            .await;
        assert_eq!(begun.status, 202);
    }
    let more = rig
        .ask("POST", "/v2/a/blobs/uploads/", &[], Body::empty())
        .await;
    assert_eq!(
        (more.status, more.code().as_str()),
        (429, "TOOMANYREQUESTS")
    );
}

#[tokio::test]
async fn a_quota_says_its_numbers() {
    let rig = Rig::with(BundlesConfig {
        max_repositories_per_role: 1,
        ..BundlesConfig::default()
    })
    .await;
    rig.push("ads/a", "v1", b"layer").await;
    let denied = rig.put("ads/b", "v1", &manifest(b"layer")).await;
    assert_eq!((denied.status, denied.code().as_str()), (403, "DENIED"));
    let detail = &denied.json()["errors"][0]["detail"];
    assert_eq!(
        (&detail["would"], &detail["most"]),
        (&Value::from(2), &Value::from(1))
    );
    assert_eq!(detail["key"], "bundles.max_repositories_per_role");
}

#[tokio::test]
async fn a_damaged_blob_breaks_off_and_is_healed() {
    let rig = Rig::new().await;
    let digest = rig.blob("a", b"0123456789").await;
    let hex = digest.strip_prefix("sha256:").unwrap();
    std::fs::write(rig.directory.path().join("sha256").join(hex), b"0123456780").unwrap();
    let path = format!("/v2/a/blobs/{digest}");
    assert_eq!(rig.get(&path).await.body, b"(broke off)");
    assert_eq!(rig.get(&path).await.status, 404);
    rig.blob("a", b"0123456789").await;
    assert_eq!(rig.get(&path).await.body, b"0123456789");
}

#[tokio::test]
async fn a_manifest_that_says_another_type_is_refused() {
    let rig = Rig::new().await;
    rig.push("a", "v1", b"layer").await;
    let kind = [("content-type", media::IMAGE_INDEX)];
    let bytes = manifest(b"layer").to_bytes();
    let refused = rig.ask("PUT", "/v2/a/manifests/v1", &kind, bytes).await;
    assert_eq!(
        (refused.status, refused.code().as_str()),
        (400, "MANIFEST_INVALID")
    );
}
