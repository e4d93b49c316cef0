//! Opens the store. A database that is not there yet is waited for; what waiting cannot heal ends the start.

use std::sync::Arc;
use std::time::Duration;

use tracing::{error, info, warn};

use super::{Stopped, cannot};
use crate::clock::SystemClock;
use crate::config::{StoreSettings, format_duration};
use crate::storage::Store;
use crate::storage::embedded::{self, EmbeddedStore};
use crate::storage::memory::MemoryStore;
use crate::storage::scylla::{self, ScyllaStore};

/// How long until a database that was not there is tried again: at first, and at most.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(15);

/// A store, and what is to be known of it.
pub(super) struct Opened {
    pub(super) store: Arc<dyn Store>,
    /// The same, where backups of it can be taken while it is used.
    pub(super) embedded: Option<Arc<EmbeddedStore>>,
    /// The longest that it keeps a row, where it has such a bound.
    pub(super) longest_kept: Option<Duration>,
}

/// Opens the store. Dropping the future gives it up.
pub(super) async fn open(settings: &StoreSettings) -> Result<Opened, Stopped> {
    match settings {
        StoreSettings::Memory => {
            warn!("records are in memory alone: they are gone when this process ends");
            Ok(Opened { store: Arc::new(MemoryStore::new()), embedded: None, longest_kept: None })
        }
        StoreSettings::Embedded(settings) => open_embedded(settings.clone()).await,
        StoreSettings::Scylla(settings) => open_scylla(settings).await,
    }
}

async fn open_embedded(settings: embedded::Settings) -> Result<Opened, Stopped> {
    let directory = settings.directory.display().to_string();
    // Opening reads the journal, which blocks.
    let opened = tokio::task::spawn_blocking(move || EmbeddedStore::open(settings)).await;
    match opened.map_err(|error| cannot("open the store", &error))? {
        Ok(store) => {
            let store = Arc::new(store);
            Ok(Opened { store: store.clone(), embedded: Some(store), longest_kept: None })
        }
        Err(error) => {
            error!(%error, directory, "cannot open the embedded store");
            Err(Stopped)
        }
    }
}

async fn open_scylla(settings: &scylla::Settings) -> Result<Opened, Stopped> {
    let nodes = settings.nodes.join(",");
    info!(nodes, keyspace = settings.keyspace, "connecting to the database");
    let mut pause = FIRST_PAUSE;
    loop {
        match ScyllaStore::connect(settings.clone(), Arc::new(SystemClock)).await {
            Ok(store) => {
                let longest_kept = Some(store.longest_kept());
                return Ok(Opened { store: Arc::new(store), embedded: None, longest_kept });
            }
            Err(error) if error.may_pass() => {
                let next_try_in = format_duration(pause);
                warn!(%error, next_try_in, "the database cannot be used yet: waiting for it");
                tokio::time::sleep(pause).await;
                pause = (2 * pause).min(LONGEST_PAUSE);
            }
            Err(error) => {
                error!(%error, nodes, "cannot use the database, and waiting would not help");
                return Err(Stopped);
            }
        }
    }
}
