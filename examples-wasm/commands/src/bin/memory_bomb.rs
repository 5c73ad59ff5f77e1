//! Allocates and touches a mebibyte after the other, keeping each, until allocation fails: then
//! Rust aborts.

fn main() {
    let mut hoard: Vec<Vec<u8>> = Vec::new();
    loop {
        hoard.push(vec![0xA5; 1 << 20]);
    }
}
