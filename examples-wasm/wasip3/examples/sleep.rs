//! Waits for as many milliseconds as its first argument says (100, if absent), without holding a
//! thread of the host, then succeeds.

use wasip3::{
    cli::environment::get_arguments, clocks::monotonic_clock::wait_for, exports::cli::run::Guest,
};

const NS_PER_MS: u64 = 1_000_000;

struct Sleep;

wasip3::cli::command::export!(Sleep);

impl Guest for Sleep {
    async fn run() -> Result<(), ()> {
        let arguments = get_arguments();
        let wait_ms: u64 = arguments
            .get(1)
            .and_then(|text| text.parse().ok())
            .unwrap_or(100);
        wait_for(wait_ms * NS_PER_MS).await;
        Ok(())
    }
}
