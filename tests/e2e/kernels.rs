//! The benchmark kernels: each is right before anyone measures it.

use nesos_artifacts::kernels as guests;

use crate::harness::run_with;

/// A kernel prints the same checksum however its CPU is metered.
macro_rules! kernel {
    ($guest:ident) => {
        #[test]
        fn $guest() {
            let path = nesos_artifacts::all()
                .iter()
                .find(|guest| guest.suite == "kernels" && guest.name == stringify!($guest))
                .expect("listed")
                .path;
            let clock = run_with(&[], path).args(&["1"]).go().exits(0);
            assert!(!clock.stdout.is_empty());
            for metering in ["fuel", "time"] {
                run_with(&["--metering", metering], path)
                    .args(&["1"])
                    .go()
                    .exits(0)
                    .prints(clock.text());
            }
        }
    };
}
nesos_artifacts::foreach_kernels!(kernel);

#[test]
fn there_are_kernels() {
    assert!(!guests::SHA256.is_empty());
}
