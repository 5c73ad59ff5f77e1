//! Time and randomness for components. Waiting is ours too: reproducible time passes by being waited for.

use std::convert::Infallible;
use std::time::Duration;

use wasmtime::component::{Accessor, HasData, Linker, Resource};
use wasmtime_wasi::p2::bindings::clocks::monotonic_clock as p2;
use wasmtime_wasi::p2::{DynPollable, Pollable, subscribe};
use wasmtime_wasi::p3::bindings::clocks::monotonic_clock as p3;
use wasmtime_wasi::{HostMonotonicClock, HostWallClock, ResourceTable, async_trait};

use super::Host;
use crate::wasi::clock::{Clock, Random};

impl HostWallClock for Clock {
    fn resolution(&self) -> Duration {
        Duration::from_nanos(1)
    }

    fn now(&self) -> Duration {
        self.wall()
    }
}

impl HostMonotonicClock for Clock {
    fn resolution(&self) -> u64 {
        1
    }

    fn now(&self) -> u64 {
        nanos(self.monotonic())
    }
}

impl rand_core::TryRng for Random {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        let mut bytes = [0; 4];
        self.fill(&mut bytes);
        Ok(u32::from_le_bytes(bytes))
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        Ok(self.next())
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Infallible> {
        self.fill(bytes);
        Ok(())
    }
}

pub(super) fn add_to_linker<T: Host>(linker: &mut Linker<T>) -> wasmtime::Result<()> {
    p2::add_to_linker::<T, HasClock>(linker, clock)?;
    p3::add_to_linker::<T, HasClock>(linker, clock)
}

struct HasClock;

impl HasData for HasClock {
    type Data<'a> = ClockView<'a>;
}

struct ClockView<'a> {
    clock: &'a Clock,
    table: &'a mut ResourceTable,
}

fn clock<T: Host>(host: &mut T) -> ClockView<'_> {
    let state = host.state();
    ClockView {
        clock: &state.clock,
        table: &mut state.table,
    }
}

impl p2::Host for ClockView<'_> {
    fn now(&mut self) -> wasmtime::Result<p2::Instant> {
        Ok(nanos(self.clock.monotonic()))
    }

    fn resolution(&mut self) -> wasmtime::Result<p2::Duration> {
        Ok(1)
    }

    fn subscribe_instant(&mut self, when: p2::Instant) -> wasmtime::Result<Resource<DynPollable>> {
        let timer = self.table.push(Timer {
            clock: self.clock.clone(),
            deadline: Duration::from_nanos(when),
        })?;
        subscribe(self.table, timer)
    }

    fn subscribe_duration(
        &mut self,
        duration: p2::Duration,
    ) -> wasmtime::Result<Resource<DynPollable>> {
        let now = nanos(self.clock.monotonic());
        self.subscribe_instant(now.saturating_add(duration))
    }
}

/// A moment that somebody waits for.
struct Timer {
    clock: Clock,
    deadline: Duration,
}

#[async_trait]
impl Pollable for Timer {
    async fn ready(&mut self) {
        wait_until(&self.clock, self.deadline).await;
    }
}

async fn wait_until(clock: &Clock, deadline: Duration) {
    // At least one wait, of no time perhaps: a guest that polls in a loop lets others run.
    loop {
        let left = deadline.saturating_sub(clock.monotonic());
        clock.sleep(left).await;
        if left.is_zero() {
            return;
        }
    }
}

impl<U: Host> p3::HostWithStore<U> for HasClock {
    async fn wait_until(store: &Accessor<U, Self>, when: p3::Mark) -> wasmtime::Result<()> {
        let clock = store.with(|mut store| store.get().clock.clone());
        wait_until(&clock, Duration::from_nanos(when)).await;
        Ok(())
    }

    async fn wait_for(store: &Accessor<U, Self>, duration: u64) -> wasmtime::Result<()> {
        let clock = store.with(|mut store| store.get().clock.clone());
        clock.sleep(Duration::from_nanos(duration)).await;
        Ok(())
    }
}

impl p3::Host for ClockView<'_> {
    fn now(&mut self) -> wasmtime::Result<p3::Mark> {
        Ok(nanos(self.clock.monotonic()))
    }

    fn get_resolution(&mut self) -> wasmtime::Result<u64> {
        Ok(1)
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
