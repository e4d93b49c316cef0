//! Where a running server gives backups: a socket in its data directory, which only the directory's owner may use.
//!
//! Whoever connects is sent a backup, and nothing is asked of them. So it needs no credential of semel's and no port:
//! who may read the store's files may have a backup, and nobody else.

use std::fs;
use std::io;
use std::net::Shutdown;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::net::UnixListener;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::archive;
use crate::domain::Clock;
use crate::storage::embedded::EmbeddedStore;

/// The socket's name in the data directory.
const NAME: &str = "backup.sock";
/// How long whoever takes the backup may take nothing: while it is there, the engine keeps what was overwritten.
const TAKEN_WITHIN: Duration = Duration::from_mins(1);
/// How long to wait after a connection that could not be accepted.
const AFTER_FAILED_ACCEPT: Duration = Duration::from_millis(100);

/// Where backups of the store in `directory` are to be had while a server runs on it.
pub fn path(directory: &Path) -> PathBuf {
    directory.join(NAME)
}

/// Gives backups of a store to whoever connects, one at a time.
#[derive(Debug)]
pub struct BackupSocket {
    listener: UnixListener,
    path: PathBuf,
}

/// What is backed up, and what is said of it.
#[derive(Clone)]
pub struct Source<F> {
    /// The store.
    pub store: Arc<EmbeddedStore>,
    /// The present moment.
    pub clock: Arc<dyn Clock>,
    /// How long a record may be kept after it changed, by the policies in force.
    pub longest_kept: F,
}

impl BackupSocket {
    /// Listens in the data directory, which this process owns: what an earlier one left there is replaced. Needs a
    /// runtime.
    pub fn bind(directory: &Path) -> io::Result<Self> {
        let path = path(directory);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let listener = UnixListener::bind(&path)?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600))?;
        Ok(Self { listener, path })
    }

    /// Gives backups until `stop`; one that is under way then is cut short, and whoever takes it knows.
    pub async fn serve<F>(self, source: Source<F>, stop: CancellationToken)
    where
        F: Fn() -> Duration + Clone + Send + 'static,
    {
        let one_at_a_time = Arc::new(Semaphore::new(1));
        let mut given = JoinSet::new();
        loop {
            let accepted = tokio::select! {
                () = stop.cancelled() => break,
                Some(_) = given.join_next() => continue,
                accepted = self.listener.accept() => accepted,
            };
            let stream = match accepted.and_then(|(stream, _)| stream.into_std()) {
                Ok(stream) => stream,
                Err(error) => {
                    warn!(%error, "nobody could be given a backup");
                    tokio::time::sleep(AFTER_FAILED_ACCEPT).await;
                    continue;
                }
            };
            let turn = Arc::clone(&one_at_a_time).try_acquire_owned().ok();
            given.spawn(give(stream, turn, source.clone(), stop.clone()));
        }
        while given.join_next().await.is_some() {}
    }
}

impl Drop for BackupSocket {
    fn drop(&mut self) {
        // A later server replaces what stays.
        _ = fs::remove_file(&self.path);
    }
}

async fn give<F>(
    stream: UnixStream,
    turn: Option<OwnedSemaphorePermit>,
    source: Source<F>,
    stop: CancellationToken,
) where
    F: Fn() -> Duration + Send + 'static,
{
    let prepared = stream
        .set_nonblocking(false)
        .and_then(|()| stream.set_write_timeout(Some(TAKEN_WITHIN)))
        .and_then(|()| stream.try_clone());
    let other_end = match prepared {
        Ok(other_end) => other_end,
        Err(error) => return warn!(%error, "nobody could be given a backup"),
    };
    let stopping = stop.clone();
    let mut work = tokio::task::spawn_blocking(move || {
        let Some(_turn) = turn else {
            _ = archive::refuse(&stream, source.clock.now(), "another one is being taken from this server");
            return;
        };
        info!("a backup is being taken");
        let stopping = move || stopping.is_cancelled();
        match super::write(&source.store, &*source.clock, (source.longest_kept)(), &stream, stopping) {
            Ok(contents) => {
                info!(records = contents.records, bytes = contents.bytes, "a backup was taken whole");
            }
            Err(error) => warn!(%error, "a backup was not taken whole"),
        }
    });
    tokio::select! {
        _ = &mut work => return,
        () = stop.cancelled() => {}
    }
    // It may be waiting for a reader who takes nothing.
    _ = other_end.shutdown(Shutdown::Both);
    _ = work.await;
}
