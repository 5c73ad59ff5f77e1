//! Bytes, names and descriptors: what is refused, and what is given back.

use super::*;

const MIB: usize = 1 << 20;

#[tokio::test]
async fn a_file_grows_to_the_quota_and_no_further() {
    let mut guest = Guest::new();
    let fd = guest.create("full").await.unwrap();
    let half = vec![7; MIB / 2 + 1];
    assert_eq!(
        guest.write(fd, &half).await,
        Ok(u32::try_from(half.len()).unwrap())
    );
    assert_eq!(
        guest.write(fd, &half).await,
        Ok(u32::try_from(half.len() - 2).unwrap())
    );
    assert_eq!(guest.write(fd, &half).await, Err(Errno::Nospc));
    assert_eq!(guest.used(), (MIB as u64, 1));
    assert!(guest.ctx.quota().was_exceeded());
    // What lies below the quota may still be overwritten.
    assert_eq!(guest.pwrite(fd, b"again", 0).await, Ok(5));
}

#[tokio::test]
async fn holes_count() {
    let mut guest = Guest::new();
    let fd = guest.create("sparse").await.unwrap();
    assert_eq!(guest.seek(fd, 1 << 40, 0).await, Ok(1 << 40));
    assert_eq!(guest.write(fd, b"x").await, Err(Errno::Nospc));
    assert_eq!(guest.pwrite(fd, b"x", 1 << 40).await, Err(Errno::Nospc));
    assert_eq!(guest.set_size(fd, 4 << 40).await, Err(Errno::Nospc));
    assert_eq!(guest.used(), (0, 1));
    assert_eq!(guest.set_size(fd, 1 << 20).await, Ok(()));
    assert_eq!(guest.used(), (1 << 20, 1));
}

#[tokio::test]
async fn truncating_and_unlinking_give_back() {
    let mut guest = Guest::new();
    let fd = guest.create("a").await.unwrap();
    guest.write(fd, &vec![1; MIB]).await.unwrap();
    guest.set_size(fd, 10).await.unwrap();
    assert_eq!(guest.used(), (10, 1));
    let again = guest.open("a", Oflags::TRUNC).await.unwrap();
    assert_eq!(guest.used(), (0, 1));
    guest.write(again, &vec![1; MIB]).await.unwrap();
    guest.unlink("a").await.unwrap();
    assert_eq!(guest.used(), (MIB as u64, 0), "still open twice");
    guest.close(fd).await.unwrap();
    guest.close(again).await.unwrap();
    assert_eq!(guest.used(), (0, 0));
    assert_eq!(guest.ctx.quota().peak_bytes(), MIB as u64);
}

#[tokio::test]
async fn renaming_over_a_file_gives_its_bytes_back() {
    let mut guest = Guest::new();
    for (name, len) in [("old", 100), ("new", 7)] {
        let fd = guest.create(name).await.unwrap();
        guest.write(fd, &vec![1; len]).await.unwrap();
        guest.close(fd).await.unwrap();
    }
    guest.rename("new", ROOT, "old").await.unwrap();
    assert_eq!(guest.used(), (7, 1));
    guest.rename("old", ROOT, "fresh").await.unwrap();
    assert_eq!(guest.used(), (7, 1));
}

#[tokio::test]
async fn hard_links_share_bytes_and_count_as_names() {
    let mut guest = Guest::new();
    let fd = guest.create("a").await.unwrap();
    guest.write(fd, b"twelve bytes").await.unwrap();
    guest.close(fd).await.unwrap();
    guest.link("a", "b").await.unwrap();
    assert_eq!(guest.used(), (12, 2));
    guest.rename("a", ROOT, "b").await.unwrap();
    assert_eq!(
        guest.used(),
        (12, 2),
        "two names of one file: nothing happens"
    );
    guest.unlink("a").await.unwrap();
    assert_eq!(guest.used(), (12, 1));
    guest.unlink("b").await.unwrap();
    assert_eq!(guest.used(), (0, 0));
}

#[tokio::test]
async fn names_are_bounded_whatever_they_name() {
    let mut guest = Guest::with(|spec| spec.max_files = 3);
    guest.mkdir("dir").await.unwrap();
    guest.symlink("dir", "link").await.unwrap();
    let fd = guest.create("file").await.unwrap();
    guest.close(fd).await.unwrap();
    assert_eq!(guest.create("more").await, Err(Errno::Nospc));
    assert_eq!(guest.mkdir("more").await, Err(Errno::Nospc));
    assert_eq!(guest.link("file", "more").await, Err(Errno::Nospc));
    assert_eq!(guest.symlink("file", "more").await, Err(Errno::Nospc));
    assert!(
        guest.create("file").await.is_ok(),
        "what is there may be opened"
    );
    guest.rmdir("dir").await.unwrap();
    assert!(guest.create("more").await.is_ok());
}

#[tokio::test]
async fn failures_charge_nothing() {
    let mut guest = Guest::new();
    assert_eq!(guest.create("no/such/dir").await, Err(Errno::Noent));
    assert_eq!(guest.mkdir("tmp").await, Err(Errno::Exist));
    assert_eq!(guest.unlink("nothing").await, Err(Errno::Noent));
    assert_eq!(guest.used(), (0, 0));
}

#[tokio::test]
async fn what_lay_in_the_root_before_is_counted() {
    let home = tempfile::tempdir().unwrap();
    let root = home.path().join("kept");
    std::fs::create_dir_all(root.join("sub")).unwrap();
    std::fs::write(root.join("sub/data"), [0; 1000]).unwrap();
    let mut guest = Guest::with(|spec| spec.root = root);
    guest.unlink("absent").await.unwrap_err();
    assert_eq!(guest.used(), (1000, 2));
    guest.unlink("sub/data").await.unwrap();
    assert_eq!(guest.used(), (0, 1));
}

#[tokio::test]
async fn descriptors_are_bounded_and_reused_lowest_first() {
    let mut guest = Guest::with(|spec| spec.max_descriptors = 6);
    let first = guest.create("a").await.unwrap();
    assert_eq!(first, 4);
    guest.open("a", Oflags::empty()).await.unwrap();
    assert_eq!(guest.create("b").await, Err(Errno::Mfile));
    assert_eq!(guest.used().1, 1, "nothing was created");
    guest.close(first).await.unwrap();
    assert_eq!(guest.open("a", Oflags::empty()).await, Ok(first));
}

#[tokio::test]
async fn vectors_and_paths_are_bounded() {
    let mut guest = Guest::new();
    let fd = guest.create("a").await.unwrap();
    let memory = &mut GuestMemory::Unshared(&mut guest.memory);
    let ctx = &mut guest.ctx;
    let many = 8 << 20;
    assert_eq!(
        answer(abi::fd_write(ctx, memory, fd, VECTOR, many, RESULT).await),
        Err(Errno::Inval)
    );
    assert_eq!(
        answer(abi::fd_read(ctx, memory, fd, VECTOR, many, RESULT).await),
        Err(Errno::Inval)
    );
    let polled = abi::poll_oneoff(ctx, memory, VECTOR, DATA, 1025, RESULT).await;
    assert_eq!(answer(polled), Err(Errno::Inval));
    let long = "x".repeat(5000);
    assert_eq!(guest.create(&long).await, Err(Errno::Nametoolong));
}
