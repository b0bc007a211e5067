//! The answer of a method of the store. If the store has it in memory, it is there at once, without an allocation. If
//! the store asks a disk or a network, it is a future. The caller awaits both in the same way.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use super::Error;

/// The answer of a store, there already or to come.
#[must_use = "an answer does nothing unless it is awaited"]
pub enum Answer<'a, T> {
    /// It is there; `None` once it was given out.
    Ready(Option<Result<T, Error>>),
    Pending(Pin<Box<dyn Future<Output = Result<T, Error>> + Send + 'a>>),
}

impl<'a, T> Answer<'a, T> {
    /// An answer that is there.
    pub fn ready(answer: T) -> Answer<'a, T> {
        Answer::Ready(Some(Ok(answer)))
    }

    /// An answer that takes work.
    pub fn pending(work: impl Future<Output = Result<T, Error>> + Send + 'a) -> Answer<'a, T> {
        Answer::Pending(Box::pin(work))
    }
}

/// Neither variant depends on its address in memory: the future is in a box.
impl<T> Unpin for Answer<'_, T> {}

impl<T> Future for Answer<'_, T> {
    type Output = Result<T, Error>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<T, Error>> {
        match &mut *self {
            Answer::Ready(answer) => Poll::Ready(answer.take().expect("a future is not polled after it was ready")),
            Answer::Pending(work) => work.as_mut().poll(context),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_answer_is_awaited_alike_whether_it_is_there_or_comes() {
        let comes = Answer::pending(async {
            tokio::task::yield_now().await;
            Ok(2)
        });
        for (answer, wanted) in [(Answer::ready(1), 1), (comes, 2)] {
            assert_eq!(answer.await.expect("it is no error"), wanted);
        }
        let error: Answer<'_, ()> = Answer::Ready(Some(Err(Error::new("away"))));
        assert_eq!(error.await.expect_err("it is one").to_string(), "away");
    }
}
