//! Traps by reading beyond the end of its memory.

use std::hint::black_box;

fn main() {
    println!("{}", read_last_byte_of_the_address_space());
}

#[inline(never)]
#[expect(unsafe_code, reason = "the invalid read is the purpose of this guest")]
fn read_last_byte_of_the_address_space() -> u8 {
    let address = black_box(usize::MAX) as *const u8;
    // SAFETY: none; but a WebAssembly memory of less than 4 GiB traps on this read, every time.
    unsafe { address.read_volatile() }
}
