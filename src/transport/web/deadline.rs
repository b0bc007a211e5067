//! A stream whose peer must take what is written: hyper has a limit for heads that do not come, and none for this.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep_until};

use super::reply_charge::ReplyCharge;

/// How long a peer is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct WritePatience {
    /// A peer that takes no byte for this long is gone.
    pub most: Duration,
    /// So is one that takes fewer, on the average and `most` aside.
    pub min_bytes_per_second: u32,
}

/// The stream, and for how long its peer has kept it waiting.
pub(crate) struct WriteDeadline<S> {
    stream: S,
    patience: WritePatience,
    /// There while the peer has not taken all.
    waiting: Option<Waiting>,
    /// What is given back when all is written.
    charge: Arc<ReplyCharge>,
}

struct Waiting {
    since: Instant,
    /// What it has taken since then, in bytes.
    taken: usize,
    over: Pin<Box<Sleep>>,
}

impl WritePatience {
    /// When who has kept us waiting since then, and has taken so much, is waited for no longer.
    pub(super) fn ends(self, since: Instant, taken: usize) -> Instant {
        let for_these = Duration::from_secs(taken as u64 / u64::from(self.min_bytes_per_second.max(1)));
        (since + self.most + for_these).min(Instant::now() + self.most)
    }
}

impl<S> WriteDeadline<S> {
    /// Waits for the peer no longer than `patience` says.
    pub(crate) fn new(stream: S, patience: WritePatience, charge: Arc<ReplyCharge>) -> WriteDeadline<S> {
        WriteDeadline { stream, patience, waiting: None, charge }
    }

    /// Has this long been waited for the peer.
    fn judge<T>(&mut self, written: Poll<io::Result<T>>, context: &mut Context<'_>) -> Poll<io::Result<T>> {
        if written.is_ready() {
            return written;
        }
        let WriteDeadline { patience, waiting, .. } = self;
        let waiting = waiting.get_or_insert_with(|| {
            let since = Instant::now();
            Waiting { since, taken: 0, over: Box::pin(sleep_until(patience.ends(since, 0))) }
        });
        match waiting.over.as_mut().poll(context) {
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
        let WriteDeadline { patience, waiting, .. } = &mut *self;
        if let (Poll::Ready(Ok(bytes)), Some(waiting)) = (&written, waiting) {
            waiting.taken += bytes;
            waiting.over.as_mut().reset(patience.ends(waiting.since, waiting.taken));
        }
        self.judge(written, context)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.stream).poll_flush(context);
        // hyper flushes when it has nothing more to write.
        if let Poll::Ready(Ok(())) = flushed {
            self.waiting = None;
            self.charge.give_back();
        }
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
    use crate::charge::Memory;

    fn deadline<S>(stream: S, milliseconds: u64, min_bytes_per_second: u32) -> WriteDeadline<S> {
        let patience = WritePatience { most: Duration::from_millis(milliseconds), min_bytes_per_second };
        WriteDeadline::new(stream, patience, Arc::new(ReplyCharge::of(Arc::new(Memory::new(1, 1)))))
    }

    #[tokio::test]
    async fn a_peer_that_takes_nothing_is_gone_and_one_that_has_taken_all_has_its_time_again() {
        let (ours, mut theirs) = duplex(1);
        let mut ours = deadline(ours, 20, 1);
        ours.write_all(b"1").await.expect("there is room for one");
        let error = ours.write_all(b"2").await.expect_err("nobody reads");
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert!(ours.waiting.is_some());
        theirs.read_u8().await.expect("it is there");
        ours.write_all(b"3").await.expect("there is room again");
        ours.flush().await.expect("all is written");
        assert!(ours.waiting.is_none());
    }

    #[tokio::test]
    async fn a_peer_that_takes_too_little_is_gone_though_it_never_stops() {
        let (ours, mut theirs) = duplex(1);
        let mut ours = deadline(ours, 50, u32::MAX);
        let reader = tokio::spawn(async move { while theirs.read_u8().await.is_ok() {} });
        let begun = Instant::now();
        let error = loop {
            match ours.write_all(&[0; 100]).await {
                Ok(()) => assert!(begun.elapsed() < Duration::from_secs(20), "it is waited for for ever"),
                Err(error) => break error,
            }
        };
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        drop(ours);
        reader.await.expect("it does not panic");
    }
}
