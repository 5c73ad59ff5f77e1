//! Does by its path what a good service does not: loops, takes memory, traps, answers without end or not at all, tries
//! to reach the network.

use std::hint::black_box;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::sleep;
use std::time::Duration;

use nesos_services::answer;
use wasip2::http::outgoing_handler;
use wasip2::http::types::{
    Fields, IncomingRequest, OutgoingRequest, OutgoingResponse, ResponseOutparam, Scheme,
};
use wasip2::io::streams::{OutputStream, StreamError};

/// Requests that this instance has answered.
static ANSWERED: AtomicU64 = AtomicU64::new(0);

struct Faults;

wasip2::http::proxy::export!(Faults);

impl wasip2::exports::http::incoming_handler::Guest for Faults {
    fn handle(request: IncomingRequest, out: ResponseOutparam) {
        let path = request.path_with_query().unwrap_or_default();
        let answered = ANSWERED.fetch_add(1, Ordering::Relaxed) + 1;
        match path.as_str() {
            "/loop" => spin(),
            "/memory" => take_memory(),
            "/trap" => panic!("as it was told"),
            "/silent" => {}
            "/sleep" => {
                sleep(Duration::from_millis(500));
                answer(out, 200, "slept\n");
            }
            "/endless" => endless(out),
            "/half" => half(out),
            "/length" => answer(out, 200, &read(&request).to_string()),
            "/fetch" => answer(out, 200, &fetch()),
            "/exit" => std::process::exit(3),
            "/print" => {
                println!("printed");
                answer(out, 200, "printed\n");
            }
            _ => answer(out, 200, &answered.to_string()),
        }
    }
}

fn spin() -> ! {
    let mut round = 0_u64;
    loop {
        round = black_box(round.wrapping_add(1));
    }
}

fn take_memory() {
    let mut taken = Vec::new();
    loop {
        taken.push(black_box(vec![1_u8; 1 << 20]));
    }
}

fn begin(out: ResponseOutparam) -> (wasip2::http::types::OutgoingBody, OutputStream) {
    let response = OutgoingResponse::new(Fields::new());
    let body = response.body().expect("taken once");
    ResponseOutparam::set(out, Ok(response));
    let stream = body.write().expect("taken once");
    (body, stream)
}

/// Writes for as long as there is somebody who reads.
fn endless(out: ResponseOutparam) {
    let (_body, stream) = begin(out);
    let piece = [b'x'; 4096];
    while stream.blocking_write_and_flush(&piece).is_ok() {}
}

/// Fails in the middle of its answer.
fn half(out: ResponseOutparam) {
    let (_body, stream) = begin(out);
    stream
        .blocking_write_and_flush(b"the first half")
        .expect("the client reads");
    panic!("in the middle");
}

/// Reads the whole request: how long it is.
fn read(request: &IncomingRequest) -> u64 {
    let body = request.consume().expect("taken once");
    let stream = body.stream().expect("taken once");
    let mut bytes = 0;
    loop {
        match stream.blocking_read(64 << 10) {
            Ok(piece) => bytes += piece.len() as u64,
            Err(StreamError::Closed) => return bytes,
            Err(StreamError::LastOperationFailed(_)) => panic!("the request broke off"),
        }
    }
}

/// Asks somebody else, which nobody may: what comes of it.
fn fetch() -> String {
    let request = OutgoingRequest::new(Fields::new());
    request.set_scheme(Some(&Scheme::Http)).expect("a scheme");
    request
        .set_authority(Some("127.0.0.1:9"))
        .expect("an authority");
    request.set_path_with_query(Some("/")).expect("a path");
    let response = match outgoing_handler::handle(request, None) {
        Ok(response) => response,
        Err(error) => return format!("{error:?}"),
    };
    response.subscribe().block();
    match response.get() {
        Some(Ok(Ok(response))) => format!("status {}", response.status()),
        Some(Ok(Err(error))) => format!("{error:?}"),
        Some(Err(())) | None => "no answer".to_owned(),
    }
}
