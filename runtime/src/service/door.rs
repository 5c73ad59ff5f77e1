//! Where clients come in: connections, and the HTTP that is spoken over them.
//!
//! HTTP/1.1 and, to a client that begins with its preface, HTTP/2 without TLS. hyper reads requests strictly:
//! what could be read in two ways is refused. Everything that a client can make the host keep is bounded: headers, how long
//! they may take, bodies, streams, connections.

use std::convert::Infallible;
use std::net::TcpListener;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use hyper::body::{Body as _, Incoming};
use hyper::header::{CONTENT_LENGTH, HOST};
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot, watch};
use tokio::task::JoinSet;

use super::Desk;
use super::answer::Answer;
use super::refusal::Refusal;
use super::request::{Ask, Errand, Leave, MAX_BODY_BYTES, Over, RequestBody, Ticket};

/// Connections of one service at a time; more wait in the kernel.
const MAX_CONNECTIONS: usize = 4096;

/// How long the headers of a request may take from their first byte, and a connection may be idle between requests.
const HEADER_TIMEOUT: Duration = Duration::from_secs(10);

/// Bytes of a request's headers; twice as many are read ahead.
const MAX_HEADER_BYTES: usize = 32 << 10;

/// Fields of a request's headers.
const MAX_HEADERS: usize = 128;

/// Requests at a time on one connection of HTTP/2.
const MAX_STREAMS: u32 = 128;

/// How a client begins who speaks HTTP/2.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Accepts connections until `closing` is set, then waits for those that there are.
pub(super) async fn serve(
    desk: Arc<Desk>,
    listener: TcpListener,
    mut closing: watch::Receiver<bool>,
) {
    let listener = match tokio::net::TcpListener::from_std(listener) {
        Ok(listener) => listener,
        Err(error) => return tracing::warn!(%error, "a service cannot listen"),
    };
    let room = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            () = closed(&mut closing) => break,
            (stream, place) = accept(&listener, &room) => {
                connections.spawn(converse(desk.clone(), stream, place, closing.clone()));
            }
            Some(_) = connections.join_next() => {}
        }
    }
    drop(listener);
    while connections.join_next().await.is_some() {}
}

/// Waits until the service stops accepting.
async fn closed(closing: &mut watch::Receiver<bool>) {
    // If the sender is gone the service is over.
    drop(closing.wait_for(|closing| *closing).await);
}

async fn accept(
    listener: &tokio::net::TcpListener,
    room: &Arc<Semaphore>,
) -> (TcpStream, Option<OwnedSemaphorePermit>) {
    let place = room.clone().acquire_owned().await.ok();
    loop {
        match listener.accept().await {
            Ok((stream, _)) => return (stream, place),
            // The client is gone already, or the process has no descriptor left: others will end.
            Err(error) => {
                tracing::debug!(%error, "a connection was not accepted");
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        }
    }
}

/// Drives a connection to its end; from `closing` on, to the end of the requests that are under way.
macro_rules! drive {
    ($connection:expr, $closing:expr) => {{
        let mut connection = pin!($connection);
        let ended = tokio::select! {
            ended = connection.as_mut() => ended,
            () = closed(&mut $closing) => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        };
        if let Err(error) = ended {
            tracing::debug!(%error, "a connection broke");
        }
    }};
}

async fn converse(
    desk: Arc<Desk>,
    stream: TcpStream,
    _place: Option<OwnedSemaphorePermit>,
    mut closing: watch::Receiver<bool>,
) {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "small answers will be slow");
    }
    let spoken = tokio::select! {
        spoken = tokio::time::timeout(HEADER_TIMEOUT, speaks_http2(&stream)) => spoken,
        () = closed(&mut closing) => return,
    };
    let service = service_fn(move |request| {
        let desk = desk.clone();
        async move { Ok::<_, Infallible>(desk.answer(request).await) }
    });
    let io = TokioIo::new(stream);
    match spoken {
        Ok(Ok(false)) => drive!(http1().serve_connection(io, service), closing),
        Ok(Ok(true)) => drive!(http2().serve_connection(io, service), closing),
        // Nothing was said, or nobody is there.
        Ok(Err(_)) | Err(_) => {}
    }
}

