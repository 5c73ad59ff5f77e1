//! WASI 0.2 and 0.3 for components: `wasmtime-wasi`, with our files, streams, clocks and limits.
//!
//! `wasmtime-wasi` knows no quota and its files are concrete types, so the host side of `wasi:filesystem` is
//! ours: what creates, writes or removes goes through [`Volume`] and [`OpenFile`](super::file::OpenFile),
//! the rest is handed on. There is no network: every address and every name is refused.

mod clocks;
mod files;
mod p2;
mod p3;
mod poll;
mod stdio;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use wasmtime::Store;
use wasmtime::component::{HasData, InstancePre, Linker, ResourceTable};
use wasmtime_wasi::cli::{StdinStream as _, StdoutStream as _};
use wasmtime_wasi::filesystem::WasiFilesystemView as _;
use wasmtime_wasi::{WasiCtx, WasiCtxBuilder};
pub(crate) use wasmtime_wasi::{WasiCtxView, WasiView};

use self::files::{Files, FilesView};
use super::clock::{Clock, Random};
use super::quota::DiskQuota;
use super::stdio::{Input, Output, Stdin};
use super::volume::Volume;
use super::{WasiError, WasiSpec};
use crate::determinism::Determinism;

/// Bytes that a guest may hand to the host in one call; more is a trap. It is far more than anything that is taken,
/// so that whoever hands over too much is told so; and what is kept over a wait is bounded for itself.
const HOSTCALL_FUEL: usize = 16 << 20;
/// Random bytes that a guest may ask for in one call.
const MAX_RANDOM: u64 = 1 << 20;
/// Streams, pollables and the like that may be there for each descriptor.
const RESOURCES_PER_DESCRIPTOR: usize = 4;

/// `input` as a stream of WASI 0.2.
pub(crate) fn input_stream(input: Input) -> wasmtime_wasi::p2::DynInputStream {
    stdio::StdinOf::new(input).p2_stream()
}

/// `output` as a stream of WASI 0.2.
pub(crate) fn output_stream(output: Output) -> wasmtime_wasi::p2::DynOutputStream {
    stdio::StdoutOf(output).p2_stream()
}

/// Streams, pollables, children and the like that an executor may have: a thousand children with three
/// streams each, and something to wait for each of them.
const EXECUTOR_RESOURCES: usize = 10_000;

/// Everything that a component reaches through WASI.
pub(crate) struct State {
    ctx: WasiCtx,
    table: ResourceTable,
    files: Files,
    clock: Clock,
    quota: Arc<DiskQuota>,
    output: Arc<AtomicU64>,
}

/// The data of stores that components run in.
pub(crate) trait Host: WasiView + 'static {
    /// The component's surroundings.
    fn state(&mut self) -> &mut State;
}

impl std::fmt::Debug for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("State")
            .field("files", &self.files)
            .field("quota", &self.quota)
            .finish_non_exhaustive()
    }
}

/// What a component, or several instances of one, are surrounded by: one root under one quota, one account of
/// output, the same arguments and streams.
pub(crate) struct Surroundings {
    args: Vec<String>,
    env: Vec<(String, String)>,
    stdout: Output,
    stderr: Output,
    volumes: Vec<(String, Arc<Volume>)>,
    quota: Arc<DiskQuota>,
    output: Arc<AtomicU64>,
    max_descriptors: usize,
    determinism: Option<Determinism>,
}

impl std::fmt::Debug for Surroundings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Surroundings")
            .field("args", &self.args)
            .field("quota", &self.quota)
            .finish_non_exhaustive()
    }
}

impl Surroundings {
    /// Prepares them, and says where stdin comes from. Touches no file: the root is made when it is first
    /// needed.
    pub(crate) fn new(mut spec: WasiSpec) -> Result<(Self, Stdin), WasiError> {
        let trees = spec.trees()?;
        let quota = DiskQuota::new(spec.disk_bytes, spec.max_files);
        let output = Arc::<AtomicU64>::default();
        let root = Volume::root(spec.root, Arc::clone(&quota));
        let mut volumes = vec![("/".to_owned(), Arc::new(root))];
        volumes.extend(
            trees
                .into_iter()
                .map(|(guest, tree)| (guest, Arc::new(tree))),
        );
        let surroundings = Self {
            args: spec.args,
            env: spec.env,
            stdout: Output::new(spec.stdout, Arc::clone(&output)),
            stderr: Output::new(spec.stderr, Arc::clone(&output)),
            volumes,
            quota,
            output,
            max_descriptors: spec.max_descriptors,
            determinism: spec.determinism,
        };
        Ok((surroundings, spec.stdin))
    }

