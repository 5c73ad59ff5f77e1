//! Lists: repositories, tags, and what is about a manifest.

use axum::body::Body;
use axum::http::{HeaderName, HeaderValue, Response, StatusCode, header};
use nesos_bundle::media;
use nesos_bundle::oci::{Descriptor, ImageIndex};

use super::blobs::parse;
use super::{Answer, Asked, Door, answers};
use crate::registry::error::RegistryError;

/// The most entries of one page.
const MAX_PAGE: usize = 1_000;
/// Says that a list of referrers was filtered.
const FILTERS_APPLIED: HeaderName = HeaderName::from_static("oci-filters-applied");

impl Door {
    pub(super) fn catalog(&self, asked: &Asked) -> Answer {
        let page = self
            .registry
            .with_catalog(|catalog| page(asked, catalog.repositories.keys()))?;
        Ok(page.answer(
            "/v2/_catalog",
            |names| serde_json::json!({"repositories": names}),
        ))
    }

    pub(super) fn tags(&self, asked: &Asked) -> Answer {
        let name = &asked.name;
        let page = self.registry.with_catalog(|catalog| {
            let repository = catalog.repositories.get(name);
            let repository = repository.ok_or_else(|| RegistryError::NoRepository(name.clone()))?;
            page(asked, repository.tags.keys())
        })?;
        let path = format!("/v2/{name}/tags/list");
        Ok(page.answer(
            &path,
            |tags| serde_json::json!({"name": name, "tags": tags}),
        ))
    }

    pub(super) fn referrers(&self, asked: &Asked, digest: &str) -> Answer {
        let digest = parse(digest)?;
        let wanted = asked.query.get("artifactType");
        let manifests = self.registry.with_catalog(|catalog| {
            let repository = catalog.repositories.get(&asked.name);
            let about = repository
                .into_iter()
                .flat_map(|known| known.referrers(digest));
            let wanted = |kind: &Option<String>| wanted.is_none() || wanted == kind.as_deref();
            about
                .filter(|(_, entry)| wanted(&entry.artifact_type))
                .map(|(digest, entry)| Descriptor {
                    media_type: entry.media_type.clone(),
                    digest: *digest,
                    size: entry.size,
                    artifact_type: entry.artifact_type.clone(),
                    annotations: entry.annotations.clone(),
                })
                .collect()
        });
        let mut response = Response::new(Body::from(ImageIndex::new(manifests).to_bytes()));
        let headers = response.headers_mut();
        headers.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static(media::IMAGE_INDEX),
        );
        if wanted.is_some() {
            headers.insert(FILTERS_APPLIED, HeaderValue::from_static("artifactType"));
        }
        Ok(response)
    }
}

/// A part of a list.
struct Page {
    names: Vec<String>,
    /// Whether there is more.
    more: bool,
}

/// The part that was asked for: at most `n` that come after `last`.
fn page<'a>(asked: &Asked, all: impl Iterator<Item = &'a String>) -> Result<Page, RegistryError> {
    let n = match asked.query.get("n") {
        Some(n) => n.parse::<usize>().map_err(|_| RegistryError::Range {
            why: format!(
                "n is to be a number, and not {:?}",
                n.chars().take(20).collect::<String>()
            ),
            received: None,
        })?,
        None => MAX_PAGE,
    };
    let n = n.min(MAX_PAGE);
    let last = asked.query.get("last").unwrap_or_default();
    let mut after = all.filter(|name| name.as_str() > last);
    let names: Vec<_> = after.by_ref().take(n).cloned().collect();
    let more = n > 0 && after.next().is_some();
    Ok(Page { names, more })
}

impl Page {
    fn answer(
        self,
        path: &str,
        body: impl FnOnce(&[String]) -> serde_json::Value,
    ) -> Response<Body> {
        let mut response = answers::json(StatusCode::OK, &body(&self.names));
        if let (true, Some(last)) = (self.more, self.names.last()) {
            let link = answers::next_page(path, self.names.len(), last);
            response.headers_mut().insert(header::LINK, link);
        }
        response
    }
}
