//! A stream whose peer must take what is written: hyper has a limit for heads that do not come, and none for this.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};

/// The stream, and since when its peer takes nothing.
pub(crate) struct WriteDeadline<S> {
    stream: S,
    most: Duration,
    /// There while a write waits.
    over: Option<Pin<Box<Sleep>>>,
}

impl<S> WriteDeadline<S> {
    /// The peer is gone when it takes no byte for `most`.
    pub(crate) fn new(stream: S, most: Duration) -> WriteDeadline<S> {
        WriteDeadline { stream, most, over: None }
    }

    fn judge<T>(&mut self, written: Poll<io::Result<T>>, context: &mut Context<'_>) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.over = None;
            return written;
        }
        let over = self.over.get_or_insert_with(|| Box::pin(sleep(self.most)));
        match over.as_mut().poll(context) {
            Poll::Ready(()) => Poll::Ready(Err(io::ErrorKind::TimedOut.into())),
            Poll::Pending => Poll::Pending,
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for WriteDeadline<S> {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buf)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for WriteDeadline<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, buf);
        self.judge(written, context)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.stream).poll_flush(context);
        self.judge(flushed, context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let shut = Pin::new(&mut self.stream).poll_shutdown(context);
        self.judge(shut, context)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    use super::*;

    #[tokio::test]
    async fn a_peer_that_takes_nothing_is_gone_and_one_that_takes_something_has_all_its_time_again() {
        let (ours, mut theirs) = duplex(1);
        let mut ours = WriteDeadline::new(ours, Duration::from_millis(20));
        ours.write_all(b"1").await.expect("there is room for one");
        let error = ours.write_all(b"2").await.expect_err("nobody reads");
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert!(ours.over.is_some());
        theirs.read_u8().await.expect("it is there");
        ours.write_all(b"3").await.expect("there is room again");
        assert!(ours.over.is_none());
    }
}
