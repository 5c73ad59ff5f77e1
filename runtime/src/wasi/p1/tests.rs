//! WASI 0.1 as a guest sees it: its functions, called over a memory of the test's own.

mod files;
mod quotas;
mod surroundings;

use std::sync::Arc;

use bytes::Bytes;
use nesos_types::task::Mount;
use tokio::sync::mpsc;
use wasi_common::snapshots::preview_1::error::Errno;
use wasi_common::snapshots::preview_1::types::{Fdflags, Oflags, Rights};
use wasi_common::snapshots::preview_1::wasi_snapshot_preview1 as abi;
use wiggle::GuestMemory;

use super::Ctx;
use crate::determinism::Determinism;
use crate::wasi::{Stdin, Stdout, WasiSpec};

/// Where the harness keeps a path, a list of buffers, data and results in the guest's memory.
const PATH: i32 = 0;
const OTHER_PATH: i32 = 0x1_0000;
const VECTOR: i32 = 0x2_0000;
const RESULT: i32 = 0x3_0000;
const DATA: i32 = 0x4_0000;
const MEMORY: usize = 8 << 20;

/// The preopened root.
const ROOT: i32 = 3;

type Answer<T> = Result<T, Errno>;

/// A guest without code: its memory and its surroundings.
struct Guest {
    ctx: Ctx,
    memory: Vec<u8>,
    _home: tempfile::TempDir,
}

fn spec(home: &tempfile::TempDir) -> WasiSpec {
    WasiSpec {
        args: vec!["guest".into(), "one".into()],
        env: vec![("KEY".into(), "value".into())],
        root: home.path().join("root"),
        mounts: Vec::new(),
        volumes: Vec::new(),
        quotas: Arc::default(),
        stdin: Stdin::Empty,
        stdout: Stdout::Null,
        stderr: Stdout::Null,
        disk_bytes: 1 << 20,
        max_files: 8,
        max_descriptors: 16,
        determinism: None,
    }
}

impl Guest {
    fn new() -> Self {
        Self::with(|_| {})
    }

    fn with(change: impl FnOnce(&mut WasiSpec)) -> Self {
        let home = tempfile::tempdir().unwrap();
        let mut spec = spec(&home);
        change(&mut spec);
        Self {
            ctx: Ctx::new(spec).unwrap(),
            memory: vec![0; MEMORY],
            _home: home,
        }
    }

    fn put(&mut self, at: i32, bytes: &[u8]) -> (i32, i32) {
        let start = usize::try_from(at).unwrap();
        self.memory[start..start + bytes.len()].copy_from_slice(bytes);
        (at, i32::try_from(bytes.len()).unwrap())
    }

    fn bytes(&self, at: i32, len: usize) -> &[u8] {
        &self.memory[usize::try_from(at).unwrap()..][..len]
    }

    fn u32(&self, at: i32) -> u32 {
        u32::from_le_bytes(self.bytes(at, 4).try_into().unwrap())
    }

    fn u64(&self, at: i32) -> u64 {
        u64::from_le_bytes(self.bytes(at, 8).try_into().unwrap())
    }

    async fn open(&mut self, path: &str, oflags: Oflags) -> Answer<i32> {
        self.open_with(
            ROOT,
            path,
            oflags,
            Rights::FD_READ | Rights::FD_WRITE,
            Fdflags::empty(),
        )
        .await
    }

    async fn open_with(
        &mut self,
        dir: i32,
        path: &str,
        oflags: Oflags,
        rights: Rights,
        flags: Fdflags,
    ) -> Answer<i32> {
        let (path, len) = self.put(PATH, path.as_bytes());
        let (oflags, flags) = (i32::from(u16::from(oflags)), i32::from(u16::from(flags)));
        let rights = u64::from(rights).cast_signed();
        let memory = &mut GuestMemory::Unshared(&mut self.memory);
        let done = abi::path_open(
            &mut self.ctx,
            memory,
            dir,
            1,
            path,
            len,
            oflags,
            rights,
            rights,
            flags,
            RESULT,
        )
        .await;
        answer(done)?;
        Ok(self.u32(RESULT).cast_signed())
    }

    async fn create(&mut self, path: &str) -> Answer<i32> {
        self.open(path, Oflags::CREAT).await
    }

    async fn write(&mut self, fd: i32, bytes: &[u8]) -> Answer<u32> {
        self.buffers(bytes);
        let memory = &mut GuestMemory::Unshared(&mut self.memory);
        answer(abi::fd_write(&mut self.ctx, memory, fd, VECTOR, 1, RESULT).await)?;
        Ok(self.u32(RESULT))
    }

