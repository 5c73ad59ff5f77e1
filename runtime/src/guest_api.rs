//! The host side of `nesos:guest`: what a component says to its scheduler and hears from it, and how an executor
//! runs its tasks and children.
//!
//! Everything that a guest may do is decided in [`Side`] and what is below it, against what this sandbox
//! holds; what leaves the sandbox goes through its [`Uplink`].

mod children;
mod drive;
mod executor_host;
mod patience;
mod pipes;
mod sandboxes;
mod side;
mod tasks;
mod this_task;
mod timers;
mod watched;

use std::sync::Arc;

use wasmtime::component::{HasData, Linker, ResourceTable};

use crate::guest::{Guest, World};
use crate::service::Http;
use crate::wasi::DiskQuota;
use crate::wasi::component::State;

pub(crate) use children::Nursery;
pub(crate) use drive::ExecutorProgram;
pub(crate) use health_bindings::{SaysHealth as Health, SaysHealthIndices as HealthIndices};
pub(crate) use side::{Part, Seed, Side};

/// The interface whose export makes a component an executor.
pub(crate) const EXECUTOR_EVENTS: &str = "nesos:guest/executor-events@0.1.0";

/// The interface whose import lets a component hear that it should stop.
pub(crate) const THIS_TASK: &str = "nesos:guest/this-task@0.1.0";

/// What components may import beside WASI.
pub(crate) const INTERFACES: [&str; 4] = [
    "nesos:guest/executor-host@0.1.0",
    "nesos:guest/sandboxes@0.1.0",
    THIS_TASK,
    "nesos:guest/types@0.1.0",
];

mod bindings {
    wasmtime::component::bindgen!({
        path: "../sdk-guest/wit/guest",
        inline: "
            package nesos:host;
            world hosted {
                import nesos:guest/this-task@0.1.0;
                import nesos:guest/executor-host@0.1.0;
                import nesos:guest/sandboxes@0.1.0;
                export nesos:guest/executor-events@0.1.0;
            }
        ",
        world: "nesos:host/hosted",
        imports: { default: trappable },
        exports: { default: async },
        with: {
            "wasi:io": wasmtime_wasi::p2::bindings::io,
            "nesos:guest/sandboxes.child": super::children::Hold,
        },
    });
}

mod health_bindings {
    wasmtime::component::bindgen!({
        path: "../sdk-guest/wit/guest",
        inline: "
            package nesos:host;
            world says-health {
                export nesos:guest/health@0.1.0;
            }
        ",
        world: "nesos:host/says-health",
        exports: { default: async },
    });
}

use bindings::nesos::guest as wit;

/// What a component reaches: WASI, and Nesos.
pub(crate) struct ComponentWorld {
    pub(crate) wasi: State,
    pub(crate) side: Side,
    pub(crate) http: Http,
}

impl World for ComponentWorld {
    fn quota(&self) -> &Arc<DiskQuota> {
        self.wasi.quota()
    }

    fn output_bytes(&self) -> u64 {
        self.wasi.output_bytes()
    }
}

/// What the host functions work on.
pub(crate) struct View<'a> {
    side: &'a mut Side,
    table: &'a mut ResourceTable,
    quota: Arc<DiskQuota>,
}

struct HasView;

impl HasData for HasView {
    type Data<'a> = View<'a>;
}

fn view(guest: &mut Guest<ComponentWorld>) -> View<'_> {
    let ComponentWorld { wasi, side, .. } = &mut guest.world;
    let quota = wasi.quota().clone();
    View {
        side,
        table: wasi.view().table,
        quota,
    }
}

/// Adds `nesos:guest` to `linker`.
pub(crate) fn add_to_linker(linker: &mut Linker<Guest<ComponentWorld>>) -> wasmtime::Result<()> {
    wit::this_task::add_to_linker::<_, HasView>(linker, view)?;
    wit::executor_host::add_to_linker::<_, HasView>(linker, view)?;
    wit::sandboxes::add_to_linker::<_, HasView>(linker, view)?;
    wit::types::add_to_linker::<_, HasView>(linker, view)
}

impl wit::types::Host for View<'_> {}
