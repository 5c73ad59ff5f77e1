//! How people name a bundle: `NAME[:TAG][@DIGEST]` in the cluster's own registry,
//! `oci://HOST[:PORT]/NAME[:TAG][@DIGEST]` in any other.
//!
//! Names and tags follow the OCI distribution specification. A reference without a tag and without a
//! digest means the tag `latest`. What a tag names is asked once, by whoever submits; everybody after
//! that speaks of digests.

use std::fmt;
use std::str::FromStr;

use nesos_types::bundle::{Digest, Repository};
use thiserror::Error;

/// What a reference to another registry begins with.
pub const SCHEME: &str = "oci://";
/// The tag that is meant where none is named.
pub const DEFAULT_TAG: &str = "latest";

const MAX_NAME_BYTES: usize = 255;
const MAX_TAG_BYTES: usize = 128;

/// Names one bundle, or one version after another of it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Reference {
    /// `HOST[:PORT]` of the registry; `None` is the cluster's own.
    pub registry: Option<String>,
    /// The repository's name.
    pub name: String,
    /// The tag, where one was named.
    pub tag: Option<String>,
    /// The manifest's digest, where one was named. It wins over the tag.
    pub digest: Option<Digest>,
}

/// Why a text names no bundle.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{text:?} names no bundle: {why}")]
pub struct ReferenceError {
    /// The text as it was given, shortened.
    pub text: String,
    /// The rule that it breaks, and what to write instead.
    pub why: String,
}

impl Reference {
    /// The tag to ask for: the one that was named, or `latest`.
    #[must_use]
    pub fn tag_or_default(&self) -> &str {
        self.tag.as_deref().unwrap_or(DEFAULT_TAG)
    }

    /// The repository that the bundle lies in.
    #[must_use]
    pub fn repository(&self) -> Repository {
        Repository {
            registry: self.registry.clone(),
            name: self.name.clone(),
        }
    }

    /// The same repository at this digest.
    #[must_use]
    pub fn at(&self, digest: Digest) -> Self {
        Self {
            digest: Some(digest),
            ..self.clone()
        }
    }

    fn parse(text: &str) -> Result<Self, String> {
        let (registry, rest) = split_registry(text)?;
        let (rest, digest) = match rest.split_once('@') {
            Some((rest, digest)) => {
                let digest = digest
                    .parse::<Digest>()
                    .map_err(|error| error.to_string())?;
                (rest, Some(digest))
            }
            None => (rest, None),
        };
        let (name, tag) = match rest.rsplit_once(':') {
            Some((name, tag)) => (name, Some(tag)),
            None => (rest, None),
        };
        validate_name(name)?;
        tag.map_or(Ok(()), validate_tag)?;
        Ok(Self {
            registry: registry.map(str::to_owned),
            name: name.to_owned(),
            tag: tag.map(str::to_owned),
            digest,
        })
    }
}

impl FromStr for Reference {
    type Err = ReferenceError;
    fn from_str(text: &str) -> Result<Self, ReferenceError> {
        Self::parse(text).map_err(|why| ReferenceError {
            text: text.chars().take(80).collect(),
            why,
        })
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(registry) = &self.registry {
            write!(f, "{SCHEME}{registry}/")?;
        }
        f.write_str(&self.name)?;
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        match &self.digest {
            Some(digest) => write!(f, "@{digest}"),
            None => Ok(()),
        }
    }
}

fn split_registry(text: &str) -> Result<(Option<&str>, &str), String> {
    let Some(rest) = text.strip_prefix(SCHEME) else {
        return match text.split_once("://") {
            Some((scheme, rest)) => Err(format!(
                "{scheme:?} is no scheme for bundles; write {SCHEME}{rest}"
            )),
            None => Ok((None, text)),
        };
    };
    let Some((host, rest)) = rest.split_once('/') else {
        return Err(format!(
            "no repository follows the host; write {SCHEME}{rest}/NAME"
        ));
    };
    validate_host(host)?;
    Ok((Some(host), rest))
}

/// Whether the text is `HOST[:PORT]`, the host a name, an IPv4 address or an IPv6 address in brackets.
///
/// # Errors
/// A sentence that says what is wrong.
pub fn validate_host(text: &str) -> Result<(), String> {
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
        _ => (text, None),
    };
    let number = port.map(str::parse::<u16>);
    if matches!(number, Some(Err(_) | Ok(0))) {
        return Err(format!(
            "the port of {text:?} is not a number from 1 to 65535"
        ));
    }
    let inner = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'));
    let fine = match inner {
        Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
        None => {
            !host.is_empty()
                && host.split('.').all(|label| {
                    !label.is_empty()
                        && !label.starts_with('-')
                        && label
                            .bytes()
                            .all(|c| c.is_ascii_alphanumeric() || c == b'-' || c == b'_')
                })
        }
    };
    fine.then_some(())
        .ok_or_else(|| format!("{host:?} is not the name or address of a host"))
}

