//! The bundles that a framework has launched lately: those about which it wants to know where they are
//! compiled.

use std::collections::{BTreeSet, VecDeque};

use nesos_types::bundle::Digest;

/// How many bundles of one framework are remembered: each is looked up for each of its offers.
const MOST: usize = 64;

/// Bundles, the one that was launched last in front.
#[derive(Debug, Default)]
pub(crate) struct RecentBundles(VecDeque<Digest>);

impl RecentBundles {
    /// A task of this bundle was launched.
    pub(crate) fn note(&mut self, bundle: Digest) {
        if self.0.front() == Some(&bundle) {
            return;
        }
        self.0.retain(|known| *known != bundle);
        self.0.push_front(bundle);
        self.0.truncate(MOST);
    }

    /// Those that are among these.
    pub(crate) fn among(&self, compiled: &BTreeSet<Digest>) -> Vec<Digest> {
        if compiled.is_empty() {
            return Vec::new();
        }
        let known = self.0.iter().filter(|bundle| compiled.contains(bundle));
        known.copied().collect()
    }
}
