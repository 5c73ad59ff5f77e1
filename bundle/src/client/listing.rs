//! What lies in a registry: repositories, their tags, and taking them away.

use oci_client::RegistryOperation;
use reqwest::Method;
use serde::Deserialize;

use super::{RegistryError, Remote, collect};
use crate::oci::MAX_MANIFEST_BYTES;
use futures::StreamExt;

#[derive(Debug, Deserialize)]
struct Catalog {
    #[serde(default)]
    repositories: Vec<String>,
}

#[derive(Debug, Deserialize)]
struct Tags {
    /// A repository without tags has `null`.
    tags: Option<Vec<String>>,
}

impl Remote {
    /// The names of the repositories that the registry shows us, whatever this one is.
    ///
    /// # Errors
    /// If the registry does not say; large public ones do not.
    pub async fn repositories(&self) -> Result<Vec<String>, RegistryError> {
        let catalog: Catalog = self.json("_catalog?n=10000").await?;
        Ok(catalog.repositories)
    }

    /// The tags of this repository, in order.
    ///
    /// # Errors
    /// If there is no such repository, or the registry does not say.
    pub async fn tags(&self) -> Result<Vec<String>, RegistryError> {
        let tags: Tags = self.json(&format!("{}/tags/list", self.name)).await?;
        let mut tags = tags.tags.unwrap_or_default();
        tags.sort_unstable();
        Ok(tags)
    }

    /// Takes a tag away, or a manifest with all its tags if `name` is its digest.
    ///
    /// # Errors
    /// If there is none, or the registry does not let us.
    pub async fn remove(&self, name: &str) -> Result<(), RegistryError> {
        let path = format!("{}/manifests/{name}", self.name);
        self.send(Method::DELETE, &path, RegistryOperation::Push)
            .await
            .map(drop)
    }

    async fn json<T: for<'de> Deserialize<'de>>(&self, path: &str) -> Result<T, RegistryError> {
        let response = self
            .send(Method::GET, path, RegistryOperation::Pull)
            .await?;
        let chunks = response.bytes_stream();
        let chunks = chunks
            .map(|chunk| chunk.map_err(|error| RegistryError::unreachable(&self.host, &error)));
        let bytes = collect(chunks.boxed(), MAX_MANIFEST_BYTES).await?;
        serde_json::from_slice(&bytes).map_err(|error| RegistryError::Protocol {
            registry: self.host.clone(),
            why: error.to_string(),
        })
    }
}
