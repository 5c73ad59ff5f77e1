//! What a guest can wait for: a message, the wish that it should stop, the end of a child.

use std::sync::Arc;

use wasmtime::component::{Resource, ResourceTable};
use wasmtime_wasi::async_trait;
use wasmtime_wasi::p2::{DynPollable, Pollable, subscribe};

use super::children::Child;
use crate::mailbox::Mailbox;

/// Something that is ready from some moment on.
pub(super) enum Watched {
    /// A message waits.
    Message(Arc<Mailbox>),
    /// The guest should stop.
    Stop(Arc<Mailbox>),
    /// A child has ended.
    Child(Arc<Child>),
}

#[async_trait]
impl Pollable for Watched {
    async fn ready(&mut self) {
        match self {
            Self::Message(mailbox) => mailbox.until_event().await,
            Self::Stop(mailbox) => mailbox.until_stop().await,
            Self::Child(child) => child.until_exit().await,
        }
    }
}

/// A pollable that lives as long as the guest likes, whatever becomes of what it watches.
pub(super) fn watch(
    table: &mut ResourceTable,
    watched: Watched,
) -> wasmtime::Result<Resource<DynPollable>> {
    let watched = table.push(watched)?;
    subscribe(table, watched)
}
