//! Objects by key: a directory of this machine, or whatever speaks S3.
//!
//! Small objects appear whole or not at all. A large one is *adopted*: its bytes lie in a file of the
//! staging directory already, and a local store takes that very file, so that nothing is written twice.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path as FilePath, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use bytes::Bytes;
use futures::stream::{self, BoxStream};
use futures::{StreamExt, TryStreamExt};
use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey};
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{GetResultPayload, ObjectMeta, ObjectStore, ObjectStoreExt, WriteMultipart};
use tokio::io::AsyncReadExt;

use super::error::BundleStoreError;
use crate::config::BundlesConfig;
use crate::store::fence::Fence;

/// How much is read of a local file at once.
const READ_BYTES: usize = 512 << 10;
/// How much goes to a remote store at once, and how often at the same time.
const PART_BYTES: usize = 8 << 20;
const PARTS_AT_ONCE: usize = 4;

/// Bytes as they come from a store.
pub(crate) type Chunks = BoxStream<'static, Result<Bytes, BundleStoreError>>;

/// Where objects are kept.
#[derive(Clone, Debug)]
pub(crate) struct Objects {
    store: Arc<dyn ObjectStore>,
    /// The same one, which does not wait until what it writes would survive a crash of the host.
    hasty: Arc<dyn ObjectStore>,
    local: Option<Local>,
    /// What is asked before anything is changed: of several masters one writes.
    fence: Fence,
}

/// What is known of a store that is a directory.
#[derive(Clone, Debug)]
struct Local {
    root: PathBuf,
    /// Whether what is stored must survive a crash of the host.
    flush: bool,
}

/// What is known of an object without reading it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Meta {
    pub(crate) size: u64,
    pub(crate) modified: SystemTime,
}

impl From<&ObjectMeta> for Meta {
    fn from(meta: &ObjectMeta) -> Self {
        Self {
            size: meta.size,
            modified: meta.last_modified.into(),
        }
    }
}

impl Objects {
    /// The store that the configuration names; by default this directory.
    pub(crate) fn open(
        directory: &FilePath,
        flush: bool,
        config: &BundlesConfig,
    ) -> Result<Self, BundleStoreError> {
        match &config.store {
            None => Self::local(directory, flush),
            Some(url) => Self::s3(url, config),
        }
    }

    fn local(root: &FilePath, flush: bool) -> Result<Self, BundleStoreError> {
        for directory in [root.to_owned(), root.join("sha256")] {
            fs::create_dir_all(&directory)
                .map_err(|error| BundleStoreError::io("create", &directory, error))?;
        }
        let store = |flush| {
            let store = LocalFileSystem::new_with_prefix(root);
            let store = store.map_err(|error| failed("open", &root.to_string_lossy(), error));
            store.map(|store| Arc::new(store.with_fsync(flush)))
        };
        Ok(Self {
            store: store(flush)?,
            hasty: store(false)?,
            local: Some(Local {
                root: root.to_owned(),
                flush,
            }),
            fence: Fence::always(),
        })
    }

    /// Credentials that the configuration leaves out come from the environment (`AWS_ACCESS_KEY_ID` …).
    fn s3(url: &str, config: &BundlesConfig) -> Result<Self, BundleStoreError> {
        let refused = || BundleStoreError::Config {
            key: "store",
            why: format!(
                "{url:?} is no place for bundles; write s3://BUCKET or s3://BUCKET/PREFIX"
            ),
        };
        let place = url.strip_prefix("s3://").ok_or_else(refused)?;
        let (bucket, prefix) = place.split_once('/').unwrap_or((place, ""));
        if bucket.is_empty() {
            return Err(refused());
        }
        // The first to ask decides for the process; whoever was earlier chose the same.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut builder = AmazonS3Builder::from_env().with_bucket_name(bucket);
        let secret = config
            .secret_access_key
            .as_ref()
            .map(|secret| secret.0.clone());
        let chosen = [
            (AmazonS3ConfigKey::Endpoint, &config.endpoint),
            (AmazonS3ConfigKey::Region, &config.region),
            (AmazonS3ConfigKey::AccessKeyId, &config.access_key_id),
            (AmazonS3ConfigKey::SecretAccessKey, &secret),
        ];
        for (key, value) in chosen {
            if let Some(value) = value {
                builder = builder.with_config(key, value);
            }
        }
        let builder = builder.with_allow_http(config.allow_http);
        let store = builder
            .build()
            .map_err(|error| failed("open", url, error))?;
        Ok(Self::remote(Arc::new(
            object_store::prefix::PrefixStore::new(store, prefix),
        )))
    }

