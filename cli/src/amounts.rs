//! Arguments as people write them: CPUs, sizes, durations, variables, mounts, volumes.

use std::time::Duration;

use nesos_types::ids::IdError;
use nesos_types::resources::{parse_bytes, parse_cpus};
use nesos_types::role::Role;
use nesos_types::task::{Mount, VolumeMount};
use nesos_types::time::parse_duration;

/// CPUs in thousandths, more than none.
pub(crate) fn cpus(text: &str) -> Result<u64, String> {
    match parse_cpus(text) {
        Ok(0) => Err("a task needs some CPU; the least is 0.001 (cpus 0 would never run)".into()),
        Ok(milli) => Ok(milli),
        Err(error) => Err(error.to_string()),
    }
}

/// A size in bytes, more than none.
pub(crate) fn size(text: &str) -> Result<u64, String> {
    match parse_bytes(text) {
        Ok(0) => Err("a task needs some of it; write for example 64MiB".into()),
        Ok(bytes) => Ok(bytes),
        Err(error) => Err(error.to_string()),
    }
}

/// A size in bytes, zero included.
pub(crate) fn size_or_none(text: &str) -> Result<u64, String> {
    parse_bytes(text).map_err(|error| error.to_string())
}

/// A length of time: `250ms`, `30s`, `1.5m`, `2h`; a bare number counts seconds.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    parse_duration(text).map_err(|error| error.to_string())
}

/// A length of time that is not zero.
pub(crate) fn time_limit(text: &str) -> Result<Duration, String> {
    match duration(text)? {
        Duration::ZERO => Err("a timeout of zero would end the task before it starts".into()),
        limit => Ok(limit),
    }
}

/// A role's name.
pub(crate) fn role(text: &str) -> Result<Role, String> {
    text.parse().map_err(|error: IdError| error.to_string())
}

/// `NAME=VALUE`, or `NAME` for a variable of this process.
pub(crate) fn variable(text: &str) -> Result<(String, String), String> {
    let (name, value) = match text.split_once('=') {
        Some((name, value)) => (name, value.to_owned()),
        None => {
            let value = std::env::var(text)
                .map_err(|_| format!("{text} is not set here; write {text}=VALUE"))?;
            (text, value)
        }
    };
    if name.is_empty() || text.contains('\0') {
        return Err(format!("{text:?} is not NAME=VALUE"));
    }
    Ok((name.to_owned(), value))
}

/// `HOST::GUEST[:ro]`, or `HOST[:ro]` for the same path inside. The host's path is made absolute.
pub(crate) fn mount(text: &str) -> Result<Mount, String> {
    let (paths, read_only) = match text.strip_suffix(":ro") {
        Some(paths) => (paths, true),
        None => (text, false),
    };
    let (host, guest) = match paths.split_once("::") {
        Some((host, guest)) => (host, Some(guest)),
        None => (paths, None),
    };
    let path = std::path::Path::new(host)
        .canonicalize()
        .map_err(|error| format!("{host}: {error}"))?;
    if !path.is_dir() {
        return Err(format!("{host} is not a directory"));
    }
    let host = path
        .to_str()
        .ok_or_else(|| format!("{host} is not UTF-8"))?
        .to_owned();
    let guest = guest.map_or_else(|| host.clone(), str::to_owned);
    if !guest.starts_with('/') {
        return Err(format!(
            "{guest:?}: where the guest finds the directory must begin with a slash: HOST::/GUEST"
        ));
    }
    Ok(Mount {
        host,
        guest,
        read_only,
    })
}

/// `VOLUME::GUEST[:ro]`.
pub(crate) fn volume(text: &str) -> Result<VolumeMount, String> {
    let (names, read_only) = match text.strip_suffix(":ro") {
        Some(names) => (names, true),
        None => (text, false),
    };
    let (volume, guest) = names
        .split_once("::")
        .ok_or_else(|| format!("{text:?} is not VOLUME::/GUEST"))?;
    if !guest.starts_with('/') {
        return Err(format!(
            "{guest:?}: where the guest finds the volume must begin with a slash: VOLUME::/GUEST"
        ));
    }
    Ok(VolumeMount {
        volume: volume.parse().map_err(|error: IdError| error.to_string())?,
        guest: guest.to_owned(),
        read_only,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_units() {
        for (text, millis) in [
            ("250ms", 250),
            ("30s", 30_000),
            ("30", 30_000),
            ("1.5m", 90_000),
            ("2h", 7_200_000),
            ("0", 0),
        ] {
            assert_eq!(duration(text), Ok(Duration::from_millis(millis)), "{text}");
        }
        for text in ["", "s", "-1s", "1 fortnight", "1e9s", "soon", "1.2.3s"] {
            assert!(duration(text).is_err(), "{text}");
        }
        assert!(time_limit("0ms").is_err());
    }

    #[test]
    fn a_task_needs_something() {
        assert_eq!(cpus("0.5"), Ok(500));
        for text in ["0", "0.000", "-1", "NaN", "inf", "0.0001", ""] {
            assert!(cpus(text).is_err(), "{text}");
        }
        assert_eq!(size("128MiB"), Ok(128 << 20));
        for text in ["0", "-1MiB", "12 potatoes", "1.5GiB"] {
            assert!(size(text).is_err(), "{text}");
        }
        assert_eq!(size_or_none("0"), Ok(0));
    }

    #[test]
    fn variables_have_names() {
        assert_eq!(variable("A=b=c"), Ok(("A".into(), "b=c".into())));
        assert_eq!(variable("A="), Ok(("A".into(), String::new())));
        assert!(variable("=b").is_err());
        let error = variable("NESOS_IS_NOT_SET").expect_err("not set");
        assert!(error.contains("NESOS_IS_NOT_SET=VALUE"), "{error}");
    }

    #[test]
    fn volumes_are_named_and_placed() {
        let parsed = volume("data::/var/data:ro").expect("a volume");
        assert_eq!(parsed.volume.as_str(), "data");
        assert_eq!(
            (parsed.guest.as_str(), parsed.read_only),
            ("/var/data", true)
        );
        for text in ["data", "data:/x", "data::x", "::/x", "a/b::/x"] {
            assert!(volume(text).is_err(), "{text}");
        }
    }

    #[test]
    fn mounts_name_both_sides() {
        let host = std::env::temp_dir().canonicalize().expect("is there");
        let host = host.to_str().expect("UTF-8");
        let parsed = mount(&format!("{host}::/data:ro")).expect("a mount");
        assert_eq!(
            (
                parsed.host.as_str(),
                parsed.guest.as_str(),
                parsed.read_only
            ),
            (host, "/data", true)
        );
        assert_eq!(mount(host).expect("a mount").guest, host);
        assert!(mount(&format!("{host}::data")).is_err());
        assert!(mount("/does/not/exist::/x").is_err());
    }
}
