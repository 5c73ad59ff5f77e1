use super::*;

fn some() -> BTreeMap<String, Bytes> {
    [
        ("static/a.txt", "a"),
        ("b.json", "{}"),
        ("static/deep/c", ""),
    ]
    .map(|(path, content)| (path.to_owned(), Bytes::from(content)))
    .into()
}

/// A tar with one entry that says of itself whatever it likes.
fn hostile(path: &str, kind: EntryType, link: Option<&str>) -> Bytes {
    let mut header = Header::new_ustar();
    header.as_old_mut().name[..path.len()].copy_from_slice(path.as_bytes());
    header.set_entry_type(kind);
    header.set_size(if kind == EntryType::Regular { 4 } else { 0 });
    header.set_mode(0o777);
    if let Some(link) = link {
        header.set_link_name(link).expect("short");
    }
    header.set_cksum();
    let mut builder = Builder::new(GzEncoder::new(Vec::new(), Compression::fast()));
    let content: &[u8] = if kind == EntryType::Regular {
        b"evil"
    } else {
        b""
    };
    builder.append(&header, content).expect("memory");
    let inner = builder.into_inner().expect("memory");
    inner.finish().expect("memory").into()
}

fn refused(layer: &[u8], limits: Limits) -> String {
    let folder = tempfile::tempdir().expect("a folder");
    let inside = folder.path().join("inside");
    fs::create_dir(&inside).expect("a folder");
    let error = unpack(layer, &inside, limits).expect_err("refused");
    let beside = fs::read_dir(folder.path()).expect("is there").count();
    assert_eq!(beside, 1, "nothing was written beside the folder");
    error.to_string()
}

#[test]
fn files_survive_packing() {
    let folder = tempfile::tempdir().expect("a folder");
    let layer = pack(&some()).expect("packs");
    unpack(&layer[..], folder.path(), Limits::default()).expect("unpacks");
    for (path, content) in some() {
        assert_eq!(
            fs::read(folder.path().join(path)).expect("is there"),
            content
        );
    }
}

#[test]
fn the_same_files_are_the_same_bytes() {
    assert_eq!(pack(&some()).expect("packs"), pack(&some()).expect("packs"));
}

#[test]
fn tricks_with_paths_are_refused() {
    for (path, words) in [
        ("../evil", "upwards"),
        ("a/../../evil", "upwards"),
        ("/tmp/evil", "absolute"),
    ] {
        let error = refused(&hostile(path, EntryType::Regular, None), Limits::default());
        assert!(error.contains(words), "{error}");
    }
    let upwards = BTreeMap::from([("../x".to_owned(), Bytes::new())]);
    assert!(pack(&upwards).is_err());
}

#[test]
fn links_and_devices_are_refused() {
    for kind in [
        EntryType::Symlink,
        EntryType::Link,
        EntryType::Char,
        EntryType::Block,
        EntryType::Fifo,
    ] {
        let error = refused(&hostile("x", kind, Some("/etc/passwd")), Limits::default());
        assert!(error.contains("neither"), "{kind:?}: {error}");
    }
    let error = refused(
        &hostile("x", EntryType::GNULongName, None),
        Limits::default(),
    );
    assert!(error.contains("255"), "{error}");
}

#[test]
fn too_much_is_refused_before_it_is_written() {
    let layer = pack(&some()).expect("packs");
    for (bytes, entries, words) in [(2, 10, "2 bytes"), (100, 2, "2 entries")] {
        let error = refused(&layer, Limits { bytes, entries });
        assert!(error.contains(words), "{error}");
    }
}

#[test]
fn a_file_twice_is_refused() {
    let once = hostile("x", EntryType::Regular, None);
    let folder = tempfile::tempdir().expect("a folder");
    unpack(&once[..], folder.path(), Limits::default()).expect("once");
    let error = unpack(&once[..], folder.path(), Limits::default()).expect_err("twice");
    assert!(error.to_string().contains("twice"), "{error}");
}

#[test]
fn what_is_no_tar_is_refused() {
    for layer in [&b"hello"[..], b"", &pack(&some()).expect("packs")[..30]] {
        assert!(!refused(layer, Limits::default()).is_empty());
    }
}
