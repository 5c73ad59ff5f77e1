//! The sandbox directories on the disk: finding those of earlier times, removing those that the core
//! has given up. When one is given up the core decides.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::thread;
use std::time::UNIX_EPOCH;

use nesos_agent_core::SandboxDir;
use nesos_agent_core::checkpoint::FoundSandbox;
use nesos_types::time::Time;

/// Finds all sandbox directories below `root`. What cannot be read is left alone: it is neither found
/// nor removed.
pub(crate) fn find(root: &Path) -> Vec<FoundSandbox> {
    let mut found = Vec::new();
    for cell in children(root) {
        for framework in children(&cell) {
            for generation in children(&framework) {
                let tasks = children(&generation);
                found.extend(tasks.filter_map(|task| inspect(root, &task)));
            }
        }
    }
    found
}

fn children(directory: &Path) -> impl Iterator<Item = PathBuf> + use<> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    entries.map(|entry| entry.path())
}

fn inspect(root: &Path, path: &Path) -> Option<FoundSandbox> {
    let directory = path.strip_prefix(root).ok()?.to_owned();
    SandboxDir::parse(&directory)?;
    let metadata = fs::symlink_metadata(path)
        .ok()
        .filter(fs::Metadata::is_dir)?;
    let changed = metadata.modified().ok()?.duration_since(UNIX_EPOCH);
    Some(FoundSandbox {
        directory,
        changed_at: Time::ZERO + changed.unwrap_or_default(),
        bytes: size_of(path),
    })
}

/// What a directory holds. Links are not followed: a guest may have made them.
fn size_of(directory: &Path) -> u64 {
    let mut bytes = 0;
    let mut open = vec![directory.to_owned()];
    while let Some(directory) = open.pop() {
        for path in children(&directory) {
            match fs::symlink_metadata(&path) {
                Ok(metadata) if metadata.is_dir() => open.push(path),
                Ok(metadata) => bytes += metadata.len(),
                Err(_) => {}
            }
        }
    }
    bytes
}

/// Removes directories in the background, one after the other, so that a large one holds nobody up.
#[derive(Debug)]
pub(crate) struct Remover {
    queue: mpsc::Sender<PathBuf>,
}

impl Remover {
    /// Starts the thread; it ends when this is dropped and what was queued is removed.
    pub(crate) fn start() -> io::Result<Self> {
        let (queue, paths) = mpsc::channel::<PathBuf>();
        thread::Builder::new()
            .name("sandbox-remover".to_owned())
            .spawn(move || paths.into_iter().for_each(|path| remove(&path)))?;
        Ok(Self { queue })
    }

    /// Removes a directory soon, if it is there.
    pub(crate) fn remove(&self, directory: PathBuf) {
        // The thread lives as long as its queue.
        let _ = self.queue.send(directory);
    }
}

fn remove(directory: &Path) {
    match fs::remove_dir_all(directory) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            tracing::warn!(path = %directory.display(), %error, "cannot remove a sandbox directory");
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directories_of_tasks_are_found_and_nothing_else() {
        let root = tempfile::tempdir().unwrap();
        let framework = nesos_types::ids::FrameworkId(1).to_string();
        let task = root
            .path()
            .join("cell-3")
            .join(&framework)
            .join("0")
            .join("a task");
        fs::create_dir_all(task.join("root/tmp")).unwrap();
        fs::write(task.join("stdout"), b"12345").unwrap();
        fs::create_dir_all(root.path().join("cell-x").join(&framework).join("0/b")).unwrap();
        fs::create_dir_all(root.path().join("lost+found")).unwrap();
        fs::write(root.path().join("note"), b"").unwrap();
        let found = find(root.path());
        assert_eq!(found.len(), 1);
        assert_eq!(root.path().join(&found[0].directory), task);
        assert_eq!(found[0].bytes, 5);
        assert!(found[0].changed_at > Time::ZERO);
    }

    #[test]
    fn links_out_of_a_sandbox_are_removed_and_not_followed() {
        let root = tempfile::tempdir().unwrap();
        let outside = root.path().join("outside");
        fs::write(&outside, b"keep").unwrap();
        let sandbox = root.path().join("sandbox");
        fs::create_dir(&sandbox).unwrap();
        std::os::unix::fs::symlink(root.path(), sandbox.join("up")).unwrap();
        assert!(size_of(&sandbox) < 4096);
        remove(&sandbox);
        assert!(!sandbox.exists() && outside.exists());
        remove(&sandbox);
    }
}
