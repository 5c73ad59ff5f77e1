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
wasi = "0.14"

[workspace]
"#,
        ),
        (
            "src/lib.rs",
            r#"use wasi::http::types::{
    Fields, IncomingRequest, OutgoingBody, OutgoingResponse, ResponseOutparam,
};

struct Service;

wasi::http::proxy::export!(Service);

impl wasi::exports::http::incoming_handler::Guest for Service {
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
