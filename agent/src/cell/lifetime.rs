//! When a cell ends, and how: no sooner than everything it has to say was heard, if anyone is there
//! to hear it.
//!
//! While its agent is connected, the agent decides (`Retire`): only it knows of launches on their way.
//! Without an agent an empty cell goes after a short grace, one with sandboxes after a long one: an
//! agent that comes back within it finds its tasks running.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep_until, timeout};
use tracing::info;

use super::launcher::Launcher;
use super::sandboxes::Sandboxes;

/// What a guest's end may take beyond its grace.
const END_MARGIN: Duration = Duration::from_secs(2);

/// How long an agent has to acknowledge the last statuses of a cell that was told to end.
const ACKNOWLEDGE_PATIENCE: Duration = Duration::from_secs(5);

/// How long a cell stays without its agent.
#[derive(Clone, Copy, Debug)]
pub(super) struct Graces {
    /// If it has sandboxes, or statuses that were not acknowledged.
    pub(super) orphan: Duration,
    /// If it has neither.
    pub(super) idle: Duration,
}

/// Why a cell ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// Its agent retired it, and the last sandbox is gone.
    Retired,
    /// No agent and no sandboxes.
    Idle,
    /// No agent for too long.
    Orphaned,
    /// It was told to by a signal.
    Terminated,
}

/// Waits until the cell is to end, for whatever reason but a signal.
pub(super) async fn outlive<L: Launcher>(sandboxes: &Sandboxes<L>, graces: Graces) -> End {
    let mut alone_since = Instant::now();
    let mut empty_since = Instant::now();
    loop {
        let changed = sandboxes.changed();
        let (empty, connected) = (sandboxes.is_empty(), sandboxes.is_connected());
        if empty && sandboxes.is_retiring() {
            return End::Retired;
        }
        if connected {
            changed.await;
            alone_since = Instant::now();
            empty_since = alone_since;
            continue;
        }
        let (deadline, end) = if empty {
            (empty_since + graces.idle, End::Idle)
        } else {
            (alone_since + graces.orphan, End::Orphaned)
        };
        tokio::select! {
            () = changed => if !empty { empty_since = Instant::now() },
            () = sleep_until(deadline) => return end,
        }
    }
}

/// Ends what is left, and lets the agent hear of it.
pub(super) async fn wind_up<L: Launcher>(sandboxes: &Arc<Sandboxes<L>>, end: End) {
    info!(?end, "the cell ends");
    let message = match end {
        End::Retired | End::Idle => return,
        End::Orphaned => "the agent was gone for too long",
        End::Terminated => "the cell was told to end",
    };
    let grace = sandboxes.close(message);
    let quiet = until(sandboxes, Sandboxes::is_quiet);
    if timeout(grace + END_MARGIN, quiet).await.is_err() {
        tracing::warn!("some guests did not end in time");
    }
    let heard = until(sandboxes, |sandboxes| {
        sandboxes.is_empty() || !sandboxes.is_connected()
    });
    if timeout(ACKNOWLEDGE_PATIENCE, heard).await.is_err() {
        tracing::warn!("the agent did not acknowledge the last statuses in time");
    }
}

async fn until<L: Launcher>(sandboxes: &Sandboxes<L>, holds: impl Fn(&Sandboxes<L>) -> bool) {
    loop {
        let changed = sandboxes.changed();
        if holds(sandboxes) {
            return;
        }
        changed.await;
    }
}
