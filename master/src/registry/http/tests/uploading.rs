//! Uploads in one piece, in many, and over restarts.

use super::*;

const BYTES: &[u8] = b"some bytes that are uploaded in pieces";

impl Rig {
    /// Begins an upload and answers where it is.
    async fn begin(&self, name: &str) -> String {
        let path = format!("/v2/{name}/blobs/uploads/");
        let begun = self.ask("POST", &path, &[], Body::empty()).await;
        assert_eq!(begun.status, 202, "{begun:?}");
        begun.header("location").to_owned()
    }
}

#[tokio::test]
async fn an_upload_in_chunks_says_where_it_stands() {
    let rig = Rig::new().await;
    let place = rig.begin("ads/a").await;
    let chunk = [("content-range", "0-9"), ("content-length", "10")];
    let first = rig.ask("PATCH", &place, &chunk, &BYTES[..10]).await;
    assert_eq!((first.status, first.header("range")), (202, "0-9"));
    assert_eq!(first.header("location"), place);

    let wrong = [("content-range", "20-29"), ("content-length", "10")];
    let gap = rig.ask("PATCH", &place, &wrong, &BYTES[..10]).await;
    assert_eq!(
        (gap.status, gap.code().as_str()),
        (416, "BLOB_UPLOAD_INVALID")
    );
    assert_eq!(gap.header("range"), "0-9");
    let status = rig.get(&place).await;
    assert_eq!((status.status, status.header("range")), (204, "0-9"));

    let rig = rig.again().await;
    let rest = rig.ask("PATCH", &place, &[], &BYTES[10..30]).await;
    assert_eq!(rest.header("range"), "0-29", "after a restart");
    let digest = digest_of(BYTES);
    let done = rig
        .ask(
            "PUT",
            &format!("{place}?digest={digest}"),
            &[],
            &BYTES[30..],
        )
        .await;
    assert_eq!(
        (done.status, done.header("docker-content-digest")),
        (201, digest.to_string().as_str())
    );
    assert_eq!(
        rig.get(&format!("/v2/ads/a/blobs/{digest}")).await.body,
        BYTES
    );
    assert_eq!(rig.get(&place).await.code(), "BLOB_UPLOAD_UNKNOWN");
}

#[tokio::test]
async fn what_arrived_before_a_break_is_not_sent_again() {
    let rig = Rig::new().await;
    let place = rig.begin("a").await;
    let pieces = [
        Ok(BYTES[..17].to_vec()),
        Err(std::io::Error::other("the network")),
    ];
    let body = Body::from_stream(futures::stream::iter(pieces));
    let broken = rig.ask("PATCH", &place, &[], body).await;
    assert_eq!(
        (broken.status, broken.code().as_str()),
        (400, "BLOB_UPLOAD_INVALID")
    );
    assert_eq!(rig.get(&place).await.header("range"), "0-16");
    let path = format!("{place}?digest={}", digest_of(BYTES));
    assert_eq!(rig.ask("PUT", &path, &[], &BYTES[17..]).await.status, 201);
}

#[tokio::test]
async fn an_upload_can_be_given_up() {
    let rig = Rig::new().await;
    let place = rig.begin("a").await;
    assert_eq!(
        rig.ask("DELETE", &place, &[], Body::empty()).await.status,
        204
    );
    assert_eq!(rig.get(&place).await.status, 404);
    let nothing = digest_of(b"");
    let empty = rig.begin("a").await;
    let done = rig
        .ask(
            "PUT",
            &format!("{empty}?digest={nothing}"),
            &[],
            Body::empty(),
        )
        .await;
    assert_eq!(done.status, 201, "an empty blob is a blob");
}

#[tokio::test]
async fn many_push_the_same_blob_at_once() {
    let rig = Rig::new().await;
    let bytes = vec![5; 3 << 20];
    let pushes = (0..8).map(|_| rig.blob("a", &bytes));
    let digests = futures::future::join_all(pushes).await;
    let read = rig.get(&format!("/v2/a/blobs/{}", digests[0])).await;
    assert!(read.body == bytes);
}