    /// Any store that is not a directory.
    pub(crate) fn remote(store: Arc<dyn ObjectStore>) -> Self {
        Self {
            hasty: store.clone(),
            store,
            local: None,
            fence: Fence::always(),
        }
    }

    /// The same, changed only while the fence holds.
    pub(crate) fn behind(self, fence: Fence) -> Self {
        Self { fence, ..self }
    }

    /// A master that was deposed knows neither what is used now nor what was pushed since.
    fn check_fence(&self) -> Result<(), BundleStoreError> {
        if self.fence.holds() {
            Ok(())
        } else {
            Err(BundleStoreError::Deposed)
        }
    }

    /// Stores a small object.
    pub(crate) async fn put(&self, key: &str, bytes: Bytes) -> Result<(), BundleStoreError> {
        self.check_fence()?;
        let put = self.store.put(&path(key)?, bytes.into()).await;
        put.map(|_| ()).map_err(|error| failed("write", key, error))
    }

    /// Stores a small object that may be lost in a crash of the host.
    pub(crate) async fn put_hastily(
        &self,
        key: &str,
        bytes: Bytes,
    ) -> Result<(), BundleStoreError> {
        self.check_fence()?;
        let put = self.hasty.put(&path(key)?, bytes.into()).await;
        put.map(|_| ()).map_err(|error| failed("write", key, error))
    }

    /// Reads a small object.
    pub(crate) async fn get(&self, key: &str) -> Result<Option<Bytes>, BundleStoreError> {
        let Some(result) = found(self.store.get(&path(key)?).await, "read", key)? else {
            return Ok(None);
        };
        let bytes = result.bytes().await;
        bytes.map(Some).map_err(|error| failed("read", key, error))
    }

    /// What is known of an object.
    pub(crate) async fn stat(&self, key: &str) -> Result<Option<Meta>, BundleStoreError> {
        let meta = found(self.store.head(&path(key)?).await, "read", key)?;
        Ok(meta.as_ref().map(Meta::from))
    }

    /// The size of an object, and its bytes.
    pub(crate) async fn read(&self, key: &str) -> Result<Option<(u64, Chunks)>, BundleStoreError> {
        let Some(result) = found(self.store.get(&path(key)?).await, "read", key)? else {
            return Ok(None);
        };
        let size = result.meta.size;
        let key = key.to_owned();
        let chunks = match result.payload {
            GetResultPayload::File(file, path) => file_chunks(file, path),
            GetResultPayload::Stream(chunks) => chunks
                .map_err(move |error| failed("read", &key, error))
                .boxed(),
        };
        Ok(Some((size, chunks)))
    }

