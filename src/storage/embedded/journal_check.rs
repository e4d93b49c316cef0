//! Checks the engine's journal before the engine reads it, and hands it over rewritten and synced.
//!
//! The engine ends its recovery quietly at the first batch that it cannot read: a flipped bit in the middle would
//! cost every later batch. And what a crashed process wrote but did not sync, or failed to sync, is still in the
//! page cache, where the engine would read it as truth. So, before the engine sees the directory: every batch is
//! checked; damage before the last batch refuses to open; a tail that is torn or damaged is cut off; and the
//! journal that holds the last batch is copied into a new file and synced. A second sync of the old file would not
//! do: after one that failed, the kernel may take the pages for written.
//!
//! `journal_format` reads the bytes.

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::ops::Range;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

use super::journal_format::{Batch, Place, TRAILER, Unreadable, holds_batch, parse_batch};
use super::mark::StoreId;

const PROBE_BYTES: usize = 256 * 1024;

/// Why the journal cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// Something other than the tail cannot be read.
    #[error(
        "the journal is damaged: {path}, the batch at byte {offset}: {what}. Batches after it are intact, so \
         dropping it would lose writes that were acknowledged. Keep a copy of the data directory, check the disk, \
         and restore the directory from a backup"
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Where in it the batch begins that cannot be read.
        offset: usize,
        /// What is wrong there.
        what: String,
    },
    /// The file system said no.
    #[error("the journal cannot be checked: {path}: {source}")]
    Io {
        /// The file, or the directory.
        path: PathBuf,
        /// What it said.
        source: io::Error,
    },
}

/// What the check came to.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Checked {
    /// Batches that are intact.
    pub(super) batches: u64,
    /// Bytes in them.
    pub(super) bytes: u64,
    /// Which they are, if there are any.
    pub(super) journaled: Option<Journaled>,
    /// What was cut off the end.
    pub(super) cut: Option<Cut>,
}

/// The batches of a journal, which follow one another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Journaled {
    /// The ordinal of the first.
    pub(super) first: u64,
    /// Its sequence number: what the engine holds below it is in tables.
    pub(super) first_seqno: u64,
    /// The ordinal of the last.
    pub(super) last: u64,
}

/// The end of the journal that was cut off.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Cut {
    /// The file.
    pub(super) path: PathBuf,
    /// From where.
    pub(super) offset: usize,
    /// Whether the batch looks as if it had been complete once: then its writes may have been acknowledged.
    pub(super) was_complete: bool,
    /// What is wrong with it.
    pub(super) what: String,
}

/// What may be done where there is no room for a copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NoRoom {
    /// The last batch is written once more in its place, which needs no room: it dirties the same pages anew. Only
    /// where no engine was open in this process: one that failed may still write to the file when it is dropped.
    RewriteInPlace,
    Fail,
}

/// Checks the journal files of the engine's directory and leaves them fit to be opened.
pub(super) fn check(directory: &Path, store: StoreId, no_room: NoRoom) -> Result<Checked, JournalError> {
    let mut inspection = Inspection::of(store);
    remove_copies(directory)?;
    for path in journal_files(directory)? {
        let bytes = fs::read(&path).map_err(|source| JournalError::Io { path: path.clone(), source })?;
        inspection.add(&path, &bytes)?;
    }
    // No sync covers a batch after the one that failed, so only the last batch can be in the page cache and not on
    // disk.
    let last = inspection.last.map_or((0, 0), |last| (last.file, last.offset));
    for (n, InspectedFile { path, intact }) in inspection.files.iter().enumerate().skip(last.0) {
        let from = if n == last.0 { last.1 } else { 0 };
        make_durable(path, from as u64..*intact as u64, no_room)
            .map_err(|source| JournalError::Io { path: path.clone(), source })?;
    }
    sync_directory(directory).map_err(|source| JournalError::Io { path: directory.to_path_buf(), source })?;
    Ok(Checked {
        batches: inspection.batches,
        bytes: inspection.files.iter().map(|file| file.intact as u64).sum(),
        journaled: inspection.first.zip(inspection.last).map(|(first, last)| Journaled {
            first: first.ordinal,
            first_seqno: first.seqno,
            last: last.ordinal,
        }),
        cut: inspection.cut,
    })
}

