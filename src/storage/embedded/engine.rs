//! fjall, as this store uses it: three keyspaces, one kind of batch, no write that is seen before it is synced.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use fjall::compaction::Leveled;
use fjall::{
    AbstractTree, CompressionType, Database, Keyspace, KeyspaceCreateOptions, OwnedWriteBatch, PersistMode,
    Readable, Snapshot, UserKey, UserValue,
};

use super::journal_check::{Journaled, newest_journal, sync_directory};
use super::journal_format::{END_BYTES, ITEM_BYTES, START_BYTES};
use super::mark::{Mark, StoreId};
use super::settings::Settings;
use crate::domain::Timestamp;
use crate::storage::record_codec::Head;

/// The engine's own threads flush and compact; more than one would spin while the other compacts.
const WORKERS: usize = 1;
const CACHED_FILES: usize = 512;
const TABLE_BYTES: u64 = 16 * 1024 * 1024;
/// Above these the engine itself would hold a commit back, in a loop that does not look whether its worker lives.
const MOST_SEALED_MEMTABLES: usize = 2;
const MOST_L0_RUNS: usize = 24;

/// An open database: three keyspaces, each of which also holds the mark of the last batch. What a read finds in it is on disk: the engine changes its memory after the sync.
pub(super) struct Engine {
    database: Database,
    /// [`crate::domain::Key::to_bytes`] → record.
    pub(super) records: Keyspace,
    /// The same key, for each record that is open → nothing.
    pub(super) open: Keyspace,
    /// [`reclaim_key`], for each record → nothing.
    pub(super) reclaim: Keyspace,
    id: StoreId,
    write_buffer_bytes: u64,
    next_ordinal: AtomicU64,
    /// Set by the test that shows what a missing sync looks like, and by nothing else.
    #[cfg(feature = "test-support")]
    pub(super) without_sync: std::sync::atomic::AtomicBool,
    directory: PathBuf,
    /// The number of the newest journal file whose name is durable.
    journal_file: AtomicU64,
}

/// Past every record's key, as none begins with 0xFF, and not past the mark.
const PAST_RECORDS: &[u8] = &[0xff];

/// The records of an engine as they were at one instant. It does not keep the engine open.
pub(super) struct RecordsAt(Snapshot);

/// What became of a batch.
#[derive(Debug)]
pub(super) enum CommitError {
    /// The engine refused it before it wrote anything.
    NotWritten(String),
    /// It may be in the journal, and is not in memory.
    Unknown(String),
    /// It is in the journal and in memory, and may not be there after a crash.
    Ahead(String),
}

impl CommitError {
    pub(super) fn into_cause(self) -> String {
        match self {
            Self::NotWritten(cause) | Self::Unknown(cause) | Self::Ahead(cause) => cause,
        }
    }
}

impl Engine {
    /// Opens the database in `directory`, or makes a new one. The journal must have been checked; `journaled` are
    /// its batches, if it holds any.
    pub(super) fn open(
        directory: &Path,
        settings: &Settings,
        id: StoreId,
        journaled: Option<Journaled>,
    ) -> Result<Self, String> {
        // The engine asserts what it expects of its files.
        catch_unwind(AssertUnwindSafe(|| {
            let engine = Self::open_unguarded(directory, settings, id)?;
            engine.continue_after(journaled)?;
            Ok(engine)
        }))
        .unwrap_or_else(|panic| Err(format!("the engine gave up on its files: {}", panic_text(&*panic))))
    }

    fn open_unguarded(directory: &Path, settings: &Settings, id: StoreId) -> Result<Self, String> {
        let failed = |error: fjall::Error| describe(&error);
        let database = Database::builder(directory)
            .cache_size(settings.block_cache_bytes())
            .worker_threads(WORKERS)
            .max_cached_files(Some(CACHED_FILES))
            .max_journaling_size(settings.journal_bytes.max(Settings::LEAST_JOURNAL_BYTES))
            .journal_compression(CompressionType::None)
            .manual_journal_persist(true)
            .open()
            .map_err(failed)?;
        let keyspace = |name: &str| {
            database
                .keyspace(name, || {
                    KeyspaceCreateOptions::default()
                        .manual_journal_persist(true)
                        // This is fixed when the keyspace is made; `rotate` follows the settings of today.
                        .max_memtable_size(u64::MAX)
                        .compaction_strategy(Arc::new(Leveled::default().with_table_target_size(TABLE_BYTES)))
                })
                .map_err(failed)
        };
        let (records, open, reclaim) = (keyspace("records")?, keyspace("open")?, keyspace("reclaim")?);
        Ok(Self {
            database,
            records,
            open,
            reclaim,
            id,
            write_buffer_bytes: settings.write_buffer_bytes,
            next_ordinal: AtomicU64::new(0),
            directory: directory.to_path_buf(),
            journal_file: AtomicU64::new(newest_journal(directory).map_err(|error| error.to_string())?),
            #[cfg(feature = "test-support")]
            without_sync: std::sync::atomic::AtomicBool::new(false),
        })
    }

