//! The read-only files of a bundle: a tar, compressed by gzip, and back.
//!
//! What is packed is sorted, without times, owners or the host's modes. What is unpacked is believed
//! nothing: only plain files and folders, each below the folder that it is unpacked to, each once, within
//! limits of number and size that hold while unpacking. Names are as long as ustar has them (255 bytes), so
//! that no header need be read into memory whose length a stranger chose.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read};
use std::path::{Component, Path, PathBuf};

use bytes::Bytes;
use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use tar::{Archive, Builder, Entry, EntryType, Header};
use thiserror::Error;

/// The longest layer of files, compressed, in bytes.
pub const MAX_PACKED_BYTES: u64 = 1 << 30;

/// What unpacking may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of all files together.
    pub bytes: u64,
    /// Files and folders.
    pub entries: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            bytes: 4 << 30,
            entries: 65_536,
        }
    }
}

/// Why files cannot be packed or unpacked.
#[derive(Debug, Error)]
pub enum FilesError {
    /// A name that a tar cannot hold or a bundle may not.
    #[error("{path:?} cannot be in a bundle: {why}")]
    Path {
        /// The name.
        path: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// Something that is neither a file nor a folder.
    #[error("{path:?} is neither a plain file nor a folder; a bundle holds nothing else")]
    Kind {
        /// Its name.
        path: String,
    },
    /// More than may be unpacked.
    #[error("the bundle's files are more than {what}")]
    TooMuch {
        /// The limit that would be broken.
        what: String,
    },
    /// The tar, the compression or the disk.
    #[error("the bundle's files cannot be unpacked: {0}")]
    Io(#[from] io::Error),
}

/// Makes a layer of these files: names with `/` between folders, and contents.
///
/// # Errors
/// If a name cannot be in a bundle.
pub fn pack(files: &BTreeMap<String, Bytes>) -> Result<Bytes, FilesError> {
    let mut builder = Builder::new(GzEncoder::new(Vec::new(), Compression::best()));
    for (path, content) in files {
        plain(Path::new(path))?;
        let mut header = Header::new_ustar();
        header
            .set_path(path)
            .map_err(|_| bad(path, "it is longer than 255 bytes"))?;
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        header.set_entry_type(EntryType::Regular);
        header.set_mtime(0);
        header.set_cksum();
        builder.append(&header, &content[..])?;
    }
    Ok(builder.into_inner()?.finish()?.into())
}

/// Unpacks a layer below `folder`, which exists and is empty.
///
/// # Errors
/// If the layer is broken, holds what no bundle may, or is too much. What was unpacked until then is there.
pub fn unpack(layer: impl Read, folder: &Path, limits: Limits) -> Result<(), FilesError> {
    let mut archive = Archive::new(GzDecoder::new(layer));
    let mut left = limits;
    for entry in archive.entries()?.raw(true) {
        let mut entry = entry?;
        let path = entry.path()?.into_owned();
        left.entries = left
            .entries
            .checked_sub(1)
            .ok_or_else(|| too_much(limits.entries, "entries"))?;
        let size = entry.header().size()?;
        left.bytes = left
            .bytes
            .checked_sub(size)
            .ok_or_else(|| too_much(limits.bytes, "bytes"))?;
        place(&mut entry, &path, folder)?;
    }
    Ok(())
}

fn place<R: Read>(entry: &mut Entry<'_, R>, path: &Path, folder: &Path) -> Result<(), FilesError> {
    let name = path.to_string_lossy().into_owned();
    match entry.header().entry_type() {
        EntryType::Directory => {
            fs::create_dir_all(folder.join(plain(path)?))?;
            Ok(())
        }
        EntryType::Regular => {
            let target = folder.join(plain(path)?);
            if let Some(parent) = target.parent() {
                fs::create_dir_all(parent)?;
            }
            write(entry, &target, &name)
        }
        EntryType::GNULongName | EntryType::XHeader => {
            Err(bad(&name, "a name in it is longer than 255 bytes"))
        }
        EntryType::XGlobalHeader => Ok(()),
        _ => Err(FilesError::Kind { path: name }),
    }
}

fn write(from: &mut impl Read, target: &Path, name: &str) -> Result<(), FilesError> {
    let mut options = OpenOptions::new();
    let opened: io::Result<File> = options.write(true).create_new(true).open(target);
    match opened {
        Ok(mut file) => {
            io::copy(from, &mut file)?;
            Ok(())
        }
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            Err(bad(name, "it is there twice"))
        }
        Err(error) => Err(error.into()),
    }
}

/// The path without `.`; refused if it leads anywhere but down.
fn plain(path: &Path) -> Result<PathBuf, FilesError> {
    let mut plain = PathBuf::new();
    for component in path.components() {
        match component {
            Component::Normal(part) => plain.push(part),
            Component::CurDir => {}
            Component::RootDir | Component::Prefix(_) => {
                return Err(bad(&path.to_string_lossy(), "it is absolute"));
            }
            Component::ParentDir => {
                return Err(bad(&path.to_string_lossy(), "it leads upwards by .."));
            }
        }
    }
    Ok(plain)
}

fn bad(path: &str, why: &'static str) -> FilesError {
    FilesError::Path {
        path: path.chars().take(255).collect(),
        why,
    }
}

fn too_much(limit: u64, of: &str) -> FilesError {
    FilesError::TooMuch {
        what: format!("{limit} {of}"),
    }
}

#[cfg(test)]
mod tests;
