//! Percentiles and means of what was measured.

/// The value below which `percent` of the samples lie (nearest rank).
///
/// # Panics
/// If there is no sample.
pub(crate) fn percentile(samples: &mut [f64], percent: f64) -> f64 {
    assert!(!samples.is_empty(), "a percentile of nothing");
    samples.sort_by(f64::total_cmp);
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "a rank within a slice"
    )]
    let rank = (percent / 100.0 * samples.len() as f64).ceil().max(1.0) as usize;
    samples[rank.min(samples.len()) - 1]
}

/// The geometric mean of ratios.
pub(crate) fn geometric_mean(ratios: &[f64]) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "a handful of ratios")]
    let count = ratios.len() as f64;
    (ratios.iter().map(|ratio| ratio.ln()).sum::<f64>() / count).exp()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_nearest_ranks() {
        let mut samples: Vec<f64> = (1..=100).rev().map(f64::from).collect();
        assert!((percentile(&mut samples, 50.0) - 50.0).abs() < f64::EPSILON);
        assert!((percentile(&mut samples, 99.0) - 99.0).abs() < f64::EPSILON);
        assert!((percentile(&mut samples, 100.0) - 100.0).abs() < f64::EPSILON);
        assert!((percentile(&mut [7.0], 1.0) - 7.0).abs() < f64::EPSILON);
    }

    #[test]
    fn a_geometric_mean_of_inverse_ratios_is_one() {
        assert!((geometric_mean(&[2.0, 0.5]) - 1.0).abs() < 1e-12);
    }
}