    /// Finds the ordinal of the next batch, and makes sure that the keyspaces are those of one batch, and that no
    /// batch is missing before the journal's first.
    ///
    /// They are flushed one by one. So a batch that was cut off the journal may be in the tables of some of them:
    /// their marks then differ, and the indexes follow what the records came to.
    fn continue_after(&self, journaled: Option<Journaled>) -> Result<(), String> {
        if let Some(journaled) = journaled {
            for keyspace in self.keyspaces() {
                check_tables_reach(keyspace, journaled)?;
            }
        }
        let marks = [mark(&self.records)?, mark(&self.open)?, mark(&self.reclaim)?];
        let ordinal = |mark: Option<Mark>| mark.map(|mark| mark.ordinal);
        let newest = marks.into_iter().map(ordinal).max().flatten();
        let oldest = marks.into_iter().map(ordinal).min().flatten();
        let last = journaled.map(|journaled| journaled.last).or(newest);
        let next = last.map_or(0, |last| last + 1);
        if let Some(newest) = newest
            && (newest > next || oldest.is_none_or(|oldest| oldest + 1 < newest))
        {
            return Err(format!(
                "batch {newest} is in its tables, and the batch before it neither in all tables nor in the \
                 journal: a part of the journal is missing. Restore the directory from a backup"
            ));
        }
        self.next_ordinal.store(next, Ordering::Relaxed);
        if marks.iter().any(|mark| *mark != marks[0]) {
            self.repair_indexes()?;
        }
        Ok(())
    }

    /// The stored bytes of a record.
    pub(super) fn get(&self, key: &[u8]) -> Result<Option<UserValue>, String> {
        self.records.get(key).map_err(|error| describe(&error))
    }

    /// The records after `after` whose keys begin with `prefix`, in the order of their keys.
    pub(super) fn records(
        &self,
        prefix: &[u8],
        after: Option<&[u8]>,
    ) -> impl Iterator<Item = Result<(UserKey, UserValue), String>> {
        range(&self.records, prefix, after).map(|entry| entry.into_inner().map_err(|error| describe(&error)))
    }

    /// Keeps the records as they are now.
    pub(super) fn records_now(&self) -> RecordsAt {
        RecordsAt(self.database.snapshot())
    }

    /// The records after `after` as they were then, in the order of their keys.
    pub(super) fn records_at(
        &self,
        then: &RecordsAt,
        after: Option<&[u8]>,
    ) -> impl Iterator<Item = Result<(UserKey, UserValue), String>> {
        use std::ops::Bound::{Excluded, Unbounded};
        let range = (after.map_or(Unbounded, Excluded), Excluded(PAST_RECORDS));
        then.0
            .range::<&[u8], _>(&self.records, range)
            .map(|entry| entry.into_inner().map_err(|error| describe(&error)))
    }

    /// The keys of the open records, likewise.
    pub(super) fn open_keys(
        &self,
        prefix: &[u8],
        after: Option<&[u8]>,
    ) -> impl Iterator<Item = Result<UserKey, String>> {
        range(&self.open, prefix, after).map(|entry| entry.key().map_err(|error| describe(&error)))
    }

    /// The reclaim index after `after`, up to and including `now`.
    pub(super) fn due(
        &self,
        now: Timestamp,
        after: Option<UserKey>,
    ) -> impl Iterator<Item = Result<UserKey, String>> {
        use std::ops::Bound::{Excluded, Unbounded};
        // Past every record's key at that moment, as none begins with 0xFF; and not past the mark.
        let end = reclaim_key(now, &[0xff]);
        // Time may have gone back since `after` was due.
        let empty = after.as_ref().is_some_and(|after| *after >= end);
        let start = after.map_or(Unbounded, Excluded);
        let due = (!empty).then(|| self.reclaim.range((start, Excluded(end))));
        due.into_iter().flatten().map(|entry| entry.key().map_err(|error| describe(&error)))
    }

    /// The whole reclaim index.
    pub(super) fn reclaim_entries(&self) -> impl Iterator<Item = Result<UserKey, String>> {
        self.reclaim.range(..Mark::KEY).map(|entry| entry.key().map_err(|error| describe(&error)))
    }

