//! Tries to reach the network of the host, by name, by TCP and by UDP, and succeeds only if every way
//! is refused: a sandbox without an allow-list has no network.

use std::{
    io,
    net::{TcpListener, TcpStream, ToSocketAddrs as _, UdpSocket},
    process::ExitCode,
};

fn main() -> ExitCode {
    let escapes = verdict("resolve", "localhost:80".to_socket_addrs().map(drop))
        + verdict("connect", TcpStream::connect("127.0.0.1:1").map(drop))
        + verdict("listen", TcpListener::bind("127.0.0.1:0").map(drop))
        + verdict("send", send());
    if escapes == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

fn send() -> io::Result<()> {
    let socket = UdpSocket::bind("127.0.0.1:0")?;
    socket.send_to(b"x", "127.0.0.1:9").map(drop)
}

/// Prints what came of an attempt; 1 unless the host refused. That nobody listens at the other end
/// is no refusal of the host's.
fn verdict(attempt: &str, result: io::Result<()>) -> u32 {
    let kind = result.map_err(|error| error.kind());
    let refused = !matches!(kind, Ok(()) | Err(io::ErrorKind::ConnectionRefused));
    println!(
        "{}: {attempt}: {kind:?}",
        if refused { "refused" } else { "ESCAPED" }
    );
    u32::from(!refused)
}
