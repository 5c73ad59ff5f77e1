//! The Nesos sandbox: one Wasm guest from start to exit under its limits.
