//! Where a store is: `redb`, or `etcd://HOST:PORT[,HOST:PORT…][/PREFIX]`.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// Where an etcd keeps the registry if nobody says.
const DEFAULT_PREFIX: &str = "nesos";

/// Where the registry is kept.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum StoreAddress {
    /// In a file of the state directory, for one master.
    #[default]
    Redb,
    /// In an etcd, for several.
    Etcd(EtcdAddress),
}

/// An etcd, and the keys in it that are this cluster's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EtcdAddress {
    /// Its members, each as `HOST:PORT`.
    pub members: Vec<String>,
    /// What all keys of the cluster begin with, without slashes around it.
    pub prefix: String,
}

/// A text that is no address of a store.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error(
    "{given:?} is not a store ({why}); write redb, or etcd://HOST:PORT with further members behind commas \
     and a prefix of keys behind a slash"
)]
pub struct StoreAddressError {
    given: String,
    why: String,
}

impl FromStr for StoreAddress {
    type Err = StoreAddressError;

    fn from_str(text: &str) -> Result<Self, StoreAddressError> {
        let parsed = match text.split_once("://") {
            None if text == "redb" => return Ok(Self::Redb),
            None => Err("it has no scheme".to_owned()),
            Some(("etcd", rest)) => parse_etcd(rest),
            Some((scheme, _)) => Err(format!("nothing is known of {scheme}://")),
        };
        parsed.map(Self::Etcd).map_err(|why| StoreAddressError {
            given: text.to_owned(),
            why,
        })
    }
}

fn parse_etcd(rest: &str) -> Result<EtcdAddress, String> {
    let (members, prefix) = rest.split_once('/').unwrap_or((rest, ""));
    let members = members.split(',').map(member).collect::<Result<_, _>>()?;
    let prefix = match prefix.trim_matches('/') {
        "" => DEFAULT_PREFIX,
        prefix => prefix,
    };
    if prefix.chars().any(|c| c.is_whitespace() || c.is_control()) {
        return Err("the prefix has blanks in it".to_owned());
    }
    Ok(EtcdAddress {
        members,
        prefix: prefix.to_owned(),
    })
}

/// `HOST:PORT`, checked.
fn member(text: &str) -> Result<String, String> {
    let wrong = || format!("{text:?} is not HOST:PORT");
    let (host, port) = text.rsplit_once(':').ok_or_else(wrong)?;
    let is_bare = !host.contains(':') || (host.starts_with('[') && host.ends_with(']'));
    let strange = |c: char| c.is_whitespace() || c.is_control() || "/@?#\\".contains(c);
    if host.is_empty() || !is_bare || host.contains(strange) || port.parse::<u16>().is_err() {
        return Err(wrong());
    }
    Ok(text.to_owned())
}

impl fmt::Display for EtcdAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "etcd://{}/{}", self.members.join(","), self.prefix)
    }
}

impl fmt::Display for StoreAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Redb => f.write_str("redb"),
            Self::Etcd(etcd) => etcd.fmt(f),
        }
    }
}

impl TryFrom<String> for StoreAddress {
    type Error = StoreAddressError;

    fn try_from(text: String) -> Result<Self, StoreAddressError> {
        text.parse()
    }
}

impl From<StoreAddress> for String {
    fn from(address: StoreAddress) -> Self {
        address.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn etcd(text: &str) -> EtcdAddress {
        match text.parse() {
            Ok(StoreAddress::Etcd(etcd)) => etcd,
            other => panic!("{text}: {other:?}"),
        }
    }

    #[test]
    fn members_and_prefix_are_read() {
        assert_eq!("redb".parse(), Ok(StoreAddress::Redb));
        for (text, members, prefix) in [
            ("etcd://a:1", &["a:1"][..], "nesos"),
            ("etcd://a:1,[::1]:2/", &["a:1", "[::1]:2"], "nesos"),
            (
                "etcd://10.0.0.1:2379/prod/eu/",
                &["10.0.0.1:2379"],
                "prod/eu",
            ),
        ] {
            let read = etcd(text);
            assert_eq!(
                (read.members.as_slice(), &*read.prefix),
                (&*strings(members), prefix)
            );
            assert_eq!(etcd(&read.to_string()), read);
        }
    }

    fn strings(texts: &[&str]) -> Vec<String> {
        texts.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn what_is_no_store_is_refused_with_what_is_wrong() {
        for (text, why) in [
            ("", "no scheme"),
            ("zk://a:2181", "nothing is known of zk://"),
            ("http://a:2379", "nothing is known of http://"),
            ("etcd://", "\"\" is not HOST:PORT"),
            ("etcd://a", "\"a\" is not HOST:PORT"),
            ("etcd://a:x", "\"a:x\" is not HOST:PORT"),
            ("etcd://a:1,", "\"\" is not HOST:PORT"),
            ("etcd://a:1,b:99999", "\"b:99999\" is not HOST:PORT"),
            ("etcd://::1:1", "\"::1:1\" is not HOST:PORT"),
            ("etcd://user@a:1", "\"user@a:1\" is not HOST:PORT"),
            ("etcd://a:1/b c", "blanks"),
        ] {
            let error = text.parse::<StoreAddress>().unwrap_err().to_string();
            assert!(error.contains(why), "{text}: {error}");
            assert!(error.contains("etcd://HOST:PORT"), "{error}");
        }
    }
}
