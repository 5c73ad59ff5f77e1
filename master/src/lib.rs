//! The Nesos master: doors, store and driver around the pure core.
