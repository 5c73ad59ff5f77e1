//! What the services, which are this package's examples, have in common.

use wasip2::http::types::{Fields, OutgoingBody, OutgoingResponse, ResponseOutparam};

/// Answers with this status and text.
///
/// # Panics
/// If the client is gone before the text is written.
pub fn answer(out: ResponseOutparam, status: u16, text: &str) {
    let headers = Fields::new();
    let length = text.len().to_string().into_bytes();
    headers
        .append("content-length", &length)
        .expect("a header that may be set");
    let response = OutgoingResponse::new(headers);
    response
        .set_status_code(status)
        .expect("a status that there is");
    let body = response.body().expect("taken once");
    ResponseOutparam::set(out, Ok(response));
    let stream = body.write().expect("taken once");
    if !text.is_empty() {
        stream
            .blocking_write_and_flush(text.as_bytes())
            .expect("the client reads");
    }
    drop(stream);
    OutgoingBody::finish(body, None).expect("as long as was said");
}