/// What was found so far, going through the files from the oldest.
struct Inspection {
    store: StoreId,
    files: Vec<InspectedFile>,
    batches: u64,
    first: Option<Place>,
    last: Option<Place>,
    cut: Option<Cut>,
}

struct InspectedFile {
    path: PathBuf,
    /// Where its last intact batch ends.
    intact: usize,
}

impl Inspection {
    const fn of(store: StoreId) -> Self {
        Self { store, files: Vec::new(), batches: 0, first: None, last: None, cut: None }
    }

    /// Goes through the next file.
    fn add(&mut self, path: &Path, bytes: &[u8]) -> Result<(), JournalError> {
        let file = self.files.len();
        self.files.push(InspectedFile { path: path.to_path_buf(), intact: 0 });
        let written = without_padding(bytes);
        let mut at = 0;
        while at < written.len() {
            if let Some(cut) = &self.cut {
                return Err(refuse(cut));
            }
            match self.next_batch(written, at) {
                Ok(batch) => {
                    let Batch { end, seqno, mark } = batch;
                    let place = Place { seqno, ordinal: mark.ordinal, file, offset: at };
                    self.first.get_or_insert(place);
                    self.last = Some(place);
                    self.batches += 1;
                    self.files[file].intact = end;
                    at = end;
                }
                Err(Unreadable::PreviousSequence { found, next }) => {
                    return Err(self.refuse_previous(found, next));
                }
                Err(what) => {
                    let cut = Cut {
                        path: path.to_path_buf(),
                        offset: at,
                        was_complete: written.ends_with(TRAILER) || what != Unreadable::CutShort,
                        what: what.to_string(),
                    };
                    if holds_batch(written, at + 1, self.store, self.last.map(|last| last.ordinal)) {
                        return Err(refuse(&cut));
                    }
                    self.cut = Some(cut);
                    break;
                }
            }
        }
        Ok(())
    }

    fn next_batch(&self, bytes: &[u8], at: usize) -> Result<Batch, Unreadable> {
        let batch = parse_batch(bytes, at, self.store)?;
        batch.check_place(self.last)?;
        Ok(batch)
    }

    /// The mark of a batch, which its checksum covers, shows that the one before has a wrong sequence number.
    fn refuse_previous(&self, found: u64, next: u64) -> JournalError {
        let (file, offset) = self.last.map_or((0, 0), |last| (last.file, last.offset));
        let path = self.files[file].path.clone();
        let what = format!("its sequence number {found} is out of line with {next} of the batch after it");
        JournalError::Damaged { path, offset, what }
    }
}

/// What was written to a file. A batch ends in a byte that is not zero, so none reaches into the padding.
fn without_padding(bytes: &[u8]) -> &[u8] {
    /// Compared as one: a file is made with 64 MiB of padding, which is most of what is read at a start.
    const PADDING: [u8; 4096] = [0; 4096];
    let mut written = bytes;
    while let Some(before) = written.strip_suffix(&PADDING) {
        written = before;
    }
    let end = written.iter().rposition(|&byte| byte != 0).map_or(0, |at| at + 1);
    &written[..end]
}

/// How much room the newest two journal files take, holes not counted. The last batch is in one of them.
pub(super) fn bytes_to_copy(directory: &Path) -> Result<u64, JournalError> {
    let mut bytes = 0;
    for path in journal_files(directory)?.into_iter().rev().take(2) {
        let metadata = fs::metadata(&path).map_err(|source| JournalError::Io { path, source })?;
        bytes += metadata.blocks() * 512;
    }
    Ok(bytes)
}

