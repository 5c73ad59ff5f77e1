//! `nesos:guest/sandboxes`.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use nesos_types::bundle::Digest;
use nesos_types::limits::Limits;
use nesos_types::resources::Resources;
use nesos_types::task::{SharedTask, TaskInfo, TaskState};
use tokio::sync::oneshot;
use wasmtime::Result;
use wasmtime::component::{Resource, ResourceTable};
use wasmtime_wasi::p2::{DynInputStream, DynOutputStream, DynPollable};

use super::View;
use super::children::{Held, Hold, MAX_CHILDREN, Nursery};
use super::pipes::{Pipes, into_child, out_of_child};
use super::side::Spawning;
use super::watched::{Watched, watch};
use super::wit::sandboxes::{Exit, ExitState, Host, HostChild, Program, SpawnError, Spec, Stdio};
use crate::ledger::Ledger;
use crate::limits::{Bytes, FIXED_BYTES};
use crate::sandbox::{SandboxSpec, Start};
use crate::uplink::NoUplink;
use crate::wasi::{Stdin, Stdout};

/// Bytes that a child's arguments and environment may take together.
const MAX_TEXT_BYTES: usize = 64 << 10;

impl Host for View<'_> {
    fn spawn(&mut self, spec: Spec) -> Result<std::result::Result<Resource<Hold>, SpawnError>> {
        match self.try_spawn(spec) {
            Ok(hold) => Ok(Ok(self.table.push(hold)?)),
            Err(error) => Ok(Err(error)),
        }
    }

    fn adopt(&mut self, id: u64) -> Result<Option<Resource<Hold>>> {
        let executor = self.side.executor();
        match executor.and_then(|executor| executor.children.get(id)) {
            Some(child) => Ok(Some(self.table.push(Hold(child))?)),
            None => Ok(None),
        }
    }
}

impl HostChild for View<'_> {
    fn id(&mut self, hold: Resource<Hold>) -> Result<u64> {
        Ok(self.table.get(&hold)?.0.id)
    }

    fn stdin(&mut self, hold: Resource<Hold>) -> Result<Option<Resource<DynOutputStream>>> {
        let stream = self.table.get(&hold)?.0.pipes().stdin.take();
        given(self.table, stream)
    }

    fn stdout(&mut self, hold: Resource<Hold>) -> Result<Option<Resource<DynInputStream>>> {
        let stream = self.table.get(&hold)?.0.pipes().stdout.take();
        given(self.table, stream)
    }

    fn stderr(&mut self, hold: Resource<Hold>) -> Result<Option<Resource<DynInputStream>>> {
        let stream = self.table.get(&hold)?.0.pipes().stderr.take();
        given(self.table, stream)
    }

    fn kill(&mut self, hold: Resource<Hold>, grace_ms: u64) -> Result<()> {
        let child = &self.table.get(&hold)?.0;
        child.kill(Duration::from_millis(grace_ms));
        Ok(())
    }

    fn exit(&mut self, hold: Resource<Hold>) -> Result<Option<Exit>> {
        let exit = self.table.get(&hold)?.0.exit();
        Ok(exit.as_ref().map(told))
    }

    fn subscribe(&mut self, hold: Resource<Hold>) -> Result<Resource<DynPollable>> {
        let child = self.table.get(&hold)?.0.clone();
        watch(self.table, Watched::Child(child))
    }

    fn drop(&mut self, hold: Resource<Hold>) -> Result<()> {
        self.table.delete(hold)?;
        Ok(())
    }
}

/// A stream, for the guest.
fn given<S: Send + 'static>(
    table: &mut ResourceTable,
    stream: Option<S>,
) -> Result<Option<Resource<S>>> {
    stream.map(|stream| Ok(table.push(stream)?)).transpose()
}

impl View<'_> {
    fn try_spawn(&mut self, spec: Spec) -> std::result::Result<Hold, SpawnError> {
        let left = self.left();
        let parts = self.side.spawning().ok_or(SpawnError::NotAnExecutor)?;
        let Spawning {
            task,
            control,
            uplink,
            children,
            ..
        } = parts;
        let program = wanted(&spec, &children.nursery)?;
        if !children.has_room() {
            return Err(SpawnError::TooMany(MAX_CHILDREN));
        }
        let host = children.nursery.host.clone();
        let metering = task.limits.metering;
        let slot = host.slots.try_take(metering).ok_or(SpawnError::NoRoom)?;
        let held = Held::take(control, &self.quota, &spec.resources);
        let held = held.ok_or(SpawnError::NoResources(left))?;
        let streams = Streams::new(&spec, &children.nursery, &control.ledger);
        let streams = streams.ok_or(SpawnError::NoResources(left))?;
        let (compiled, awaited) = match program {
            Wanted::Own(image) => (image, None),
            Wanted::Bundle(digest) => {
                let (sender, awaited) = oneshot::channel();
                uplink.prepare(digest, metering, sender);
                (PathBuf::new(), Some(awaited))
            }
        };
        let child = children.add(held.id(), streams.pipes);
        let nursery = &children.nursery;
        let sandbox = SandboxSpec {
            framework: parts.framework,
            task: child_task(spec, child.id, task),
            compiled,
            root: nursery.root(child.id),
            volumes: Vec::new(),
            stdin: streams.stdin,
            stdout: streams.stdout,
            stderr: streams.stderr,
            fuel_per_cpu_second: nursery.fuel_per_cpu_second,
            determinism: nursery.determinism,
            identity: parts.identity.clone(),
            uplink: Arc::new(NoUplink),
        };
        let start = Start::of_child(sandbox, slot, awaited);
        let own_control = host.control(&start);
        let observer = children.observer(&child, held);
        child.joins(&control.family, &own_control);
        if host.start(start, observer, &own_control) {
            return Ok(Hold(child));
        }
        children.forget(child.id);
        Err(SpawnError::NoRoom)
    }
}