    /// All bytes of an object.
    pub(crate) async fn read_all(&self, key: &str) -> Result<Option<Bytes>, BundleStoreError> {
        let Some(local) = &self.local else {
            return self.get(key).await;
        };
        let file = local.root.join(key);
        blocking(move || match fs::read(&file) {
            Ok(bytes) => Ok(Some(bytes.into())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(BundleStoreError::io("read", &file, error)),
        })
        .await
    }

    /// Removes an object; it may be gone already.
    pub(crate) async fn delete(&self, key: &str) -> Result<(), BundleStoreError> {
        self.check_fence()?;
        found(self.store.delete(&path(key)?).await, "remove", key).map(|_| ())
    }

    /// Moves an object; it may be gone already.
    pub(crate) async fn rename(&self, from: &str, to: &str) -> Result<(), BundleStoreError> {
        self.check_fence()?;
        let renamed = self.store.rename(&path(from)?, &path(to)?).await;
        found(renamed, "rename", from).map(|_| ())
    }

    /// Everything below a key.
    pub(crate) async fn list(&self, below: &str) -> Result<Vec<(String, Meta)>, BundleStoreError> {
        let listed = self.store.list(Some(&path(below)?));
        let named = listed.map_ok(|meta| (meta.location.to_string(), Meta::from(&meta)));
        let all: Result<Vec<_>, _> = named.try_collect().await;
        all.map_err(|error| failed("list", below, error))
    }

    /// Makes a file of the staging directory an object.
    pub(crate) async fn adopt(&self, staged: PathBuf, key: &str) -> Result<(), BundleStoreError> {
        self.check_fence()?;
        match self.local.clone() {
            Some(local) => {
                let target = local.root.join(key);
                blocking(move || local.take(&staged, &target)).await
            }
            None => self.send(&staged, key).await,
        }
    }

    async fn send(&self, staged: &FilePath, key: &str) -> Result<(), BundleStoreError> {
        let io_failed = |error| BundleStoreError::io("read", staged, error);
        let failed = |error| failed("write", key, error);
        let mut file = tokio::fs::File::open(staged).await.map_err(io_failed)?;
        let upload = self
            .store
            .put_multipart(&path(key)?)
            .await
            .map_err(failed)?;
        let mut write = WriteMultipart::new_with_chunk_size(upload, PART_BYTES);
        let mut buffer = vec![0; PART_BYTES];
        loop {
            let read = file.read(&mut buffer).await.map_err(io_failed)?;
            if read == 0 {
                break;
            }
            write
                .wait_for_capacity(PARTS_AT_ONCE)
                .await
                .map_err(failed)?;
            write.write(&buffer[..read]);
        }
        write.finish().await.map_err(failed)?;
        // What is left behind is dropped with what is abandoned.
        let _ = fs::remove_file(staged);
        Ok(())
    }

    /// Whether what is stored must survive a crash of the host, and is a file.
    pub(crate) fn flushes(&self) -> bool {
        self.local.as_ref().is_some_and(|local| local.flush)
    }

    /// Whether when an object was last used is known after a restart.
    pub(crate) fn remembers_use(&self) -> bool {
        self.local.is_some()
    }

    /// Says that an object was used just now, where a store can remember that.
    pub(crate) async fn touch(&self, key: &str) {
        if let Some(local) = &self.local {
            let file = local.root.join(key);
            let touched = tokio::task::spawn_blocking(move || {
                File::open(file).and_then(|file| file.set_modified(SystemTime::now()))
            });
            // A blob that nobody remembers the use of is collected earlier; nothing else is lost.
            let _ = touched.await;
        }
    }
}

impl Local {
    /// The rename is the moment at which the object is there; everything before it must be flushed, and
    /// the directory after it, or a crash could leave a name without its bytes.
    fn take(&self, staged: &FilePath, target: &FilePath) -> Result<(), BundleStoreError> {
        let failed = |action, error| BundleStoreError::io(action, staged, error);
        let directory = target.parent().unwrap_or(&self.root);
        if self.flush {
            let file = File::open(staged).map_err(|error| failed("open", error))?;
            file.sync_all().map_err(|error| failed("flush", error))?;
        }
        fs::rename(staged, target).map_err(|error| failed("rename", error))?;
        if self.flush {
            File::open(directory)
                .and_then(|directory| directory.sync_all())
                .map_err(|error| BundleStoreError::io("flush", directory, error))?;
        }
        Ok(())
    }
}

/// A local file in large pieces, each read where it holds up nobody.
fn file_chunks(file: File, path: PathBuf) -> Chunks {
    let file = Arc::new(file);
    stream::try_unfold((file, path, 0_u64), |(file, path, at)| async move {
        let reader = Arc::clone(&file);
        let read = tokio::task::spawn_blocking(move || read_piece(&reader, at));
        let piece = match read.await {
            Ok(piece) => piece.map_err(|error| BundleStoreError::io("read", &path, error))?,
            Err(lost) => return Err(BundleStoreError::io("read", &path, io::Error::other(lost))),
        };
        let next = at + piece.len() as u64;
        Ok((!piece.is_empty()).then_some((piece, (file, path, next))))
    })
    .boxed()
}

fn read_piece(file: &File, at: u64) -> io::Result<Bytes> {
    let mut buffer = vec![0; READ_BYTES];
    let read = loop {
        match file.read_at(&mut buffer, at) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            read => break read?,
        }
    };
    buffer.truncate(read);
    Ok(buffer.into())
}

fn path(key: &str) -> Result<Path, BundleStoreError> {
    Path::parse(key).map_err(|error| failed("name", key, error.into()))
}

/// What is not there is no failure.
fn found<T>(
    result: object_store::Result<T>,
    action: &'static str,
    key: &str,
) -> Result<Option<T>, BundleStoreError> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(object_store::Error::NotFound { .. }) => Ok(None),
        Err(error) => Err(failed(action, key, error)),
    }
}

fn failed(action: &'static str, key: &str, source: object_store::Error) -> BundleStoreError {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(&source);
    while let Some(error) = cause {
        let kind = error.downcast_ref::<io::Error>().map(io::Error::kind);
        if let Some(kind @ (io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)) = kind {
            return BundleStoreError::io(action, FilePath::new(key), kind.into());
        }
        cause = error.source();
    }
    BundleStoreError::Object {
        action,
        key: key.to_owned(),
        source,
    }
}

/// Does something that may wait for the disk where it holds up nobody.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, BundleStoreError> + Send + 'static,
) -> Result<T, BundleStoreError> {
    tokio::task::spawn_blocking(work)
        .await
        .unwrap_or_else(|lost| {
            let lost = io::Error::other(lost);
            Err(BundleStoreError::io(
                "work on",
                FilePath::new("bundles"),
                lost,
            ))
        })
}
