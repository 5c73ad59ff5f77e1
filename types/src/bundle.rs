//! Bundles: uploaded Wasm artifacts, addressed by what they contain.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use thiserror::Error;

use crate::hex;
use crate::ids::serde_as_text;

/// The SHA-256 digest of a blob, written `sha256:<64 hexadecimal digits>`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest(pub [u8; 32]);

/// A text is not a digest.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{0:?} is not a digest; expected sha256:<64 lower-case hexadecimal digits>")]
pub struct DigestError(pub String);

impl Digest {
    /// The 64 hexadecimal digits, without the algorithm's name.
    #[must_use]
    pub fn hex(&self) -> String {
        hex::text(&self.0)
    }
}
impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        hex::pad("sha256:", &self.0, f)
    }
}
impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
impl FromStr for Digest {
    type Err = DigestError;
    fn from_str(text: &str) -> Result<Self, DigestError> {
        text.strip_prefix("sha256:")
            .filter(|digits| !digits.bytes().any(|digit| digit.is_ascii_uppercase()))
            .and_then(hex::parse)
            .map(Self)
            .ok_or_else(|| DigestError(text.chars().take(80).collect()))
    }
}
serde_as_text!(Digest);

/// A repository of an OCI registry, in which bundles lie. Written as its name where it is in the cluster's own
/// registry (`ads/web/hello`), else with the registry before it (`oci://ghcr.io/ads/hello`).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Repository {
    /// The registry's host, with its port if it is not the usual one; `None` is the cluster's own.
    pub registry: Option<String>,
    /// The repository's name there.
    pub name: String,
}

/// A text is not the name of a repository.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error(
    "{0:?} is not a repository; expected lower-case names with slashes between them, such as ads/hello, or oci://HOST/ads/hello"
)]
pub struct RepositoryError(pub String);

/// How a repository of another registry is written.
const OCI_SCHEME: &str = "oci://";

impl Repository {
    /// The top-level role whose it is: the first part of its name. None is everybody's: a name of one part, or what
    /// lies in another registry.
    #[must_use]
    pub fn tenant(&self) -> Option<&str> {
        let (tenant, _) = self.name.split_once('/')?;
        self.registry.is_none().then_some(tenant)
    }
}

impl fmt::Display for Repository {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.registry {
            Some(registry) => write!(f, "{OCI_SCHEME}{registry}/{}", self.name),
            None => f.write_str(&self.name),
        }
    }
}

impl FromStr for Repository {
    type Err = RepositoryError;
    fn from_str(text: &str) -> Result<Self, RepositoryError> {
        let refused = || RepositoryError(text.chars().take(80).collect());
        let (registry, name) = match text.strip_prefix(OCI_SCHEME) {
            Some(rest) => {
                let (registry, name) = rest.split_once('/').ok_or_else(refused)?;
                (Some(registry), name)
            }
            None => (None, text),
        };
        if registry.is_some_and(|host| !is_host(host)) || !is_repository_name(name) {
            return Err(refused());
        }
        Ok(Self {
            registry: registry.map(str::to_owned),
            name: name.to_owned(),
        })
    }
}
serde_as_text!(Repository);

fn is_host(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-.:[]_".contains(&byte);
    !text.is_empty() && text.len() <= 255 && text.bytes().all(allowed)
}

/// As the OCI distribution specification has it.
fn is_repository_name(text: &str) -> bool {
    text.len() <= 255 && text.split('/').all(is_name_component)
}

/// Lower-case letters and digits, between which `.`, `_`, `__` or any number of dashes may stand.
fn is_name_component(text: &str) -> bool {
    let is_word = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let bytes = text.as_bytes();
    let (Some(first), Some(last)) = (bytes.first(), bytes.last()) else {
        return false;
    };
    is_word(first)
        && is_word(last)
        && bytes.split(is_word).all(|between| {
            matches!(between, b"" | b"." | b"_" | b"__") || between.iter().all(|byte| *byte == b'-')
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repositories_follow_the_rules_of_registries() {
        for good in [
            "hello",
            "ads/web/hello",
            "a__b/c-d---e.f",
            "oci://ghcr.io:5000/a/b",
            "oci://[::1]:80/a",
        ] {
            let repository: Repository = good.parse().expect(good);
            assert_eq!(repository.to_string(), good);
        }
        let long = "a".repeat(256);
        for bad in [
            "", "/", "a//b", "A/b", "a/", "../x", "a..b", "a___b", "-a", "a b", "oci://",
            "oci://h", "oci:///a", &long,
        ] {
            assert!(bad.parse::<Repository>().is_err(), "{bad}");
        }
    }

    #[test]
    fn digests_survive_their_text() {
        let digest = Digest(std::array::from_fn(|i| {
            u8::try_from(i * 7).expect("below 256")
        }));
        assert_eq!(digest.to_string().parse(), Ok(digest));
        assert!("sha256:00".parse::<Digest>().is_err());
        assert!(digest.to_string().to_uppercase().parse::<Digest>().is_err());
    }
}
