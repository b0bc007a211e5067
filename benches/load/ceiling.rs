//! The ceiling: a server that could not do less. It reads lines and says to each that the message was sent, on the same
//! runtime with the same number of threads as chatd, and stores nothing. Knows of the protocol only where a line ends.

use crate::wire::SENT;
use anyhow::{Context, Result};
use std::io;
use std::net::SocketAddr;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Builder;

/// Threads that speak with clients: chatd's own default.
const THREADS: usize = 1;

/// Bytes read from a connection at once.
const READ_BYTES: usize = 8192;

/// Serves at `address` until the process is killed.
pub fn serve(address: SocketAddr) -> Result<()> {
    let runtime = Builder::new_multi_thread().worker_threads(THREADS).enable_all().build()?;
    // On the worker, where the connections are, because the thread that blocks here is none of the runtime's.
    runtime.block_on(runtime.spawn(accept(address)))?
}

async fn accept(address: SocketAddr) -> Result<()> {
    let listener = TcpListener::bind(address).await.with_context(|| format!("cannot listen at {address}"))?;
    loop {
        let (stream, _) = listener.accept().await.context("cannot accept a connection")?;
        stream.set_nodelay(true)?;
        tokio::spawn(answer(stream));
    }
}

/// Answers each line of one connection, until it ends.
async fn answer(mut stream: TcpStream) -> io::Result<()> {
    let mut read = vec![0; READ_BYTES];
    let mut replies = Vec::new();
    // The line end may come in two pieces.
    let mut after_cr = false;
    loop {
        let length = stream.read(&mut read).await?;
        if length == 0 {
            return Ok(());
        }
        replies.clear();
        for at in memchr::memchr_iter(b'\n', &read[..length]) {
            if if at == 0 { after_cr } else { read[at - 1] == b'\r' } {
                replies.extend_from_slice(SENT);
            }
        }
        after_cr = read[length - 1] == b'\r';
        stream.write_all(&replies).await?;
    }
}
