//! Counts the words of each task's data by map and reduce: every line is a child of its own, which counts the
//! words of its input, and the executor adds up what they say.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{self, Read as _, Write as _};

use nesos_guest::{
    Child, ChildId, Executor, Exit, Host, Registered, Resources, Spawn, State, Stdio, Task,
    TaskInfo,
};

/// What one child may use.
const CHILD: Resources = Resources {
    cpu_milli: 50,
    mem_bytes: 4 << 20,
    disk_bytes: 0,
};

/// A task whose lines are being counted.
struct Job {
    task: String,
    counts: BTreeMap<String, u64>,
    /// Lines that nobody counts yet.
    lines: Vec<String>,
    children: BTreeMap<ChildId, Child>,
}

struct MapReduce {
    jobs: Vec<Job>,
}

#[nesos_guest::executor]
impl Executor for MapReduce {
    fn registered(_: &Host, _: Registered) -> Self {
        Self { jobs: Vec::new() }
    }

    fn launch(&mut self, host: &Host, task: TaskInfo) {
        let text = String::from_utf8_lossy(&task.data);
        let lines: Vec<String> = text.lines().map(str::to_owned).collect();
        host.report(
            &task.id,
            State::Running,
            &format!("{} lines", lines.len()),
            &[],
        );
        self.jobs.push(Job {
            task: task.id,
            counts: BTreeMap::new(),
            lines,
            children: BTreeMap::new(),
        });
        self.go_on(host);
    }

    fn kill(&mut self, host: &Host, task: &str, grace: std::time::Duration) {
        self.jobs.retain(|job| {
            let goes = job.task == task;
            if goes {
                job.children.values().for_each(|child| child.kill(grace));
            }
            !goes
        });
        host.report(task, State::Killed, "", &[]);
    }

    fn child_exited(&mut self, host: &Host, id: ChildId, exit: Exit) {
        for job in &mut self.jobs {
            let Some(child) = job.children.remove(&id) else {
                continue;
            };
            if exit.is_success() {
                job.add(&child);
            } else {
                host.report(&job.task, State::Failed, &exit.message, &[]);
                job.lines.clear();
                job.task.clear();
            }
        }
        self.go_on(host);
    }
}

impl MapReduce {
    /// Starts as many children as there is room for, and tells of the tasks that are done.
    fn go_on(&mut self, host: &Host) {
        for job in &mut self.jobs {
            job.start_children(host);
        }
        self.jobs.retain(|job| {
            let is_over = job.lines.is_empty() && job.children.is_empty();
            if is_over && !job.task.is_empty() {
                host.report(&job.task, State::Finished, "", job.result().as_bytes());
            }
            !is_over
        });
    }
}

impl Job {
    fn start_children(&mut self, host: &Host) {
        while let Some(line) = self.lines.pop() {
            let spawn = Spawn::this_bundle(CHILD)
                .stdin(Stdio::Pipe)
                .stdout(Stdio::Pipe);
            // What there is no room for now waits for a child to end.
            let Ok(child) = host.spawn(spawn) else {
                return self.lines.push(line);
            };
            if let Some(mut stdin) = child.stdin()
                && stdin.write_all(line.as_bytes()).is_err()
            {
                eprintln!("{} does not read its line", child.id());
            }
            self.children.insert(child.id(), child);
        }
    }

    fn add(&mut self, child: &Child) {
        let mut output = String::new();
        if let Some(mut stdout) = child.stdout()
            && stdout.read_to_string(&mut output).is_err()
        {
            eprintln!("{} does not write text", child.id());
        }
        for word in output.lines() {
            *self.counts.entry(word.to_owned()).or_default() += 1;
        }
    }

    fn result(&self) -> String {
        self.counts
            .iter()
            .fold(String::new(), |mut text, (word, count)| {
                let _ = writeln!(text, "{word} {count}");
                text
            })
    }
}

/// Says each word of the input in a line of its own.
#[nesos_guest::child]
fn map(_: Task) -> io::Result<()> {
    let mut text = String::new();
    io::stdin().read_to_string(&mut text)?;
    let mut stdout = io::stdout().lock();
    for word in text.split_whitespace() {
        writeln!(stdout, "{word}")?;
    }
    stdout.flush()
}
