//! What the host has: its name, its boot, and the resources that an agent may give away.

use std::fs;
use std::io;
use std::num::NonZero;
use std::path::Path;
use std::sync::Arc;
use std::thread;

use nesos_types::agent::AgentInfo;
use nesos_types::resources::{RangeSet, Resources};
use thiserror::Error;

use crate::config::AgentConfig;

const GIB: u64 = 1 << 30;

/// The host could not be asked.
#[derive(Debug, Error)]
#[error("cannot find out {what}; name it in the agent's configuration")]
pub struct ProbeError {
    what: &'static str,
    source: io::Error,
}

fn failed(what: &'static str) -> impl FnOnce(io::Error) -> ProbeError {
    move |source| ProbeError { what, source }
}

/// The host's name, as the kernel has it.
pub(crate) fn hostname() -> String {
    rustix::system::uname()
        .nodename()
        .to_string_lossy()
        .into_owned()
}

/// Identifies the time since the host was started; empty where the kernel does not say, and then no
/// two boots are told apart.
pub(crate) fn boot_id() -> String {
    fs::read_to_string("/proc/sys/kernel/random/boot_id")
        .map(|id| id.trim().to_owned())
        .unwrap_or_default()
}

/// The ports of an agent whose resources nobody has named, as in Mesos.
const PORTS: (u64, u64) = (31_000, 32_000);

/// Detects what the configuration does not name. A part of memory and disk stays with the host, as in
/// Mesos: 1 GiB of memory and 5 GiB of disk, or half where there is little.
pub(crate) fn detect(config: &AgentConfig) -> Result<Resources, ProbeError> {
    let named = config.resources.clone().unwrap_or_default();
    let mut detected = Resources::default();
    if named.cpu_milli == 0 {
        detected.cpu_milli = cpu_milli()?;
    }
    if named.mem_bytes == 0 {
        detected.mem_bytes = less(memory_bytes()?, 2 * GIB, GIB);
    }
    if named.disk_bytes == 0 {
        detected.disk_bytes = less(disk_bytes(&config.state_directory)?, 10 * GIB, 5 * GIB);
    }
    Ok(detected)
}

/// What the agent says of itself: the configuration first, then what was detected, less what the
/// configuration reserves of it.
pub(crate) fn describe(
    config: &AgentConfig,
    hostname: String,
    url: String,
    detected: Resources,
) -> AgentInfo {
    let mut resources = config.resources.clone().unwrap_or_default();
    let reserved = resources.only_parts().flattened();
    for (named, found, reserved) in [
        (
            &mut resources.cpu_milli,
            detected.cpu_milli,
            reserved.cpu_milli,
        ),
        (
            &mut resources.mem_bytes,
            detected.mem_bytes,
            reserved.mem_bytes,
        ),
        (
            &mut resources.disk_bytes,
            detected.disk_bytes,
            reserved.disk_bytes,
        ),
    ] {
        if *named == 0 {
            *named = found.saturating_sub(reserved);
        }
    }
    if config.resources.is_none() {
        resources = resources.with_ranges("ports", RangeSet::new([PORTS]));
    }
    AgentInfo {
        hostname,
        url,
        resources,
        attributes: config.attributes.clone(),
        domain: config.domain.clone(),
        fuel_per_cpu_second: config.fuel_per_cpu_second,
        host_mounts: config.host_mounts,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        features: Arc::new(nesos_runtime::features()),
        max_sandboxes: Some(config.max_sandboxes_in_all()),
    }
}

/// All but `reserve`, or half if there is less than `enough`.
fn less(total: u64, enough: u64, reserve: u64) -> u64 {
    if total > enough {
        total - reserve
    } else {
        total / 2
    }
}

/// CPUs that this process may use: affinity and cgroup quotas are respected.
fn cpu_milli() -> Result<u64, ProbeError> {
    let cpus = thread::available_parallelism().map_err(failed("how many CPUs there are"))?;
    Ok(u64::try_from(NonZero::get(cpus))
        .unwrap_or(u64::MAX)
        .saturating_mul(1000))
}

/// The host's memory, or the cgroup's limit where that is lower.
fn memory_bytes() -> Result<u64, ProbeError> {
    let what = "how much memory there is";
    let text = fs::read_to_string("/proc/meminfo").map_err(failed(what))?;
    let total = parse_meminfo(&text)
        .ok_or_else(|| failed(what)(io::Error::other("/proc/meminfo has no MemTotal")))?;
    let limit = fs::read_to_string("/sys/fs/cgroup/memory.max")
        .ok()
        .and_then(|text| text.trim().parse().ok())
        .unwrap_or(u64::MAX);
    Ok(total.min(limit))
}

fn parse_meminfo(text: &str) -> Option<u64> {
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1024)
}

/// What is free on the file system of the state directory.
fn disk_bytes(directory: &Path) -> Result<u64, ProbeError> {
    let stat = rustix::fs::statvfs(directory)
        .map_err(|error| failed("how much disk there is")(error.into()))?;
    Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_host_has_something_to_give() {
        let directory = tempfile::tempdir().unwrap();
        let detected = detect(&AgentConfig::new(directory.path())).unwrap();
        assert!(detected.cpu_milli >= 1000 && detected.mem_bytes > 0);
        assert!(!hostname().is_empty());
    }

    #[test]
    fn what_is_named_is_not_detected() {
        let mut config = AgentConfig::new("/nowhere");
        config.resources = Some(Resources::new(500, 1 << 20).with_disk(3));
        assert_eq!(detect(&config).unwrap(), Resources::default());
        config.resources = Some(Resources::new(500, 1 << 20));
        let error = detect(&config).unwrap_err().to_string();
        assert!(error.contains("how much disk"), "{error}");
    }

    #[test]
    fn ports_are_given_where_nothing_is_named() {
        let mut config = AgentConfig::new("/nowhere");
        let text = |text: &str| text.parse::<Resources>().unwrap();
        let described = |config: &AgentConfig| {
            let detected = Resources::new(1000, 1 << 30);
            describe(config, "h".into(), "u".into(), detected).resources
        };
        assert_eq!(
            described(&config),
            text("cpus:1;mem:1GiB;ports:[31000-32000]")
        );
        config.resources = Some("ports:[80-80]".parse().unwrap());
        assert_eq!(described(&config), text("cpus:1;mem:1GiB;ports:[80-80]"));
        config.resources = Some("cpus:2".parse().unwrap());
        assert_eq!(described(&config), text("cpus:2;mem:1GiB"));
    }

    #[test]
    fn meminfo_is_read_in_kibibytes() {
        let text = "MemTotal:       24519872 kB\nMemFree:  1 kB\n";
        assert_eq!(parse_meminfo(text), Some(24_519_872 * 1024));
        assert_eq!(parse_meminfo("MemFree: 1 kB"), None);
    }

    #[test]
    fn the_host_keeps_a_part() {
        assert_eq!(less(24 * GIB, 2 * GIB, GIB), 23 * GIB);
        assert_eq!(less(GIB, 2 * GIB, GIB), GIB / 2);
    }
}
