//! `wasi:io/poll`, for as many pollables as anybody could have.
//!
//! The list that a guest waits for is held on the host for as long as it waits, and may name one pollable many times.

use wasmtime::component::{Linker, Resource};
use wasmtime::{Result, bail};
use wasmtime_wasi::p2::DynPollable;
use wasmtime_wasi::p2::bindings::io::poll::Host as _;

use super::Host;

/// Pollables that a guest may wait for at once: more than it can have.
const MAX_POLLED: usize = 1 << 16;

type Polled = (Vec<Resource<DynPollable>>,);

pub(super) fn add_to_linker<T: Host>(linker: &mut Linker<T>) -> Result<()> {
    let mut io = linker.instance("wasi:io/poll@0.2.12")?;
    io.func_wrap_async("poll", |mut store, (pollables,): Polled| {
        Box::new(async move {
            if pollables.len() > MAX_POLLED {
                bail!(
                    "{} pollables are polled at once, more than {MAX_POLLED}",
                    pollables.len()
                );
            }
            let table = store.data_mut().ctx().table;
            Ok((table.poll(pollables).await?,))
        })
    })
}
