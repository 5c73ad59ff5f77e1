//! What a bundle would like to be allowed that another version of it did not, and what it no longer needs.

use std::fmt;

use crate::manifest::{Capabilities, Manifest, Peer, Volume};

/// One difference between two versions of a bundle.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// It now wants to reach somebody.
    NetworkWanted(Peer),
    /// It no longer wants to.
    NetworkDropped(Peer),
    /// It now wants a volume.
    VolumeWanted(Volume),
    /// It now wants to write to a volume that it only read.
    VolumeWritten(Volume),
    /// It now only reads a volume that it wrote to.
    VolumeOnlyRead(Volume),
    /// It no longer wants a volume.
    VolumeDropped(Volume),
}

impl Change {
    /// Whether the bundle wants more than before.
    #[must_use]
    pub fn wants_more(&self) -> bool {
        matches!(
            self,
            Self::NetworkWanted(_) | Self::VolumeWanted(_) | Self::VolumeWritten(_)
        )
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NetworkWanted(peer) => write!(f, "now wants network to {peer}"),
            Self::NetworkDropped(peer) => write!(f, "no longer wants network to {peer}"),
            Self::VolumeWanted(volume) => {
                let how = if volume.read_only {
                    "to read"
                } else {
                    "to write"
                };
                write!(
                    f,
                    "now wants {how} the volume {} at {}",
                    volume.name, volume.guest
                )
            }
            Self::VolumeWritten(volume) => {
                write!(f, "now wants to write to the volume {}", volume.name)
            }
            Self::VolumeOnlyRead(volume) => write!(f, "now only reads the volume {}", volume.name),
            Self::VolumeDropped(volume) => write!(f, "no longer wants the volume {}", volume.name),
        }
    }
}

/// What changes in what is wanted from `old` to `new`: what is wanted more first. A bundle without a
/// manifest wants nothing.
#[must_use]
pub fn between(old: Option<&Manifest>, new: Option<&Manifest>) -> Vec<Change> {
    let nothing = Capabilities::default();
    let wanted = |manifest: Option<&Manifest>| {
        manifest.map_or_else(|| nothing.clone(), |manifest| manifest.capabilities.clone())
    };
    let (old, new) = (wanted(old), wanted(new));
    let mut changes = peers(&old.network, &new.network);
    changes.extend(volumes(&old.volumes, &new.volumes));
    changes.sort_by_key(|change| !change.wants_more());
    changes
}

fn peers(old: &[Peer], new: &[Peer]) -> Vec<Change> {
    let wanted = new.iter().filter(|peer| !old.contains(peer));
    let dropped = old.iter().filter(|peer| !new.contains(peer));
    let wanted = wanted.cloned().map(Change::NetworkWanted);
    wanted
        .chain(dropped.cloned().map(Change::NetworkDropped))
        .collect()
}

fn volumes(old: &[Volume], new: &[Volume]) -> Vec<Change> {
    let find = |among: &[Volume], volume: &Volume| {
        among
            .iter()
            .find(|other| other.name == volume.name)
            .cloned()
    };
    let changed = new.iter().filter_map(|volume| match find(old, volume) {
        None => Some(Change::VolumeWanted(volume.clone())),
        Some(before) if before.read_only && !volume.read_only => {
            Some(Change::VolumeWritten(volume.clone()))
        }
        Some(before) if !before.read_only && volume.read_only => {
            Some(Change::VolumeOnlyRead(volume.clone()))
        }
        Some(_) => None,
    });
    let dropped = old.iter().filter(|volume| find(new, volume).is_none());
    changed
        .chain(dropped.cloned().map(Change::VolumeDropped))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest(capabilities: &str) -> Manifest {
        let text = format!("name = \"a\"\n[capabilities]\n{capabilities}");
        Manifest::parse(text.as_bytes()).expect("a manifest")
    }

    fn words(old: Option<&Manifest>, new: Option<&Manifest>) -> Vec<String> {
        between(old, new).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn what_is_wanted_more_is_said_first() {
        let old = manifest(
            "network = [\"a:1\", \"b:1\"]\nvolumes = [{name = \"x\", guest = \"/x\", read_only = true}]",
        );
        let new = manifest(
            "network = [\"b:1\", \"c:1\"]\nvolumes = [{name = \"x\", guest = \"/x\"}, {name = \"y\", guest = \"/y\"}]",
        );
        assert_eq!(
            words(Some(&old), Some(&new)),
            [
                "now wants network to c:1",
                "now wants to write to the volume x",
                "now wants to write the volume y at /y",
                "no longer wants network to a:1",
            ]
        );
        assert!(between(Some(&new), Some(&new)).is_empty());
    }

    #[test]
    fn a_bundle_without_a_manifest_wants_nothing() {
        let some = manifest("network = [\"a:1\"]");
        assert_eq!(words(None, Some(&some)), ["now wants network to a:1"]);
        assert_eq!(words(Some(&some), None), ["no longer wants network to a:1"]);
        assert!(between(None, None).is_empty());
    }
}
