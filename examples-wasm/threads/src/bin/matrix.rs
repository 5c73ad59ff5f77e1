//! Multiplies two square matrices on several threads: the size is its first argument (256, if absent), the
//! number of threads its second (two). It prints a sum over the product that does not depend on the threads.

use std::thread;

fn main() {
    let mut arguments = std::env::args().skip(1);
    let mut number = |default| {
        let argument = arguments.next();
        argument
            .and_then(|text| text.parse().ok())
            .unwrap_or(default)
    };
    let (size, threads): (usize, usize) = (number(256), number(2));
    let left = matrix(size, 3);
    // Columns of the right one are rows here, so that both are read in order.
    let right = matrix(size, 5);
    let mut product = vec![0_u64; size * size];
    let rows = size.div_ceil(threads.max(1)).max(1);
    thread::scope(|scope| {
        for (part, lines) in product.chunks_mut(rows * size.max(1)).enumerate() {
            let (left, right) = (&left, &right);
            scope.spawn(move || multiply(&left[part * rows * size..], right, lines, size));
        }
    });
    let sum = product.iter().fold(0, |sum: u64, value| {
        sum.wrapping_mul(31).wrapping_add(*value)
    });
    println!("{sum:016x}");
}

fn matrix(size: usize, seed: u64) -> Vec<u64> {
    (0..size as u64 * size as u64)
        .map(|index| index * seed % 251)
        .collect()
}

fn multiply(left: &[u64], right: &[u64], product: &mut [u64], size: usize) {
    for (row, line) in product.chunks_mut(size).enumerate() {
        let left = &left[row * size..(row + 1) * size];
        for (column, value) in line.iter_mut().enumerate() {
            let right = &right[column * size..(column + 1) * size];
            *value = left
                .iter()
                .zip(right)
                .map(|(left, right)| left * right)
                .sum();
        }
    }
}
