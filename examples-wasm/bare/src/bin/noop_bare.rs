//! Does nothing, without Rust's runtime and almost without C's: the least a command can cost.

#![no_std]
#![no_main]

/// What the C start code calls as `main` of a program that takes no arguments.
#[expect(unsafe_code, reason = "the C start code finds its entry by this name")]
// SAFETY: no other function of this name exists in a program without `main`.
#[unsafe(no_mangle)]
extern "C" fn __main_void() -> i32 {
    0
}

#[panic_handler]
fn on_panic(_: &core::panic::PanicInfo<'_>) -> ! {
    core::arch::wasm32::unreachable()
}
