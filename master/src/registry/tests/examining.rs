//! What could never run is refused; what can is described.

use super::*;

#[tokio::test]
async fn what_could_never_run_is_refused_with_what_is_at_fault() {
    let rig = Rig::new(BundlesConfig::default()).await;
    let start = r#"(func (export "_start"))"#;
    let cases = [
        (
            format!(r#"(module (import "env" "abort" (func)) {start})"#),
            None,
            "env.abort",
        ),
        ("(module)".to_owned(), None, "_start"),
        (
            format!("(module (memory 1000) {start})"),
            Some("name = \"a\"\n[resources]\nmem = \"1MiB\""),
            "resources.mem",
        ),
        ("(component)".to_owned(), None, "world"),
        (
            COMMAND.to_owned(),
            Some("name = \"a\"\nkind = \"policy\""),
            "application/wasm",
        ),
    ];
    for (wat, toml, words) in &cases {
        let said = code(rig.push_packed("a", "1", &bundle(wat, *toml)).await);
        assert!(said.contains(words), "{wat}: {said}");
    }
    rig.push_packed("a", "1", &bundle(COMMAND, None))
        .await
        .unwrap();
}

#[tokio::test]
async fn what_is_no_bundle_is_refused_with_the_layer() {
    let rig = Rig::new(BundlesConfig::default()).await;
    let layers = [
        (media::WASM, &b"no wasm at all"[..]),
        (media::NESOS_MANIFEST, b"nam = 3"),
        (media::WASM_CONFIG, b"{}"),
    ];
    let wasm: &[u8] = &wat::parse_str(COMMAND).unwrap();
    for (_, bytes) in layers {
        rig.blob(bytes, Purpose::Layer).await;
    }
    rig.blob(wasm, Purpose::Layer).await;
    let refused = |kinds: &[(&str, &[u8])]| {
        let config = Descriptor::of(media::WASM_CONFIG, b"{}");
        let layers = kinds
            .iter()
            .map(|(kind, bytes)| Descriptor::of(kind, bytes));
        ImageManifest::new(config, layers.collect()).to_bytes()
    };
    for (kinds, words) in [
        (&[layers[0]][..], "not a WebAssembly file"),
        (&[(media::WASM, wasm), layers[1]], "nesos.toml"),
        (&[(media::WASM, wasm), (media::WASM, wasm)], "two layers"),
        (&[], "application/wasm"),
    ] {
        let said = code(rig.push("a", "1", &refused(kinds)).await);
        assert!(said.contains(words), "{said}");
    }
}

#[tokio::test]
async fn a_bundle_is_described_and_compared_with_the_one_before() {
    let rig = Rig::new(BundlesConfig::default()).await;
    let toml = |network: &str| {
        format!("name = \"ads/a\"\nversion = \"1.2.3\"\n[capabilities]\nnetwork = [{network}]")
    };
    let old = bundle(COMMAND, Some(&toml("")));
    let new = bundle(COMMAND, Some(&toml("\"db:1\"")));
    let first = rig.push_packed("ads/a", "latest", &old).await.unwrap();
    rig.push_packed("ads/a", "latest", &new).await.unwrap();
    let latest = Reference::Tag("latest".into());
    let report = rig.registry.report("ads/a", &latest).await.unwrap();
    assert_eq!(report.examined.info.minimum_memory_bytes, 2 << 16);
    assert_eq!(report.examined.info.maximum_memory_bytes, Some(8 << 16));
    let (previous, changes) = report.previous.unwrap();
    assert_eq!(previous, first.digest);
    let said: Vec<_> = changes.iter().map(ToString::to_string).collect();
    assert_eq!(said, ["now wants network to db:1"]);
    assert!(report.signatures.is_empty());

    let rows = rig.registry.listed(Some("ads"));
    assert_eq!(rows.len(), 2, "{rows:?}");
    assert_eq!(rows[0].tag.as_deref(), Some("latest"));
    assert!(rig.registry.listed(Some("other")).is_empty());
    assert!(rig.registry.listed(Some("*")).is_empty());
}

#[tokio::test]
async fn signatures_are_found_by_subject() {
    let rig = Rig::new(BundlesConfig::default()).await;
    let packed = bundle(COMMAND, None);
    rig.push_packed("a", "1", &packed).await.unwrap();
    let mut manifest = ImageManifest::parse(&artifact(b"signature", None)).unwrap();
    manifest.artifact_type = Some(media::COSIGN_SIGNATURE.to_owned());
    manifest.subject = Some(packed.manifest.descriptor.clone());
    rig.blob(b"{}", Purpose::Layer).await;
    rig.blob(b"signature", Purpose::Layer).await;
    let bytes = manifest.to_bytes();
    let at = nesos_bundle::digest_of(&bytes).to_string();
    let pushed = rig.push("a", &at, &bytes).await.unwrap();
    assert_eq!(pushed.subject, Some(packed.manifest.digest()));
    let report = rig
        .registry
        .report("a", &Reference::Tag("1".into()))
        .await
        .unwrap();
    assert_eq!(report.signatures, [pushed.digest]);
    assert!(rig.registry.listed(None)[0].is_signed);
}
