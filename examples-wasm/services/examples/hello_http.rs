//! Answers every request with a greeting.

use nesos_services::answer;
use wasip2::http::types::{IncomingRequest, ResponseOutparam};

struct Hello;

wasip2::http::proxy::export!(Hello);

impl wasip2::exports::http::incoming_handler::Guest for Hello {
    fn handle(_: IncomingRequest, out: ResponseOutparam) {
        answer(out, 200, "Hello, world!\n");
    }
}
