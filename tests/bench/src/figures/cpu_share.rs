//! The CPU that guests get, against what they accepted.

use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::Result;
use nesos_artifacts::{kernels, wasip1};
use nesos_types::limits::Metering;
use nesos_types::task::TaskReason;

use crate::Options;
use crate::cell::{Cell, Guest, Image, Launch};
use crate::figure::{Bound, Report};
use crate::processes::waited_for_core;

/// What each guest executes.
const MIXES: [(&str, &str, Metering); 4] = [
    ("integer", kernels::SHA256, Metering::Clock),
    ("floating point", kernels::NBODY, Metering::Clock),
    ("memory", kernels::POINTER_CHASE, Metering::Clock),
    ("host calls", wasip1::HOST_CALL_BURNER, Metering::Clock),
];

/// Thousandths of a CPU.
const SHARES: [u64; 4] = [100, 250, 500, 1_000];

const WINDOW: Duration = Duration::from_secs(5);

/// Time to come up and to spend the credit that a guest begins with.
const SETTLE: Duration = Duration::from_millis(300);

/// More rounds than any kernel gets through.
const ENDLESS: &str = "1000000000";

pub(crate) fn run(options: Options, report: &mut Report) -> Result<()> {
    report.method(&format!(
        "CPU time that the runtime reports for a guest over a window of {WINDOW:?} of wall time, against \
         the share that it accepted, alone and four together (of one mix, and of one share each of four \
         mixes). A guest that accepted a whole CPU cannot catch up on what the machine gave to others: \
         how long its thread stood ready without a core (the kernel's run delay) is taken off what was \
         due to it, and stated. A window in which the machine kept more from the guest threads than it \
         has beyond what the guests accepted cannot be judged: then measure again on a quieter machine."
    ));
    if options.quick {
        report.method("Quick: alone at 0.25 and 1.0 CPU only.");
    }
    let cell = Cell::start()?;
    let mut images = Vec::new();
    for (mix, wasm, metering) in MIXES {
        images.push((mix, cell.compile(Path::new(wasm), metering)?));
    }
    let mut verdict = Verdict::default();
    for (mix, image) in &images {
        for share in SHARES {
            if options.quick && share != 250 && share != 1_000 {
                continue;
            }
            let measured = measure(&cell, &[(image, share)])?;
            verdict.add(report, &format!("{mix}, alone"), &measured);
        }
    }
    for (mix, image) in &images {
        let guests = SHARES.map(|share| (image, share));
        let measured = measure(&cell, &guests)?;
        verdict.add(report, &format!("{mix}, together"), &measured);
    }
    let mixed: Vec<_> = images.iter().map(|(_, image)| image).zip(SHARES).collect();
    let measured = measure(&cell, &mixed)?;
    verdict.add(report, "all four mixes, together", &measured);
    verdict.tell(report);
    Ok(())
}

/// One window.
struct Measured {
    shares: Vec<Share>,
    /// What the machine kept from the guest threads, in CPUs.
    withheld: f64,
}

struct Share {
    accepted: f64,
    got: f64,
}

/// What all windows come to.
#[derive(Default)]
struct Verdict {
    windows: u32,
    judged: u32,
    /// The largest error in a window that could be judged.
    worst: f64,
}

impl Verdict {
    /// States what was measured in a window, and judges it if it can be judged.
    fn add(&mut self, report: &mut Report, what: &str, measured: &Measured) {
        self.windows += 1;
        let can_be_judged = measured.can_be_judged(cores());
        self.judged += u32::from(can_be_judged);
        for share in &measured.shares {
            let error = share.error(measured.withheld);
            if can_be_judged {
                self.worst = self.worst.max(error);
            }
            let unjudged = if can_be_judged { "" } else { " (not judged)" };
            report.state(
                format!("{what}, {} CPU: error{unjudged}", share.accepted),
                error * 100.0,
                "%",
            );
        }
        if measured.withheld > 0.01 {
            report.state(
                format!("{what}: kept back by the machine"),
                measured.withheld,
                "CPU",
            );
        }
    }

    fn tell(&self, report: &mut Report) {
        report.promise("largest error", self.worst * 100.0, "%", Bound::AtMost(2.0));
        report.promise(
            "windows that could be judged",
            self.judged.into(),
            "",
            Bound::AtLeast(self.windows.into()),
        );
    }
}

impl Measured {
    /// Whether the machine had CPU to spare for the guests at all.
    fn can_be_judged(&self, cores: f64) -> bool {
        let accepted: f64 = self.shares.iter().map(|share| share.accepted).sum();
        self.withheld <= cores - accepted
    }
}

fn cores() -> f64 {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    f64::from(u32::try_from(cores).unwrap_or(u32::MAX))
}

impl Share {
    /// The error relative to what was due.
    fn error(&self, withheld: f64) -> f64 {
        let due = if self.accepted < 1.0 {
            self.accepted
        } else {
            self.got.clamp(self.accepted - withheld, self.accepted)
        };
        (self.got - due).abs() / due
    }
}

/// Runs these guests with these shares, in thousandths of a CPU, for one window.
fn measure(cell: &Cell, guests: &[(&Image, u64)]) -> Result<Measured> {
    let mut running = Vec::new();
    for (image, cpu_milli) in guests {
        let spec = cell.spec(
            image,
            Launch {
                args: vec![ENDLESS.to_owned()],
                cpu_milli: *cpu_milli,
                ..Launch::default()
            },
        )?;
        let guest = cell.launch(spec);
        guest.wait_until_running()?;
        running.push((guest, *cpu_milli));
    }
    sleep(SETTLE);
    let began = Instant::now();
    let withheld_before = waited_for_core("guest-")?;
    let before: Vec<u64> = running.iter().map(|(guest, _)| cpu_ns(guest)).collect();
    sleep(WINDOW);
    let after: Vec<u64> = running.iter().map(|(guest, _)| cpu_ns(guest)).collect();
    let window = began.elapsed().as_secs_f64();
    let withheld = waited_for_core("guest-")?.saturating_sub(withheld_before);
    let shares = running
        .iter()
        .zip(after.iter().zip(&before))
        .map(|((_, cpu_milli), (after, before))| Share {
            accepted: as_f64(*cpu_milli) / 1e3,
            got: as_f64(after - before) / 1e9 / window,
        })
        .collect();
    for (guest, _) in &running {
        guest
            .sandbox
            .kill(Duration::ZERO, TaskReason::KillRequested, "measured");
        guest.exit()?;
    }
    Ok(Measured {
        shares,
        withheld: withheld.as_secs_f64() / window,
    })
}

fn cpu_ns(guest: &Guest) -> u64 {
    guest.sandbox.usage().cpu_ns
}

#[expect(clippy::cast_precision_loss, reason = "nanoseconds of seconds")]
fn as_f64(value: u64) -> f64 {
    value as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_machine_excuses_a_whole_cpu_only_and_only_so_far() {
        let whole = Share {
            accepted: 1.0,
            got: 0.95,
        };
        assert!(whole.error(0.1).abs() < 1e-9);
        assert!((whole.error(0.0) - 0.05).abs() < 1e-9);
        let half = Share {
            accepted: 0.5,
            got: 0.45,
        };
        assert!((half.error(0.1) - 0.1).abs() < 1e-9);
    }

    #[test]
    fn a_machine_that_is_too_busy_proves_nothing() {
        let share = || Share {
            accepted: 0.9,
            got: 0.5,
        };
        let measured = Measured {
            shares: vec![share(), share()],
            withheld: 0.3,
        };
        assert!(!measured.can_be_judged(2.0));
        assert!(measured.can_be_judged(4.0));
    }
}
