//! Backups of the embedded store while the server runs, and what is said of a store that was restored from one.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::warn;

use crate::clock::SystemClock;
use crate::domain::{Clock as _, PolicyRules, Timestamp};
use crate::policies::Policies;
use crate::storage::Store;
use crate::storage::backup::socket::{BackupSocket, Source, path};
use crate::storage::embedded::EmbeddedStore;

/// Gives backups to who may read the data directory, until `stop`. A server that cannot serves all the same.
pub(super) fn give(
    tasks: &TaskTracker,
    directory: &Path,
    store: Arc<EmbeddedStore>,
    policies: Arc<Policies>,
    stop: CancellationToken,
) {
    match BackupSocket::bind(directory) {
        Ok(socket) => {
            let longest_kept = move || policies.current().longest_kept();
            tasks.spawn(socket.serve(Source { store, clock: Arc::new(SystemClock), longest_kept }, stop));
        }
        Err(error) => warn!(
            %error,
            socket = %path(directory).display(),
            "no backup can be taken while this server runs: its socket cannot be made (its path may have 107 bytes)"
        ),
    }
}

/// Says what the store refuses because it was restored, as long as it does.
pub(super) fn say_restored(store: &dyn Store, policies: &PolicyRules) {
    let Some(mark) = store.restored() else { return };
    let until = mark.until.max(mark.at.plus(policies.longest_kept()));
    if SystemClock.now() >= until {
        return;
    }
    let [restored_at, backup_at, until] = [mark.at, mark.backup_at, until].map(said);
    warn!(
        restored_at,
        backup_at,
        until,
        "this store was restored from a backup: until then a Begin of an absent key that is a retry, or was first sent \
         before the restore, is refused with KEY_EXPIRED"
    );
}

fn said(moment: Timestamp) -> String {
    let time = SystemTime::UNIX_EPOCH + Duration::from_micros(moment.as_micros());
    humantime::format_rfc3339_seconds(time).to_string()
}
