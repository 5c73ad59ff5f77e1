//! Identifiers: unguessable ones that Nesos hands out, and names that users choose.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use thiserror::Error;

use crate::hex;

/// Why a text is not an identifier of the kind that was asked for.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum IdError {
    /// The text is not `<prefix>-<32 hexadecimal digits>`.
    #[error("{text:?} is not a {kind} id; expected {prefix}-<32 hexadecimal digits>")]
    Malformed {
        /// What was expected: "framework", "agent", ...
        kind: &'static str,
        /// The prefix that ids of this kind carry.
        prefix: &'static str,
        /// The text as it was given.
        text: String,
    },
    /// A name is empty, too long or holds a forbidden character.
    #[error("{text:?} is not a {kind}: {why}")]
    Forbidden {
        /// What was expected: "task id", "role", ...
        kind: &'static str,
        /// The text as it was given, shortened.
        text: String,
        /// The rule that it breaks.
        why: &'static str,
    },
}

/// Serializes a type through its `Display` and `FromStr`.
macro_rules! serde_as_text {
    ($name:ty) => {
        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }
        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}
pub(crate) use serde_as_text;

macro_rules! unguessable_id {
    ($(#[$doc:meta])* $name:ident, $kind:literal, $prefix:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub u128);

        impl $name {
            /// The text that ids of this kind begin with, before the dash.
            pub const PREFIX: &'static str = $prefix;
        }
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                hex::pad(concat!($prefix, "-"), &self.0.to_be_bytes(), f)
            }
        }
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }
        impl FromStr for $name {
            type Err = IdError;
            fn from_str(text: &str) -> Result<Self, IdError> {
                text.strip_prefix(concat!($prefix, "-"))
                    .and_then(hex::parse)
                    .map(|bytes| Self(u128::from_be_bytes(bytes)))
                    .ok_or_else(|| IdError::Malformed {
                        kind: $kind,
                        prefix: $prefix,
                        text: shorten(text),
                    })
            }
        }
        serde_as_text!($name);
    };
}

unguessable_id!(
    /// A framework, for its whole life: it survives disconnects and the master.
    FrameworkId, "framework", "fw"
);
unguessable_id!(
    /// An agent, new for every fresh registration, kept over restarts of the agent process.
    AgentId, "agent", "ag"
);
unguessable_id!(
    /// One offer. Whoever does not hold the offer cannot guess its id, and it is checked anyway.
    OfferId, "offer", "of"
);
unguessable_id!(
    /// One status update that must be acknowledged.
    UpdateId, "update", "up"
);
unguessable_id!(
    /// One run of an executor on an agent, from its start to its end.
    RunId, "executor run", "ex"
);
unguessable_id!(
    /// Tasks that were launched together.
    GroupId, "group", "gr"
);

/// Keeps an error message readable when the text at fault is long.
fn shorten(text: &str) -> String {
    const SHOWN: usize = 80;
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

/// The longest name that a user may choose, in bytes.
pub const MAX_NAME_BYTES: usize = 255;

/// Checks a user-chosen name by the rules of Mesos (`src/common/validation.cpp`).
fn validate_name(kind: &'static str, text: &str) -> Result<(), IdError> {
    let why = if text.is_empty() {
        "it is empty"
    } else if text.len() > MAX_NAME_BYTES {
        "it is longer than 255 bytes"
    } else if text == "." || text == ".." {
        "\".\" and \"..\" are not names"
    } else if text.chars().any(char::is_control) {
        "it holds a control character"
    } else if text.contains(['/', '\\']) {
        "it holds a slash or a backslash"
    } else {
        return Ok(());
    };
    Err(IdError::Forbidden {
        kind,
        text: shorten(text),
        why,
    })
}

/// Why a role or another name is refused, for the modules beside this one.
pub(crate) fn forbidden(kind: &'static str, text: &str, why: &'static str) -> IdError {
    IdError::Forbidden {
        kind,
        text: shorten(text),
        why,
    }
}

macro_rules! chosen_name {
    ($(#[$doc:meta])* $name:ident, $kind:literal) => {
        $(#[$doc])*
        ///
        /// 1 to 255 bytes, no control characters, no slash or backslash, not `.` or `..`. Cheap to clone.
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Arc<str>);

        impl $name {
            /// The name as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&self.0, f)
            }
        }
        impl FromStr for $name {
            type Err = IdError;
            fn from_str(text: &str) -> Result<Self, IdError> {
                validate_name($kind, text)?;
                Ok(Self(text.into()))
            }
        }
        serde_as_text!($name);
    };
}

chosen_name!(
    /// A task's id: chosen by its framework, unique among the framework's live tasks.
    TaskId, "task id"
);
impl From<RunId> for TaskId {
    /// To the master and its agents a run of an executor is a task: the run's id is its name.
    fn from(run: RunId) -> Self {
        Self(run.to_string().into())
    }
}

chosen_name!(
    /// An executor's id: chosen by its framework, with at most one run on an agent.
    ExecutorId, "executor id"
);
chosen_name!(
    /// A persistent volume's id: chosen by whoever creates it, unique on its agent.
    VolumeId, "volume id"
);

/// A task as the whole cluster knows it: ids are unique within a framework only.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct TaskKey {
    /// The framework that launched the task.
    pub framework: FrameworkId,
    /// The task's id within the framework.
    pub task: TaskId,
}
impl fmt::Display for TaskKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.framework, self.task)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_survive_their_text() {
        for value in [0, 1, u128::MAX, 0x0123_4567_89ab_cdef] {
            let id = FrameworkId(value);
            assert_eq!(id.to_string().parse(), Ok(id));
        }
    }

    #[test]
    fn ids_of_another_kind_are_refused() {
        let agent = AgentId(7).to_string();
        assert!(agent.parse::<FrameworkId>().is_err());
        assert!(
            "fw-+0000000000000000000000000000001"
                .parse::<FrameworkId>()
                .is_err()
        );
        assert!("fw-1".parse::<FrameworkId>().is_err());
    }

    #[test]
    fn task_ids_follow_the_rules() {
        for good in ["a", "task 1", "été", &"x".repeat(255)] {
            assert!(good.parse::<TaskId>().is_ok(), "{good}");
        }
        for bad in ["", ".", "..", "a/b", "a\\b", "a\nb", &"x".repeat(256)] {
            assert!(bad.parse::<TaskId>().is_err(), "{bad}");
        }
    }
}
