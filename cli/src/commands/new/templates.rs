//! The files of new projects. `{name}` stands for the bundle's name.

/// One kind of project in one language.
#[derive(Clone, Copy, Debug)]
pub(super) struct Template {
    /// The program that builds it.
    pub(super) tool: &'static str,
    /// Its files.
    pub(super) files: &'static [File],
    /// What it is written against beside that: interfaces, as files.
    pub(super) interfaces: &'static [File],
}

/// A file's path in the project, and its text.
pub(super) type File = (&'static str, &'static str);

const IGNORED: File = (".gitignore", "target/\n");

macro_rules! guest_wit {
    ($($file:literal)*) => {
        &[$((
            concat!("wit/", $file),
            include_str!(concat!("../../../../sdk-guest/wit/guest/", $file)),
        )),*]
    };
}

/// The package `nesos:guest`, with what it stands on.
const GUEST_WIT: &[File] = guest_wit![
    "worlds.wit" "types.wit" "this-task.wit" "executor.wit" "sandboxes.wit" "health.wit"
    "deps/cli.wit" "deps/clocks.wit" "deps/filesystem.wit" "deps/http.wit" "deps/io.wit"
    "deps/nesos-policy.wit" "deps/random.wit" "deps/sockets.wit"
];

pub(super) const RUST_COMMAND: Template = Template {
    tool: "cargo",
    files: &[
        (
            "nesos.toml",
            r#"name = "{name}"
version = "0.1.0"
kind = "command"

[resources]
cpus = 1
mem = "64MiB"
disk = "16MiB"

[build]
command = ["cargo", "build", "--release", "--target", "wasm32-wasip2"]
artifact = "target/wasm32-wasip2/release/{name}.wasm"
target = "wasm32-wasip2"
"#,
        ),
        (
            "Cargo.toml",
            r#"[package]
name = "{name}"
version = "0.1.0"
edition = "2024"

[[bin]]
name = "{name}"
path = "src/main.rs"

[workspace]
"#,
        ),
        (
            "src/main.rs",
            r#"fn greeting(who: Option<&str>) -> String {
    format!("Hello, {}!", who.unwrap_or("world"))
}

fn main() {
    println!("{}", greeting(std::env::args().nth(1).as_deref()));
}

#[cfg(test)]
mod tests {
    #[test]
    fn whoever_is_named_is_greeted() {
        assert_eq!(super::greeting(Some("you")), "Hello, you!");
        assert_eq!(super::greeting(None), "Hello, world!");
    }
}
"#,
        ),
        IGNORED,
    ],
    interfaces: &[],
};

pub(super) const C_COMMAND: Template = Template {
    tool: "clang",
    files: &[
        (
            "nesos.toml",
            r#"name = "{name}"
version = "0.1.0"
kind = "command"

[resources]
cpus = 1
mem = "64MiB"

[build]
command = ["clang", "--target=wasm32-wasi", "-O2", "-o", "{name}.wasm", "main.c"]
artifact = "{name}.wasm"
"#,
        ),
        (
            "main.c",
            r#"#include <stdio.h>

int main(int argc, char **argv) {
    printf("Hello, %s!\n", argc > 1 ? argv[1] : "world");
    return 0;
}
"#,
        ),
        (".gitignore", "target/\n*.wasm\n"),
    ],
    interfaces: &[],
};

pub(super) const PYTHON_COMMAND: Template = Template {
    tool: "componentize-py",
    files: &[
        (
            "nesos.toml",
            r#"name = "{name}"
version = "0.1.0"
kind = "command"

[resources]
cpus = 1
mem = "256MiB"

[build]
command = ["componentize-py", "-d", "wit", "-w", "task", "componentize", "app", "-o", "{name}.wasm"]
artifact = "{name}.wasm"
"#,
        ),
        (
            "app.py",
            r#"import sys

from wit_world import exports


class Run(exports.Run):
    def run(self) -> None:
        who = sys.argv[1] if len(sys.argv) > 1 else "world"
        print(f"Hello, {who}!")
"#,
        ),
        (".gitignore", "target/\n__pycache__/\n*.wasm\n"),
    ],
    interfaces: GUEST_WIT,
};

