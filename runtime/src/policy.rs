//! Allocation policies: components of the world `nesos:policy`, run on the caller's thread.
//!
//! A policy is one instance for its whole life. It imports nothing, so what it answers depends only on
//! what it was told; it is stopped by its fuel and by a limit on memory, and whoever asks is told how
//! it ended. This file does not know what the answers are for.
//!
//! Unlike a tenant's bundle it is compiled in this process, after the same validation and within
//! smaller bounds: only operators install policies, seldom, and what a process of its own would hand
//! back is native code that this process would have to trust.

use std::fmt;

use nesos_types::resources::Resources;
use nesos_types::role::Role;
use thiserror::Error;
use wasmtime::component::{Component, Linker};
use wasmtime::{Config, Engine, OptLevel, Store, StoreLimits, StoreLimitsBuilder, Trap};

use crate::engine::WASM_STACK_BYTES;
use crate::inspect::{InspectError, interface};
use bindings::exports::nesos::policy::order as wit;

mod bindings {
    wasmtime::component::bindgen!({ path: "../sdk-guest/wit/policy", world: "policy" });
}

/// What a policy exports.
const ORDER: &str = "nesos:policy/order@0.1.0";

/// The largest policy that is compiled here, in bytes. One in Rust takes some hundred kilobytes.
pub const MAX_POLICY_BYTES: usize = 8 << 20;

/// All that a policy may keep.
const MEMORY_BYTES: usize = 256 << 20;

/// The most bytes of an answer.
const ANSWER_BYTES: usize = 1 << 20;

/// Fuel for one call, and for each change that it takes in: a few milliseconds, and a hundred thousand
/// instructions beside what walks over all clients.
const CALL_FUEL: u64 = 20_000_000;
const CHANGE_FUEL: u64 = 20_000;

/// Fuel for one allocation, and for each agent in it.
const RUN_FUEL: u64 = 50_000_000;
const AGENT_FUEL: u64 = 50_000;

/// Why a component cannot be a policy.
#[derive(Debug, Error)]
pub enum PolicyError {
    /// It is not WebAssembly, or not such that it could be compiled.
    #[error(transparent)]
    Bundle(#[from] InspectError),
    /// It is too large.
    #[error("a policy of {0} bytes; the most is {MAX_POLICY_BYTES}")]
    TooLarge(usize),
    /// It is a core module.
    #[error("a core module, and a policy is a component that exports {ORDER}")]
    NotComponent,
    /// It imports something.
    #[error("a policy may import nothing, and this one imports {}", .0.join(", "))]
    Imports(Vec<String>),
    /// It exports something else.
    #[error("a policy exports {ORDER}, and this component exports {}", listed(.0))]
    Exports(Vec<String>),
    /// It could not be compiled.
    #[error("cannot compile the policy")]
    Compiler(#[source] wasmtime::Error),
    /// Its `order` is not the one that is expected here.
    #[error("the functions of {ORDER} are not those of this version")]
    Interface(#[source] wasmtime::Error),
    /// It ended while it was instantiated.
    #[error("the policy cannot be instantiated: {0}")]
    Start(PolicyStop),
}

fn listed(names: &[String]) -> String {
    if names.is_empty() {
        return "nothing".to_owned();
    }
    names.join(", ")
}

/// How a policy ended that did not answer. It must not be asked again.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum PolicyStop {
    /// It used up the fuel of a call or of an allocation.
    #[error("it used up its fuel")]
    OutOfFuel,
    /// It trapped.
    #[error("it trapped: {0}")]
    Trapped(String),
}

/// A policy that runs.
pub struct PolicyComponent {
    store: Store<StoreLimits>,
    policy: bindings::Policy,
    /// What it has not been told yet.
    changes: Vec<wit::Change>,
    /// What is left for this allocation.
    run_fuel: u64,
    fuel_used: u64,
}

impl fmt::Debug for PolicyComponent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PolicyComponent")
            .field("changes", &self.changes.len())
            .field("fuel_used", &self.fuel_used)
            .finish_non_exhaustive()
    }
}

impl PolicyComponent {
    /// Compiles and instantiates a component. Takes a while, on all CPUs.
    pub fn load(bytes: &[u8]) -> Result<Self, PolicyError> {
        check(bytes)?;
        let engine = engine().map_err(PolicyError::Compiler)?;
        let component = Component::new(&engine, bytes).map_err(PolicyError::Compiler)?;
        let linker: Linker<StoreLimits> = Linker::new(&engine);
        let pre = linker
            .instantiate_pre(&component)
            .and_then(bindings::PolicyPre::new)
            .map_err(PolicyError::Interface)?;
        let limits = StoreLimitsBuilder::new().memory_size(MEMORY_BYTES).build();
        let mut store = Store::new(&engine, limits);
        store.limiter(|limits| limits);
        store.set_hostcall_fuel(ANSWER_BYTES);
        let policy = store
            .set_fuel(CALL_FUEL)
            .and_then(|()| pre.instantiate(&mut store))
            .map_err(|error| PolicyError::Start(stop(&error)))?;
        Ok(Self {
            store,
            policy,
            changes: Vec::new(),
            run_fuel: RUN_FUEL,
            fuel_used: 0,
        })
    }

    /// An allocation begins over so many agents: all turns until the next one share its fuel.
    pub fn begin(&mut self, agents: usize) {
        self.run_fuel = RUN_FUEL.saturating_add(AGENT_FUEL.saturating_mul(agents as u64));
    }

    /// Fuel used since it was loaded.
    #[must_use]
    pub fn fuel_used(&self) -> u64 {
        self.fuel_used
    }

