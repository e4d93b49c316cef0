//! Records in a directory of this machine, on fjall. docs/adr/0003-embedded-engine.md says why it is built so.
//!
//! One thread, the committer, does all the writing: whatever waits when it is free becomes one batch and one sync.
//! A write is acknowledged, and seen by any read, after that sync.

use std::cell::RefCell;
use std::fmt;
use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard};
use std::thread::{self, JoinHandle};

use async_trait::async_trait;
use fjall::{UserKey, UserValue};
use tokio::sync::oneshot;

use self::committer::Committer;
use self::committer::pulse::{self, Pulse};
use self::directory::DataDirectory;
use self::engine::Engine;
use self::journal_check::{NoRoom, sync_directory};
use self::mark::StoreId;
use self::recent::Recent;
use self::request::{Current, Next, Queue, Request, Verdict};
use super::record_codec::{Codec, Head};
use super::{Freshness, Page, Put, Scan, Store, StoreError, StoreName, Versioned, Write};
use crate::domain::{Key, Restored, Timestamp};

mod committer;
mod directory;
mod engine;
mod indexes;
mod journal_check;
mod journal_format;
mod mark;
mod pages;
mod recent;
mod request;
mod restored_mark;
mod restoring;
mod sealed_text;
mod settings;
mod snapshot;
#[cfg(feature = "test-support")]
mod test_support;

#[cfg(feature = "test-support")]
pub use committer::pulse::Step;
pub use directory::DirectoryError;
pub use journal_check::JournalError;
pub use restoring::{NewStore, NewStoreError};
pub use settings::Settings;
pub use snapshot::Snapshot;
pub(crate) use snapshot::StoredBatch;
#[cfg(feature = "test-support")]
pub use test_support::Part;

/// Nobody else reads or writes the directory.
const CODEC: Codec = Codec::LATEST;
/// The most rows that one request to the committer reclaims, so that writes wait little behind it.
const RECLAIM_AT_ONCE: usize = 256;
/// A bulk load hands over this much at once.
const LOAD_RECORDS: usize = 4096;
const LOAD_BYTES: usize = 4 * 1024 * 1024;

/// Why the store did not open.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The data directory cannot be used.
    #[error(transparent)]
    Directory(#[from] DirectoryError),
    /// The journal is damaged, or cannot be read.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The engine does not open its files.
    #[error("the data directory {directory} holds files that cannot be opened: {problem}")]
    Engine {
        /// The data directory.
        directory: String,
        /// What is wrong.
        problem: String,
    },
}

/// How this store is named in traces.
pub const NAME: StoreName = StoreName::of_own("fjall");

/// A store on a directory. Dropping it closes it.
pub struct EmbeddedStore {
    shared: Arc<Shared>,
    queue: Queue,
    committer: Mutex<Option<JoinHandle<()>>>,
    /// The entry of the reclaim index at which the last call ended that left rows to drop: the next goes on there.
    /// What was dropped before it is a long run of removals, over which it would have to step again.
    reclaimed_to: Mutex<Option<UserKey>>,
}

/// What the committer and the readers share.
struct Shared {
    settings: Settings,
    directory: DataDirectory,
    /// Empty while the engine is being reopened, and when that failed. Only the committer puts something else in.
    engine: RwLock<Option<Engine>>,
    recent: Recent,
    /// What it knows of having been restored from a backup.
    restored: Option<Restored>,
    /// Why writes are not expected to work now.
    trouble: Mutex<Option<String>>,
    pulse: Pulse,
    /// The committer is to end, even if the request that says so is lost.
    closing: AtomicBool,
    stats: Counters,
    #[cfg(feature = "test-support")]
    hook: test_support::Hook,
}

/// What the store has done since it was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Batches written, each with one sync.
    pub commits: u64,
    /// Records written or reclaimed in them.
    pub changes: u64,
    /// Records that reads and scans took from the engine, whatever they then did with them.
    pub records_read: u64,
    /// Entries of the index of open records that scans came upon.
    pub index_entries: u64,
    /// Records that scans stepped over because they cannot be read, each time that one did.
    pub unreadable: u64,
    /// How often reclamation looked for due rows from the beginning of its index, past all that it dropped there
    /// and the engine has not compacted away.
    pub reclaim_passes: u64,
    /// Reads that were answered from memory.
    pub recent_hits: u64,
    /// How often the engine was reopened after a failure.
    pub reopened: u64,
}

