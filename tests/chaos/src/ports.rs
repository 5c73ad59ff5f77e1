//! Ports that a process can be started on again.

use std::net::{Ipv4Addr, TcpListener};

use anyhow::Result;

/// Free at this moment. They come from above what the system gives away by itself, as nearly as a test can know.
pub(crate) fn free(count: usize) -> Result<Vec<u16>> {
    let listeners: Vec<_> = (0..count)
        .map(|_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)))
        .collect::<Result<_, _>>()?;
    let ports = listeners.iter().map(|one| Ok(one.local_addr()?.port()));
    ports.collect()
}
