//! The children of an executor: what they are made from, what they hold of the executor's, and how they end.

use std::collections::{BTreeMap, VecDeque};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use nesos_types::task::TaskReason;
use tokio::sync::watch;

use super::pipes::Pipes;
use super::wit;
use crate::exit::Exit;
use crate::sandbox::{Control, Family, Host, Observer, SandboxSpec};
use crate::wasi::{DiskQuota, Stdout};

/// The most children of one executor, those included whose end it was not told of yet.
pub(super) const MAX_CHILDREN: u32 = 1024;

/// One child, for those who hold on to it.
pub(crate) struct Child {
    pub(super) id: u64,
    control: OnceLock<Arc<Control>>,
    exit: watch::Sender<Option<Exit>>,
    /// The executor knows of the end.
    told: AtomicBool,
    pipes: Mutex<Pipes>,
}

/// A hold on a child, as the guest has it.
#[expect(
    unreachable_pub,
    reason = "the generated bindings name it as if they were public"
)]
pub struct Hold(pub(super) Arc<Child>);

impl Child {
    fn new(id: u64, pipes: Pipes) -> Self {
        Self {
            id,
            control: OnceLock::new(),
            exit: watch::Sender::new(None),
            told: AtomicBool::new(false),
            pipes: Mutex::new(pipes),
        }
    }

    /// It is about to be launched.
    pub(super) fn joins(&self, family: &Family, control: &Arc<Control>) {
        self.control.get_or_init(|| control.clone());
        family.joined(self.id, control);
    }

    /// Ends it, after the grace at the latest.
    pub(super) fn kill(&self, grace: Duration) {
        if let Some(control) = self.control.get() {
            control.kill(grace, TaskReason::KillRequested, "");
        }
    }

    /// The executor's ends of its pipes.
    pub(super) fn pipes(&self) -> MutexGuard<'_, Pipes> {
        self.pipes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How it has ended. Whoever asks has been told.
    pub(super) fn exit(&self) -> Option<Exit> {
        let exit = self.exit.borrow().clone()?;
        self.told.store(true, Ordering::Relaxed);
        Some(exit)
    }

    /// Waits until it has ended.
    pub(super) async fn until_exit(&self) {
        // The sender is ours, so the channel cannot be closed.
        let _ = self.exit.subscribe().wait_for(Option::is_some).await;
    }
}

/// What the children of one executor are made from.
pub(crate) struct Nursery {
    pub(super) host: Arc<Host>,
    /// The executor's own image, if children can run it.
    pub(super) own_image: Option<PathBuf>,
    /// Where their directories are.
    directory: PathBuf,
    /// Where output goes that is inherited.
    pub(super) stdout: Stdout,
    pub(super) stderr: Stdout,
    pub(super) fuel_per_cpu_second: u64,
    pub(super) determinism: Option<crate::determinism::Determinism>,
}

impl Nursery {
    /// Of the executor that `spec` describes; `runs_own` says whether its bundle is a command, too.
    pub(crate) fn new(host: &Arc<Host>, spec: &SandboxSpec, runs_own: bool) -> Self {
        let beside = spec.root.parent().unwrap_or(&spec.root);
        Self {
            host: host.clone(),
            own_image: runs_own.then(|| spec.compiled.clone()),
            directory: beside.join("children"),
            stdout: spec.stdout.clone(),
            stderr: spec.stderr.clone(),
            fuel_per_cpu_second: spec.fuel_per_cpu_second,
            determinism: spec.determinism,
        }
    }

    /// The writable root of a child.
    pub(super) fn root(&self, id: u64) -> PathBuf {
        self.directory.join(id.to_string())
    }
}

/// The children of one executor.
pub(crate) struct Children {
    pub(super) nursery: Nursery,
    /// Those whose end the executor was not told of yet.
    known: BTreeMap<u64, Arc<Child>>,
    exited: Arc<Exited>,
}

/// Children that have ended, in the order in which they did.
#[derive(Debug, Default)]
struct Exited(watch::Sender<VecDeque<u64>>);

impl Children {
    pub(super) fn new(nursery: Nursery) -> Self {
        Self {
            nursery,
            known: BTreeMap::new(),
            exited: Arc::default(),
        }
    }

    /// Whether there may be one more.
    pub(super) fn has_room(&mut self) -> bool {
        self.known.len() < MAX_CHILDREN as usize || {
            // Those whose end was asked for have not been taken out of the queue yet.
            self.known
                .retain(|_, child| !child.told.load(Ordering::Relaxed));
            self.known.len() < MAX_CHILDREN as usize
        }
    }