/// Whether the text is a repository's name.
///
/// # Errors
/// A sentence that says what is wrong.
pub fn validate_name(text: &str) -> Result<(), String> {
    if text.is_empty() {
        return Err("the name is empty".into());
    }
    if text.len() > MAX_NAME_BYTES {
        return Err(format!("the name is longer than {MAX_NAME_BYTES} bytes"));
    }
    if text.contains(|c: char| c.is_ascii_uppercase()) {
        let lower = text.to_ascii_lowercase();
        return Err(format!("names are in lower case; write {lower}"));
    }
    match text.split('/').find(|component| !is_component(component)) {
        Some("") => Err("it begins or ends with a slash, or has two in a row".into()),
        Some(component) => Err(format!(
            "{component:?} is not a part of a name: letters and digits in lower case, parted by single \
             dots, by one or two underscores or by dashes"
        )),
        None => Ok(()),
    }
}

fn is_component(text: &str) -> bool {
    text.parse::<Repository>().is_ok()
}

/// Whether the text is a tag.
///
/// # Errors
/// A sentence that says what is wrong.
pub fn validate_tag(text: &str) -> Result<(), String> {
    let word = |c: u8| c.is_ascii_alphanumeric() || c == b'_';
    let fine = text.len() <= MAX_TAG_BYTES
        && text.bytes().next().is_some_and(word)
        && text.bytes().all(|c| word(c) || c == b'.' || c == b'-');
    fine.then_some(()).ok_or_else(|| {
        format!(
            "{:?} is not a tag: 1 to {MAX_TAG_BYTES} letters, digits, underscores, dots and dashes, a \
             letter, digit or underscore first",
            text.chars().take(80).collect::<String>()
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIGEST: &str = "sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";

    #[test]
    fn references_survive_their_text() {
        for text in [
            "hello",
            "ads/web/hello:1.0",
            "hello:v1_2-rc.1",
            "a__b/c--d/e.f",
            "oci://localhost:5000/hello",
            "oci://127.0.0.1:5000/a/b:latest",
            "oci://[::1]:5000/a",
            "oci://ghcr.io/bytecodealliance/sample:1",
            &format!("hello@{DIGEST}"),
            &format!("oci://ghcr.io/a/b:1@{DIGEST}"),
        ] {
            let reference = text
                .parse::<Reference>()
                .unwrap_or_else(|error| panic!("{error}"));
            assert_eq!(reference.to_string(), *text);
        }
    }

    #[test]
    fn the_parts_are_told_apart() {
        let text = format!("oci://localhost:5000/a/b:1@{DIGEST}");
        let reference: Reference = text.parse().expect("a reference");
        assert_eq!(reference.registry.as_deref(), Some("localhost:5000"));
        assert_eq!(reference.name, "a/b");
        assert_eq!(reference.tag.as_deref(), Some("1"));
        assert_eq!(reference.digest.expect("named").to_string(), DIGEST);
        let bare: Reference = "hello".parse().expect("a reference");
        assert_eq!((bare.registry, bare.tag.as_deref()), (None, None));
        assert_eq!(
            "hello".parse::<Reference>().expect("one").tag_or_default(),
            "latest"
        );
    }

    #[test]
    fn nonsense_is_refused_with_advice() {
        for (text, words) in [
            ("", "empty"),
            ("Hello", "write hello"),
            ("a//b", "slash"),
            ("/a", "slash"),
            ("a/", "slash"),
            ("a..b", "not a part of a name"),
            ("a___b", "not a part of a name"),
            ("-a", "not a part of a name"),
            ("a b", "not a part of a name"),
            ("ü", "not a part of a name"),
            ("a:", "not a tag"),
            ("a:-x", "not a tag"),
            ("a@sha256:12", "not a digest"),
            ("a@md5:12", "not a digest"),
            ("https://ghcr.io/a", "write oci://ghcr.io/a"),
            ("oci://ghcr.io", "write oci://ghcr.io/NAME"),
            ("oci:///a", "host"),
            ("oci://a:x/b", "port"),
            ("oci://a:0/b", "port"),
            ("oci://[::1/b", "host"),
        ] {
            let error = text.parse::<Reference>().expect_err(text).to_string();
            assert!(error.contains(words), "{text}: {error}");
        }
        assert!("a".repeat(256).parse::<Reference>().is_err());
        assert!(
            format!("a:{}", "t".repeat(129))
                .parse::<Reference>()
                .is_err()
        );
    }
}