    /// Where what goes wrong is written.
    pub(crate) fn stderr(&self) -> &Output {
        &self.stderr
    }

    /// The quota of the writable root.
    pub(crate) fn quota(&self) -> &Arc<DiskQuota> {
        &self.quota
    }
}

impl State {
    /// Prepares a component's surroundings. Touches no file: the root is made when it is first needed.
    pub(crate) fn new(spec: WasiSpec) -> Result<Self, WasiError> {
        let (surroundings, stdin) = Surroundings::new(spec)?;
        Ok(Self::within(&surroundings, stdin))
    }

    /// The state of one instance within these surroundings.
    pub(crate) fn within(spec: &Surroundings, stdin: Stdin) -> Self {
        let clock = Clock::new(spec.determinism.as_ref());
        let mut builder = WasiCtxBuilder::new();
        builder
            .args(&spec.args)
            .envs(&spec.env)
            .allow_blocking_current_thread(true)
            .allow_tcp(false)
            .allow_udp(false)
            .allow_ip_name_lookup(false)
            .max_random_size(MAX_RANDOM)
            .wall_clock(clock.clone())
            .monotonic_clock(clock.clone())
            .stdin(stdio::StdinOf::new(Input::new(stdin)))
            .stdout(stdio::StdoutOf(spec.stdout.clone()))
            .stderr(stdio::StdoutOf(spec.stderr.clone()));
        if let Some(determinism) = &spec.determinism {
            let mut random = Random::new(Some(determinism));
            builder
                .insecure_random_seed(u128::from(random.next()))
                .insecure_random(Random::Seeded(random.next()))
                .secure_random(random);
        }
        let mut table = ResourceTable::new();
        table.set_max_capacity(
            spec.max_descriptors
                .saturating_mul(RESOURCES_PER_DESCRIPTOR),
        );
        Self {
            ctx: builder.build(),
            table,
            files: Files::new(spec.volumes.clone(), spec.max_descriptors),
            clock,
            quota: Arc::clone(&spec.quota),
            output: Arc::clone(&spec.output),
        }
    }

    /// Prepares an executor's surroundings: it may hold many children and their streams.
    pub(crate) fn for_executor(spec: WasiSpec) -> Result<Self, WasiError> {
        let mut state = Self::new(spec)?;
        state.table.set_max_capacity(EXECUTOR_RESOURCES);
        Ok(state)
    }

    /// What `wasmtime-wasi` wants to see: for the implementation of [`WasiView`] that [`Host`] needs.
    pub(crate) fn view(&mut self) -> WasiCtxView<'_> {
        WasiCtxView {
            ctx: &mut self.ctx,
            table: &mut self.table,
        }
    }

    /// The quota of the sandbox's writable root.
    pub(crate) fn quota(&self) -> &Arc<DiskQuota> {
        &self.quota
    }

    /// Bytes written to stdout and stderr so far.
    pub(crate) fn output_bytes(&self) -> u64 {
        self.output.load(Ordering::Relaxed)
    }

    fn files(&mut self) -> FilesView<'_> {
        FilesView {
            files: &mut self.files,
            ctx: self.ctx.filesystem(),
            table: &mut self.table,
        }
    }
}

/// Adds WASI 0.2 and 0.3 to `linker`, but neither `wasi:http` nor any network that works.
pub(crate) fn add_to_linker<T: Host>(linker: &mut Linker<T>) -> wasmtime::Result<()> {
    wasmtime_wasi::p2::add_to_linker_async(linker)?;
    wasmtime_wasi::p3::add_to_linker(linker)?;
    linker.allow_shadowing(true);
    p2::add_to_linker(linker)?;
    p3::add_to_linker(linker)?;
    clocks::add_to_linker(linker)?;
    poll::add_to_linker(linker)?;
    linker.allow_shadowing(false);
    Ok(())
}

/// Bounds what one call of a component may make the host allocate.
pub(crate) fn limit_store<T: 'static>(store: &mut Store<T>) {
    store.set_hostcall_fuel(HOSTCALL_FUEL);
}

