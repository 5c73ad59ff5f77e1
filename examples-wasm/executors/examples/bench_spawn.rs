//! Measures children. The data of a task is `latency N`: N children, one after the other, each of which tells
//! when it began; or `crowd N`: N children at once. The result is nanoseconds, a line for each child; or how
//! many were alive together, and how many ended well.

use std::io::{self, Read as _, Write as _};
use std::time::{SystemTime, UNIX_EPOCH};

use nesos_guest::{
    Child, Executor, Host, Registered, Resources, Spawn, State, Stdio, Task, TaskInfo,
};

struct Bench;

#[nesos_guest::executor]
impl Executor for Bench {
    fn registered(_: &Host, _: Registered) -> Self {
        Self
    }

    fn launch(&mut self, host: &Host, task: TaskInfo) {
        let text = String::from_utf8_lossy(&task.data).into_owned();
        let (what, count) = text.split_once(' ').unwrap_or(("latency", "100"));
        let count = count.parse().unwrap_or(100);
        let result = match what {
            "crowd" => crowd(host, count),
            _ => latency(host, count),
        };
        match result {
            Ok(result) => host.report(&task.id, State::Finished, "", result.as_bytes()),
            Err(error) => host.report(&task.id, State::Failed, &error.to_string(), &[]),
        }
    }
}

fn latency(host: &Host, count: usize) -> Result<String, Box<dyn std::error::Error>> {
    let mut lines = String::new();
    for _ in 0..count {
        let spawn = Spawn::this_bundle(Resources::new(900, 4 << 20)).stdout(Stdio::Pipe);
        let before = now();
        let child = host.spawn(spawn)?;
        let began = read(&child)?.trim().parse::<u128>()?;
        lines.push_str(&format!("{}\n", began.saturating_sub(before)));
        if !child.wait().is_success() {
            return Err("a child did not end well".into());
        }
    }
    Ok(lines)
}

/// No child ends before its input does.
fn crowd(host: &Host, count: usize) -> Result<String, Box<dyn std::error::Error>> {
    let mut children = Vec::new();
    for _ in 0..count {
        let spawn = Spawn::this_bundle(Resources::new(1, 2 << 20)).stdin(Stdio::Pipe);
        let child = host.spawn(spawn)?;
        children.push((child.stdin(), child));
    }
    let alive = children
        .iter()
        .filter(|(_, child)| child.exit().is_none())
        .count();
    let mut well = 0;
    for (stdin, child) in children {
        drop(stdin);
        well += usize::from(child.wait().is_success());
    }
    Ok(format!("{alive} {well}"))
}

fn read(child: &Child) -> io::Result<String> {
    let mut text = String::new();
    if let Some(mut stdout) = child.stdout() {
        stdout.read_to_string(&mut text)?;
    }
    Ok(text)
}

fn now() -> u128 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.unwrap_or_default().as_nanos()
}

/// Tells when it began, and ends with its input.
#[nesos_guest::child]
fn begin(_: Task) -> io::Result<()> {
    let began = now();
    io::stdout().write_all(began.to_string().as_bytes())?;
    io::stdin().read_to_end(&mut Vec::new()).map(drop)
}
