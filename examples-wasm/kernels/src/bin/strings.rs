//! Formats numbers into lines of text, splits and parses them again: many small allocations, byte
//! loops and indirect calls. A round is 10,000 lines.

use std::fmt::Write as _;

use nesos_kernels::{Numbers, mix, run};

const LINES_PER_ROUND: u64 = 10_000;

fn main() {
    run("strings", 100, |rounds| {
        let mut numbers = Numbers::new(17);
        (0..rounds).fold(0, |sum, _| mix(sum, round(&mut numbers)))
    });
}

fn round(numbers: &mut Numbers) -> u64 {
    let text = write_lines(numbers);
    text.lines().fold(0, |sum, line| mix(sum, read_line(line)))
}

fn write_lines(numbers: &mut Numbers) -> String {
    let mut text = String::new();
    for line in 0..LINES_PER_ROUND {
        let (number, fraction) = (numbers.next_u64(), numbers.below(10_000));
        let name = format!("key-{number:x}").to_uppercase();
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{line}\t{name}\t{}.{fraction:04}", number >> 40);
    }
    text
}

fn read_line(line: &str) -> u64 {
    let mut fields = line.split('\t');
    let (Some(index), Some(name), Some(amount)) = (fields.next(), fields.next(), fields.next())
    else {
        unreachable!("every line has three fields");
    };
    let index: u64 = index.parse().unwrap_or_default();
    let key = name.trim_start_matches("KEY-").to_owned();
    let key = u64::from_str_radix(&key, 16).unwrap_or_default();
    let amount: f64 = amount.parse().unwrap_or_default();
    mix(mix(index, key), amount.to_bits())
}