/// A component that exports `wasi:cli/run`, ready to be instantiated.
pub(crate) enum CommandPre<T: 'static> {
    /// Of WASI 0.2.
    V2(wasmtime_wasi::p2::bindings::CommandPre<T>),
    /// Of WASI 0.3.
    V3(wasmtime_wasi::p3::bindings::CommandPre<T>),
}

impl<T: 'static> std::fmt::Debug for CommandPre<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::V2(_) => "CommandPre::V2",
            Self::V3(_) => "CommandPre::V3",
        })
    }
}

impl<T: Send + 'static> CommandPre<T> {
    /// Looks for `wasi:cli/run` of either version; the error is that of the newer one.
    pub(crate) fn new(component: InstancePre<T>) -> wasmtime::Result<Self> {
        match wasmtime_wasi::p2::bindings::CommandPre::new(component.clone()) {
            Ok(command) => Ok(Self::V2(command)),
            Err(_) => wasmtime_wasi::p3::bindings::CommandPre::new(component).map(Self::V3),
        }
    }

    /// Instantiates and runs the command to its end: whether it ended well. A call of `exit` is an error,
    /// of which [`exit_code`](super::exit_code) knows the code.
    pub(crate) async fn run(&self, store: &mut Store<T>) -> wasmtime::Result<Result<(), ()>> {
        match self {
            Self::V2(command) => {
                let command = command.instantiate_async(&mut *store).await?;
                command.wasi_cli_run().call_run(store).await
            }
            Self::V3(command) => {
                let command = command.instantiate_async(&mut *store).await?;
                store
                    .run_concurrent(async move |store| command.wasi_cli_run().call_run(store).await)
                    .await?
            }
        }
    }
}

/// Interfaces of WASI 0.2 that are there, of version [`VERSION_2`]; an import of an older 0.2 is satisfied too.
pub(crate) const INTERFACES_2: &[&str] = &[
    "wasi:cli/environment",
    "wasi:cli/exit",
    "wasi:cli/stderr",
    "wasi:cli/stdin",
    "wasi:cli/stdout",
    "wasi:cli/terminal-input",
    "wasi:cli/terminal-output",
    "wasi:cli/terminal-stderr",
    "wasi:cli/terminal-stdin",
    "wasi:cli/terminal-stdout",
    "wasi:clocks/monotonic-clock",
    "wasi:clocks/wall-clock",
    "wasi:filesystem/preopens",
    "wasi:filesystem/types",
    "wasi:io/error",
    "wasi:io/poll",
    "wasi:io/streams",
    "wasi:random/insecure",
    "wasi:random/insecure-seed",
    "wasi:random/random",
    "wasi:sockets/instance-network",
    "wasi:sockets/ip-name-lookup",
    "wasi:sockets/network",
    "wasi:sockets/tcp",
    "wasi:sockets/tcp-create-socket",
    "wasi:sockets/udp",
    "wasi:sockets/udp-create-socket",
];
/// The version of [`INTERFACES_2`].
pub(crate) const VERSION_2: &str = "0.2.12";

/// Interfaces of WASI 0.3 that are there, of version [`VERSION_3`].
pub(crate) const INTERFACES_3: &[&str] = &[
    "wasi:cli/environment",
    "wasi:cli/exit",
    "wasi:cli/stderr",
    "wasi:cli/stdin",
    "wasi:cli/stdout",
    "wasi:cli/terminal-input",
    "wasi:cli/terminal-output",
    "wasi:cli/terminal-stderr",
    "wasi:cli/terminal-stdin",
    "wasi:cli/terminal-stdout",
    "wasi:cli/types",
    "wasi:clocks/monotonic-clock",
    "wasi:clocks/system-clock",
    "wasi:clocks/types",
    "wasi:filesystem/preopens",
    "wasi:filesystem/types",
    "wasi:random/insecure",
    "wasi:random/insecure-seed",
    "wasi:random/random",
    "wasi:sockets/ip-name-lookup",
    "wasi:sockets/types",
];
/// The version of [`INTERFACES_3`].
pub(crate) const VERSION_3: &str = "0.3.0";

/// How the generated bindings reach the files of a store.
struct HasFiles;

impl HasData for HasFiles {
    type Data<'a> = FilesView<'a>;
}

fn files<T: Host>(host: &mut T) -> FilesView<'_> {
    host.state().files()
}

/// How they reach the files that `wasmtime-wasi` looks after itself.
fn inner_files<T: Host>(host: &mut T) -> wasmtime_wasi::filesystem::WasiFilesystemCtxView<'_> {
    host.filesystem()
}
