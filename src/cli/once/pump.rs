//! Passing a command's output on while keeping the beginning of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio_util::sync::CancellationToken;

use super::outlet::Outlet;

/// How much a pipe can hold that was written before the command ended (fcntl(2): pipe-max-size of a user).
const PIPE_BYTES: usize = 1 << 20;
/// How long after the command's end a silent pipe is listened to that something else still holds open.
const SILENCE: Duration = Duration::from_millis(100);
/// And how long one that is not silent.
const LISTENED: Duration = Duration::from_secs(10);

/// What one stream said.
#[derive(Clone, Debug, Default)]
pub(super) struct Stream {
    /// Its beginning.
    pub(super) kept: Bytes,
    /// How many bytes more there were.
    pub(super) omitted: u64,
}

/// How many bytes may still be kept, of all streams together.
#[derive(Clone, Debug)]
pub(super) struct Budget(Arc<AtomicU64>);

impl Budget {
    pub(super) fn new(bytes: u64) -> Self {
        Self(Arc::new(AtomicU64::new(bytes)))
    }

    /// Takes up to `wanted` bytes.
    fn take(&self, wanted: usize) -> usize {
        let mut taken = 0;
        // The closure always gives a value, so this always succeeds.
        _ = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| {
            taken = left.min(wanted as u64);
            Some(left - taken)
        });
        usize::try_from(taken).unwrap_or(wanted)
    }
}

/// Passes `from` on to `to` until it ends, or until the command has `ended` and whoever still holds the pipe is
/// silent. Once a byte was not kept, none after it is. While the command runs it is no faster than its reader; what is
/// left in the pipe at its end is taken whether or not it is read.
pub(super) async fn pump(
    mut from: impl AsyncRead + Unpin,
    to: Outlet,
    budget: Budget,
    ended: CancellationToken,
) -> Stream {
    let mut kept = Vec::new();
    let mut omitted = 0_u64;
    let mut buffer = vec![0; 16 << 10];
    let mut left_after_end = PIPE_BYTES;
    let listened_long = async {
        ended.cancelled().await;
        tokio::time::sleep(LISTENED).await;
    };
    let mut listened_long = std::pin::pin!(listened_long);
    while left_after_end > 0 {
        tokio::select! {
            () = to.taken() => {}
            () = ended.cancelled() => {}
        }
        let silence = async {
            ended.cancelled().await;
            tokio::time::sleep(SILENCE).await;
        };
        let read = tokio::select! {
            biased;
            () = &mut listened_long => break,
            read = from.read(&mut buffer) => read,
            () = silence => break,
        };
        let bytes = match read {
            Ok(0) | Err(_) => break,
            Ok(length) => &buffer[..length],
        };
        if ended.is_cancelled() {
            left_after_end = left_after_end.saturating_sub(bytes.len());
        }
        let keep = if omitted == 0 { budget.take(bytes.len()) } else { 0 };
        kept.extend_from_slice(&bytes[..keep]);
        omitted += (bytes.len() - keep) as u64;
        to.pass(Bytes::copy_from_slice(bytes));
    }
    Stream { kept: kept.into(), omitted }
}
