//! Multiplies two matrices of 128 by 128 numbers: an inner loop of loads, products and sums that a
//! compiler would like to vectorise. A round is one multiplication.

use nesos_kernels::{Numbers, mix, run};

const SIDE: usize = 128;

/// Row by row.
type Matrix = Vec<[f64; SIDE]>;

fn main() {
    run("matmul", 100, |rounds| {
        let mut numbers = Numbers::new(11);
        let (left, mut right) = (matrix(&mut numbers), matrix(&mut numbers));
        for _ in 0..rounds {
            right = multiply(&left, &right);
        }
        right
            .iter()
            .flatten()
            .fold(0, |sum, element| mix(sum, element.to_bits()))
    });
}

/// Elements of a size that keeps the products of many rounds finite.
fn matrix(numbers: &mut Numbers) -> Matrix {
    let scale = 1.0 / SIDE as f64;
    let mut element = || numbers.below(1_000) as f64 / 500.0 * scale;
    (0..SIDE)
        .map(|_| std::array::from_fn(|_| element()))
        .collect()
}

fn multiply(left: &Matrix, right: &Matrix) -> Matrix {
    let mut product = vec![[0.0; SIDE]; SIDE];
    for (into, row) in product.iter_mut().zip(left) {
        for (factor, other) in row.iter().zip(right) {
            for (sum, element) in into.iter_mut().zip(other) {
                *sum += factor * element;
            }
        }
    }
    product
}
