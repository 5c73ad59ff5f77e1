//! Copies standard input to standard output, to the end, by handing one stream to the other: not a
//! byte passes through the guest.

use wasip3::{
    cli::{stdin::read_via_stream, stdout::write_via_stream},
    exports::cli::run::Guest,
};

struct Cat;

wasip3::cli::command::export!(Cat);

impl Guest for Cat {
    async fn run() -> Result<(), ()> {
        let (input, read) = read_via_stream();
        write_via_stream(input).await.map_err(drop)?;
        read.await.map_err(drop)
    }
}
