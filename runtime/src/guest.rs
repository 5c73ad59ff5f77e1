//! What a store holds beside the guest's own memory: its account and its world.

use std::sync::Arc;

use wasmtime::{Engine, Store, StoreContext, UpdateDeadline};

use crate::cpu::{FUEL_PER_QUANTUM, Meter};
use crate::guest_api::ComponentWorld;
use crate::limits::MemoryAccount;
use crate::wasi::component::{self, WasiCtxView, WasiView};
use crate::wasi::{DiskQuota, p1};

/// What a guest reaches of the world outside, and how that is accounted for.
pub(crate) trait World: Send + 'static {
    /// The quota of the writable root.
    fn quota(&self) -> &Arc<DiskQuota>;

    /// Bytes written to stdout and stderr so far.
    fn output_bytes(&self) -> u64;
}

impl World for p1::Ctx {
    fn quota(&self) -> &Arc<DiskQuota> {
        self.quota()
    }

    fn output_bytes(&self) -> u64 {
        self.output_bytes()
    }
}

/// The data of a sandbox' store.
#[derive(Debug)]
pub(crate) struct Guest<W> {
    pub(crate) world: W,
    pub(crate) memory: MemoryAccount,
    pub(crate) meter: Arc<Meter>,
    /// The fuel that the store was given; zero if none is counted.
    pub(crate) fuel: u64,
}

impl Guest<p1::Ctx> {
    /// What a module's WASI functions work on.
    pub(crate) fn p1(&mut self) -> &mut p1::Ctx {
        &mut self.world
    }
}

impl WasiView for Guest<ComponentWorld> {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        self.world.wasi.view()
    }
}

impl component::Host for Guest<ComponentWorld> {
    fn state(&mut self) -> &mut component::State {
        &mut self.world.wasi
    }
}

impl<W: World> Guest<W> {
    /// A store for this guest, limited and yielding. `fuel` is its budget, if the engine counts any.
    pub(crate) fn into_store(
        mut self,
        engine: &Engine,
        fuel: Option<u64>,
    ) -> wasmtime::Result<Store<Self>> {
        self.fuel = fuel.unwrap_or(0);
        let mut store = Store::try_new(engine, self)?;
        store.limiter(|guest| &mut guest.memory);
        if let Some(fuel) = fuel {
            store.set_fuel(fuel)?;
            store.fuel_async_yield_interval(Some(FUEL_PER_QUANTUM))?;
        }
        store.set_epoch_deadline(1);
        store.epoch_deadline_callback(|store| {
            Self::publish((&store).into());
            Ok(UpdateDeadline::Yield(1))
        });
        Ok(store)
    }

    /// Lets the meter show what only the store knows.
    pub(crate) fn publish(store: StoreContext<'_, Self>) {
        let guest = store.data();
        let (meter, world) = (&guest.meter, &guest.world);
        let burnt = guest.fuel - store.get_fuel().unwrap_or(guest.fuel);
        meter.show(burnt, world.quota().peak_bytes(), world.output_bytes());
    }
}
