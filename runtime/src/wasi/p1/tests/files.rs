//! Files and directories: positions, flags, rights, and that no path leads out.

use super::*;

const SET: i32 = 0;
const CURRENT: i32 = 1;

#[tokio::test]
async fn append_and_positioned_writes_keep_to_their_places() {
    let mut guest = Guest::new();
    let all = Rights::FD_READ | Rights::FD_WRITE;
    let fd = guest
        .open_with(ROOT, "log", Oflags::CREAT, all, Fdflags::APPEND)
        .await
        .unwrap();
    guest.write(fd, b"one ").await.unwrap();
    guest.seek(fd, 0, SET).await.unwrap();
    guest.write(fd, b"two").await.unwrap();
    assert_eq!(guest.seek(fd, 0, CURRENT).await, Ok(7));
    guest.pwrite(fd, b"ONE", 0).await.unwrap();
    guest.seek(fd, 0, SET).await.unwrap();
    assert_eq!(guest.read(fd, 100).await.unwrap(), b"ONE two");
}

#[tokio::test]
async fn flags_can_be_changed_and_are_reported() {
    let mut guest = Guest::new();
    let fd = guest.create("log").await.unwrap();
    guest.write(fd, b"base").await.unwrap();
    let append = i32::from(u16::from(Fdflags::APPEND));
    let memory = &mut GuestMemory::Unshared(&mut guest.memory);
    answer(abi::fd_fdstat_set_flags(&mut guest.ctx, memory, fd, append).await).unwrap();
    answer(abi::fd_fdstat_get(&mut guest.ctx, memory, fd, RESULT).await).unwrap();
    assert_eq!(guest.bytes(RESULT, 4)[2], u8::try_from(append).unwrap());
    guest.seek(fd, 0, SET).await.unwrap();
    guest.write(fd, b"+more").await.unwrap();
    guest.seek(fd, 0, SET).await.unwrap();
    assert_eq!(guest.read(fd, 100).await.unwrap(), b"base+more");
}

#[tokio::test]
async fn rights_can_be_given_up_but_not_taken() {
    let mut guest = Guest::new();
    let fd = guest.create("a").await.unwrap();
    let reading = u64::from(Rights::FD_READ).cast_signed();
    let memory = &mut GuestMemory::Unshared(&mut guest.memory);
    answer(abi::fd_fdstat_set_rights(&mut guest.ctx, memory, fd, reading, 0).await).unwrap();
    let more = abi::fd_fdstat_set_rights(&mut guest.ctx, memory, fd, reading | 4, 0).await;
    assert_eq!(answer(more), Err(Errno::Notcapable));
    assert_eq!(guest.write(fd, b"x").await, Err(Errno::Notcapable));
    assert_eq!(guest.seek(fd, 0, SET).await, Err(Errno::Notcapable));
    assert_eq!(guest.read(fd, 1).await, Ok(Vec::new()));
}

#[tokio::test]
async fn what_was_not_opened_for_it_cannot_be_read_or_written() {
    let mut guest = Guest::new();
    let fd = guest.create("a").await.unwrap();
    guest.close(fd).await.unwrap();
    let reader = guest
        .open_with(
            ROOT,
            "a",
            Oflags::empty(),
            Rights::FD_READ,
            Fdflags::empty(),
        )
        .await
        .unwrap();
    assert_eq!(guest.write(reader, b"x").await, Err(Errno::Badf));
    let writer = guest
        .open_with(
            ROOT,
            "a",
            Oflags::empty(),
            Rights::FD_WRITE,
            Fdflags::empty(),
        )
        .await
        .unwrap();
    assert_eq!(guest.read(writer, 1).await, Err(Errno::Badf));
}

#[tokio::test]
async fn no_path_leads_out() {
    let mut guest = Guest::new();
    for path in ["../secret", "/etc/passwd", "tmp/../../secret", ".."] {
        let denied = guest.open_with(
            ROOT,
            path,
            Oflags::empty(),
            Rights::FD_READ,
            Fdflags::empty(),
        );
        assert_eq!(denied.await, Err(Errno::Perm), "{path}");
    }
    assert_eq!(guest.create("../made").await, Err(Errno::Perm));
    assert_eq!(guest.mkdir("../made").await, Err(Errno::Perm));
    assert_eq!(guest.symlink("/etc", "absolute").await, Err(Errno::Perm));
    guest.symlink("../..", "up").await.unwrap();
    assert_eq!(guest.create("up/made").await, Err(Errno::Perm));
    assert_eq!(guest.rename("up", ROOT, "../up").await, Err(Errno::Perm));
    assert_eq!(guest.used(), (0, 1));
}

#[tokio::test]
async fn a_symlink_put_there_by_the_host_leads_nowhere() {
    let home = tempfile::tempdir().unwrap();
    std::os::unix::fs::symlink("/etc", home.path().join("etc")).unwrap();
    let root = home.path().to_owned();
    let mut guest = Guest::with(|spec| spec.root = root);
    let denied = guest.open_with(
        ROOT,
        "etc/passwd",
        Oflags::empty(),
        Rights::FD_READ,
        Fdflags::empty(),
    );
    assert_eq!(denied.await, Err(Errno::Perm));
}

