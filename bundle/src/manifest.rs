//! `nesos.toml`: what a bundle says of itself. What it is, what it needs, what it would like to be
//! allowed, and how it is built.
//!
//! All but the name is optional, and what is said is a default: whoever runs the bundle may say
//! otherwise. A key that is not known is refused, with its place, because a limit with a slip in its
//! name would be no limit. Nothing is granted here; what is asked for is shown before it is.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use nesos_types::ids::VolumeId;
use nesos_types::limits::Metering;
use semver::Version;
use serde::Deserialize;
use thiserror::Error;

use crate::reference;

mod quantity;

/// What the file is called.
pub const FILE_NAME: &str = "nesos.toml";
/// The longest manifest that is read, in bytes.
pub const MAX_BYTES: usize = 64 << 10;
/// Where the read-only files of a bundle appear if it does not say.
pub const FILES_AT: &str = "/bundle";

/// A bundle's manifest.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// The repository's name that the bundle is pushed under if none is named: `hello`, `ads/web/hello`.
    pub name: String,
    /// The version. It is the tag that the bundle is pushed under if none is named.
    #[serde(default)]
    pub version: Option<Version>,
    /// A sentence for people.
    #[serde(default)]
    pub description: String,
    /// What it is.
    #[serde(default)]
    pub kind: Kind,
    /// Arguments after the program's name.
    #[serde(default)]
    pub args: Vec<String>,
    /// Environment variables.
    #[serde(default)]
    pub env: BTreeMap<String, String>,
    /// Resources.
    #[serde(default)]
    pub resources: Resources,
    /// Limits beside the resources.
    #[serde(default)]
    pub limits: Limits,
    /// What it would like to be allowed.
    #[serde(default)]
    pub capabilities: Capabilities,
    /// Files that it finds in its sandbox.
    #[serde(default)]
    pub files: Option<Files>,
    /// How it is built.
    #[serde(default)]
    pub build: Option<Build>,
}

/// What a bundle is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// A program that starts, works and ends.
    #[default]
    Command,
    /// Runs the tasks of its framework.
    Executor,
    /// Answers HTTP requests.
    Service,
    /// Decides in which order a master offers.
    Policy,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Command => "command",
            Self::Executor => "executor",
            Self::Service => "service",
            Self::Policy => "policy",
        })
    }
}

/// Resources as defaults.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Resources {
    /// CPU in thousandths of a core.
    #[serde(default, deserialize_with = "quantity::cpus")]
    pub cpus: Option<u64>,
    /// Memory in bytes.
    #[serde(default, deserialize_with = "quantity::bytes")]
    pub mem: Option<u64>,
    /// Disk in bytes.
    #[serde(default, deserialize_with = "quantity::bytes")]
    pub disk: Option<u64>,
}

/// Limits as defaults.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    /// Units of fuel.
    #[serde(default)]
    pub fuel: Option<u64>,
    /// Wall-clock time.
    #[serde(default, deserialize_with = "quantity::duration")]
    pub timeout: Option<Duration>,
    /// Files and directories that may exist at once in the writable root.
    #[serde(default)]
    pub files: Option<u64>,
    /// Bytes of output that are kept, for stdout and stderr each.
    #[serde(default, deserialize_with = "quantity::bytes")]
    pub output: Option<u64>,
    /// How long it has to end by itself when it is killed.
    #[serde(default, deserialize_with = "quantity::duration")]
    pub kill_grace: Option<Duration>,
    /// Whether it may use CPU beyond its own while nobody else wants it.
    #[serde(default)]
    pub burst: bool,
    /// How CPU is metered.
    #[serde(default)]
    pub metering: Metering,
}

/// What a bundle would like to be allowed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Capabilities {
    /// Whom it wants to reach over the network: `HOST:PORT`.
    #[serde(default)]
    pub network: Vec<Peer>,
    /// Persistent volumes that it wants to find.
    #[serde(default)]
    pub volumes: Vec<Volume>,
}

/// Somebody on the network, as `HOST:PORT`; the port may be `*`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(try_from = "String")]
pub struct Peer(String);

impl Peer {
    /// `HOST:PORT`, as it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}
impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
impl TryFrom<String> for Peer {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        let missing = || format!("{text:?} is not HOST:PORT; write for example db.internal:5432");
        let (host, port) = text.rsplit_once(':').ok_or_else(missing)?;
        let checked = if port == "*" { host } else { &*text };
        if port.is_empty() {
            return Err(missing());
        }
        reference::validate_host(checked)?;
        Ok(Self(text))
    }
}

/// A persistent volume that a bundle wants.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Volume {
    /// The volume's id.
    pub name: VolumeId,
    /// Where the guest finds it: an absolute path.
    pub guest: String,
    /// Whether it is only read.
    #[serde(default)]
    pub read_only: bool,
}

/// Files that travel with the bundle and are only read.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Files {
    /// Which: patterns such as `static/**` or `*.json`, below the folder of `nesos.toml`.
    pub include: Vec<String>,
    /// Where the guest finds them: an absolute path.
    #[serde(default = "files_at")]
    pub at: String,
}