pub(super) const RUST_EXECUTOR: Template = Template {
    tool: "cargo",
    files: &[
        (
            "nesos.toml",
            r#"name = "{name}"
version = "0.1.0"
kind = "executor"

[resources]
cpus = 1
mem = "64MiB"

[build]
command = ["cargo", "build", "--release", "--target", "wasm32-wasip2"]
artifact = "target/wasm32-wasip2/release/{crate}.wasm"
target = "wasm32-wasip2"
"#,
        ),
        (
            "Cargo.toml",
            r#"[package]
name = "{name}"
version = "0.1.0"
edition = "2024"

[lib]
name = "{crate}"
crate-type = ["cdylib"]

[dependencies]
wit-bindgen = { version = "0.62", default-features = false, features = ["macros", "realloc", "std"] }

[workspace]
"#,
        ),
        (
            "src/lib.rs",
            r#"//! An executor: each task is finished with its data in capitals.

wit_bindgen::generate!({ path: "wit", world: "executor", generate_all });

use exports::nesos::guest::executor_events::{Exit, Guest, Identity, Task, TimerId};
use nesos::guest::executor_host::{TaskState, stop, update};
use nesos::guest::sandboxes::ChildId;

struct Executor;

export!(Executor);

fn capitals(data: &[u8]) -> Vec<u8> {
    data.to_ascii_uppercase()
}

/// What the master does not know any more need not be told.
fn tell(task: &str, state: TaskState, data: &[u8]) {
    let _ = update(task, state, "", data);
}

impl Guest for Executor {
    fn registered(_me: Identity, _data: Vec<u8>) {}

    fn launch(task: Task) {
        tell(&task.id, TaskState::Finished, &capitals(&task.data));
    }

    fn kill(task: String, _grace_ms: u64) {
        tell(&task, TaskState::Killed, &[]);
    }

    fn message(_data: Vec<u8>) {}

    fn timer(_timer: TimerId) {}

    fn sandbox_exited(_child: ChildId, _exit: Exit) {}

    fn shutdown(_grace_ms: u64) {
        stop();
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn data_is_put_in_capitals() {
        assert_eq!(super::capitals(b"abc 1"), b"ABC 1");
    }
}
"#,
        ),
        IGNORED,
    ],
    interfaces: GUEST_WIT,
};

pub(super) const PYTHON_EXECUTOR: Template = Template {
    tool: "componentize-py",
    files: &[
        (
            "nesos.toml",
            r#"name = "{name}"
version = "0.1.0"
kind = "executor"

[resources]
cpus = 1
mem = "256MiB"

[build]
command = ["componentize-py", "-d", "wit", "-w", "executor", "componentize", "app", "-o", "{name}.wasm"]
artifact = "{name}.wasm"
"#,
        ),
        (
            "app.py",
            r#""""An executor: each task is finished with its data in capitals."""

from wit_world import exports
from wit_world.imports import executor_host
from wit_world.imports.executor_host import TaskState


class ExecutorEvents(exports.ExecutorEvents):
    def registered(self, me, data):
        pass

    def launch(self, task):
        executor_host.update(task.id, TaskState.FINISHED, "", task.data.upper())

    def kill(self, task_id, grace_ms):
        executor_host.update(task_id, TaskState.KILLED, "", b"")

    def message(self, data):
        pass

    def timer(self, id):
        pass

    def sandbox_exited(self, child, exit):
        pass

    def shutdown(self, grace_ms):
        executor_host.stop()
"#,
        ),
        (".gitignore", "target/\n__pycache__/\n*.wasm\n"),
    ],
    interfaces: GUEST_WIT,
};

pub(super) const RUST_SERVICE: Template = Template {
    tool: "cargo",
    files: &[
        (
            "nesos.toml",
            r#"name = "{name}"
version = "0.1.0"
kind = "service"

[resources]
cpus = 1
mem = "64MiB"

[build]
command = ["cargo", "build", "--release", "--target", "wasm32-wasip2"]
artifact = "target/wasm32-wasip2/release/{crate}.wasm"
target = "wasm32-wasip2"
"#,
        ),
        (
            "Cargo.toml",
            r#"[package]
name = "{name}"
version = "0.1.0"
edition = "2024"

[lib]
name = "{crate}"
crate-type = ["cdylib"]

[dependencies]
wasip2 = "2"

[workspace]
"#,
        ),
        (
            "src/lib.rs",
            r#"use wasip2::http::types::{
    Fields, IncomingRequest, OutgoingBody, OutgoingResponse, ResponseOutparam,
};

struct Service;

wasip2::http::proxy::export!(Service);

impl wasip2::exports::http::incoming_handler::Guest for Service {
    fn handle(_request: IncomingRequest, answer: ResponseOutparam) {
        let response = OutgoingResponse::new(Fields::new());
        let body = response.body().expect("the first body");
        ResponseOutparam::set(answer, Ok(response));
        let stream = body.write().expect("the first stream");
        stream.blocking_write_and_flush(b"Hello, world!\n").expect("somebody listens");
        drop(stream);
        OutgoingBody::finish(body, None).expect("all is written");
    }
}
"#,
        ),
        IGNORED,
    ],
    interfaces: &[],
};

