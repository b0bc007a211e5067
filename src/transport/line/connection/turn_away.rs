//! Tells a peer that it speaks TLS on a port without TLS, or the reverse, and ends the connection.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

use crate::protocol::Refusal;
use crate::protocol::dialect::Dialect;
use crate::transport::stream::Stream;

/// Says why nothing is carried out, and ends the stream. Reads on until the peer ends it too, but not for longer than
/// `limit`: to close with bytes unread would be a reset, which may destroy what was said.
pub(crate) async fn turn_away<S: Stream>(
    stream: &mut S,
    dialect: &Dialect,
    why: Refusal,
    limit: Duration,
) -> io::Result<()> {
    let mut said = Vec::new();
    dialect.render_instead(why, &mut said);
    timeout(limit, async {
        stream.write_all(&said).await?;
        stream.shutdown().await?;
        let mut unread = [0; 1024];
        while stream.read(&mut unread).await? > 0 {}
        Ok(())
    })
    .await?
}
