//! `wasi:http` for guests: what comes in is theirs to answer, and nothing goes out.

use std::future::Future;

use wasmtime::component::{Linker, ResourceTable};
use wasmtime_wasi_http::p2::bindings::http::types::ErrorCode;
use wasmtime_wasi_http::{
    Error, RequestOptions, Result, WasiBody, WasiHttpCtx, WasiHttpCtxView, WasiHttpHooks,
    WasiHttpView,
};

use crate::guest::Guest;
use crate::guest_api::ComponentWorld;

/// Interfaces of `wasi:http` that components may import; the version is that of WASI 0.2.
pub(crate) const INTERFACES: [&str; 2] = ["wasi:http/outgoing-handler", "wasi:http/types"];

/// Bytes of an answer that a guest hands over at a time; one such piece waits for the client.
const CHUNK: usize = 64 << 10;

/// Bytes that the headers of one message may take, as the host keeps them.
const MAX_FIELDS: usize = 128 << 10;

/// What a component reaches through `wasi:http`.
pub(crate) struct Http {
    ctx: WasiHttpCtx,
    hooks: NoNetwork,
}

impl Default for Http {
    fn default() -> Self {
        let mut ctx = WasiHttpCtx::new();
        ctx.set_field_size_limit(MAX_FIELDS);
        let hooks = NoNetwork;
        Self { ctx, hooks }
    }
}

impl Http {
    fn view<'a>(&'a mut self, table: &'a mut ResourceTable) -> WasiHttpCtxView<'a> {
        WasiHttpCtxView {
            hooks: &mut self.hooks,
            table,
            ctx: &mut self.ctx,
        }
    }
}

impl WasiHttpView for Guest<ComponentWorld> {
    fn http(&mut self) -> WasiHttpCtxView<'_> {
        let world = &mut self.world;
        world.http.view(world.wasi.view().table)
    }
}

/// Answers every outgoing request itself.
struct NoNetwork;

/// What becomes of an answer after its headers.
type Io = Box<dyn Future<Output = Result<(), Error>> + Send>;

impl WasiHttpHooks for NoNetwork {
    fn send_request(
        &mut self,
        _: hyper::Request<WasiBody>,
        _: Option<RequestOptions>,
        _: Io,
    ) -> Box<dyn Future<Output = Result<(hyper::Response<WasiBody>, Io)>> + Send> {
        Box::new(std::future::ready(Err(Error::HttpRequestDenied)))
    }

    fn p2_outgoing_body_chunk_size(&mut self) -> usize {
        CHUNK
    }

    // A client that goes away is nothing to warn of.
    fn p2_error_from_hyper(&mut self, _: &hyper::Error) -> ErrorCode {
        ErrorCode::ConnectionTerminated
    }
}

/// Adds `wasi:http` to `linker`.
pub(crate) fn add_to_linker(linker: &mut Linker<Guest<ComponentWorld>>) -> wasmtime::Result<()> {
    wasmtime_wasi_http::p2::add_only_http_to_linker_async(linker)
}