pub(super) const RUST_POLICY: Template = Template {
    tool: "cargo",
    files: &[
        (
            "nesos.toml",
            r#"name = "{name}"
version = "0.1.0"
kind = "policy"

[build]
command = ["cargo", "build", "--release", "--target", "wasm32-unknown-unknown"]
artifact = "target/wasm32-unknown-unknown/release/{crate}.wasm"
target = "wasm32-unknown-unknown"
"#,
        ),
        (
            "Cargo.toml",
            r#"[package]
name = "{name}"
version = "0.1.0"
edition = "2024"

[lib]
name = "{crate}"
crate-type = ["cdylib"]

[dependencies]
wit-bindgen = { version = "0.62", default-features = false, features = ["macros", "realloc", "std"] }

[workspace]
"#,
        ),
        (
            "src/lib.rs",
            r#"//! An allocation policy: whoever was served longest ago is served next.

use std::cell::RefCell;

use exports::nesos::policy::order::{Change, ClientId, Guest};

wit_bindgen::generate!({ path: "wit", world: "policy" });

struct Policy;

export!(Policy);

struct Client {
    id: ClientId,
    wants: bool,
}

/// All clients, whoever was served longest ago first.
#[derive(Default)]
struct Line {
    clients: Vec<Client>,
    /// How many of them were asked or passed over in this turn.
    passed: usize,
}

impl Line {
    fn change(&mut self, change: Change) {
        match change {
            Change::PutClient(client) => self.clients.push(Client { id: client.id, wants: false }),
            Change::RemoveClient(id) => self.clients.retain(|client| client.id != id),
            Change::SetWanting(wish) => {
                for client in self.clients.iter_mut().filter(|client| client.id == wish.client) {
                    client.wants = wish.wanting;
                }
            }
            // A stable sort: all others keep their places.
            Change::Served(id) => self.clients.sort_by_key(|client| client.id == id),
            Change::Configure(_) | Change::Grow(_) | Change::Shrink(_) => {}
            Change::Charge(_) | Change::Refund(_) => {}
        }
    }

    fn next(&mut self) -> Option<ClientId> {
        let rest = &self.clients[self.passed..];
        let found = rest.iter().position(|client| client.wants)?;
        self.passed += found + 1;
        Some(rest[found].id)
    }
}

thread_local! {
    static LINE: RefCell<Line> = RefCell::default();
}

impl Guest for Policy {
    fn turn(_now_ms: u64, changes: Vec<Change>) -> Option<ClientId> {
        LINE.with_borrow_mut(|line| {
            line.passed = 0;
            changes.into_iter().for_each(|change| line.change(change));
            line.next()
        })
    }

    fn another(most: u32) -> Vec<ClientId> {
        LINE.with_borrow_mut(|line| std::iter::from_fn(|| line.next()).take(most as usize).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_was_served_goes_to_the_end() {
        let clients = [1, 2, 3].map(|id| Client { id, wants: id != 2 });
        let mut line = Line { clients: clients.into(), passed: 0 };
        line.change(Change::Served(1));
        assert_eq!([line.next(), line.next(), line.next()], [Some(3), Some(1), None]);
    }
}
"#,
        ),
        IGNORED,
    ],
    interfaces: &[(
        "wit/policy.wit",
        include_str!("../../../../sdk-guest/wit/policy/policy.wit"),
    )],
};
