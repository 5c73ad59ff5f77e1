//! Hexadecimal digits, written and read in one piece: every message carries several ids, and the
//! general formatting machinery would cost more than all that is done with them.

use std::fmt;

const DIGITS: &[u8; 16] = b"0123456789abcdef";

/// Room for the longest text that [`pad`] writes: a digest with its algorithm.
const LONGEST: usize = 80;

/// Writes a prefix and the digits of some bytes, with the width and fill that were asked for.
pub(crate) fn pad(prefix: &str, bytes: &[u8], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let mut text = [0; LONGEST];
    let end = prefix.len() + 2 * bytes.len();
    let (head, tail) = text[..end].split_at_mut(prefix.len());
    head.copy_from_slice(prefix.as_bytes());
    write_digits(bytes, tail);
    f.pad(str::from_utf8(&text[..end]).map_err(|_| fmt::Error)?)
}

/// The digits of some bytes.
pub(crate) fn text(bytes: &[u8]) -> String {
    let digit = |nibble: u8| char::from(DIGITS[usize::from(nibble)]);
    bytes
        .iter()
        .flat_map(|byte| [digit(byte >> 4), digit(byte & 15)])
        .collect()
}

fn write_digits(bytes: &[u8], digits: &mut [u8]) {
    for (byte, pair) in bytes.iter().zip(digits.chunks_exact_mut(2)) {
        pair[0] = DIGITS[usize::from(byte >> 4)];
        pair[1] = DIGITS[usize::from(byte & 15)];
    }
}

/// The bytes that exactly so many digits stand for; either case will do.
pub(crate) fn parse<const BYTES: usize>(digits: &str) -> Option<[u8; BYTES]> {
    let digits = digits.as_bytes();
    if digits.len() != 2 * BYTES {
        return None;
    }
    let mut bytes = [0; BYTES];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = nibble(pair[0])? << 4 | nibble(pair[1])?;
    }
    Some(bytes)
}

fn nibble(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_stand_for_their_bytes() {
        assert_eq!(text(&[0x00, 0x9a, 0xff]), "009aff");
        assert_eq!(parse("009aFF"), Some([0x00, 0x9a, 0xff]));
        for bad in ["009af", "009aff0", "009afg", "+09aff", ""] {
            assert_eq!(parse::<3>(bad), None, "{bad}");
        }
    }

    #[test]
    fn width_is_respected() {
        struct Padded;
        impl fmt::Display for Padded {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                pad("x-", &[0xab], f)
            }
        }
        assert_eq!(
            format!("{Padded}|{Padded:>6}|{Padded:<6}|"),
            "x-ab|  x-ab|x-ab  |"
        );
    }
}