#[tokio::test]
async fn a_fifo_cannot_be_opened() {
    let home = tempfile::tempdir().unwrap();
    rustix::fs::mknodat(
        rustix::fs::CWD,
        home.path().join("fifo"),
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::RWXU,
        0,
    )
    .unwrap();
    let root = home.path().to_owned();
    let mut guest = Guest::with(|spec| spec.root = root);
    let denied = guest.open_with(
        ROOT,
        "fifo",
        Oflags::empty(),
        Rights::FD_READ,
        Fdflags::empty(),
    );
    assert_eq!(denied.await, Err(Errno::Nxio));
}

#[tokio::test]
async fn a_directory_is_read_in_pieces_while_it_shrinks() {
    let mut guest = Guest::with(|spec| spec.max_files = 100);
    let names: Vec<String> = (0..60).map(|i| format!("file-{i:02}")).collect();
    for name in &names {
        let fd = guest.create(name).await.unwrap();
        guest.close(fd).await.unwrap();
    }
    let (mut seen, mut cookie) = (Vec::new(), 0);
    loop {
        let memory = &mut GuestMemory::Unshared(&mut guest.memory);
        let done = abi::fd_readdir(&mut guest.ctx, memory, ROOT, DATA, 200, cookie, RESULT).await;
        answer(done).unwrap();
        let used = guest.u32(RESULT) as usize;
        let piece = entries(guest.bytes(DATA, used));
        for (name, next) in &piece {
            cookie = *next;
            if name.starts_with("file") {
                guest.unlink(name).await.unwrap();
            }
            seen.push(name.clone());
        }
        if used < 200 {
            break;
        }
    }
    seen.sort();
    let mut expected = names;
    expected.extend([".".into(), "..".into(), "tmp".into()]);
    expected.sort();
    assert_eq!(seen, expected);
    assert_eq!(guest.used().1, 0);
}

/// Names and cookies of the entries that are there in full.
fn entries(mut bytes: &[u8]) -> Vec<(String, i64)> {
    let mut entries = Vec::new();
    while bytes.len() >= 24 {
        let next = i64::from_le_bytes(bytes[..8].try_into().unwrap());
        let len = u32::from_le_bytes(bytes[16..20].try_into().unwrap()) as usize;
        let Some(name) = bytes.get(24..24 + len) else {
            break;
        };
        entries.push((String::from_utf8(name.to_vec()).unwrap(), next));
        bytes = &bytes[24 + len..];
    }
    entries
}

#[tokio::test]
async fn mounts_are_beside_the_root_and_may_be_read_only() {
    let host = tempfile::tempdir().unwrap();
    std::fs::write(host.path().join("data"), b"from the host").unwrap();
    let mount = |guest: &str, read_only| Mount {
        host: host.path().to_str().unwrap().into(),
        guest: guest.into(),
        read_only,
    };
    let mut guest = Guest::with(|spec| {
        spec.mounts = vec![mount("/ro", true), mount("/rw", false)];
        spec.disk_bytes = 0;
    });
    let (ro, rw) = (ROOT + 1, ROOT + 2);
    let none = (Oflags::empty(), Fdflags::empty());
    let fd = guest
        .open_with(ro, "data", none.0, Rights::FD_READ, none.1)
        .await
        .unwrap();
    assert_eq!(guest.read(fd, 100).await.unwrap(), b"from the host");
    let denied = guest
        .open_with(ro, "data", none.0, Rights::FD_WRITE, none.1)
        .await;
    assert_eq!(denied, Err(Errno::Rofs));
    let denied = guest
        .open_with(ro, "new", Oflags::CREAT, Rights::FD_READ, none.1)
        .await;
    assert_eq!(denied, Err(Errno::Rofs));
    let fd = guest
        .open_with(rw, "new", Oflags::CREAT, Rights::FD_WRITE, none.1)
        .await
        .unwrap();
    assert_eq!(guest.write(fd, b"not under the quota").await, Ok(19));
    assert_eq!(
        std::fs::read(host.path().join("new")).unwrap(),
        b"not under the quota"
    );
    let fd = guest.create("mine").await.unwrap();
    guest.close(fd).await.unwrap();
    assert_eq!(guest.rename("mine", rw, "theirs").await, Err(Errno::Xdev));
}

#[tokio::test]
async fn renumbering_moves_a_descriptor_and_closes_the_other() {
    let mut guest = Guest::new();
    let a = guest.create("a").await.unwrap();
    let b = guest.create("b").await.unwrap();
    guest.write(a, b"a").await.unwrap();
    let memory = &mut GuestMemory::Unshared(&mut guest.memory);
    answer(abi::fd_renumber(&mut guest.ctx, memory, a, b).await).unwrap();
    guest.write(b, b"a").await.unwrap();
    assert_eq!(guest.close(a).await, Err(Errno::Badf));
    guest.seek(b, 0, SET).await.unwrap();
    assert_eq!(guest.read(b, 10).await.unwrap(), b"aa");
    let memory = &mut GuestMemory::Unshared(&mut guest.memory);
    let missing = abi::fd_renumber(&mut guest.ctx, memory, b, 15).await;
    assert_eq!(answer(missing), Err(Errno::Badf));
}

#[tokio::test]
async fn socket_calls_say_that_it_is_no_socket() {
    let mut guest = Guest::new();
    let memory = &mut GuestMemory::Unshared(&mut guest.memory);
    for (fd, expected) in [
        (0, Errno::Notsock),
        (ROOT, Errno::Notsock),
        (9, Errno::Badf),
    ] {
        let done = abi::sock_shutdown(&mut guest.ctx, memory, fd, 1).await;
        assert_eq!(answer(done), Err(expected));
    }
}
