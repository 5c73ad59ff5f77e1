//! Amounts as people write them: `0.5` CPUs, `128MiB`.

use thiserror::Error;

/// Why a text is not an amount.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum QuantityError {
    /// Not a number of CPUs.
    #[error("{0:?} is not a number with at most three decimals, such as 2 or 0.5")]
    NotANumber(String),
    /// Negative.
    #[error("{0:?} is negative")]
    Negative(String),
    /// More decimals than thousandths.
    #[error("{0:?} has more than three decimals; the smallest unit is 0.001")]
    TooFine(String),
    /// Beyond what 64 bits hold.
    #[error("{0:?} is too large")]
    TooLarge(String),
    /// Not a number of bytes.
    #[error(
        "{0:?} is not a size; write a whole number with a unit: B, KiB, MiB, GiB, TiB, kB, MB, GB or TB"
    )]
    NotASize(String),
    /// Not ranges.
    #[error("{0:?} is not a list of ranges such as [31000-32000,40000]")]
    NotRanges(String),
    /// Not a set.
    #[error("{0:?} is not a set such as {{a,b}}")]
    NotASet(String),
}

/// Reads a number of CPUs, exact to thousandths: `2`, `0.5`, `1.25`. Answers thousandths.
///
/// # Errors
/// If the text is not such a number: negative, not finite, finer than thousandths, too large.
pub fn parse_cpus(text: &str) -> Result<u64, QuantityError> {
    let text = text.trim();
    if text
        .strip_prefix('-')
        .is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit() || c == '.'))
    {
        return Err(QuantityError::Negative(text.to_owned()));
    }
    let (whole, decimals) = text.split_once('.').unwrap_or((text, ""));
    let digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    if (whole.is_empty() && decimals.is_empty()) || !digits(whole) || !digits(decimals) {
        return Err(QuantityError::NotANumber(text.to_owned()));
    }
    let decimals = decimals.trim_end_matches('0');
    if decimals.len() > 3 {
        return Err(QuantityError::TooFine(text.to_owned()));
    }
    let too_large = || QuantityError::TooLarge(text.to_owned());
    let whole: u64 = if whole.is_empty() {
        0
    } else {
        whole.parse().map_err(|_| too_large())?
    };
    let milli: u64 = format!("{decimals:0<3}").parse().unwrap_or(0);
    whole
        .checked_mul(1000)
        .and_then(|thousandths| thousandths.checked_add(milli))
        .ok_or_else(too_large)
}

const UNITS: [(&str, u64); 14] = [
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("TiB", 1 << 40),
    ("Ki", 1 << 10),
    ("Mi", 1 << 20),
    ("Gi", 1 << 30),
    ("Ti", 1 << 40),
    ("kB", 1_000),
    ("KB", 1_000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("TB", 1_000_000_000_000),
    ("B", 1),
];

fn parse_bytes_with(text: &str, without_unit: u64) -> Result<u64, QuantityError> {
    let text = text.trim();
    if text
        .strip_prefix('-')
        .is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))
    {
        return Err(QuantityError::Negative(text.to_owned()));
    }
    let end = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let (number, unit) = (&text[..end], text[end..].trim());
    if number.is_empty() {
        return Err(QuantityError::NotASize(text.to_owned()));
    }
    let factor = if unit.is_empty() {
        without_unit
    } else {
        UNITS
            .iter()
            .find(|(name, _)| *name == unit)
            .map(|(_, factor)| *factor)
            .ok_or_else(|| QuantityError::NotASize(text.to_owned()))?
    };
    number
        .parse::<u64>()
        .ok()
        .and_then(|number| number.checked_mul(factor))
        .ok_or_else(|| QuantityError::TooLarge(text.to_owned()))
}

/// Reads a size: `128MiB`, `4GB`, `65536` (bytes). Answers bytes.
///
/// # Errors
/// If the text is not a whole number with a known unit, or is beyond 64 bits.
pub fn parse_bytes(text: &str) -> Result<u64, QuantityError> {
    parse_bytes_with(text, 1)
}

/// As [`parse_bytes`], but a bare number counts MiB, as in Mesos' resource strings.
pub(super) fn parse_bytes_or_mebibytes(text: &str) -> Result<u64, QuantityError> {
    parse_bytes_with(text, 1 << 20)
}

/// Writes thousandths as a decimal number without trailing zeros: `0.5`, `2`.
#[must_use]
pub fn format_cpus(milli: u64) -> String {
    let text = format!("{}.{:03}", milli / 1000, milli % 1000);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// Writes bytes in the largest binary unit that keeps the number short: `1 GiB`, `1.5 MiB`, `12 B`.
#[must_use]
pub fn format_bytes(bytes: u64) -> String {
    let (unit, size) = match bytes {
        0..0x400 => return format!("{bytes} B"),
        0x400..0x10_0000 => ("KiB", 10),
        0x10_0000..0x4000_0000 => ("MiB", 20),
        0x4000_0000..0x100_0000_0000 => ("GiB", 30),
        _ => ("TiB", 40),
    };
    let tenths = (u128::from(bytes) * 10) >> size;
    if tenths.is_multiple_of(10) || tenths >= 1000 {
        format!("{} {unit}", tenths / 10)
    } else {
        format!("{}.{} {unit}", tenths / 10, tenths % 10)
    }
}