    /// Writes, syncs, then shows the batch to readers.
    pub(super) fn commit(&self, mut batch: Batch) -> Result<(), CommitError> {
        // There is one committer.
        let ordinal = self.next_ordinal.load(Ordering::Relaxed);
        let marks_bytes = self.keyspaces().len() * (ITEM_BYTES + Mark::KEY.len() + Mark::BYTES);
        let mark = Mark {
            store: self.id,
            ordinal,
            seqno_at_least: self.database.seqno(),
            length: (START_BYTES + batch.item_bytes + marks_bytes + END_BYTES) as u64,
        };
        // In each keyspace: a table then tells how far it goes, and the last of a keyspace's tables always holds
        // something that compaction keeps, without which the engine would hold on to old journals.
        for keyspace in self.keyspaces() {
            batch.insert(keyspace, Mark::KEY.into(), mark.to_bytes().into());
        }
        match batch.items.commit() {
            Ok(()) => {
                self.next_ordinal.store(ordinal + 1, Ordering::Relaxed);
                self.sync_new_journals()
            }
            Err(error @ fjall::Error::Poisoned) => Err(CommitError::NotWritten(describe(&error))),
            Err(error) => Err(CommitError::Unknown(describe(&error))),
        }
    }

    /// Where the engine has begun a new journal file since the last commit, this one may be in it. The engine syncs
    /// the file's name, and shuts itself down where that fails, but a commit that waited for its lock comes first.
    fn sync_new_journals(&self) -> Result<(), CommitError> {
        // They are numbered, and there is one writer of this number.
        let before = self.journal_file.load(Ordering::Relaxed);
        let exists = |number: u64| self.directory.join(format!("{number}.jnl")).exists();
        let mut newest = before;
        while exists(newest + 1) {
            newest += 1;
        }
        if newest > before {
            sync_directory(&self.directory)
                .map_err(|error| CommitError::Ahead(format!("the name of a new journal file: {error}")))?;
            self.journal_file.store(newest, Ordering::Relaxed);
        }
        Ok(())
    }

    /// An empty batch, to be synced with fdatasync. That is enough: it writes the data and whatever metadata is
    /// needed to find it again, the file's new size and newly allocated blocks included; fsync would only add
    /// the time of change.
    pub(super) fn batch(&self, capacity: usize) -> Batch {
        let mode = PersistMode::SyncData;
        #[cfg(feature = "test-support")]
        let mode = if self.without_sync.load(Ordering::Relaxed) { PersistMode::Buffer } else { mode };
        let items = OwnedWriteBatch::with_capacity(self.database.clone(), capacity).durability(Some(mode));
        Batch { items, item_bytes: 0 }
    }

    /// Adds what turns `before` into `after` to the batch, indexes included.
    pub(super) fn change(
        &self,
        batch: &mut Batch,
        key: &UserKey,
        before: Option<Head>,
        after: Option<(Head, UserValue)>,
    ) {
        let after_head = after.as_ref().map(|(head, _)| *head);
        match after {
            Some((_, value)) => batch.insert(&self.records, key.clone(), value),
            None => batch.remove(&self.records, key.clone()),
        }
        match (before.is_some_and(|head| head.open), after_head.is_some_and(|head| head.open)) {
            (false, true) => batch.insert(&self.open, key.clone(), UserValue::empty()),
            (true, false) => batch.remove(&self.open, key.clone()),
            (true, true) | (false, false) => {}
        }
        let reclaim_at = |head: Option<Head>| head.map(|head| head.reclaim_at);
        if reclaim_at(before) != reclaim_at(after_head) {
            if let Some(at) = reclaim_at(before) {
                batch.remove(&self.reclaim, reclaim_key(at, key));
            }
            if let Some(at) = reclaim_at(after_head) {
                batch.insert(&self.reclaim, reclaim_key(at, key), UserValue::empty());
            }
        }
    }

    /// Why the engine takes no more writes, if it does not.
    pub(super) fn poisoned(&self) -> Option<String> {
        // Flushes nothing: every batch was flushed by its own commit. It is how the engine can be asked.
        self.database.persist(PersistMode::Buffer).err().map(|error| describe(&error))
    }

    /// Waits until the engine's worker has caught up so far that a commit will not be held back for long.
    pub(super) fn wait_for_worker(&self) -> Result<(), CommitError> {
        let behind = |keyspace: &Keyspace| {
            keyspace.tree.sealed_memtable_count() > MOST_SEALED_MEMTABLES
                || keyspace.tree.l0_run_count() > MOST_L0_RUNS
        };
        while self.keyspaces().into_iter().any(behind) {
            if let Some(cause) = self.poisoned() {
                return Err(CommitError::NotWritten(cause));
            }
            thread::sleep(Duration::from_millis(1));
        }
        Ok(())
    }

    /// Hands memtables that are full to the worker.
    pub(super) fn rotate(&self) -> Result<(), String> {
        for keyspace in self.keyspaces() {
            let full = keyspace.tree.active_memtable().size() >= self.write_buffer_bytes;
            if full && keyspace.tree.sealed_memtable_count() < MOST_SEALED_MEMTABLES {
                keyspace.rotate_memtable().map_err(|error| describe(&error))?;
            }
        }
        Ok(())
    }

