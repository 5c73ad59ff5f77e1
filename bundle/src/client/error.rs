//! Why a registry gave nothing, or did not take something.

use nesos_types::bundle::Digest;
use oci_client::errors::OciDistributionError;
use thiserror::Error;

use super::credentials::CredentialsError;

/// What a registry answered, or that it did not.
#[derive(Debug, Error)]
pub enum RegistryError {
    /// There is no such thing there.
    #[error(
        "the registry {registry} has no {what}; `nesos bundles` lists what the cluster's own has"
    )]
    Unknown {
        /// The registry.
        registry: String,
        /// What was asked for.
        what: String,
    },
    /// The registry wants to know who asks, or does not want whoever asks.
    #[error(
        "the registry {registry} does not let us do that; `docker login {registry}` leaves credentials where nesos finds them"
    )]
    Unauthorized {
        /// The registry.
        registry: String,
    },
    /// The registry refused, with its own words.
    #[error("the registry {registry} refused ({status}): {why}")]
    Refused {
        /// The registry.
        registry: String,
        /// The status of HTTP.
        status: u16,
        /// What it said.
        why: String,
    },
    /// The registry cannot be spoken with: it may work the next time.
    #[error("cannot speak with the registry {registry}: {why}")]
    Unreachable {
        /// The registry.
        registry: String,
        /// What failed.
        why: String,
    },
    /// The registry does not do as the specification says.
    #[error("the registry {registry} does not speak as registries do: {why}")]
    Protocol {
        /// The registry.
        registry: String,
        /// What was wrong.
        why: String,
    },
    /// More came than may.
    #[error("the registry sends more than the {most} bytes that are taken")]
    TooLong {
        /// How many are taken.
        most: usize,
    },
    /// Other bytes came than those that were asked for.
    #[error("the registry sent bytes of the digest {actual} where {expected} was asked for")]
    Digest {
        /// What was asked for.
        expected: Digest,
        /// What came.
        actual: Digest,
    },
    /// Who we are cannot be found out.
    #[error(transparent)]
    Credentials(#[from] CredentialsError),
    /// The client cannot be made.
    #[error("cannot speak with registries: {0}")]
    Client(#[source] Box<OciDistributionError>),
}

impl From<OciDistributionError> for RegistryError {
    fn from(error: OciDistributionError) -> Self {
        Self::Client(Box::new(error))
    }
}

impl RegistryError {
    /// Whether it may work the next time.
    #[must_use]
    pub fn is_passing(&self) -> bool {
        match self {
            Self::Unreachable { .. } => true,
            Self::Refused { status, .. } => *status >= 500 || matches!(status, 408 | 429),
            _ => false,
        }
    }

    /// A failure of the connection, with its innermost cause.
    pub(super) fn unreachable(registry: &str, error: &dyn std::error::Error) -> Self {
        let mut cause = error;
        while let Some(inner) = cause.source() {
            cause = inner;
        }
        Self::Unreachable {
            registry: registry.to_owned(),
            why: cause.to_string(),
        }
    }

    pub(super) fn of_status(registry: &str, status: u16, what: &str, why: String) -> Self {
        let registry = registry.to_owned();
        match status {
            404 => Self::Unknown {
                registry,
                what: in_words(what),
            },
            401 | 403 => Self::Unauthorized { registry },
            _ => Self::Refused {
                registry,
                status,
                why: if why.is_empty() {
                    format!("it did not say why, asked for {what}")
                } else {
                    why
                },
            },
        }
    }

    /// What the client of the protocol says, in our words.
    pub(super) fn of(registry: &str, error: OciDistributionError) -> Self {
        match error {
            OciDistributionError::RequestError(error) => Self::unreachable(registry, &error),
            OciDistributionError::UnauthorizedError { .. }
            | OciDistributionError::AuthenticationFailure(_) => Self::Unauthorized {
                registry: registry.to_owned(),
            },
            OciDistributionError::ServerError { code, url, message } => {
                Self::of_status(registry, code, &url, reason(&message))
            }
            OciDistributionError::RegistryError { envelope, url } => {
                Self::of_envelope(registry, &envelope, &url)
            }
            OciDistributionError::ImageManifestNotFoundError(what) => Self::Unknown {
                registry: registry.to_owned(),
                what,
            },
            OciDistributionError::IoError(error) => Self::unreachable(registry, &error),
            other => Self::Protocol {
                registry: registry.to_owned(),
                why: other.to_string(),
            },
        }
    }

    fn of_envelope(registry: &str, envelope: &oci_client::errors::OciEnvelope, url: &str) -> Self {
        use oci_client::errors::OciErrorCode as Code;
        let registry = registry.to_owned();
        match envelope.errors.first().map(|error| &error.code) {
            Some(
                Code::BlobUnknown | Code::ManifestUnknown | Code::NameUnknown | Code::NotFound,
            ) => Self::Unknown {
                registry,
                what: in_words(url),
            },
            Some(Code::Unauthorized | Code::Denied) => Self::Unauthorized { registry },
            Some(Code::Toomanyrequests) => Self::Refused {
                registry,
                status: 429,
                why: envelope_reason(envelope),
            },
            _ => Self::Refused {
                registry,
                status: 400,
                why: envelope_reason(envelope),
            },
        }
    }

    /// The same error, with what was asked for in the words of whoever asked.
    pub(super) fn about(self, what: impl std::fmt::Display, place: impl std::fmt::Display) -> Self {
        match self {
            Self::Unknown { registry, .. } => Self::Unknown {
                registry,
                what: format!("{what} in {place}"),
            },
            other => other,
        }
    }
}

/// What was asked for by its path, as people write it: `NAME:TAG`, `NAME@DIGEST` or `NAME`.
fn in_words(path: &str) -> String {
    if let Some((name, tag)) = path.rsplit_once("/manifests/") {
        let mark = if tag.contains(':') { '@' } else { ':' };
        return format!("bundle {name}{mark}{tag}");
    }
    match path.strip_suffix("/tags/list") {
        Some(name) => format!("bundle {name}"),
        None => path.to_owned(),
    }
}

/// Why a registry refused: the message in its answer, if it is one of the specification's.
pub(super) fn reason(answer: &str) -> String {
    let answered = serde_json::from_str::<serde_json::Value>(answer).ok();
    let message = answered.as_ref().and_then(|answered| {
        let message = answered.pointer("/errors/0/message")?;
        message.as_str().filter(|message| !message.is_empty())
    });
    excerpt(message.unwrap_or(answer))
}

fn envelope_reason(envelope: &oci_client::errors::OciEnvelope) -> String {
    let first = envelope.errors.first();
    match first.map(|error| &error.message) {
        Some(message) if !message.is_empty() => excerpt(message),
        _ => excerpt(&envelope.to_string()),
    }
}

/// What a stranger said, as far as it fits a line.
fn excerpt(text: &str) -> String {
    let plain = text.chars().map(|c| if c.is_control() { ' ' } else { c });
    plain.take(500).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_told_in_the_words_of_the_registry() {
        let answer = r#"{"errors":[{"code":"UNKNOWN","message":"the disk\nis full","detail":{}}]}"#;
        assert_eq!(reason(answer), "the disk is full");
        for other in ["teapot", "{}", r#"{"errors":[]}"#] {
            assert_eq!(reason(other), other);
        }
    }

    #[test]
    fn what_is_not_there_is_named_as_people_write_it() {
        for (path, words) in [
            ("a/b/manifests/1.0", "bundle a/b:1.0"),
            ("a/manifests/sha256:00", "bundle a@sha256:00"),
            ("a/b/tags/list", "bundle a/b"),
            ("_catalog", "_catalog"),
        ] {
            let error = RegistryError::of_status("here:1", 404, path, String::new());
            let said = error.to_string();
            assert!(
                said.starts_with(&format!("the registry here:1 has no {words};")),
                "{said}"
            );
        }
    }
}
