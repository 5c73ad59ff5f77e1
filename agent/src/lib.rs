//! The Nesos agent: cells, bundle cache, checkpoint and driver around the pure core.