/// How a bundle is built.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Build {
    /// The program and its arguments; no shell. Empty: the artifact is there already.
    #[serde(default)]
    pub command: Vec<String>,
    /// What it makes, below the folder of `nesos.toml`.
    pub artifact: String,
    /// The target of the Rust toolchain that it needs.
    #[serde(default)]
    pub target: Option<String>,
}

/// Why a text is no manifest.
#[derive(Debug, Error)]
pub enum ManifestError {
    /// More bytes than a manifest may have.
    #[error("{FILE_NAME} has {0} bytes; at most {MAX_BYTES} are read")]
    TooLong(usize),
    /// The bytes are not text.
    #[error("{FILE_NAME} is not UTF-8: {0}")]
    NotText(#[source] std::str::Utf8Error),
    /// Not TOML, a key that is not known, a value of the wrong kind: with its place.
    #[error("{FILE_NAME}: {0}")]
    Malformed(#[source] Box<toml::de::Error>),
    /// A value that cannot be meant.
    #[error("{FILE_NAME}: {key}: {why}")]
    Invalid {
        /// Which key.
        key: String,
        /// What is wrong with its value, and what to write instead.
        why: String,
    },
}

impl Manifest {
    /// Reads a manifest.
    ///
    /// # Errors
    /// If the bytes are too many, not a manifest, or say what cannot be meant.
    pub fn parse(bytes: &[u8]) -> Result<Self, ManifestError> {
        if bytes.len() > MAX_BYTES {
            return Err(ManifestError::TooLong(bytes.len()));
        }
        let text = std::str::from_utf8(bytes).map_err(ManifestError::NotText)?;
        let manifest: Self =
            toml::from_str(text).map_err(|error| ManifestError::Malformed(Box::new(error)))?;
        manifest.validate()?;
        Ok(manifest)
    }

    /// The tag that it is pushed under if none is named. A `+` of the version becomes `_`, as tags have none.
    #[must_use]
    pub fn tag(&self) -> String {
        let version = self.version.as_ref();
        version.map_or_else(
            || reference::DEFAULT_TAG.to_owned(),
            |version| version.to_string().replace('+', "_"),
        )
    }

    /// Where the guest finds the read-only files.
    #[must_use]
    pub fn files_at(&self) -> &str {
        self.files.as_ref().map_or(FILES_AT, |files| &files.at)
    }

    fn validate(&self) -> Result<(), ManifestError> {
        reference::validate_name(&self.name).map_err(|why| invalid("name", why))?;
        reference::validate_tag(&self.tag()).map_err(|why| invalid("version", why))?;
        self.validate_words()?;
        self.validate_amounts()?;
        let volumes = self.capabilities.volumes.iter();
        for volume in volumes {
            absolute("capabilities.volumes.guest", &volume.guest)?;
        }
        if let Some(files) = &self.files {
            absolute("files.at", &files.at)?;
            for pattern in &files.include {
                below("files.include", pattern)?;
            }
        }
        self.build
            .as_ref()
            .map_or(Ok(()), |build| below("build.artifact", &build.artifact))
    }

    fn validate_words(&self) -> Result<(), ManifestError> {
        if self.args.iter().any(|arg| arg.contains('\0')) {
            return Err(invalid("args", "an argument holds a zero byte".into()));
        }
        let wrong = |(name, value): &(&String, &String)| {
            name.is_empty() || name.contains(['=', '\0']) || value.contains('\0')
        };
        match self.env.iter().find(wrong) {
            Some((name, _)) => Err(invalid(
                "env",
                format!("{name:?} is not a variable's name and value"),
            )),
            None => Ok(()),
        }
    }

    fn validate_amounts(&self) -> Result<(), ManifestError> {
        let nothing = |key: &str| Err(invalid(key, "nothing could run with none of it".into()));
        match (self.resources.cpus, self.resources.mem, self.limits.timeout) {
            (Some(0), _, _) => nothing("resources.cpus"),
            (_, Some(0), _) => nothing("resources.mem"),
            (_, _, Some(Duration::ZERO)) => nothing("limits.timeout"),
            _ => Ok(()),
        }
    }
}

fn files_at() -> String {
    FILES_AT.to_owned()
}

fn invalid(key: &str, why: String) -> ManifestError {
    ManifestError::Invalid {
        key: key.to_owned(),
        why,
    }
}

/// A place in the sandbox: absolute, and not by way of `..`.
fn absolute(key: &str, path: &str) -> Result<(), ManifestError> {
    let fine = path.starts_with('/') && path != "/" && !path.split('/').any(|part| part == "..");
    fine.then_some(()).ok_or_else(|| {
        let why =
            format!("{path:?} is not an absolute path below the root; write for example /data");
        invalid(key, why)
    })
}

/// A place in the project: relative, and not by way of `..`.
fn below(key: &str, path: &str) -> Result<(), ManifestError> {
    let fine =
        !path.is_empty() && !path.starts_with('/') && !path.split('/').any(|part| part == "..");
    fine.then_some(()).ok_or_else(|| {
        let why = format!("{path:?} must lie below the folder of {FILE_NAME}; write it without / in front and without ..");
        invalid(key, why)
    })
}

#[cfg(test)]
mod tests;