    /// A child that the executor gets to know.
    pub(super) fn add(&mut self, id: u64, pipes: Pipes) -> Arc<Child> {
        let child = Arc::new(Child::new(id, pipes));
        self.known.insert(id, child.clone());
        child
    }

    /// It was never launched.
    pub(super) fn forget(&mut self, id: u64) {
        self.known.remove(&id);
    }

    /// One whose end the executor was not told of yet.
    pub(super) fn get(&self, id: u64) -> Option<Arc<Child>> {
        let child = self.known.get(&id)?;
        let told = child.told.load(Ordering::Relaxed);
        (!told).then(|| child.clone())
    }

    /// A child that has ended and whose end is to be told.
    pub(super) fn take_exited(&mut self) -> Option<(u64, Exit)> {
        loop {
            let mut id = None;
            self.exited.0.send_if_modified(|exited| {
                id = exited.pop_front();
                false
            });
            let child = self.known.remove(&id?);
            let child = child.filter(|child| !child.told.load(Ordering::Relaxed));
            if let Some(child) = child
                && let Some(exit) = child.exit()
            {
                return Some((child.id, exit));
            }
        }
    }

    /// Waits until a child has ended.
    pub(super) fn until_exited(&self) -> impl Future<Output = ()> + Send + use<> {
        let exited = self.exited.clone();
        async move {
            let mut exited = exited.0.subscribe();
            let _ = exited.wait_for(|exited| !exited.is_empty()).await;
        }
    }

    /// Who is told of the end of `child`.
    pub(super) fn observer(&self, child: &Arc<Child>, held: Held) -> Box<dyn Observer> {
        Box::new(Parent {
            child: child.clone(),
            exited: self.exited.clone(),
            root: self.nursery.root(child.id),
            io: held.parent.io().clone(),
            held: Some(held),
        })
    }
}

/// What a child holds of its executor's, given back when this is dropped.
pub(super) struct Held {
    parent: Arc<Control>,
    quota: Arc<DiskQuota>,
    id: u64,
    mem_bytes: u64,
    disk_bytes: u64,
    cpu_ns: u64,
}

impl Held {
    /// Takes a child in, with all that it asks for, or nothing.
    pub(super) fn take(
        parent: &Arc<Control>,
        quota: &Arc<DiskQuota>,
        asked: &wit::types::Resources,
    ) -> Option<Self> {
        let (mem_bytes, disk_bytes) = (asked.mem_bytes, asked.disk_bytes);
        if !parent.ledger.take(mem_bytes) {
            return None;
        }
        if !quota.lend(disk_bytes) {
            parent.ledger.give_back(mem_bytes);
            return None;
        }
        let Some((id, own)) = parent.family.admit(asked.cpu_milli) else {
            parent.ledger.give_back(mem_bytes);
            quota.take_back(disk_bytes);
            return None;
        };
        parent.set_own_cpu(own);
        Some(Self {
            parent: parent.clone(),
            quota: quota.clone(),
            id,
            mem_bytes,
            disk_bytes,
            cpu_ns: 0,
        })
    }

    /// The child's name.
    pub(super) fn id(&self) -> u64 {
        self.id
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.parent.ledger.give_back(self.mem_bytes);
        self.quota.take_back(self.disk_bytes);
        let own = self.parent.family.leave(self.id, self.cpu_ns);
        self.parent.set_own_cpu(own);
    }
}

/// Tells an executor of the end of a child.
struct Parent {
    child: Arc<Child>,
    exited: Arc<Exited>,
    held: Option<Held>,
    /// The child's directory, which goes with it.
    root: PathBuf,
    io: tokio::runtime::Handle,
}

impl Observer for Parent {
    fn running(&mut self) {}

    fn exited(&mut self, exit: Exit) {
        let Some(mut held) = self.held.take() else {
            return;
        };
        held.cpu_ns = exit.usage.cpu_ns;
        // What it held is free again before anybody hears of the end.
        let (child, exited) = (self.child.clone(), self.exited.clone());
        let tell = move || {
            drop(held);
            child.exit.send_replace(Some(exit));
            exited.0.send_modify(|exited| exited.push_back(child.id));
        };
        if !self.root.exists() {
            return tell();
        }
        let root = std::mem::take(&mut self.root);
        self.io.spawn_blocking(move || {
            if let Err(error) = std::fs::remove_dir_all(&root) {
                tracing::warn!(%error, "cannot remove a child's directory {}", root.display());
            }
            tell();
        });
    }
}