/// What a child is to run.
enum Wanted {
    Own(PathBuf),
    Bundle(Digest),
}

/// What the child is to run; refuses what is wrong about its description.
fn wanted(spec: &Spec, nursery: &Nursery) -> std::result::Result<Wanted, SpawnError> {
    let invalid = |why: String| Err(SpawnError::Invalid(why));
    if spec.resources.cpu_milli == 0 {
        return invalid("a child needs at least one thousandth of a CPU".to_owned());
    }
    if spec.resources.mem_bytes < FIXED_BYTES {
        let least = Bytes(FIXED_BYTES);
        return invalid(format!(
            "a child needs {least} of memory for its sandbox alone"
        ));
    }
    if text_bytes(spec) > MAX_TEXT_BYTES {
        let (bytes, most) = (Bytes(text_bytes(spec) as u64), Bytes(MAX_TEXT_BYTES as u64));
        return invalid(format!(
            "arguments and environment take {bytes}, more than {most}; a pipe takes more"
        ));
    }
    match (&spec.program, &nursery.own_image) {
        (Program::ThisBundle, Some(image)) => Ok(Wanted::Own(image.clone())),
        (Program::ThisBundle, None) => invalid(
            "this bundle is no command: it does not export wasi:cli/run, which a child runs"
                .to_owned(),
        ),
        (Program::Bundle(digest), _) => match digest.parse() {
            Ok(digest) => Ok(Wanted::Bundle(digest)),
            Err(error) => invalid(format!("the bundle's digest: {error}")),
        },
    }
}

/// What a child's arguments and environment take.
fn text_bytes(spec: &Spec) -> usize {
    let args = spec.args.iter().map(|arg| size_of::<String>() + arg.len());
    let env = spec.env.iter();
    let env = env.map(|(name, value)| 2 * size_of::<String>() + name.len() + value.len());
    args.chain(env).sum()
}

/// The task that a child is.
fn child_task(spec: Spec, id: u64, parent: &TaskInfo) -> SharedTask {
    let Spec { args, env, .. } = spec;
    let asked = &spec.resources;
    let resources = Resources::new(asked.cpu_milli, asked.mem_bytes).with_disk(asked.disk_bytes);
    let name = format!("child-{id}");
    let task_id = name.parse().expect("a name of letters, digits and a dash");
    let limits = Limits {
        fuel: spec.fuel,
        timeout: spec.timeout_ms.map(Duration::from_millis),
        files: None,
        ..parent.limits.clone()
    };
    let task = TaskInfo::new(task_id, parent.bundle, resources);
    SharedTask::new(TaskInfo {
        args,
        env,
        limits,
        ..task
    })
}

/// Both ends of a child's standard streams.
struct Streams {
    stdin: Stdin,
    stdout: Stdout,
    stderr: Stdout,
    pipes: Pipes,
}

impl Streams {
    /// None if there is not enough memory for the pipes.
    fn new(spec: &Spec, nursery: &Nursery, ledger: &Arc<Ledger>) -> Option<Self> {
        let mut pipes = Pipes::default();
        let stdin = match spec.stdin {
            Stdio::Pipe => {
                let (stdin, end) = into_child(ledger)?;
                pipes.stdin = Some(end);
                stdin
            }
            Stdio::Null | Stdio::Inherit => Stdin::Empty,
        };
        let stdout = out(spec.stdout, &nursery.stdout, &mut pipes.stdout, ledger)?;
        let stderr = out(spec.stderr, &nursery.stderr, &mut pipes.stderr, ledger)?;
        Some(Self {
            stdin,
            stdout,
            stderr,
            pipes,
        })
    }
}

fn out(
    stdio: Stdio,
    inherited: &Stdout,
    end: &mut Option<DynInputStream>,
    ledger: &Arc<Ledger>,
) -> Option<Stdout> {
    match stdio {
        Stdio::Null => Some(Stdout::Null),
        Stdio::Inherit => Some(inherited.clone()),
        Stdio::Pipe => {
            let (stdout, stream) = out_of_child(ledger)?;
            *end = Some(stream);
            Some(stdout)
        }
    }
}

/// The end of a child, for the guest.
pub(super) fn told(exit: &crate::exit::Exit) -> Exit {
    Exit {
        state: match exit.state {
            TaskState::Finished => ExitState::Finished,
            TaskState::Killed => ExitState::Killed,
            TaskState::Error => ExitState::Error,
            TaskState::Dropped => ExitState::Dropped,
            _ => ExitState::Failed,
        },
        reason: snake_case(&format!("{:?}", exit.reason)),
        message: exit.message.clone(),
        code: exit.exit_code,
        cpu_ns: exit.usage.cpu_ns,
        peak_mem_bytes: exit.usage.peak_memory_bytes,
    }
}

/// `MemoryLimit` as `memory_limit`.
fn snake_case(name: &str) -> String {
    let mut snake = String::with_capacity(name.len() + 2);
    for letter in name.chars() {
        if letter.is_uppercase() && !snake.is_empty() {
            snake.push('_');
        }
        snake.extend(letter.to_lowercase());
    }
    snake
}
