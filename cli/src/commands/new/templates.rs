//! The files of new projects. `{name}` stands for the bundle's name.

/// One kind of project in one language.
#[derive(Clone, Copy, Debug)]
pub(super) struct Template {
    /// The program that builds it.
    pub(super) tool: &'static str,
    /// Its files.
    pub(super) files: &'static [(&'static str, &'static str)],
}

const IGNORED: (&str, &str) = (".gitignore", "target/\n");

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
            r#"fn main() {
    let who = std::env::args().nth(1).unwrap_or_else(|| "world".to_owned());
    println!("Hello, {who}!");
}
"#,
        ),
        IGNORED,
    ],
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
command = ["componentize-py", "--world", "wasi:cli/command@0.2.0", "componentize", "app", "-o", "{name}.wasm"]
artifact = "{name}.wasm"
"#,
        ),
        (
            "app.py",
            r#"from wit_world import exports


class Run(exports.Run):
    def run(self) -> None:
        print("Hello, world!")
"#,
        ),
        (".gitignore", "target/\n*.wasm\n"),
    ],
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

[lib]
name = "{name}"
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
};
