//! Who we are to a registry: what `docker login` has left, in a file or with a helper.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use docker_credential::{CredentialRetrievalError, DockerCredential, get_credential_from_reader};
use oci_client::secrets::RegistryAuth;
use thiserror::Error;

/// Where credentials are looked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Credentials {
    file: Option<PathBuf>,
    /// Whether a file that is not there is an error.
    chosen: bool,
}

/// Credentials cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum CredentialsError {
    /// The file cannot be opened.
    #[error("cannot read the credentials in {path:?}: {why}")]
    File {
        /// Which file.
        path: PathBuf,
        /// Why not.
        why: String,
    },
    /// The file, or a helper that it names, says nothing that can be used.
    #[error("cannot use the credentials for {registry} in {path:?}: {why}")]
    Unusable {
        /// For whom.
        registry: String,
        /// Which file.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
}

impl Credentials {
    /// Those in this file, which must be there.
    #[must_use]
    pub fn from_file(path: impl Into<PathBuf>) -> Self {
        Self {
            file: Some(path.into()),
            chosen: true,
        }
    }

    /// Those that `docker login` leaves for this user, if there are any: `$DOCKER_CONFIG/config.json` or
    /// `~/.docker/config.json`.
    #[must_use]
    pub fn of_user() -> Self {
        let named = std::env::var_os("DOCKER_CONFIG").map(PathBuf::from);
        let home = || Some(PathBuf::from(std::env::var_os("HOME")?).join(".docker"));
        Self {
            file: named.or_else(home).map(|folder| folder.join("config.json")),
            chosen: false,
        }
    }

    /// What to say to this host. Blocks while a helper is asked.
    pub(super) fn of(&self, registry: &str) -> Result<RegistryAuth, CredentialsError> {
        let Some(path) = &self.file else {
            return Ok(RegistryAuth::Anonymous);
        };
        match File::open(path) {
            Ok(file) => read(file, path, registry),
            Err(error) if error.kind() == io::ErrorKind::NotFound && !self.chosen => {
                Ok(RegistryAuth::Anonymous)
            }
            Err(error) => Err(CredentialsError::File {
                path: path.clone(),
                why: error.to_string(),
            }),
        }
    }
}

fn read(file: File, path: &Path, registry: &str) -> Result<RegistryAuth, CredentialsError> {
    match get_credential_from_reader(io::BufReader::new(file), registry) {
        Ok(DockerCredential::UsernamePassword(user, password)) => {
            Ok(RegistryAuth::Basic(user, password))
        }
        Ok(DockerCredential::IdentityToken(token)) => Ok(RegistryAuth::Bearer(token)),
        Err(CredentialRetrievalError::NoCredentialConfigured) => Ok(RegistryAuth::Anonymous),
        Err(error) => Err(CredentialsError::Unusable {
            registry: registry.to_owned(),
            path: path.to_owned(),
            why: error.to_string(),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(text: &str) -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("config.json");
        std::fs::write(&path, text).expect("written");
        (folder, path)
    }

    #[test]
    fn what_docker_login_leaves_is_used_for_its_host_only() {
        let (_folder, path) =
            written("{\"auths\":{\"localhost:5000\":{\"auth\":\"bWU6c2VjcmV0\"}}}");
        let credentials = Credentials::from_file(path);
        let basic = RegistryAuth::Basic("me".into(), "secret".into());
        assert_eq!(credentials.of("localhost:5000"), Ok(basic));
        assert_eq!(credentials.of("ghcr.io"), Ok(RegistryAuth::Anonymous));
    }

    #[test]
    fn a_file_that_was_named_must_be_there_and_make_sense() {
        let missing = Credentials::from_file("/does/not/exist");
        assert!(matches!(
            missing.of("a"),
            Err(CredentialsError::File { .. })
        ));
        let (_folder, path) = written("{\"auths\":{\"a\":{\"auth\":\"%\"}}}");
        let error = Credentials::from_file(path).of("a").expect_err("nonsense");
        assert!(error.to_string().contains("for a in"), "{error}");
        assert_eq!(Credentials::default().of("a"), Ok(RegistryAuth::Anonymous));
    }
}
