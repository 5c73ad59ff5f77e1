//! A link that can be cut. Bytes on a stream are never lost singly: a link delivers, holds back, or breaks.

use std::net::{Ipv4Addr, SocketAddr};

use anyhow::Result;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// What becomes of what is sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Mode {
    /// It arrives.
    #[default]
    Open,
    /// Connections break, and no new one is made.
    Cut,
    /// Nothing arrives, in either direction, and nobody is told.
    Silent,
    /// Only what servers send arrives.
    ClientsUnheard,
    /// Only what clients send arrives.
    ServersUnheard,
}

impl Mode {
    fn delivers(self, from_client: bool) -> bool {
        match self {
            Self::Open => true,
            Self::Cut | Self::Silent => false,
            Self::ClientsUnheard => !from_client,
            Self::ServersUnheard => from_client,
        }
    }
}

/// Stands before a server.
#[derive(Debug)]
pub(crate) struct Proxy {
    address: SocketAddr,
    mode: watch::Sender<Mode>,
}

impl Proxy {
    pub(crate) async fn before(port: u16) -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let (mode, seen) = watch::channel(Mode::default());
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(pass(client, port, seen.clone()));
            }
        });
        Ok(Self { address, mode })
    }

    /// `http://HOST:PORT`.
    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(crate) fn set(&self, mode: Mode) {
        self.mode.send_replace(mode);
    }
}

/// One connection, to its end. That it breaks is what this is for, so no error is told.
async fn pass(client: TcpStream, port: u16, mode: watch::Receiver<Mode>) {
    if *mode.borrow() == Mode::Cut {
        return;
    }
    let Ok(server) = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await else {
        return;
    };
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    let mut cut = mode.clone();
    tokio::select! {
        _ = forward(from_client, to_server, mode.clone(), true) => {}
        _ = forward(from_server, to_client, mode, false) => {}
        _ = cut.wait_for(|mode| *mode == Mode::Cut) => {}
    }
}

async fn forward(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    mut mode: watch::Receiver<Mode>,
    from_client: bool,
) -> Result<()> {
    let mut buffer = vec![0; 64 << 10];
    loop {
        let read = from.read(&mut buffer).await?;
        if read == 0 {
            return Ok(());
        }
        mode.wait_for(|mode| mode.delivers(from_client)).await?;
        to.write_all(&buffer[..read]).await?;
    }
}
