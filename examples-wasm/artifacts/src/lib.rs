//! Builds the example guests and says where they are.
//!
//! Each suite is a module with the path of each of its guests; [`all`] lists them; and a
//! `foreach_<suite>!` macro lets a test file insist that it tests every guest. This one tests none,
//! and so it does not compile:
//!
//! ```compile_fail,E0432
//! mod tests {
//!     macro_rules! is_tested {
//!         ($guest:ident) => {
//!             use self::$guest as _;
//!         };
//!     }
//!     nesos_artifacts::foreach_threads!(is_tested);
//! }
//! ```
//!
//! [`include_guest!`] puts a guest's bytes into a program; [`generate`] makes the modules that are too
//! large to write down. This crate builds guests; it does not run them.

pub mod generate;

/// A guest that was built.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Guest {
    /// The suite it belongs to, as the suite's module is called.
    pub suite: &'static str,
    /// Its name, as its source file is called.
    pub name: &'static str,
    /// Where its module or component is.
    pub path: &'static str,
}

/// Every guest of every suite, ordered by suite and name.
pub fn all() -> &'static [Guest] {
    GUESTS
}

include!(concat!(env!("OUT_DIR"), "/guests.rs"));
