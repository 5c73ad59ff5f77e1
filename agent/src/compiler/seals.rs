//! Seals of compiled images: an image is machine code, and is mapped only if this agent, or another that has
//! the same key, has made it.
//!
//! The key lies beside the images in a file that only the agent's user can read. A seal is a keyed hash over
//! the image's name and its content, so that neither can be changed nor be exchanged. It is checked whenever
//! an image is taken out of the cache to be held, which is once for all tasks that then use it
//! (`docs/adr/0008-compiled-images-are-sealed.md`).

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rand::TryRngCore;

const KEY_FILE: &str = "key";
const KEY_BYTES: usize = 32;
const EXTENSION: &str = "seal";

/// Makes and checks seals.
pub(super) struct Seals {
    key: [u8; KEY_BYTES],
}

impl std::fmt::Debug for Seals {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Seals(…)")
    }
}

impl Seals {
    /// Reads the key of a directory of images, or makes one.
    pub(super) fn open(directory: &Path) -> io::Result<Self> {
        let path = directory.join(KEY_FILE);
        if let Some(key) = read_key(&path)? {
            return Ok(Self { key });
        }
        let mut key = [0; KEY_BYTES];
        rand::rngs::OsRng
            .try_fill_bytes(&mut key)
            .map_err(io::Error::other)?;
        let part = directory.join(format!("{KEY_FILE}.{}", std::process::id()));
        // An earlier process of this number may have ended before it was done.
        remove(&part)?;
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&part)?;
        file.write_all(&key)?;
        file.sync_all()?;
        // A link fails where a rename replaces: of two that start at once the first one's key is used by both.
        let linked = fs::hard_link(&part, &path);
        remove(&part)?;
        match linked {
            Ok(()) => Ok(Self { key }),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => match read_key(&path)? {
                Some(key) => Ok(Self { key }),
                None => Err(error),
            },
            Err(error) => Err(error),
        }
    }

    /// Seals an image that was just made. Blocks.
    pub(super) fn seal(&self, image: &Path) -> io::Result<()> {
        let seal = self.of(image)?;
        let path = seal_of(image);
        let part = path.with_extension(format!("{EXTENSION}.{}", std::process::id()));
        fs::write(&part, seal.to_hex().as_bytes())?;
        fs::rename(part, path)
    }

    /// Whether an image is what was sealed. Blocks for as long as it takes to read it.
    pub(super) fn holds(&self, image: &Path) -> bool {
        let Ok(written) = fs::read_to_string(seal_of(image)) else {
            return false;
        };
        let Ok(written) = blake3::Hash::from_hex(written.trim()) else {
            return false;
        };
        // Hashes are compared in the same time wherever they differ.
        self.of(image).is_ok_and(|seal| seal == written)
    }

    fn of(&self, image: &Path) -> io::Result<blake3::Hash> {
        let mut hasher = blake3::Hasher::new_keyed(&self.key);
        let name = image.file_name().unwrap_or_default().as_encoded_bytes();
        hasher.update(&(name.len() as u64).to_le_bytes());
        hasher.update(name);
        hasher.update_reader(File::open(image)?)?;
        Ok(hasher.finalize())
    }
}

/// The key, if it is there and nobody else could have read it. One that others could read is removed.
fn read_key(path: &Path) -> io::Result<Option<[u8; KEY_BYTES]>> {
    let mut file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let metadata = file.metadata()?;
    let mut key = [0; KEY_BYTES];
    if metadata.mode() & 0o077 == 0 && metadata.len() == KEY_BYTES as u64 {
        file.read_exact(&mut key)?;
        return Ok(Some(key));
    }
    tracing::warn!(
        ?path,
        "others could read the key of compiled code, or it is broken; a new one is made"
    );
    remove(path)?;
    Ok(None)
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Where the seal of an image lies.
fn seal_of(image: &Path) -> PathBuf {
    image.with_extension(EXTENSION)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn image(folder: &Path, name: &str, content: &[u8]) -> PathBuf {
        let path = folder.join(name);
        fs::write(&path, content).expect("written");
        path
    }

    #[test]
    fn a_seal_holds_for_one_name_one_content_and_one_key() {
        let folder = tempfile::tempdir().expect("a folder");
        let seals = Seals::open(folder.path()).expect("opens");
        let code = image(folder.path(), "a.cwasm", b"code");
        assert!(!seals.holds(&code), "it was never sealed");
        seals.seal(&code).expect("seals");
        assert!(seals.holds(&code));
        assert!(
            Seals::open(folder.path()).expect("opens").holds(&code),
            "a later agent"
        );
        let other = image(folder.path(), "b.cwasm", b"code");
        fs::copy(seal_of(&code), seal_of(&other)).expect("copied");
        assert!(!seals.holds(&other), "another name");
        fs::write(&code, b"evil").expect("written");
        assert!(!seals.holds(&code), "another content");
        seals.seal(&code).expect("seals");
        fs::remove_file(folder.path().join(KEY_FILE)).expect("is there");
        assert!(
            !Seals::open(folder.path()).expect("opens").holds(&code),
            "another key"
        );
    }

    #[test]
    fn the_key_is_for_its_user_alone() {
        let folder = tempfile::tempdir().expect("a folder");
        let seals = Seals::open(folder.path()).expect("opens");
        let path = folder.path().join(KEY_FILE);
        let mode = fs::metadata(&path).expect("is there").mode();
        assert_eq!(mode & 0o777, 0o600);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).expect("set");
        let later = Seals::open(folder.path()).expect("opens");
        assert_ne!(seals.key, later.key, "somebody could have read it");
    }
}
