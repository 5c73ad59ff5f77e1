//! Bundles in a store that speaks S3, which `moto` does as a server of its own. Where it is not installed, its
//! test says so and passes.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};

use nesos_api::v1::operator_service_client::OperatorServiceClient;
use nesos_bundle::artifact::{Packed, Parts, pack};
use nesos_bundle::media;
use oci_client::Reference;
use oci_client::secrets::RegistryAuth;

use super::registry::{client, push};
use super::*;
use crate::config::{BundlesConfig, Secret};

/// A store of objects, with one bucket.
struct Store {
    process: Child,
    address: String,
}

impl Store {
    /// None where `moto_server` is not installed.
    fn start() -> Option<Self> {
        let mut process = Command::new("moto_server")
            .args(["-p", "0"])
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .ok()?;
        let lines = BufReader::new(process.stderr.take().unwrap()).lines();
        let address = lines
            .map_while(Result::ok)
            .find_map(|line| Some(line.split_once("http://")?.1.trim().to_owned()))
            .expect("it says where it listens");
        let store = Self { process, address };
        let created = store.request("PUT /bundles");
        assert!(created.starts_with("HTTP/1.1 200"), "{created}");
        Some(store)
    }

    fn request(&self, line: &str) -> String {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        let host = &self.address;
        write!(
            stream,
            "{line} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
        )
        .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }

    fn config(&self) -> BundlesConfig {
        BundlesConfig {
            store: Some("s3://bundles/nesos".into()),
            endpoint: Some(format!("http://{}", self.address)),
            region: Some("eu-central-1".into()),
            access_key_id: Some("nesos".into()),
            secret_access_key: Some(Secret("of no use elsewhere".into())),
            allow_http: true,
            keep_unreferenced_ms: 0,
            ..BundlesConfig::default()
        }
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A bundle that takes several parts to write.
fn large() -> Packed {
    let bytes = "nesos ".repeat(4 << 20);
    let wasm =
        format!(r#"(module (memory 400) (data (i32.const 0) "{bytes}") (func (export "_start")))"#);
    pack(Parts {
        wasm: wat::parse_str(wasm).unwrap().into(),
        ..Parts::default()
    })
    .unwrap()
}

async fn start(store: &Store) -> TestMaster {
    let directory = tempfile::tempdir().unwrap();
    let mut config = MasterConfig::ephemeral(directory.path());
    config.bundles = store.config();
    let running = Master::start(config).await.unwrap();
    TestMaster { running, directory }
}

#[tokio::test(flavor = "multi_thread")]
async fn bundles_outlive_the_master_in_a_store_that_speaks_s3() {
    let Some(store) = Store::start() else {
        eprintln!("NOT CHECKED: moto_server is not installed");
        return;
    };
    let master = start(&store).await;
    let at = |master: &TestMaster| -> Reference {
        let name = format!("{}/ads/large:v1", master.running.address());
        name.parse().unwrap()
    };
    let packed = large();
    push(&client(), &at(&master), &packed).await;
    assert!(
        store
            .request("GET /bundles?list-type=2")
            .contains("<Key>nesos/")
    );
    master.stop().await;

    // Another master, on a machine that has nothing.
    let master = start(&store).await;
    let auth = RegistryAuth::Anonymous;
    let reference = at(&master);
    let pulled = client()
        .pull(&reference, &auth, vec![media::WASM])
        .await
        .unwrap();
    assert!(pulled.layers[0].data == packed.blobs[1].bytes);

    // What nothing names any more goes.
    let mut operator = OperatorServiceClient::new(master.channel().await);
    let deleted = delete(&master, &pulled.digest.unwrap());
    assert!(deleted.starts_with("HTTP/1.1 202"), "{deleted}");
    let request = v1::CollectBundlesRequest { dry_run: false };
    let gone = operator.collect_bundles(request).await.unwrap();
    let gone = gone.into_inner();
    assert!(
        gone.bytes >= packed.blobs[1].descriptor.size,
        "{} bytes",
        gone.bytes
    );
    let pulled = client().pull(&reference, &auth, vec![media::WASM]).await;
    assert!(pulled.is_err());
    drop(operator);
    master.stop().await;
}

fn delete(master: &TestMaster, digest: &str) -> String {
    let address = master.running.address().to_string();
    let mut stream = TcpStream::connect(&address).unwrap();
    write!(
        stream,
        "DELETE /v2/ads/large/manifests/{digest} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n"
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}