/// Whether the client begins like one that speaks HTTP/2. Nothing is taken out of the stream.
async fn speaks_http2(stream: &TcpStream) -> std::io::Result<bool> {
    let mut beginning = [0; PREFACE.len()];
    loop {
        let len = stream.peek(&mut beginning).await?;
        let seen = &beginning[..len];
        if seen.is_empty() || !PREFACE.starts_with(seen) {
            return Ok(false);
        }
        if len == PREFACE.len() {
            return Ok(true);
        }
        // The rest is on its way, and there is no telling when it is there.
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

fn http1() -> http1::Builder {
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .max_header_size(MAX_HEADER_BYTES)
        .max_buf_size(2 * MAX_HEADER_BYTES)
        .max_headers(MAX_HEADERS);
    builder
}

fn http2() -> http2::Builder<TokioExecutor> {
    let mut builder = http2::Builder::new(TokioExecutor::new());
    builder
        .timer(TokioTimer::new())
        .max_concurrent_streams(MAX_STREAMS)
        .max_header_list_size(u32::try_from(MAX_HEADER_BYTES).unwrap_or(u32::MAX))
        .max_send_buf_size(MAX_HEADER_BYTES)
        .keep_alive_interval(HEADER_TIMEOUT)
        .keep_alive_timeout(HEADER_TIMEOUT);
    builder
}

impl Desk {
    /// The answer to a request, from the guest or, if it gives none, from the host.
    async fn answer(self: Arc<Self>, request: Request<Incoming>) -> Response<Answer> {
        match self.guests_answer(request).await {
            Ok(answer) => answer,
            Err(refusal) => refusal.response(),
        }
    }

    async fn guests_answer(
        self: &Arc<Self>,
        request: Request<Incoming>,
    ) -> Result<Response<Answer>, Refusal> {
        check(&request)?;
        let head = request.method() == Method::HEAD;
        let deadline = self.deadline();
        let ticket = Arc::new(Ticket::default());
        let leave = Leave::new(ticket.clone());
        let (answer, answered) = oneshot::channel();
        let request = Box::new(request.map(RequestBody::new));
        let errand = Errand::Http { request, answer };
        self.offer(Ask {
            errand,
            ticket: ticket.clone(),
            deadline,
        })?;
        let answered = match deadline {
            Some(deadline) => tokio::time::timeout_at(deadline, answered).await,
            None => Ok(answered.await),
        };
        match answered {
            Ok(Ok(Ok(response))) => {
                let expected = expected(head, &response);
                Ok(response.map(|body| Answer::guest(body, leave, deadline, expected)))
            }
            Ok(Ok(Err(refusal))) => Err(refusal),
            Ok(Err(_)) => Err(Refusal::Closing),
            Err(_) => {
                ticket.end(Over::Late);
                Err(Refusal::Late)
            }
        }
    }
}

/// How many bytes of an answer the client will see, if that is known.
fn expected<B>(head: bool, response: &Response<B>) -> Option<u64> {
    let status = response.status();
    if head || status == StatusCode::NO_CONTENT || status == StatusCode::NOT_MODIFIED {
        return Some(0);
    }
    let length = response.headers().get(CONTENT_LENGTH)?;
    length.to_str().ok()?.parse().ok()
}

/// Refuses what the guest need not see.
fn check(request: &Request<Incoming>) -> Result<(), Refusal> {
    let host = request.headers().get(HOST);
    let named = host.is_some_and(|host| host.to_str().is_ok());
    if !named && request.uri().authority().is_none() {
        return Err(Refusal::NoHost);
    }
    if request.body().size_hint().lower() > MAX_BODY_BYTES {
        return Err(Refusal::TooLarge);
    }
    Ok(())
}
