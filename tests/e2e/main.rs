//! The real binary with real processes: what a person who types `nesos …` sees.
//!
//! Every guest of `examples-wasm/` has a test here: one without does not compile. Nothing here knows
//! how Nesos works inside; only flags, exit statuses and output count.

mod bad_input;
mod bundles;
mod cluster;
mod demo;
mod draining;
mod executors;
mod foreign;
mod framework;
mod groups;
mod handwritten;
mod harness;
mod hostile;
mod kernels;
mod limits;
mod policy;
mod preemption;
mod registry;
mod reservations;
mod revocable;
mod roles;
mod services;
mod streams;
mod templates;
mod threads;
mod wasip1;
mod wasip2;
mod wasip3;