/// Writes and syncs that many bytes into a new file: whether a check could make its copy. Free blocks do not say:
/// the directory may have become unwritable, or inodes or a quota run out.
pub(super) fn prove_writable(directory: &Path, bytes: u64) -> Result<(), JournalError> {
    let path = directory.join("probe.copy");
    let written = File::create(&path).and_then(|mut file| {
        // What is compressed or left as a hole would prove nothing.
        let mut noise = 1_u64;
        let mut chunk = Vec::with_capacity(PROBE_BYTES);
        for _ in 0..bytes.div_ceil(PROBE_BYTES as u64) {
            chunk.clear();
            while chunk.len() < PROBE_BYTES {
                noise = noise.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                chunk.extend_from_slice(&noise.to_be_bytes());
            }
            file.write_all(&chunk)?;
        }
        file.sync_all()
    });
    let removed = if path.exists() { fs::remove_file(&path) } else { Ok(()) };
    written.and(removed).map_err(|source| JournalError::Io { path, source })
}

fn refuse(cut: &Cut) -> JournalError {
    JournalError::Damaged { path: cut.path.clone(), offset: cut.offset, what: cut.what.clone() }
}

/// The number of the newest journal file.
pub(super) fn newest_journal(directory: &Path) -> Result<u64, JournalError> {
    Ok(numbered_journal_files(directory)?.last().map_or(0, |(number, _)| *number))
}

/// The journal files, oldest first.
fn journal_files(directory: &Path) -> Result<Vec<PathBuf>, JournalError> {
    Ok(numbered_journal_files(directory)?.into_iter().map(|(_, path)| path).collect())
}

fn numbered_journal_files(directory: &Path) -> Result<Vec<(u64, PathBuf)>, JournalError> {
    let mut files: Vec<_> = files_ending(directory, "jnl")?
        .into_iter()
        .filter_map(|path| Some((path.file_stem()?.to_str()?.parse::<u64>().ok()?, path)))
        .collect();
    files.sort();
    Ok(files)
}

/// Removes the copies that an earlier check did not finish.
fn remove_copies(directory: &Path) -> Result<(), JournalError> {
    for path in files_ending(directory, "copy")? {
        fs::remove_file(&path).map_err(|source| JournalError::Io { path, source })?;
    }
    Ok(())
}

fn files_ending(directory: &Path, extension: &str) -> Result<Vec<PathBuf>, JournalError> {
    let error = |source| JournalError::Io { path: directory.to_path_buf(), source };
    let mut files = Vec::new();
    for entry in fs::read_dir(directory).map_err(error)? {
        let path = entry.map_err(error)?.path();
        if path.extension().is_some_and(|it| it == extension) {
            files.push(path);
        }
    }
    Ok(files)
}

/// Cuts the file off at the end of `last`, the place of its last batch, and leaves no doubt that it is on disk.
fn make_durable(path: &Path, last: Range<u64>, no_room: NoRoom) -> io::Result<()> {
    match copy(path, last.end) {
        Err(error) if no_room == NoRoom::RewriteInPlace && is_no_room(&error) => {
            tracing::warn!(path = %path.display(), %error, "there is no room to copy the journal");
            rewrite_in_place(path, last)
        }
        copied => copied,
    }
}

fn is_no_room(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// Puts a copy of the first `length` bytes in the place of the file, durable before the name points to it.
fn copy(path: &Path, length: u64) -> io::Result<()> {
    let copy = path.with_extension("copy");
    let made = File::create(&copy).and_then(|mut file| {
        io::copy(&mut File::open(path)?.take(length), &mut file)?;
        file.sync_all()?;
        fs::rename(&copy, path)
    });
    if made.is_err() && copy.exists() {
        // It only takes room; the next check would remove it too.
        drop(fs::remove_file(&copy));
    }
    made
}

fn rewrite_in_place(path: &Path, last: Range<u64>) -> io::Result<()> {
    let file = File::options().read(true).write(true).open(path)?;
    let mut bytes = Vec::new();
    (&file).seek(SeekFrom::Start(last.start))?;
    (&file).take(last.end - last.start).read_to_end(&mut bytes)?;
    file.write_all_at(&bytes, last.start)?;
    file.set_len(last.end)?;
    file.sync_all()
}

/// Makes the names in a directory durable.
pub(super) fn sync_directory(directory: &Path) -> io::Result<()> {
    File::open(directory)?.sync_all()
}

#[cfg(test)]
mod tests;
