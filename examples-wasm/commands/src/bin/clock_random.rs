//! Prints the wall clock, the monotonic clock and random bytes: the same on each run wherever the
//! host makes runs deterministic.

use std::time::{SystemTime, UNIX_EPOCH};

fn main() {
    let wall = SystemTime::now().duration_since(UNIX_EPOCH);
    println!("wall {}", wall.map_or(0, |since| since.as_nanos()));
    println!("monotonic {}", monotonic_ns());
    println!("random {:032x}", u128::from_ne_bytes(random_bytes()));
}

#[expect(unsafe_code, reason = "the standard library hides the clock's reading")]
fn monotonic_ns() -> u128 {
    let mut now = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: `now` outlives the call, which writes to nothing else.
    let status = unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut now) };
    assert_eq!(status, 0, "WASI has a monotonic clock");
    u128::from(now.tv_sec.unsigned_abs()) * 1_000_000_000 + u128::from(now.tv_nsec.unsigned_abs())
}

#[expect(unsafe_code, reason = "the standard library has no random bytes")]
fn random_bytes() -> [u8; 16] {
    let mut bytes = [0; 16];
    // SAFETY: pointer and length are those of `bytes`.
    let status = unsafe { libc::getentropy(bytes.as_mut_ptr().cast(), bytes.len()) };
    assert_eq!(status, 0, "WASI has random bytes");
    bytes
}
