//! Running one task to its end: what `nesos run` does on whatever cluster.

pub(crate) mod bundle;
pub(crate) mod conduct;
mod console;
mod progress;
mod pump;
mod signals;
mod verdict;
mod waiting;
