//! Which registry, and who we are to it.

use std::path::PathBuf;

use clap::Args;
use nesos_bundle::artifact::{Blob, Layout};
use nesos_bundle::client::{Credentials, RegistryConfig, RegistryError, Remote};
use nesos_bundle::difference;
use nesos_bundle::manifest::{MAX_BYTES, Manifest};
use nesos_bundle::oci::ImageManifest;
use nesos_bundle::reference::Reference;
use nesos_types::bundle::Digest;

use crate::connect::{self, DEFAULT_MASTER};
use crate::failure::{Failure, status};

/// How registries are spoken with.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct RegistryOptions {
    /// A file of credentials as `docker login` leaves it; without it ~/.docker/config.json, if it is there
    #[arg(long, value_name = "FILE")]
    registry_config: Option<PathBuf>,
    /// A registry that is spoken with over plain HTTP, beside this machine. May be repeated
    #[arg(long, value_name = "HOST[:PORT]")]
    plain_http: Vec<String>,
}

impl RegistryOptions {
    /// The repository of a reference; the cluster's own registry is at the master that leads.
    pub(crate) async fn remote(
        &self,
        reference: &Reference,
        masters: &str,
    ) -> Result<Remote, Failure> {
        let master = match reference.registry {
            None => connect::leader(masters).await,
            Some(_) => connect::first(masters).to_owned(),
        };
        let (cluster, is_plain) = host_of(&master);
        let mut config = RegistryConfig {
            plain_http: self.plain_http.iter().cloned().collect(),
            credentials: match &self.registry_config {
                Some(path) => Credentials::from_file(path),
                None => Credentials::of_user(),
            },
        };
        if is_plain {
            config.plain_http.insert(cluster.to_owned());
        }
        Ok(Remote::new(&reference.repository(), cluster, &config)?)
    }
}

/// `HOST:PORT` of a master's address, and whether it is spoken with without TLS.
fn host_of(master: &str) -> (&str, bool) {
    let master = if master.is_empty() {
        DEFAULT_MASTER
    } else {
        master
    };
    let is_plain = !master.starts_with("https://");
    let host = master.split_once("://").map_or(master, |(_, host)| host);
    (host.trim_end_matches('/'), is_plain)
}

/// A bundle in a registry, as its manifest describes it.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) digest: Digest,
    pub(crate) document: Blob,
    pub(crate) image: ImageManifest,
    pub(crate) layout: Layout,
    pub(crate) manifest: Option<Manifest>,
}

/// What `after` wants more or less than what a reference names now; nothing if that names nothing.
pub(crate) async fn changes(
    remote: &Remote,
    before: &Reference,
    after: Option<&Manifest>,
) -> Vec<String> {
    match find(remote, before).await {
        Ok(before) => difference::between(before.manifest.as_ref(), after)
            .iter()
            .map(ToString::to_string)
            .collect(),
        Err(_) => Vec::new(),
    }
}

/// Finds what a reference names now.
pub(crate) async fn find(remote: &Remote, reference: &Reference) -> Result<Found, Failure> {
    let document = match reference.digest {
        Some(digest) => remote.manifest(digest).await?,
        None => remote.tagged(reference.tag_or_default()).await?,
    };
    let no_bundle = |error: &dyn std::error::Error| {
        Failure::said(format!("{reference} is no bundle: {error}")).with_status(status::CANNOT_RUN)
    };
    let image = ImageManifest::parse(&document.bytes).map_err(|error| no_bundle(&error))?;
    let layout = Layout::of(&image).map_err(|error| no_bundle(&error))?;
    let manifest = match &layout.manifest {
        None => None,
        Some(layer) => {
            let bytes = remote.blob_bytes(layer.digest, MAX_BYTES).await?;
            Some(Manifest::parse(&bytes).map_err(|error| no_bundle(&error))?)
        }
    };
    Ok(Found {
        digest: document.digest(),
        document,
        image,
        layout,
        manifest,
    })
}

impl From<RegistryError> for Failure {
    fn from(error: RegistryError) -> Self {
        let failure = Self::said(error.to_string());
        match error {
            RegistryError::Unknown { .. } => failure.with_status(status::NOT_FOUND),
            _ => failure,
        }
    }
}

/// A reference, on a command line.
pub(crate) fn reference(text: &str) -> Result<Reference, String> {
    text.parse()
        .map_err(|error: nesos_bundle::reference::ReferenceError| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clusters_registry_is_at_its_master() {
        for (master, host) in [
            ("http://a:5050", ("a:5050", true)),
            ("a:5050", ("a:5050", true)),
            ("https://a:5050/", ("a:5050", false)),
            ("", ("127.0.0.1:5050", true)),
        ] {
            assert_eq!(host_of(master), host, "{master}");
        }
    }
}