#[derive(Default)]
struct Counters {
    commits: AtomicU64,
    changes: AtomicU64,
    records_read: AtomicU64,
    index_entries: AtomicU64,
    unreadable: AtomicU64,
    reclaim_passes: AtomicU64,
    recent_hits: AtomicU64,
    reopened: AtomicU64,
}

impl Counters {
    fn count_commit(&self, changes: usize) {
        self.commits.fetch_add(1, Ordering::Relaxed);
        self.changes.fetch_add(changes as u64, Ordering::Relaxed);
    }
}

impl Shared {
    fn slot(&self) -> RwLockReadGuard<'_, Option<Engine>> {
        // A panic leaves either an engine or none behind.
        self.engine.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_closing(&self) -> bool {
        self.closing.load(Ordering::Relaxed)
    }

    /// Tells a test where the committer is.
    #[cfg_attr(not(feature = "test-support"), allow(clippy::unused_self, reason = "nobody is told"))]
    fn reached(&self, step: pulse::Step) {
        #[cfg(feature = "test-support")]
        self.hook.reached(step);
        #[cfg(not(feature = "test-support"))]
        let _ = step;
    }

    /// Opens the engine of a directory, new or old.
    fn open_engine(
        directory: &DataDirectory,
        settings: &Settings,
        no_room: NoRoom,
    ) -> Result<Engine, OpenError> {
        let failed = |problem: String| OpenError::Engine {
            directory: directory.path().display().to_string(),
            problem,
        };
        let path = Engine::directory(directory.path());
        if !path.exists() {
            create(directory, settings).map_err(failed)?;
        }
        let id = StoreId::read(&path).map_err(failed)?;
        let checked = journal_check::check(&path, id, no_room)?;
        tracing::info!(batches = checked.batches, bytes = checked.bytes, "the journal was checked");
        if let Some(cut) = &checked.cut {
            let (file, offset, what) = (cut.path.display(), cut.offset, &cut.what);
            if cut.was_complete {
                tracing::error!(
                    %file, offset, what,
                    "the last batch of the journal was damaged and is dropped: its writes may have been acknowledged"
                );
            } else {
                tracing::warn!(
                    %file, offset, what,
                    "the last batch of the journal was incomplete and is dropped: it was not acknowledged"
                );
            }
        }
        Engine::open(&path, settings, id, checked.journaled).map_err(failed)
    }

    /// Closes the engine and opens it from disk. Reads wait meanwhile.
    fn reopen(&self) -> Result<(), String> {
        // The engine that is there serves reads; it is not given up for an attempt that cannot succeed.
        let directory = Engine::directory(self.directory.path());
        let journal = journal_check::bytes_to_copy(&directory).map_err(|error| error.to_string())?;
        self.directory.check_room(self.settings.free_space_reserve_bytes.saturating_add(journal))?;
        journal_check::prove_writable(&directory, journal).map_err(|error| error.to_string())?;
        let mut slot = self.engine.write().unwrap_or_else(PoisonError::into_inner);
        drop(slot.take());
        self.recent.clear();
        let opened = Self::open_engine(&self.directory, &self.settings, NoRoom::Fail);
        *slot = Some(opened.map_err(|error| error.to_string())?);
        self.stats.reopened.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    /// Takes the engine away from the readers.
    fn withdraw(&self) {
        drop(self.engine.write().unwrap_or_else(PoisonError::into_inner).take());
        self.recent.clear();
    }

    fn close(&self) {
        self.withdraw();
        self.directory.give_up();
        // It was asked to: no trouble that the log should tell of.
        *self.trouble.lock().unwrap_or_else(PoisonError::into_inner) = Some("the store is closed".to_owned());
    }

    /// Notes why writes do not work, or that they do; the log gets each change.
    fn set_trouble(&self, trouble: Option<String>) {
        let mut current = self.trouble.lock().unwrap_or_else(PoisonError::into_inner);
        match (&*current, &trouble) {
            (None, Some(cause)) => tracing::error!(cause, "writes are refused"),
            (Some(_), None) => tracing::info!("writes are accepted again"),
            _ => {}
        }
        *current = trouble;
    }

    /// Runs `read` on the engine, away from the runtime's own threads: it may touch the disk.
    async fn read<T: Send + 'static>(
        self: &Arc<Self>,
        read: impl FnOnce(&Self, &Engine) -> Result<T, String> + Send + 'static,
    ) -> Result<T, StoreError> {
        let shared = Arc::clone(self);
        let read = move || {
            let slot = shared.slot();
            let engine = slot.as_ref().ok_or("the engine is not open")?;
            read(&shared, engine)
        };
        match tokio::task::spawn_blocking(read).await {
            Ok(result) => result.map_err(StoreError::Unavailable),
            Err(error) => Err(StoreError::Unavailable(format!("the read did not end: {error}"))),
        }
    }

