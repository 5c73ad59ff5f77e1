//! CPU time and memory of processes, from `/proc`.

use std::collections::BTreeSet;
use std::fs;
use std::time::Duration;

use anyhow::{Context, Result};
use rustix::time::{ClockId, clock_gettime};

/// The process and everything that descends from it, as far as it is still below it.
pub(crate) fn family(root: u32) -> BTreeSet<u32> {
    let parents: Vec<(u32, u32)> = fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter_map(|pid| Some((pid, parent(pid)?)))
        .collect();
    let mut family = BTreeSet::from([root]);
    loop {
        let before = family.len();
        for (pid, parent) in &parents {
            if family.contains(parent) {
                family.insert(*pid);
            }
        }
        if family.len() == before {
            return family;
        }
    }
}

fn parent(pid: u32) -> Option<u32> {
    fields(pid).ok()?.get(1)?.parse().ok()
}

/// The fields of `/proc/PID/stat` from the state on.
fn fields(pid: u32) -> Result<Vec<String>> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))
        .with_context(|| format!("process {pid} is gone"))?;
    let after_name = stat.rfind(')').map_or("", |at| &stat[at + 1..]);
    Ok(after_name.split_whitespace().map(str::to_owned).collect())
}

/// CPU time that these processes have used, user and system, with a grain of 10 ms: measure for
/// seconds.
pub(crate) fn cpu_time(pids: impl IntoIterator<Item = u32>) -> Result<Duration> {
    let mut ticks = 0;
    for pid in pids {
        let fields = fields(pid)?;
        let field = |index: usize| -> Result<u64> {
            Ok(fields.get(index).context("a short stat")?.parse()?)
        };
        ticks += field(11)? + field(12)?;
    }
    // Linux counts in hundredths of a second on every architecture that Rust supports.
    Ok(Duration::from_millis(ticks * 10))
}

/// The resident set of a process, in bytes.
pub(crate) fn resident_bytes(pid: u32) -> Result<u64> {
    kibibytes(pid, "status", "VmRSS:")
}

/// The resident set of a process with what it shares with others counted in part, in bytes.
pub(crate) fn proportional_bytes(pid: u32) -> Result<u64> {
    kibibytes(pid, "smaps_rollup", "Pss:")
}

/// Memory that the kernel needs for the mappings of a process, in bytes.
pub(crate) fn page_table_bytes(pid: u32) -> Result<u64> {
    kibibytes(pid, "status", "VmPTE:")
}

/// A quantity from one of the files about a process, in bytes.
fn kibibytes(pid: u32, file: &str, key: &str) -> Result<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/{file}"))
        .with_context(|| format!("process {pid} is gone"))?;
    let line = text.lines().find_map(|line| line.strip_prefix(key));
    let quantity = line.and_then(|line| line.split_whitespace().next());
    let kibibytes: u64 = quantity.with_context(|| format!("no {key}"))?.parse()?;
    Ok(kibibytes * 1024)
}

/// CPU time of the whole of this process so far, exactly.
pub(crate) fn own_cpu_time() -> Duration {
    cpu_clock(ClockId::ProcessCPUTime)
}

/// CPU time of this thread so far, exactly.
pub(crate) fn thread_cpu_time() -> Duration {
    cpu_clock(ClockId::ThreadCPUTime)
}

fn cpu_clock(clock: ClockId) -> Duration {
    let now = clock_gettime(clock);
    let seconds = Duration::from_secs(now.tv_sec.unsigned_abs());
    seconds + Duration::from_nanos(now.tv_nsec.unsigned_abs())
}

/// How long threads of this process whose name begins so have waited for a core although they had
/// work: what the machine kept from them.
pub(crate) fn waited_for_core(name: &str) -> Result<Duration> {
    let mut waited = Duration::ZERO;
    for thread in fs::read_dir("/proc/self/task")?.flatten() {
        // A thread that ends meanwhile is none of those.
        let comm = fs::read_to_string(thread.path().join("comm")).unwrap_or_default();
        if comm.starts_with(name) {
            let text = fs::read_to_string(thread.path().join("schedstat"))?;
            let delay = text.split_whitespace().nth(1).context("no run delay")?;
            waited += Duration::from_nanos(delay.parse()?);
        }
    }
    Ok(waited)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_is_of_its_own_family_and_has_used_something() {
        let own = std::process::id();
        assert!(family(own).contains(&own));
        assert!(resident_bytes(own).expect("status") > 0);
        assert!(proportional_bytes(own).expect("smaps") > 0);
        assert!(own_cpu_time() > Duration::ZERO);
        assert!(cpu_time([own]).is_ok());
    }
}