    /// Operators have decided something of a role.
    pub fn configure(&mut self, role: &Role, weight_milli: u32, priority: i32) {
        let role = role.as_str().to_owned();
        self.changes.push(wit::Change::Configure(wit::RoleSettings {
            role,
            weight_milli,
            priority,
        }));
    }

    /// An agent joined.
    pub fn grow(&mut self, agent: &Resources) {
        self.changes.push(wit::Change::Grow(amount(agent)));
    }

    /// An agent left.
    pub fn shrink(&mut self, agent: &Resources) {
        self.changes.push(wit::Change::Shrink(amount(agent)));
    }

    /// A client appeared.
    pub fn put_client(&mut self, id: u32, role: &Role) {
        let role = role.as_str().to_owned();
        self.changes
            .push(wit::Change::PutClient(wit::NewClient { id, role }));
    }

    /// A client disappeared.
    pub fn remove_client(&mut self, id: u32) {
        self.changes.push(wit::Change::RemoveClient(id));
    }

    /// A client wants offers, or none.
    pub fn set_wanting(&mut self, client: u32, wanting: bool) {
        let wish = wit::Wish { client, wanting };
        self.changes.push(wit::Change::SetWanting(wish));
    }

    /// A client holds more.
    pub fn charge(&mut self, client: u32, resources: &Resources) {
        self.changes
            .push(wit::Change::Charge(holding(client, resources)));
    }

    /// A client holds less.
    pub fn refund(&mut self, client: u32, resources: &Resources) {
        self.changes
            .push(wit::Change::Refund(holding(client, resources)));
    }

    /// A client took the offer of the last turn.
    pub fn served(&mut self, client: u32) {
        self.changes.push(wit::Change::Served(client));
    }

    /// Tells what has changed and begins a turn: whom to ask first.
    pub fn turn(&mut self, now_ms: u64) -> Result<Option<u32>, PolicyStop> {
        let changes = std::mem::take(&mut self.changes);
        let fuel = CHANGE_FUEL.saturating_mul(changes.len() as u64);
        // What it is told is as much as has happened, so this is not the allocation's to pay.
        self.run_fuel = self.run_fuel.saturating_add(fuel);
        let answer = self.call(CALL_FUEL.saturating_add(fuel), |policy, store| {
            let order = policy.nesos_policy_order();
            order.call_turn(store, now_ms, &changes)
        });
        // The same memory for the next turn.
        self.changes = changes;
        self.changes.clear();
        answer
    }

    /// Whom to ask next in this turn, `most` clients at the most.
    pub fn another(&mut self, most: u32) -> Result<Vec<u32>, PolicyStop> {
        self.call(CALL_FUEL, |policy, store| {
            policy.nesos_policy_order().call_another(store, most)
        })
    }

    fn call<T>(
        &mut self,
        most: u64,
        call: impl FnOnce(&bindings::Policy, &mut Store<StoreLimits>) -> wasmtime::Result<T>,
    ) -> Result<T, PolicyStop> {
        let fuel = self.run_fuel.min(most);
        let answer = self
            .store
            .set_fuel(fuel)
            .and_then(|()| call(&self.policy, &mut self.store))
            .map_err(|error| stop(&error));
        let used = fuel.saturating_sub(self.store.get_fuel().unwrap_or(0));
        self.run_fuel -= used;
        self.fuel_used += used;
        answer
    }
}

/// Refuses what is no policy, and says why.
fn check(bytes: &[u8]) -> Result<(), PolicyError> {
    if bytes.len() > MAX_POLICY_BYTES {
        return Err(PolicyError::TooLarge(bytes.len()));
    }
    let interface = interface(bytes)?;
    if !interface.is_component {
        return Err(PolicyError::NotComponent);
    }
    if !interface.imports.is_empty() {
        return Err(PolicyError::Imports(interface.imports));
    }
    if !interface.exports.iter().any(|name| name == ORDER) {
        return Err(PolicyError::Exports(interface.exports));
    }
    Ok(())
}

/// An engine that is stopped by fuel alone and computes the same everywhere.
fn engine() -> wasmtime::Result<Engine> {
    let mut config = Config::new();
    config
        .consume_fuel(true)
        .cranelift_opt_level(OptLevel::Speed)
        .cranelift_nan_canonicalization(true)
        .relaxed_simd_deterministic(true)
        .max_wasm_stack(WASM_STACK_BYTES)
        .wasm_component_model(true)
        // A call is half as dear without the book-keeping of tasks that wait for one another.
        .concurrency_support(false)
        .wasm_threads(false);
    Engine::new(&config)
}

fn stop(error: &wasmtime::Error) -> PolicyStop {
    match error.downcast_ref::<Trap>() {
        Some(Trap::OutOfFuel) => PolicyStop::OutOfFuel,
        Some(trap) => PolicyStop::Trapped(trap.to_string()),
        None => PolicyStop::Trapped(error.root_cause().to_string()),
    }
}

fn holding(client: u32, resources: &Resources) -> wit::Holding {
    wit::Holding {
        client,
        amount: amount(resources),
    }
}

fn amount(resources: &Resources) -> wit::Amount {
    let custom = resources.custom().map(|(name, milli)| wit::CustomScalar {
        name: name.to_string(),
        milli,
    });
    wit::Amount {
        cpu_milli: resources.cpu_milli,
        mem_bytes: resources.mem_bytes,
        disk_bytes: resources.disk_bytes,
        custom: custom.collect(),
    }
}

#[cfg(test)]
mod tests;