    fn decode(&self, bytes: &UserValue) -> Result<Versioned, String> {
        self.stats.records_read.fetch_add(1, Ordering::Relaxed);
        CODEC.decode(bytes).map_err(|error| error.to_string())
    }
}

/// Makes a new engine directory, which appears under its name only when it is whole.
fn create(directory: &DataDirectory, settings: &Settings) -> Result<(), String> {
    let unfinished = directory.path().join("engine.creating");
    let failed = |error: std::io::Error| error.to_string();
    if unfinished.exists() {
        // Nothing was ever written to it.
        fs::remove_dir_all(&unfinished).map_err(failed)?;
    }
    fs::create_dir(&unfinished).map_err(failed)?;
    let id = StoreId::create(&unfinished).map_err(failed)?;
    drop(Engine::open(&unfinished, settings, id, None)?);
    sync_directories(&unfinished).map_err(failed)?;
    fs::rename(&unfinished, Engine::directory(directory.path())).map_err(failed)?;
    sync_directory(directory.path()).map_err(failed)
}

/// Makes the names in a directory and in those below it durable.
fn sync_directories(directory: &Path) -> std::io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            sync_directories(&entry.path())?;
        }
    }
    sync_directory(directory)
}

impl EmbeddedStore {
    /// Whether a store was ever opened in this directory.
    pub fn is_in(directory: &Path) -> bool {
        Engine::directory(directory).is_dir()
    }

    /// Opens the store, or makes a new one where the directory is empty. This blocks: it reads the journal.
    pub fn open(settings: Settings) -> Result<Self, OpenError> {
        let directory = DataDirectory::take(&settings.directory)?;
        let engine = Shared::open_engine(&directory, &settings, NoRoom::RewriteInPlace)?;
        let restored = restored_mark::read(&Engine::directory(directory.path())).map_err(|problem| {
            OpenError::Engine { directory: directory.path().display().to_string(), problem }
        })?;
        let (queue, receiver) = Queue::new(settings.waiting_bytes);
        let shared = Arc::new(Shared {
            recent: Recent::new(settings.record_cache_bytes()),
            settings,
            directory,
            restored,
            engine: RwLock::new(Some(engine)),
            trouble: Mutex::new(None),
            pulse: Pulse::default(),
            closing: AtomicBool::new(false),
            stats: Counters::default(),
            #[cfg(feature = "test-support")]
            hook: test_support::Hook::default(),
        });
        let committer = Committer::new(Arc::clone(&shared), receiver);
        let committer = thread::Builder::new()
            .name("semel-committer".to_owned())
            .spawn(move || committer.run())
            .map_err(|error| OpenError::Engine {
                directory: shared.directory.path().display().to_string(),
                problem: format!("no thread for the committer: {error}"),
            })?;
        let committer = Mutex::new(Some(committer));
        Ok(Self { shared, queue, committer, reclaimed_to: Mutex::new(None) })
    }

