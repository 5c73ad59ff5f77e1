//! Greets the world, or whomever its first argument names, through a stream of WASI 0.3.

use wasip3::{
    cli::{environment::get_arguments, stdout::write_via_stream},
    exports::cli::run::Guest,
    wit_stream,
};

struct Hello;

wasip3::cli::command::export!(Hello);

impl Guest for Hello {
    async fn run() -> Result<(), ()> {
        let arguments = get_arguments();
        let whom = arguments.get(1).map_or("world", String::as_str);
        let greeting = format!("Hello, {whom}!\n");
        let (mut writer, reader) = wit_stream::new();
        let written = write_via_stream(reader);
        let unwritten = writer.write_all(greeting.into_bytes()).await;
        drop(writer);
        let done = written.await.is_ok() && unwritten.is_empty();
        done.then_some(()).ok_or(())
    }
}
