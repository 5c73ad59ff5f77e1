//! Writes alternately to standard output and standard error, so that a host can show that it keeps
//! them apart.

fn main() {
    for number in 0..3 {
        println!("out {number}");
        eprintln!("err {number}");
    }
}
