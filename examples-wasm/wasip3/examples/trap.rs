//! Traps with `unreachable` in its async entry.

use wasip3::exports::cli::run::Guest;

struct Trap;

wasip3::cli::command::export!(Trap);

impl Guest for Trap {
    async fn run() -> Result<(), ()> {
        core::arch::wasm32::unreachable()
    }
}
