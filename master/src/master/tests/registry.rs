//! The registry as real clients use it, over sockets: `oci-client`, `skopeo`, and operators.

use std::path::Path;
use std::process::Command;

use nesos_api::v1::operator_service_client::OperatorServiceClient;
use nesos_bundle::artifact::{Packed, Parts, pack};
use nesos_bundle::media;
use oci_client::client::{ClientConfig, ClientProtocol, Config, ImageLayer};
use oci_client::secrets::RegistryAuth;
use oci_client::{Client, Reference};

use super::*;

fn bundle(network: &str) -> Packed {
    let wasm = wat::parse_str(r#"(module (memory 1) (func (export "_start")))"#).unwrap();
    let toml = format!("name = \"ads/hello\"\n[capabilities]\nnetwork = [{network}]");
    pack(Parts {
        wasm: wasm.into(),
        manifest: Some(toml.into_bytes().into()),
        ..Parts::default()
    })
    .unwrap()
}

pub(super) fn client() -> Client {
    // Another test may have been first, with the same.
    let _ = rustls::crypto::ring::default_provider().install_default();
    Client::new(ClientConfig {
        protocol: ClientProtocol::Http,
        ..ClientConfig::default()
    })
}

pub(super) async fn push(client: &Client, reference: &Reference, packed: &Packed) {
    let [config, layers @ ..] = &packed.blobs[..] else {
        panic!("{packed:?}");
    };
    let layers: Vec<_> = layers
        .iter()
        .map(|layer| {
            ImageLayer::new(
                layer.bytes.clone(),
                layer.descriptor.media_type.clone(),
                None,
            )
        })
        .collect();
    let config = Config::new(
        config.bytes.clone(),
        config.descriptor.media_type.clone(),
        None,
    );
    let auth = RegistryAuth::Anonymous;
    client
        .push(reference, &layers, config, &auth, None)
        .await
        .unwrap();
}

#[tokio::test]
async fn a_client_of_another_make_pushes_and_pulls() {
    let master = TestMaster::start().await;
    let reference = format!("{}/ads/hello:v1", master.running.address());
    let reference: Reference = reference.parse().unwrap();
    let client = client();
    let packed = bundle("");
    push(&client, &reference, &packed).await;
    let auth = RegistryAuth::Anonymous;
    let kinds = vec![media::WASM, media::NESOS_MANIFEST];
    let pulled = client.pull(&reference, &auth, kinds).await.unwrap();
    // It has the layers in the order in which they arrived.
    for blob in &packed.blobs[1..] {
        let kind = &blob.descriptor.media_type;
        let layer = pulled.layers.iter().find(|layer| layer.media_type == *kind);
        assert_eq!(layer.unwrap().data, blob.bytes);
    }
    assert_eq!(pulled.config.data, packed.blobs[0].bytes);
    let tags = client
        .list_tags(&reference, &auth, None, None)
        .await
        .unwrap();
    assert_eq!(tags.tags, ["v1"]);
    drop(client);
    master.stop().await;
}

#[tokio::test]
async fn operators_see_what_was_pushed_and_what_may_go() {
    let master = TestMaster::start().await;
    let reference = format!("{}/ads/hello:latest", master.running.address());
    let reference: Reference = reference.parse().unwrap();
    let client = client();
    for network in ["", "\"db:5432\""] {
        push(&client, &reference, &bundle(network)).await;
    }
    let mut operator = OperatorServiceClient::new(master.channel().await);
    let request = v1::InspectBundleRequest {
        repository: "ads/hello".into(),
        reference: String::new(),
    };
    let said = operator.inspect_bundle(request).await.unwrap().into_inner();
    assert_eq!(
        (said.kind.as_str(), said.format.as_str()),
        ("command", "module")
    );
    assert_eq!(said.network, ["db:5432"]);
    assert_eq!(said.changes[0].sentence, "now wants network to db:5432");
    assert!(said.changes[0].wants_more && said.missing.is_empty());
    assert_eq!(said.minimum_memory_bytes, 65_536);

    let request = v1::ListBundlesRequest { role: "ads".into() };
    let listed = operator.list_bundles(request).await.unwrap().into_inner();
    assert_eq!(listed.bundles[0].tag, "latest");
    assert_eq!(listed.bundles[0].digest, said.digest);
    let request = v1::CollectBundlesRequest { dry_run: true };
    let gone = operator
        .collect_bundles(request)
        .await
        .unwrap()
        .into_inner();
    assert_eq!(
        (gone.blobs.len(), gone.bytes),
        (0, 0),
        "all of it is recent"
    );
    let unknown = v1::InspectBundleRequest {
        repository: "ads/unknown".into(),
        reference: String::new(),
    };
    let unknown = operator.inspect_bundle(unknown).await.unwrap_err();
    assert_eq!(unknown.code(), tonic::Code::NotFound);
    drop((client, operator));
    master.stop().await;
}

/// Writes an artifact as an OCI image layout, which is what `skopeo` takes.
fn write_layout(directory: &Path, packed: &Packed) {
    let blobs = directory.join("blobs/sha256");
    fs::create_dir_all(&blobs).unwrap();
    for blob in packed.blobs.iter().chain([&packed.manifest]) {
        fs::write(blobs.join(blob.digest().hex()), &blob.bytes).unwrap();
    }
    let mut manifest = packed.manifest.descriptor.clone();
    let name = "org.opencontainers.image.ref.name".to_owned();
    manifest.annotations.insert(name, "v1".into());
    let index = nesos_bundle::oci::ImageIndex::new(vec![manifest]);
    fs::write(directory.join("index.json"), index.to_bytes()).unwrap();
    fs::write(
        directory.join("oci-layout"),
        r#"{"imageLayoutVersion":"1.0.0"}"#,
    )
    .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn skopeo_copies_to_the_registry_and_back() {
    if Command::new("skopeo").arg("--version").output().is_err() {
        eprintln!("NOT CHECKED: skopeo is not installed");
        return;
    }
    let master = TestMaster::start().await;
    let directory = tempfile::tempdir().unwrap();
    let packed = bundle("");
    write_layout(&directory.path().join("out"), &packed);
    let here = |name: &str| format!("oci:{}:v1", directory.path().join(name).display());
    let there = format!("docker://{}/ads/hello:v1", master.running.address());
    for (from, to) in [(here("out"), there.clone()), (there, here("back"))] {
        let flags = ["copy", "--insecure-policy", "--preserve-digests"];
        let tls = ["--dest-tls-verify=false", "--src-tls-verify=false"];
        let copied = Command::new("skopeo")
            .args(flags)
            .args(tls)
            .args([&from, &to])
            .output();
        let copied = copied.unwrap();
        assert!(
            copied.status.success(),
            "{}",
            String::from_utf8_lossy(&copied.stderr)
        );
    }
    for blob in packed.blobs.iter().chain([&packed.manifest]) {
        let path = directory
            .path()
            .join("back/blobs/sha256")
            .join(blob.digest().hex());
        assert_eq!(fs::read(path).unwrap(), blob.bytes, "{blob:?}");
    }
    master.stop().await;
}
