//! Quotas of directories that more than one sandbox of the process may have: what one writes, all have
//! less of.

use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Weak};

use dashmap::DashMap;
use nesos_types::cell::SandboxVolume;

use super::default_max_files;
use super::quota::DiskQuota;

/// The quotas of directories that are in use, by their paths on the host.
#[derive(Debug, Default)]
pub(crate) struct SharedQuotas(DashMap<PathBuf, Weak<DiskQuota>>);

impl SharedQuotas {
    /// The quota of a volume. The first that has it counts what lies in it.
    pub(super) fn of(&self, volume: &SandboxVolume) -> io::Result<Arc<DiskQuota>> {
        // Held while it is counted, so that it is counted once.
        let mut entry = self.0.entry(volume.host.clone()).or_default();
        if let Some(quota) = entry.upgrade() {
            return Ok(quota);
        }
        let quota = DiskQuota::new(volume.max_bytes, default_max_files(volume.max_bytes));
        quota.adopt(&volume.host)?;
        *entry = Arc::downgrade(&quota);
        drop(entry);
        self.forget_unused();
        Ok(quota)
    }

    fn forget_unused(&self) {
        self.0.retain(|_, quota| quota.strong_count() > 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_one_writes_all_have_less_of_and_is_counted_once() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("before"), [0; 7]).unwrap();
        let volume = SandboxVolume {
            host: directory.path().to_owned(),
            guest: "/group".to_owned(),
            read_only: false,
            max_bytes: 100,
        };
        let quotas = SharedQuotas::default();
        let one = quotas.of(&volume).unwrap();
        let other = quotas.of(&volume).unwrap();
        assert!(Arc::ptr_eq(&one, &other));
        assert_eq!(one.peak_bytes(), 7);
        drop((one, other));
        std::fs::write(directory.path().join("more"), [0; 5]).unwrap();
        assert_eq!(quotas.of(&volume).unwrap().peak_bytes(), 12);
        assert_eq!(quotas.0.len(), 1);
    }
}
