//! Why a message from the wire is not one of ours.

use nesos_types::message::Refusal;
use thiserror::Error;

/// A message that could not be understood, or a field of it that is not valid.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum WireError {
    /// The message kind is not known: probably one side is newer than the other.
    #[error("unknown message in {0}")]
    UnknownMessage(&'static str),
    /// A field that must be there is missing.
    #[error("{0} is missing")]
    Missing(&'static str),
    /// A field does not hold what it must.
    #[error("{field}: {why}")]
    Invalid {
        /// The field, as the `.proto` files name it.
        field: &'static str,
        /// What is wrong with it.
        why: String,
    },
}

impl WireError {
    /// The answer to the peer whose call could not be understood.
    #[must_use]
    pub fn into_refusal(self, call: &str) -> Refusal {
        match self {
            Self::UnknownMessage(what) => Refusal::UnknownMessage {
                what: what.to_owned(),
            },
            Self::Missing(_) | Self::Invalid { .. } => Refusal::InvalidCall {
                call: call.to_owned(),
                why: self.to_string(),
            },
        }
    }
}

/// Parses a field of text into what it names.
pub(crate) fn parse<T>(field: &'static str, text: &str) -> Result<T, WireError>
where
    T: std::str::FromStr,
    T::Err: std::fmt::Display,
{
    text.parse().map_err(|error: T::Err| WireError::Invalid {
        field,
        why: error.to_string(),
    })
}

/// As [`parse`], where an empty text means that there is none.
pub(crate) fn parse_optional<T>(field: &'static str, text: &str) -> Result<Option<T>, WireError>
where
    T: std::str::FromStr,
    T::Err: std::fmt::Display,
{
    if text.is_empty() {
        return Ok(None);
    }
    parse(field, text).map(Some)
}

/// Unwraps a field that must be there.
pub(crate) fn required<T>(field: &'static str, value: Option<T>) -> Result<T, WireError> {
    value.ok_or(WireError::Missing(field))
}

/// Converts every element, stopping at the first that is wrong.
pub(crate) fn all<W, T>(wire: Vec<W>) -> Result<Vec<T>, WireError>
where
    T: TryFrom<W, Error = WireError>,
{
    wire.into_iter().map(T::try_from).collect()
}