    pub(super) fn open_index_size(&self) -> usize {
        self.open.approximate_len()
    }

    fn keyspaces(&self) -> [&Keyspace; 3] {
        [&self.records, &self.open, &self.reclaim]
    }

    /// Where the engine keeps its files under the data directory.
    pub(super) fn directory(data: &Path) -> PathBuf {
        data.join("engine")
    }
}

/// The mark of the last batch that a keyspace holds.
fn mark(keyspace: &Keyspace) -> Result<Option<Mark>, String> {
    keyspace.get(Mark::KEY).map_err(|error| describe(&error))?.as_deref().map(parse_mark).transpose()
}

fn parse_mark(bytes: &[u8]) -> Result<Mark, String> {
    Mark::from_bytes(bytes).ok_or_else(|| "the mark of a batch is malformed".to_owned())
}

/// The engine removes a journal once tables of every keyspace hold its batches. So those before the first of the
/// journal must be there: where they are not, files or their beginnings are missing.
fn check_tables_reach(keyspace: &Keyspace, journaled: Journaled) -> Result<(), String> {
    let Journaled { first, first_seqno, .. } = journaled;
    // What the engine has read from the journal begins with that sequence number; what is below is in tables.
    let below = keyspace.tree.get(Mark::KEY, first_seqno).map_err(|error| describe(&error.into()))?;
    let next = below.as_deref().map(parse_mark).transpose()?.map_or(0, |mark| mark.ordinal + 1);
    // Asked last: a table that was written meanwhile may have ended what is below.
    let is_in_tables =
        || keyspace.tree.get_highest_persisted_seqno().is_some_and(|highest| highest >= first_seqno);
    if next >= first || is_in_tables() {
        return Ok(());
    }
    Err(format!(
        "its journal begins with batch {first}, and the tables of {} end before batch {next}: a part of the journal \
         is missing. Restore the directory from a backup",
        keyspace.name()
    ))
}

/// Writes that become durable and visible together.
pub(super) struct Batch {
    items: OwnedWriteBatch,
    /// What they take in the journal.
    item_bytes: usize,
}

impl Batch {
    pub(super) fn insert(&mut self, keyspace: &Keyspace, key: UserKey, value: UserValue) {
        self.item_bytes += ITEM_BYTES + key.len() + value.len();
        self.items.insert(keyspace, key, value);
    }

    pub(super) fn remove(&mut self, keyspace: &Keyspace, key: UserKey) {
        self.item_bytes += ITEM_BYTES + key.len();
        self.items.remove(keyspace, key);
    }
}

/// `reclaim_at` big-endian, then the record's key: in the order in which records fall due.
pub(super) fn reclaim_key(at: Timestamp, key: &[u8]) -> UserKey {
    let mut bytes = Vec::with_capacity(8 + key.len());
    bytes.extend_from_slice(&at.as_micros().to_be_bytes());
    bytes.extend_from_slice(key);
    bytes.into()
}

/// Takes apart what [`reclaim_key`] put together.
pub(super) fn parse_reclaim_key(entry: &[u8]) -> Option<(Timestamp, &[u8])> {
    let (at, key) = entry.split_first_chunk::<8>()?;
    Some((Timestamp::from_micros(u64::from_be_bytes(*at)), key))
}

fn range(keyspace: &Keyspace, prefix: &[u8], after: Option<&[u8]>) -> impl Iterator<Item = fjall::Guard> {
    use std::ops::Bound::{Excluded, Included};
    let start = match after {
        Some(after) if after >= prefix => Excluded(after.to_vec()),
        _ => Included(prefix.to_vec()),
    };
    // Prefixes end in UTF-8, which has no byte 0xFF. Of everything, the mark is left out.
    let end = prefix.split_last().map_or_else(
        || vec![0xff],
        |(last, rest)| {
            let mut end = rest.to_vec();
            end.push(last.saturating_add(1));
            end
        },
    );
    let end = Excluded(end);
    let empty = matches!((&start, &end), (Excluded(start), Excluded(end)) if start >= end);
    (!empty).then(|| keyspace.range((start, end))).into_iter().flatten()
}

fn panic_text(panic: &(dyn Any + Send)) -> &str {
    panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no reason given")
}

/// The engine's error for the log. None of its errors holds a key or a value.
pub(super) fn describe(error: &fjall::Error) -> String {
    match error {
        fjall::Error::Io(source) | fjall::Error::Storage(fjall::LsmError::Io(source)) => source.to_string(),
        fjall::Error::Poisoned => {
            "the engine failed to flush or compact what it holds, and logged why".to_owned()
        }
        other => format!("{other:?}"),
    }
}
