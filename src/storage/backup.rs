//! Backups of an embedded store: all records as of one instant, in one file; and a store made of such a file.
//! docs/adr/0009-backup-and-restore.md says why it is done so.

pub mod archive;
pub mod socket;

use std::io::{self, Read, Write};
use std::sync::Arc;
use std::time::Duration;

use uuid::Uuid;

use self::archive::{ArchiveError, Contents, Event, Reader, Writer};
use super::embedded::{EmbeddedStore, NewStore, NewStoreError, Settings, Snapshot};
use super::record_codec::{Codec, DecodeError};
use super::{StoreError, Versioned, WriteId};
use crate::domain::{Clock, Key, Restored};

/// Nobody but the store that is made reads what is restored, in its latest format.
const CODEC: Codec = Codec::LATEST;

/// Why a backup is not whole.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// The store does not give its records.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// It cannot be written.
    #[error("the backup cannot be written: {0}")]
    Write(#[from] io::Error),
    /// The server is told to stop.
    #[error("the server stops; take the backup again when it is back")]
    Stopping,
}

/// Writes all records of `store` as they are now, while writes go on. `longest_kept` is how long a record may be kept
/// after it changed, by the policies in force. This blocks.
pub fn write(
    store: &EmbeddedStore,
    clock: &dyn Clock,
    longest_kept: Duration,
    out: impl Write,
    stopping: impl Fn() -> bool,
) -> Result<Contents, BackupError> {
    // Before the snapshot: whatever changed later than it says is not certain to be in it.
    let created_at = clock.now();
    let mut snapshot = store.snapshot()?;
    let mut writer = Writer::begin(out, created_at, longest_kept)?;
    match fill(&mut snapshot, &mut writer, stopping) {
        Ok(()) => Ok(writer.end()?),
        Err(error @ BackupError::Write(_)) => Err(error),
        Err(error) => {
            // For whoever reads it at the other end of a socket, if it still can be said.
            _ = writer.give_up(&error.to_string());
            Err(error)
        }
    }
}

fn fill(
    snapshot: &mut Snapshot,
    writer: &mut Writer<impl Write>,
    stopping: impl Fn() -> bool,
) -> Result<(), BackupError> {
    while let Some(batch) = snapshot.next_batch()? {
        if stopping() {
            return Err(BackupError::Stopping);
        }
        writer.add(batch)?;
    }
    Ok(())
}

/// Reads a backup to its end, and says what is in it, if it is whole. This blocks.
pub fn check(from: impl Read) -> Result<Contents, RestoreError> {
    let mut reader = Reader::begin(from)?;
    loop {
        match reader.next()? {
            Event::Records(records) => {
                records.iter().try_for_each(|(key, record)| decode(key, record).map(drop))?;
            }
            Event::End(contents) => return Ok(contents),
        }
    }
}

/// Why nothing was restored.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// The backup is not what was written, or not whole.
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    /// A record of it cannot be read.
    #[error("a record of the backup cannot be read: {0}")]
    Record(#[from] DecodeError),
    /// A key of it cannot be read.
    #[error(
        "a key of the backup is malformed, though its checksum is right: a bug in the semel that wrote it"
    )]
    Key,
    /// The backup was made later than now.
    #[error(
        "the backup was made at {backup_at} µs since 1970, and this machine's clock says {now} µs: set the clock first, \
         since fences and windows of time follow it"
    )]
    FromTheFuture {
        /// When it says that it was made.
        backup_at: u64,
        /// The present moment.
        now: u64,
    },
    /// The new store cannot be made.
    #[error(transparent)]
    Store(#[from] NewStoreError),
    /// The new store does not take the records.
    #[error("the new store does not take the records: {0}")]
    Load(#[from] StoreError),
}

/// What was restored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Restoration {
    /// What was in the backup.
    pub contents: Contents,
    /// How many attempts were open, and are unresolved now.
    pub unresolved: u64,
    /// How many records have a fence ahead of the clock: what the next fence of such a key is does not follow the clock.
    pub fences_ahead: u64,
    /// What the store says of itself from now on.
    pub mark: Restored,
}

/// Makes a store of a backup, in the directory that `settings` name, which must have none: whole and marked as restored,
/// or not at all. `longest_kept` is how long a record may be kept after it changed, by the present policies; the backup
/// knows of those of its time. This blocks.
pub fn restore(
    from: impl Read,
    settings: &Settings,
    clock: &dyn Clock,
    longest_kept: Duration,
) -> Result<Restoration, RestoreError> {
    let reader = Reader::begin(from)?;
    let (backup_at, now) = (reader.created_at(), clock.now());
    if now < backup_at {
        return Err(RestoreError::FromTheFuture { backup_at: backup_at.as_micros(), now: now.as_micros() });
    }
    let mark = Restored::new(now, backup_at, longest_kept.max(reader.longest_kept()));
    let new = NewStore::begin(settings)?;
    let mut restoring = Restoring::new(reader, mark);
    new.store().load(&mut restoring)?;
    let contents = restoring.end.unwrap_or_else(|| Err(restoring.reader.cut_short().into()))?;
    new.finish(&mark)?;
    let Restoring { unresolved, fences_ahead, .. } = restoring;
    Ok(Restoration { contents, unresolved, fences_ahead, mark })
}

/// The records of a backup, as the new store is to have them, up to its end or the first error.
struct Restoring<R> {
    reader: Reader<R>,
    mark: Restored,
    records: std::vec::IntoIter<(Vec<u8>, Vec<u8>)>,
    unresolved: u64,
    fences_ahead: u64,
    end: Option<Result<Contents, RestoreError>>,
}

impl<R: Read> Iterator for Restoring<R> {
    type Item = (Key, Versioned);

    fn next(&mut self) -> Option<Self::Item> {
        while self.end.is_none() {
            match self.advance() {
                Ok(Some(record)) => return Some(record),
                Ok(None) => {}
                Err(error) => self.end = Some(Err(error)),
            }
        }
        None
    }
}

impl<R: Read> Restoring<R> {
    fn new(reader: Reader<R>, mark: Restored) -> Self {
        Self { reader, mark, records: Vec::new().into_iter(), unresolved: 0, fences_ahead: 0, end: None }
    }

    fn advance(&mut self) -> Result<Option<(Key, Versioned)>, RestoreError> {
        let Some((key, record)) = self.records.next() else {
            match self.reader.next()? {
                Event::Records(records) => self.records = records.into_iter(),
                Event::End(contents) => self.end = Some(Ok(contents)),
            }
            return Ok(None);
        };
        let (key, Versioned { write_id, record, sealed }) = decode(&key, &record)?;
        let before = Arc::unwrap_or_clone(record);
        let after = self.mark.record(before.clone());
        let changed = before != after;
        self.unresolved += u64::from(changed);
        self.fences_ahead += u64::from(before.fence().moment() > self.mark.at);
        let write_id = if changed { WriteId(Uuid::new_v4()) } else { write_id };
        // What is encrypted stays so: who opens it makes the same of it, since the store says how it was restored.
        Ok(Some((key, Versioned { write_id, record: Arc::new(after), sealed })))
    }
}

fn decode(key: &[u8], record: &[u8]) -> Result<(Key, Versioned), RestoreError> {
    let key = Key::from_bytes(key).ok_or(RestoreError::Key)?;
    Ok((key, CODEC.decode(record)?))
}
