//! The scripted host of an executor.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io::{Cursor, Read, Write};
use std::rc::Rc;
use std::time::Duration;

use super::{ChildStart, End, Said, Script, ScriptedChild, Step, Transcript};
use crate::child::ChildApi;
use crate::host::HostApi;
use crate::{
    ChildId, Executor, Exit, Host, MessageError, Resources, Spawn, SpawnError, State, Stdio,
    TaskInfo, Timer, TimerError, UpdateError,
};

/// The limits of the real host.
const MAX_DATA: usize = 64 << 10;
const MAX_MESSAGE: usize = 1 << 10;
const MAX_TIMERS: usize = 1024;
const MAX_CHILDREN: usize = 1024;
/// What a child's sandbox takes beside its program.
const MIN_MEMORY: u64 = 640 << 10;
/// What a text counts for beside its bytes.
const TEXT: usize = 24;

type Children = Box<dyn FnMut(ChildStart<'_>) -> ScriptedChild>;

/// Plays a script to its end.
pub(super) fn play<E: Executor>(script: &Script, children: Children) -> Transcript {
    let stage = Rc::new(Stage {
        play: RefCell::new(Play::new(script.total)),
        children: RefCell::new(children),
    });
    let host = Host::new(Rc::new(OnStage(stage.clone())));
    let mut executor = E::registered(&host, script.registered.clone());
    for step in &script.steps {
        if stage.play.borrow().stopped {
            break;
        }
        step_of(&mut executor, &host, &stage, step);
    }
    tell_exits(&mut executor, &host, &stage);
    let play = stage.play.borrow();
    Transcript {
        said: play.said.clone(),
        end: if play.stopped {
            End::Stopped
        } else {
            End::Alive
        },
    }
}

fn step_of<E: Executor>(executor: &mut E, host: &Host, stage: &Rc<Stage>, step: &Step) {
    tell_exits(executor, host, stage);
    match step {
        Step::Launch(task) => {
            stage.play.borrow_mut().launch(task.clone());
            executor.launch(host, task.clone());
        }
        Step::Kill(task, grace) => {
            let is_live = stage.play.borrow().tasks.contains_key(task);
            if is_live {
                executor.kill(host, task, *grace);
            }
        }
        Step::Message(data) => executor.message(host, data.clone()),
        Step::Pass(time) => pass(executor, host, stage, *time),
        Step::Shutdown(grace) => executor.shutdown(host, *grace),
    }
}

/// Lets time pass, from timer to timer.
fn pass<E: Executor>(executor: &mut E, host: &Host, stage: &Rc<Stage>, time: Duration) {
    let until = stage.play.borrow().now + time;
    loop {
        tell_exits(executor, host, stage);
        let mut play = stage.play.borrow_mut();
        let next = play.timers.iter().map(|(&id, &at)| (at, id)).min();
        match next.filter(|&(at, _)| at <= until && !play.stopped) {
            Some((at, id)) => {
                play.now = at;
                play.timers.remove(&id);
                drop(play);
                executor.timer(host, Timer(id));
            }
            None => {
                play.now = until;
                return;
            }
        }
    }
}

/// Children end as soon as they have been started, but nobody hears of it within the same method.
fn tell_exits<E: Executor>(executor: &mut E, host: &Host, stage: &Rc<Stage>) {
    loop {
        let next = stage.play.borrow().running.keys().next().copied();
        let Some(id) = next.filter(|_| !stage.play.borrow().stopped) else {
            return;
        };
        let exit = stage.exit(id);
        executor.child_exited(host, ChildId(id), exit);
    }
}

/// All that a scripted host is.
struct Stage {
    play: RefCell<Play>,
    children: RefCell<Children>,
}

/// Where the play stands.
struct Play {
    now: Duration,
    total: Resources,
    said: Vec<Said>,
    tasks: BTreeMap<String, (TaskInfo, State)>,
    ended: Vec<String>,
    timers: BTreeMap<u64, Duration>,
    running: BTreeMap<u64, Running>,
    next_id: u64,
    stopped: bool,
}

/// A child whose end nobody knows of yet.
struct Running {
    spawn: Spawn,
    stdin: Rc<RefCell<Vec<u8>>>,
    /// Played as soon as somebody wants to know anything of it.
    played: Option<ScriptedChild>,
}

impl Play {
    fn new(total: Resources) -> Self {
        Self {
            now: Duration::ZERO,
            total,
            said: Vec::new(),
            tasks: BTreeMap::new(),
            ended: Vec::new(),
            timers: BTreeMap::new(),
            running: BTreeMap::new(),
            next_id: 1,
            stopped: false,
        }
    }

    fn launch(&mut self, task: TaskInfo) {
        self.ended.retain(|ended| *ended != task.id);
        self.tasks.insert(task.id.clone(), (task, State::Starting));
    }

    fn new_id(&mut self) -> u64 {
        let id = self.next_id;
        self.next_id += 1;
        id
    }

    fn left(&self) -> Resources {
        let running = self.running.values().map(|child| child.spawn.resources);
        running.fold(self.total, |left, held| Resources {
            cpu_milli: left.cpu_milli.saturating_sub(held.cpu_milli),
            mem_bytes: left.mem_bytes.saturating_sub(held.mem_bytes),
            disk_bytes: left.disk_bytes.saturating_sub(held.disk_bytes),
        })
    }

    fn check(&self, task: &str, state: State) -> Result<(), UpdateError> {
        match self.tasks.get(task) {
            Some((_, State::Running)) if state == State::Starting => Err(UpdateError::NotAllowed),
            Some(_) => Ok(()),
            None if self.ended.iter().any(|ended| ended == task) => Err(UpdateError::AlreadyEnded),
            None => Err(UpdateError::UnknownTask),
        }
    }

    fn update(&mut self, task: &str, state: State) {
        if state.is_terminal() {
            self.tasks.remove(task);
            self.ended.push(task.to_owned());
        } else if let Some((_, known)) = self.tasks.get_mut(task) {
            *known = state;
        }
    }
}

impl Stage {
    /// Plays a child, if it has not been played yet, and says what it did.
    fn played(&self, id: u64) -> Option<ScriptedChild> {
        let (spawn, stdin) = {
            let play = self.play.borrow();
            let child = play.running.get(&id)?;
            if child.played.is_some() {
                return child.played.clone();
            }
            (child.spawn.clone(), child.stdin.borrow().clone())
        };
        let start = ChildStart {
            spawn: &spawn,
            stdin: &stdin,
        };
        let played = (self.children.borrow_mut())(start);
        if let Some(child) = self.play.borrow_mut().running.get_mut(&id) {
            child.played = Some(played.clone());
        }
        Some(played)
    }

    /// The end of a child that has not been told of it yet; it is told with this.
    fn exit(&self, id: u64) -> Exit {
        let played = self.played(id);
        self.play.borrow_mut().running.remove(&id);
        played.map_or_else(|| ScriptedChild::finished("").exit, |played| played.exit)
    }
}

/// The host, as the executor has it.
struct OnStage(Rc<Stage>);

impl HostApi for OnStage {
    fn update(
        &self,
        task: &str,
        state: State,
        message: &str,
        data: &[u8],
    ) -> Result<(), UpdateError> {
        let mut play = self.0.play.borrow_mut();
        play.check(task, state)?;
        if data.len() > MAX_DATA {
            return Err(UpdateError::TooLarge(MAX_DATA as u64));
        }
        play.update(task, state);
        let end = message.floor_char_boundary(MAX_MESSAGE);
        play.said
            .push(Said::update(task, state, &message[..end], data));
        Ok(())
    }

    fn send(&self, data: &[u8]) -> Result<(), MessageError> {
        if data.len() > MAX_DATA {
            return Err(MessageError::TooLarge(MAX_DATA as u64));
        }
        self.0
            .play
            .borrow_mut()
            .said
            .push(Said::Message(data.to_vec()));
        Ok(())
    }

    fn set_timer(&self, after: Duration) -> Result<u64, TimerError> {
        let mut play = self.0.play.borrow_mut();
        if play.timers.len() == MAX_TIMERS {
            return Err(TimerError::TooMany(MAX_TIMERS as u32));
        }
        let (id, at) = (play.new_id(), play.now.saturating_add(after));
        play.timers.insert(id, at);
        Ok(id)
    }

    fn cancel_timer(&self, timer: u64) -> bool {
        self.0.play.borrow_mut().timers.remove(&timer).is_some()
    }

    fn total(&self) -> Resources {
        self.0.play.borrow().total
    }

    fn left(&self) -> Resources {
        self.0.play.borrow().left()
    }

    fn tasks(&self) -> Vec<TaskInfo> {
        let play = self.0.play.borrow();
        play.tasks.values().map(|(task, _)| task.clone()).collect()
    }

    fn stop(&self) {
        self.0.play.borrow_mut().stopped = true;
    }

    fn spawn(&self, spawn: Spawn) -> Result<Box<dyn ChildApi>, SpawnError> {
        let mut play = self.0.play.borrow_mut();
        if play.running.len() == MAX_CHILDREN {
            return Err(SpawnError::TooMany(MAX_CHILDREN as u32));
        }
        let (left, asked) = (play.left(), spawn.resources);
        let fits = asked.cpu_milli <= left.cpu_milli
            && asked.mem_bytes <= left.mem_bytes
            && asked.disk_bytes <= left.disk_bytes;
        if !fits {
            return Err(SpawnError::NoResources(left));
        }
        if let Some(why) = wrong(&spawn) {
            return Err(SpawnError::Invalid(why.to_owned()));
        }
        let id = play.new_id();
        let child = Running {
            spawn,
            stdin: Rc::default(),
            played: None,
        };
        play.running.insert(id, child);
        Ok(self.hold(id))
    }

    fn adopt(&self, child: u64) -> Option<Box<dyn ChildApi>> {
        let is_running = self.0.play.borrow().running.contains_key(&child);
        is_running.then(|| self.hold(child))
    }
}

/// What is wrong about a child's description.
fn wrong(spawn: &Spawn) -> Option<&'static str> {
    let args = spawn.args.iter().map(|arg| TEXT + arg.len());
    let env = spawn.env.iter();
    let env = env.map(|(name, value)| 2 * TEXT + name.len() + value.len());
    if spawn.resources.cpu_milli == 0 {
        Some("a child needs at least one thousandth of a CPU")
    } else if spawn.resources.mem_bytes < MIN_MEMORY {
        Some("a child needs 640 KiB of memory for its sandbox alone")
    } else if args.chain(env).sum::<usize>() > MAX_DATA {
        Some("arguments and environment take more than 64 KiB; a pipe takes more")
    } else {
        None
    }
}