    /// Ends the store: what was accepted is synced, what still waits is refused as unavailable, and the directory
    /// may be opened again. This blocks for a moment. A second call does nothing.
    pub fn close(&self) {
        let committer = self.committer.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(committer) = committer {
            self.shared.closing.store(true, Ordering::Relaxed);
            // Should the committer be gone, there is nobody to tell.
            drop(self.queue.send(Request::Close));
            if committer.join().is_err() {
                self.shared.close();
            }
        }
    }

    /// What it has done so far.
    pub fn stats(&self) -> Stats {
        let stats = &self.shared.stats;
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Stats {
            commits: load(&stats.commits),
            changes: load(&stats.changes),
            records_read: load(&stats.records_read),
            index_entries: load(&stats.index_entries),
            unreadable: load(&stats.unreadable),
            reclaim_passes: load(&stats.reclaim_passes),
            recent_hits: load(&stats.recent_hits),
            reopened: load(&stats.reopened),
        }
    }

    /// About how many entries the index of open records has on disk and in memory. Whatever was removed counts
    /// twice until it is compacted away, as the entry and as its removal: a scan has to step over both, so this
    /// tells what one costs, and nothing of how many records are open.
    pub fn open_index_size(&self) -> usize {
        self.shared.slot().as_ref().map_or(0, Engine::open_index_size)
    }

    /// Stores many records, whatever is there, with one sync for thousands. This blocks; it must not be called
    /// from a runtime's own thread. After an error some of them are stored.
    pub fn load(&self, records: impl IntoIterator<Item = (Key, Versioned)>) -> Result<u64, StoreError> {
        let mut total = 0;
        let mut in_flight: Option<oneshot::Receiver<Result<(), StoreError>>> = None;
        let mut records = records.into_iter().peekable();
        while records.peek().is_some() {
            let mut chunk = Vec::with_capacity(LOAD_RECORDS);
            let mut bytes = 0;
            while let Some((key, current)) =
                records.next_if(|_| chunk.len() < LOAD_RECORDS && bytes < LOAD_BYTES)
            {
                let next = encoded(current);
                bytes += next.value.len();
                chunk.push((UserKey::from(key.to_bytes()), next));
            }
            total += chunk.len() as u64;
            let (reply, answer) = oneshot::channel();
            // It bounds itself: two chunks are under way, and their caller waits.
            self.queue.send(Request::Load { records: chunk, reply })?;
            // One chunk is encoded while the one before is written.
            if let Some(before) = in_flight.replace(answer) {
                before.blocking_recv().map_err(|_| lost())??;
            }
        }
        if let Some(last) = in_flight {
            last.blocking_recv().map_err(|_| lost())??;
        }
        Ok(total)
    }

    fn reclaimed_to(&self) -> MutexGuard<'_, Option<UserKey>> {
        self.reclaimed_to.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn current(&self, current: Option<Current>) -> Result<Option<Versioned>, StoreError> {
        match current {
            None => Ok(None),
            Some(Current::Decoded(current)) => Ok(Some(current)),
            Some(Current::Stored(bytes)) => {
                self.shared.decode(&bytes).map(Some).map_err(StoreError::Unavailable)
            }
        }
    }
}

impl Drop for EmbeddedStore {
    fn drop(&mut self) {
        self.close();
    }
}

impl fmt::Debug for EmbeddedStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EmbeddedStore")
            .field("directory", &self.shared.settings.directory)
            .finish_non_exhaustive()
    }
}

/// The committer went away with the request.
fn lost() -> StoreError {
    StoreError::OutcomeUnknown("the committer ended before it answered".to_owned())
}

fn encoded(current: Versioned) -> Next {
    thread_local! {
        static BUFFER: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
    }
    const KEPT_BYTES: usize = 64 * 1024;
    let value = BUFFER.with_borrow_mut(|buffer| {
        buffer.clear();
        CODEC.encode_into(&current, buffer);
        let value = UserValue::from(buffer.as_slice());
        buffer.shrink_to(KEPT_BYTES);
        value
    });
    Next { head: Head::of(current.write_id, &current.record), value, current }
}

