//! A long body, piece by piece: no more of it is in memory than a piece, which is charged to the account as a long line
//! is.

use std::sync::Arc;

use axum::body::BodyDataStream;
use axum::extract::Request;
use axum::http::header;
use futures_util::StreamExt;
use hyper::body::Bytes;
use tokio::time::{Instant, timeout_at};

use super::connection::HttpConnection;
use super::deadline::WritePatience;
use super::error::{ErrorCode, WebError};
use crate::charge::{Charge, Payer};
use crate::model::FILE_PIECE;
use crate::protocol::Refusal;
use crate::transport::admission::LoginWatch;

/// What a piece takes: itself, what has come of the next, and the copy that goes to the store.
const HELD: usize = 3 * FILE_PIECE;

/// A body as it comes.
pub(super) struct BodyPieces {
    frames: BodyDataStream,
    connection: Arc<HttpConnection>,
    login: LoginWatch,
    charge: Charge,
    patience: WritePatience,
    since: Instant,
    /// What has come since then, in bytes.
    taken: usize,
    /// How long it may be, in bytes.
    most: u64,
    /// What has come and is in no piece yet.
    rest: Vec<u8>,
    /// How long it is said to be.
    pub length: Option<u64>,
    /// The peer waits for a word before it sends.
    is_held_back: bool,
}

impl BodyPieces {
    /// The body of a request, whose peer is waited for as one that is written to.
    pub(super) fn of(
        request: Request,
        payer: Payer,
        patience: WritePatience,
        most: u64,
    ) -> Result<BodyPieces, WebError> {
        let connection = request.extensions().get::<Arc<HttpConnection>>().cloned().ok_or(ErrorCode::Unavailable)?;
        let mut charge = connection.replies.memory().lines.charge(payer);
        if !charge.set(HELD) {
            return Err(ErrorCode::Busy.into());
        }
        let length =
            request.headers().get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
        Ok(BodyPieces {
            login: connection.watch_login(),
            charge,
            patience,
            since: Instant::now(),
            taken: 0,
            most,
            rest: Vec::new(),
            length,
            is_held_back: request.headers().contains_key(header::EXPECT),
            frames: request.into_body().into_data_stream(),
            connection,
        })
    }

    /// The next piece, which has [`FILE_PIECE`] bytes unless it is the last one; `None`: there is no more.
    pub(super) async fn next(&mut self) -> Result<Option<Vec<u8>>, WebError> {
        self.connection.touch();
        while self.rest.len() < FILE_PIECE {
            match self.frame().await? {
                Some(_) if self.taken as u64 > self.most => {
                    return Err(Refusal::FileTooLarge { most: self.most }.into());
                }
                Some(frame) => self.rest.extend_from_slice(&frame),
                None if self.rest.is_empty() => return Ok(None),
                None => break,
            }
        }
        self.connection.mark_busy();
        let more = self.rest.split_off(self.rest.len().min(FILE_PIECE));
        Ok(Some(std::mem::replace(&mut self.rest, more)))
    }

    async fn frame(&mut self) -> Result<Option<Bytes>, WebError> {
        let until = self.patience.ends(self.since, self.taken);
        let frame = tokio::select! {
            biased;
            frame = timeout_at(until, self.frames.next()) => frame.map_err(|_| ErrorCode::TooSlow)?,
            () = self.login.session_ended() => return Err(ErrorCode::UnknownToken.into()),
            () = self.charge.cut() => return Err(ErrorCode::Busy.into()),
        };
        self.connection.touch();
        // A peer that is gone reads no answer.
        let frame = frame.transpose().map_err(|_| ErrorCode::Malformed.because("the body is not whole"))?;
        self.taken += frame.as_ref().map_or(0, Bytes::len);
        Ok(frame)
    }

    /// Reads the rest, no more than so many bytes, and forgets it: a peer that is still sending when the connection
    /// ends may never see the answer.
    pub(super) async fn discard(mut self, most: u64) {
        let is_short = self.length.is_some_and(|length| length <= most);
        if is_short && !self.is_held_back {
            while let Ok(Some(_)) = self.frame().await {}
        }
    }
}
