//! The signals that end a task: the person pressed Ctrl-C, or something wants this process gone.

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::failure::Failure;

/// A signal that came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Received {
    pub(crate) name: &'static str,
    pub(crate) number: u8,
}

/// SIGINT, SIGTERM and SIGHUP, from now on.
#[derive(Debug)]
pub(crate) struct Signals {
    interrupt: Signal,
    terminate: Signal,
    hang_up: Signal,
}

impl Signals {
    /// Begins to listen: none of them ends the process by itself any more.
    pub(crate) fn listen() -> Result<Self, Failure> {
        let listen =
            |kind| signal(kind).map_err(|error| Failure::new("cannot listen for signals", error));
        Ok(Self {
            interrupt: listen(SignalKind::interrupt())?,
            terminate: listen(SignalKind::terminate())?,
            hang_up: listen(SignalKind::hangup())?,
        })
    }

    /// The next signal.
    pub(crate) async fn next(&mut self) -> Received {
        let received = |name, number| Received { name, number };
        tokio::select! {
            _ = self.interrupt.recv() => received("SIGINT", 2),
            _ = self.terminate.recv() => received("SIGTERM", 15),
            _ = self.hang_up.recv() => received("SIGHUP", 1),
        }
    }
}