    async fn pwrite(&mut self, fd: i32, bytes: &[u8], offset: i64) -> Answer<u32> {
        self.buffers(bytes);
        let memory = &mut GuestMemory::Unshared(&mut self.memory);
        answer(abi::fd_pwrite(&mut self.ctx, memory, fd, VECTOR, 1, offset, RESULT).await)?;
        Ok(self.u32(RESULT))
    }

    async fn read(&mut self, fd: i32, len: usize) -> Answer<Vec<u8>> {
        self.buffers(&vec![0; len]);
        let memory = &mut GuestMemory::Unshared(&mut self.memory);
        answer(abi::fd_read(&mut self.ctx, memory, fd, VECTOR, 1, RESULT).await)?;
        Ok(self.bytes(DATA, self.u32(RESULT) as usize).to_vec())
    }

    /// One buffer at [`DATA`] with these bytes.
    fn buffers(&mut self, bytes: &[u8]) {
        let (data, len) = self.put(DATA, bytes);
        self.put(VECTOR, &data.to_le_bytes());
        self.put(VECTOR + 4, &len.to_le_bytes());
    }

    async fn seek(&mut self, fd: i32, offset: i64, whence: i32) -> Answer<u64> {
        let memory = &mut GuestMemory::Unshared(&mut self.memory);
        answer(abi::fd_seek(&mut self.ctx, memory, fd, offset, whence, RESULT).await)?;
        Ok(self.u64(RESULT))
    }

    async fn set_size(&mut self, fd: i32, size: i64) -> Answer<()> {
        let memory = &mut GuestMemory::Unshared(&mut self.memory);
        answer(abi::fd_filestat_set_size(&mut self.ctx, memory, fd, size).await)
    }

    async fn close(&mut self, fd: i32) -> Answer<()> {
        let memory = &mut GuestMemory::Unshared(&mut self.memory);
        answer(abi::fd_close(&mut self.ctx, memory, fd).await)
    }

    async fn mkdir(&mut self, path: &str) -> Answer<()> {
        let (path, len) = self.put(PATH, path.as_bytes());
        let memory = &mut GuestMemory::Unshared(&mut self.memory);
        answer(abi::path_create_directory(&mut self.ctx, memory, ROOT, path, len).await)
    }

    async fn rmdir(&mut self, path: &str) -> Answer<()> {
        let (path, len) = self.put(PATH, path.as_bytes());
        let memory = &mut GuestMemory::Unshared(&mut self.memory);
        answer(abi::path_remove_directory(&mut self.ctx, memory, ROOT, path, len).await)
    }

    async fn unlink(&mut self, path: &str) -> Answer<()> {
        let (path, len) = self.put(PATH, path.as_bytes());
        let memory = &mut GuestMemory::Unshared(&mut self.memory);
        answer(abi::path_unlink_file(&mut self.ctx, memory, ROOT, path, len).await)
    }

    async fn rename(&mut self, from: &str, to_dir: i32, to: &str) -> Answer<()> {
        let (from, from_len) = self.put(PATH, from.as_bytes());
        let (to, to_len) = self.put(OTHER_PATH, to.as_bytes());
        let memory = &mut GuestMemory::Unshared(&mut self.memory);
        let done = abi::path_rename(
            &mut self.ctx,
            memory,
            ROOT,
            from,
            from_len,
            to_dir,
            to,
            to_len,
        );
        answer(done.await)
    }

    async fn link(&mut self, from: &str, to: &str) -> Answer<()> {
        let (from, from_len) = self.put(PATH, from.as_bytes());
        let (to, to_len) = self.put(OTHER_PATH, to.as_bytes());
        let memory = &mut GuestMemory::Unshared(&mut self.memory);
        answer(
            abi::path_link(
                &mut self.ctx,
                memory,
                ROOT,
                0,
                from,
                from_len,
                ROOT,
                to,
                to_len,
            )
            .await,
        )
    }

    async fn symlink(&mut self, target: &str, path: &str) -> Answer<()> {
        let (target, target_len) = self.put(PATH, target.as_bytes());
        let (path, path_len) = self.put(OTHER_PATH, path.as_bytes());
        let memory = &mut GuestMemory::Unshared(&mut self.memory);
        let done = abi::path_symlink(
            &mut self.ctx,
            memory,
            target,
            target_len,
            ROOT,
            path,
            path_len,
        );
        answer(done.await)
    }

    fn used(&self) -> (u64, u64) {
        (self.ctx.quota().bytes(), self.ctx.quota().files())
    }
}

/// The error number that a function gave; a trap fails the test.
fn answer(done: wiggle::anyhow::Result<i32>) -> Answer<()> {
    let number = u16::try_from(done.unwrap()).unwrap();
    match Errno::try_from(number).unwrap() {
        Errno::Success => Ok(()),
        errno => Err(errno),
    }
}
