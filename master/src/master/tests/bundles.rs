//! Blobs up and down.

use nesos_api::MAX_CHUNK_BYTES;
use nesos_api::v1::bundle_service_client::BundleServiceClient;
use sha2::{Digest as _, Sha256};
use tonic::Code;

use super::*;

type Client = BundleServiceClient<Channel>;

pub(super) fn digest_of(bytes: &[u8]) -> String {
    Digest(Sha256::digest(bytes).into()).to_string()
}

/// The chunks of an upload of `bytes`, promised as `promised`.
pub(super) fn chunks(promised: &[u8], bytes: &[u8], offset: usize) -> Vec<v1::UploadChunk> {
    let mut chunks: Vec<_> = bytes[offset..]
        .chunks(MAX_CHUNK_BYTES)
        .map(|data| v1::UploadChunk {
            data: data.to_vec().into(),
            ..v1::UploadChunk::default()
        })
        .collect();
    let first = &mut chunks[0];
    first.digest = digest_of(promised);
    first.offset = offset as u64;
    first.total = promised.len() as u64;
    chunks
}

pub(super) async fn upload(
    client: &mut Client,
    chunks: Vec<v1::UploadChunk>,
) -> Result<u64, Status> {
    let response = client.upload(futures::stream::iter(chunks)).await?;
    Ok(response.into_inner().bytes)
}

async fn stat(client: &mut Client, bytes: &[u8]) -> (bool, u64) {
    let digest = digest_of(bytes);
    let request = v1::StatRequest { digest };
    let response = client.stat(request).await.unwrap().into_inner();
    (response.complete, response.bytes)
}

async fn download(client: &mut Client, bytes: &[u8], offset: u64) -> Result<Vec<u8>, Status> {
    let digest = digest_of(bytes);
    let request = v1::DownloadRequest { digest, offset };
    let mut stream = client.download(request).await?.into_inner();
    let mut data = Vec::new();
    let mut first = true;
    while let Some(chunk) = stream.message().await? {
        assert_eq!(chunk.total, if first { bytes.len() as u64 } else { 0 });
        assert!(chunk.data.len() <= MAX_CHUNK_BYTES);
        data.extend_from_slice(&chunk.data);
        first = false;
    }
    assert!(!first, "there is always one chunk");
    Ok(data)
}

/// Some bytes that no other test uploads.
fn some_bytes(len: usize) -> Vec<u8> {
    (0..len).map(|at| u8::try_from(at % 251).unwrap()).collect()
}

#[tokio::test]
async fn a_blob_goes_up_and_comes_down() {
    let master = TestMaster::start().await;
    let mut client = Client::new(master.channel().await);
    for bytes in [
        some_bytes(0),
        some_bytes(5),
        some_bytes(2 * MAX_CHUNK_BYTES + 7),
    ] {
        assert_eq!(stat(&mut client, &bytes).await, (false, 0));
        let mut pieces = chunks(&bytes, &[bytes.as_slice(), &[0]].concat(), 0);
        let last = pieces.last_mut().unwrap();
        last.data.truncate(last.data.len() - 1);
        let size = bytes.len() as u64;
        assert_eq!(upload(&mut client, pieces.clone()).await.unwrap(), size);
        assert_eq!(stat(&mut client, &bytes).await, (true, size));
        assert_eq!(
            upload(&mut client, pieces).await.unwrap(),
            size,
            "once more"
        );
        assert_eq!(download(&mut client, &bytes, 0).await.unwrap(), bytes);
        let tail = download(&mut client, &bytes, size / 2).await.unwrap();
        assert_eq!(tail, bytes[bytes.len() / 2..]);
        let beyond = download(&mut client, &bytes, size + 1).await.unwrap_err();
        assert_eq!(beyond.code(), Code::OutOfRange);
    }
    drop(client);
    master.stop().await;
}

#[tokio::test]
async fn an_upload_that_broke_off_goes_on() {
    let master = TestMaster::start().await;
    let mut client = Client::new(master.channel().await);
    let bytes = some_bytes(MAX_CHUNK_BYTES + 100);
    let half = chunks(&bytes, &bytes[..1000], 0);
    let broken = upload(&mut client, half).await.unwrap_err();
    assert!(broken.message().contains("1000 of"), "{broken}");
    assert_eq!(stat(&mut client, &bytes).await, (false, 1000));

    let gap = upload(&mut client, chunks(&bytes, &bytes, 1001)).await;
    assert_eq!(gap.unwrap_err().code(), Code::OutOfRange);
    let rest = chunks(&bytes, &bytes, 900);
    let size = bytes.len() as u64;
    assert_eq!(upload(&mut client, rest).await.unwrap(), size);
    assert_eq!(download(&mut client, &bytes, 0).await.unwrap(), bytes);
    drop(client);
    master.stop().await;
}

#[tokio::test]
async fn what_is_not_as_promised_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let mut config = MasterConfig::ephemeral(directory.path());
    config.bundles.max_bytes = 1000;
    let running = Master::start(config).await.unwrap();
    let master = TestMaster { running, directory };
    let mut client = Client::new(master.channel().await);
    let bytes = some_bytes(100);

    let other = upload(&mut client, chunks(&bytes, &[9; 100], 0))
        .await
        .unwrap_err();
    assert_eq!(other.code(), Code::DataLoss);
    assert_eq!(stat(&mut client, &bytes).await, (false, 0), "was dropped");

    let more = upload(&mut client, chunks(&bytes, &some_bytes(101), 0)).await;
    assert_eq!(more.unwrap_err().code(), Code::OutOfRange);
    let large = some_bytes(1001);
    let large = upload(&mut client, chunks(&large, &large, 0)).await;
    assert_eq!(large.unwrap_err().code(), Code::ResourceExhausted);
    let nothing = upload(&mut client, Vec::new()).await;
    assert_eq!(nothing.unwrap_err().code(), Code::InvalidArgument);
    let unknown = download(&mut client, b"never uploaded", 0).await;
    assert_eq!(unknown.unwrap_err().code(), Code::NotFound);
    drop(client);
    master.stop().await;
}
