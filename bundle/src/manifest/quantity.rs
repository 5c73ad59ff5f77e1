//! Amounts as a manifest writes them: a number, or a text with a unit.

use std::fmt;
use std::time::Duration;

use nesos_types::resources::{parse_bytes, parse_cpus};
use nesos_types::time::parse_duration;
use serde::de::{Deserializer, Error, Visitor};

/// CPUs: `2`, `0.5` or `"0.5"`, in thousandths.
pub(super) fn cpus<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
    read(deserializer, "a number of CPUs such as 0.5", |text| {
        parse_cpus(text).map_err(|error| error.to_string())
    })
}

/// A size: `"128MiB"`, or a number of bytes.
pub(super) fn bytes<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
    read(deserializer, "a size such as \"128MiB\"", |text| {
        parse_bytes(text).map_err(|error| error.to_string())
    })
}

/// A length of time: `"30s"`, or a number of seconds.
pub(super) fn duration<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Duration>, D::Error> {
    read(deserializer, "a length of time such as \"30s\"", |text| {
        parse_duration(text).map_err(|error| error.to_string())
    })
}

fn read<'de, D: Deserializer<'de>, T>(
    deserializer: D,
    expected: &'static str,
    parse: fn(&str) -> Result<T, String>,
) -> Result<Option<T>, D::Error> {
    let text = deserializer.deserialize_any(Amount(expected))?;
    parse(&text).map(Some).map_err(D::Error::custom)
}

/// A text or a number, as text.
struct Amount(&'static str);

impl Visitor<'_> for Amount {
    type Value = String;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
    fn visit_str<E: Error>(self, text: &str) -> Result<String, E> {
        Ok(text.to_owned())
    }
    fn visit_i64<E: Error>(self, number: i64) -> Result<String, E> {
        Ok(number.to_string())
    }
    fn visit_f64<E: Error>(self, number: f64) -> Result<String, E> {
        Ok(number.to_string())
    }
}