#[async_trait]
impl Store for EmbeddedStore {
    async fn get(&self, key: &Key, freshness: Freshness) -> Result<Option<Versioned>, StoreError> {
        let key = UserKey::from(key.to_bytes());
        match freshness {
            Freshness::Acknowledged => {
                if let Some(current) = self.shared.recent.get(&key) {
                    self.shared.stats.recent_hits.fetch_add(1, Ordering::Relaxed);
                    return Ok(Some(current));
                }
                self.shared
                    .read(move |shared, engine| {
                        engine.get(&key)?.map(|bytes| shared.decode(&bytes)).transpose()
                    })
                    .await
            }
            // Whatever was sent before, its sender gone or not, is decided before this.
            Freshness::Serial => {
                let (reply, answer) = oneshot::channel();
                let room = self.queue.room(key.len())?;
                self.queue.send(Request::Read { key, room, reply })?;
                // It wrote nothing, so nothing of it is unknown.
                let current = answer.await.map_err(|_| {
                    StoreError::Unavailable("the committer ended before it answered".to_owned())
                })??;
                self.current(current)
            }
        }
    }

    async fn compare_and_put(&self, write: &Write) -> Result<Put, StoreError> {
        let (reply, answer) = oneshot::channel();
        let key = UserKey::from(write.key.to_bytes());
        let next = encoded(write.made());
        let room = self.queue.room(key.len() + next.value.len())?;
        self.queue.send(Request::Put(request::Put { key, expected: write.expected, next, room, reply }))?;
        match answer.await.map_err(|_| lost())?? {
            Verdict::Applied => Ok(Put::Applied),
            Verdict::Conflict(current) => Ok(Put::Conflict(self.current(current)?)),
        }
    }

    async fn scan(&self, scan: &Scan) -> Result<Page, StoreError> {
        if scan.limit == 0 {
            return Ok(Page { records: Vec::new(), next: None });
        }
        let scan = scan.clone();
        let filled = self.shared.read(move |shared, engine| pages::fill(shared, engine, &scan)).await?;
        Ok(filled.told())
    }

    async fn reclaim(&self, now: Timestamp, limit: usize) -> Result<usize, StoreError> {
        let mut reclaimed = 0;
        let mut after = self.reclaimed_to().take();
        let mut from_the_beginning = after.is_none();
        while reclaimed < limit {
            let most = RECLAIM_AT_ONCE.min(limit - reclaimed);
            let start = after.clone();
            let entries: Vec<UserKey> = self
                .shared
                .read(move |shared, engine| {
                    shared.stats.reclaim_passes.fetch_add(u64::from(start.is_none()), Ordering::Relaxed);
                    engine.due(now, start).take(most).collect()
                })
                .await?;
            match entries.last() {
                Some(last) => after = Some(last.clone()),
                None if from_the_beginning => return Ok(reclaimed),
                None => {
                    // Rows were perhaps written meanwhile that are due before the place where the call before ended.
                    from_the_beginning = true;
                    after = None;
                    continue;
                }
            }
            let (reply, answer) = oneshot::channel();
            self.queue.send(Request::Reclaim { entries, now, reply })?;
            reclaimed += answer.await.map_err(|_| lost())??;
        }
        *self.reclaimed_to() = after;
        Ok(reclaimed)
    }

    async fn ping(&self) -> Result<(), StoreError> {
        let unavailable = |cause| Err(StoreError::Unavailable(cause));
        let trouble = self.shared.trouble.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(cause) = trouble {
            return unavailable(cause);
        }
        let committer = self.committer.lock().unwrap_or_else(PoisonError::into_inner);
        if committer.as_ref().is_none_or(JoinHandle::is_finished) {
            return unavailable("the committer has ended".to_owned());
        }
        match self.shared.pulse.busy_for() {
            Some(busy) if busy > self.shared.settings.stuck_after => {
                unavailable(format!("the committer has been at one step for {} s", busy.as_secs()))
            }
            _ => Ok(()),
        }
    }

    fn restored(&self) -> Option<Restored> {
        self.shared.restored
    }
}