impl OnStage {
    fn hold(&self, id: u64) -> Box<dyn ChildApi> {
        Box::new(Hold {
            stage: self.0.clone(),
            id,
            exit: RefCell::default(),
        })
    }
}

/// A hold on a scripted child.
struct Hold {
    stage: Rc<Stage>,
    id: u64,
    exit: RefCell<Option<Exit>>,
}

impl Hold {
    fn is_pipe(&self, stdio: impl FnOnce(&Spawn) -> Stdio) -> bool {
        let play = self.stage.play.borrow();
        let child = play.running.get(&self.id);
        child.is_some_and(|child| stdio(&child.spawn) == Stdio::Pipe)
    }
}

impl ChildApi for Hold {
    fn id(&self) -> u64 {
        self.id
    }

    fn stdin(&self) -> Option<Box<dyn Write>> {
        let is_pipe = self.is_pipe(|spawn| spawn.stdin);
        let play = self.stage.play.borrow();
        let child = play.running.get(&self.id).filter(|_| is_pipe)?;
        Some(Box::new(Input(child.stdin.clone())))
    }

    fn stdout(&self) -> Option<Box<dyn Read>> {
        let is_pipe = self.is_pipe(|spawn| spawn.stdout);
        let played = is_pipe.then(|| self.stage.played(self.id))??;
        Some(Box::new(Cursor::new(played.stdout)))
    }

    fn stderr(&self) -> Option<Box<dyn Read>> {
        let is_pipe = self.is_pipe(|spawn| spawn.stderr);
        let played = is_pipe.then(|| self.stage.played(self.id))??;
        Some(Box::new(Cursor::new(played.stderr)))
    }

    fn kill(&self, _: Duration) {
        let mut killed = ScriptedChild::finished("");
        killed.exit.state = crate::ExitState::Killed;
        killed.exit.reason = "kill_requested".to_owned();
        killed.exit.code = None;
        if let Some(child) = self.stage.play.borrow_mut().running.get_mut(&self.id) {
            child.played.get_or_insert(killed);
        }
    }

    fn exit(&self) -> Option<Exit> {
        Some(self.wait())
    }

    fn wait(&self) -> Exit {
        let mut exit = self.exit.borrow_mut();
        exit.get_or_insert_with(|| self.stage.exit(self.id)).clone()
    }
}

struct Input(Rc<RefCell<Vec<u8>>>);

impl Write for Input {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.borrow_mut().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
