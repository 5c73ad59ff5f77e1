//! Blobs by digest: what they are, their bytes or some of them, and their end.

use std::ops::Range;

use axum::body::Body;
use axum::http::{HeaderValue, Method, Response, StatusCode, header};
use futures::{StreamExt, TryStreamExt};
use nesos_types::bundle::Digest;

use super::{Answer, Asked, CONTENT_DIGEST, Door, answers};
use crate::registry::error::RegistryError;

impl Door {
    pub(super) async fn blob(&self, asked: &Asked, digest: &str) -> Answer {
        let digest = parse(digest)?;
        if asked.method == Method::HEAD {
            let size = self.registry.blobs.stat(digest).await?;
            let size = size.ok_or(RegistryError::NoBlob(digest))?;
            return Ok(described(Body::empty(), StatusCode::OK, digest, size));
        }
        let blob = self.registry.blobs.open(digest).await?;
        let blob = blob.ok_or(RegistryError::NoBlob(digest))?;
        let size = blob.size;
        let Some(range) = asked.header(header::RANGE) else {
            let body = self.body(blob.whole());
            return Ok(described(body, StatusCode::OK, digest, size));
        };
        let wanted = range_of(range, size)?;
        let said = format!("bytes {}-{}/{size}", wanted.start, wanted.end - 1);
        let length = wanted.end - wanted.start;
        let body = self.body(blob.range(wanted));
        let mut response = described(body, StatusCode::PARTIAL_CONTENT, digest, length);
        let said = answers::location(&said);
        response.headers_mut().insert(header::CONTENT_RANGE, said);
        Ok(response)
    }

    /// Bytes as an answer, until the master stops.
    pub(super) fn body(&self, chunks: crate::registry::objects::Chunks) -> Body {
        let stop = self.stop.clone();
        let logged = chunks.inspect_err(|error| {
            tracing::error!(error = error.in_full(), "an answer breaks off");
        });
        Body::from_stream(logged.take_until(async move { stop.cancelled().await }))
    }

    pub(super) async fn delete_blob(&self, digest: &str) -> Answer {
        self.registry.delete_blob(parse(digest)?).await?;
        Ok(answers::empty(StatusCode::ACCEPTED))
    }
}

/// Reads a digest of an address.
pub(super) fn parse(text: &str) -> Result<Digest, RegistryError> {
    let digest = text.parse::<Digest>();
    digest.map_err(|error| RegistryError::Digest(error.to_string()))
}

fn described(body: Body, status: StatusCode, digest: Digest, length: u64) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    let headers = response.headers_mut();
    let kind = HeaderValue::from_static("application/octet-stream");
    headers.insert(header::CONTENT_TYPE, kind);
    headers.insert(header::CONTENT_LENGTH, length.into());
    headers.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    headers.insert(CONTENT_DIGEST, answers::location(&digest.to_string()));
    response
}

/// `bytes=a-b`, `bytes=a-` or `bytes=-n`: one range that lies in the blob.
fn range_of(text: &str, size: u64) -> Result<Range<u64>, RegistryError> {
    let refused = || RegistryError::Range {
        why: format!(
            "{:?} is no range of a blob of {size} bytes; write bytes=FIRST-LAST",
            text.chars().take(80).collect::<String>()
        ),
        received: None,
    };
    let (first, last) = text
        .strip_prefix("bytes=")
        .and_then(|range| range.split_once('-'))
        .ok_or_else(refused)?;
    let number = |digits: &str| digits.parse::<u64>().map_err(|_| refused());
    let range = match (first, last) {
        ("", last) => size.saturating_sub(number(last)?)..size,
        (first, "") => number(first)?..size,
        (first, last) => number(first)?..number(last)?.saturating_add(1).min(size),
    };
    if range.start >= range.end {
        return Err(refused());
    }
    Ok(range)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_lie_in_the_blob() {
        for (text, range) in [
            ("bytes=0-0", Some(0..1)),
            ("bytes=2-", Some(2..10)),
            ("bytes=-3", Some(7..10)),
            ("bytes=-300", Some(0..10)),
            ("bytes=5-18446744073709551615", Some(5..10)),
            ("bytes=10-", None),
            ("bytes=5-4", None),
            ("bytes=-0", None),
            ("bytes=-", None),
            ("bytes=0-1,3-4", None),
            ("bytes=18446744073709551616-", None),
            ("lines=0-1", None),
        ] {
            assert_eq!(range_of(text, 10).ok(), range, "{text}");
        }
        assert!(range_of("bytes=0-", 0).is_err());
    }
}
