//! What the benchmarks ran on, in one line.

use std::fs;

/// Cores, memory and kernel.
pub(crate) fn describe() -> String {
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let memory_gib = memory_kib().unwrap_or(0) / (1 << 20);
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let cpu = cpu_model().unwrap_or_else(|| "unknown CPU".to_owned());
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let load = load.split_whitespace().next().unwrap_or("?");
    format!(
        "on {cores} cores ({cpu}), {memory_gib} GiB, Linux {}, load before: {load}",
        kernel.trim()
    )
}

fn memory_kib() -> Option<u64> {
    value_of(&fs::read_to_string("/proc/meminfo").ok()?, "MemTotal:")?
        .split_whitespace()
        .next()?
        .parse()
        .ok()
}

fn cpu_model() -> Option<String> {
    let cpus = fs::read_to_string("/proc/cpuinfo").ok()?;
    let model = value_of(&cpus, "model name")?;
    Some(model.trim_start_matches([' ', '\t', ':']).to_owned())
}

/// The rest of the first line that begins with `key`.
fn value_of<'a>(text: &'a str, key: &str) -> Option<&'a str> {
    text.lines().find_map(|line| line.strip_prefix(key))
}
