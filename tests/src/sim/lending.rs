//! What guests of the simulation use of their CPU, as their cells measure it: nothing for a while, then all
//! of it, and so on. So there is CPU to lend, and it is needed back.

use std::time::Duration;

use nesos_agent_core::{CellId, Event};
use nesos_types::cell::{CellEvent, CpuSample};
use nesos_types::time::Time;

use super::host::{self, Host, HostEvent};
use super::world::World;

/// How long everybody is idle, and then busy.
const PHASE: Duration = Duration::from_secs(20);

impl World {
    /// An agent wants to know what a cell's guests use, from now on.
    pub(super) fn measure(&mut self, i: usize, cell: CellId, interval: Duration) {
        let Some(process) = self.hosts[i].cells.get_mut(&cell) else {
            return;
        };
        process.measuring += 1;
        let turn = process.measuring;
        if !interval.is_zero() {
            self.measured(i, cell, turn, interval);
        }
    }

    /// A cell says what its guests have used, and does so again after the interval.
    pub(super) fn measured(&mut self, i: usize, cell: CellId, turn: u64, interval: Duration) {
        let now = self.now;
        let Some(usage) = self.hosts[i].usage(cell, turn, now) else {
            return;
        };
        self.tell_agent_after(i, host::CELL_HOP, usage);
        let again = HostEvent::Measures {
            cell,
            turn,
            interval,
        };
        self.on_host_after(i, interval, again);
    }
}

impl Host {
    /// What the guests of a cell have used, if that is still what its agent wants to know.
    fn usage(&self, cell: CellId, turn: u64, now: Time) -> Option<Event> {
        let process = self.cells.get(&cell)?;
        if process.measuring != turn || self.agent.is_none() {
            return None;
        }
        let live = process.live();
        let samples = live.map(|(key, task, since)| CpuSample {
            key: key.clone(),
            cpu_ns: busy_ns(since, now) / 1000 * task.sandbox_resources().cpu_milli,
        });
        let event = CellEvent::Usage {
            at: now,
            samples: samples.collect(),
        };
        Some(Event::CellEvent { cell, event })
    }
}

/// How much of the time between two moments was busy, in nanoseconds.
fn busy_ns(from: Time, to: Time) -> u64 {
    let until = |time: Time| {
        let nanos = time.since(Time::ZERO).as_nanos();
        let phase = PHASE.as_nanos();
        let whole = nanos / (2 * phase);
        whole * phase + (nanos % (2 * phase)).saturating_sub(phase)
    };
    u64::try_from(until(to) - until(from)).unwrap_or(u64::MAX)
}
