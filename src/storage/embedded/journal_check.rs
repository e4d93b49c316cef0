//! Checks the engine's journal before the engine reads it, and hands it over rewritten and synced.
//!
//! The engine ends its recovery quietly at the first batch that it cannot read: a flipped bit in the middle would
//! cost every later batch. And what a crashed process wrote but did not sync, or failed to sync, is still in the
//! page cache, where the engine would read it as truth. So, before the engine sees the directory: every batch is
//! checked; damage before the last batch refuses to open; a tail that is torn or damaged is cut off; and the
//! journal that holds the last batch is copied into a new file and synced. A second sync of the old file would not
//! do: after one that failed, the kernel may take the pages for written.
//!
//! The format is that of fjall 3.1 (`journal/entry.rs`), which Cargo.toml pins. A batch is
//! `1, items: u32, seqno: u64`, its items, `3, checksum: u64, "FJL\x03"`; an item is
//! `2, type: u8, compression: u8, keyspace: u64, key length: u16, value length: u32, stored length: u32, key, value`;
//! all little-endian; the checksum is XXH3 over the items' bytes. New files are padded with zeros.

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use xxhash_rust::xxh3::Xxh3;

const START: u8 = 1;
const ITEM: u8 = 2;
const END: u8 = 3;
const CLEAR: u8 = 4;
const TRAILER: &[u8] = b"FJL\x03";
const START_BYTES: usize = 13;

/// How many sequence numbers the engine may have taken for itself between a mark and its batch.
const MOST_SEQNOS_BETWEEN: u64 = 1024;

/// The item that every batch of ours holds: its place in the sequence of all batches. The checksum of a batch
/// covers its items, but neither its sequence number nor its place; the mark covers both.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Mark {
    /// One more than in the batch before.
    pub(super) ordinal: u64,
    /// At most the batch's own sequence number, and above that of the batch before.
    pub(super) seqno_at_least: u64,
}

impl Mark {
    /// Its key in each keyspace, past every entry there: no record's key begins with 0xFF.
    pub(super) const KEY: &'static [u8] = b"\xff\xff\xff\xff\xff\xff\xff\xff\xffmark";

    /// Its value.
    pub(super) fn to_bytes(self) -> [u8; 16] {
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&self.ordinal.to_be_bytes());
        bytes[8..].copy_from_slice(&self.seqno_at_least.to_be_bytes());
        bytes
    }

    /// Reads back what [`Self::to_bytes`] wrote.
    pub(super) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (ordinal, rest) = bytes.split_first_chunk::<8>()?;
        let seqno_at_least = rest.try_into().ok()?;
        Some(Self {
            ordinal: u64::from_be_bytes(*ordinal),
            seqno_at_least: u64::from_be_bytes(seqno_at_least),
        })
    }
}

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
    /// The ordinal of the last of them.
    pub(super) last: Option<u64>,
    /// What was cut off the end.
    pub(super) cut: Option<Cut>,
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

/// Checks the journal files of the engine's directory and leaves them fit to be opened.
pub(super) fn check(directory: &Path) -> Result<Checked, JournalError> {
    let mut inspection = Inspection::default();
    let paths = journal_files(directory)?;
    for path in &paths {
        let bytes = fs::read(path).map_err(|source| JournalError::Io { path: path.clone(), source })?;
        inspection.add(path, &bytes)?;
    }
    // No sync covers a batch after the one that failed, so only the last batch can be in the page cache and not on
    // disk.
    let files = inspection.files.iter();
    for file in files.skip(inspection.last_file) {
        rewrite(&file.path, file.intact as u64)
            .map_err(|source| JournalError::Io { path: file.path.clone(), source })?;
    }
    sync_directory(directory).map_err(|source| JournalError::Io { path: directory.to_path_buf(), source })?;
    Ok(Checked {
        batches: inspection.batches,
        bytes: inspection.files.iter().map(|file| file.intact as u64).sum(),
        last: inspection.last.map(|last| last.ordinal),
        cut: inspection.cut,
    })
}

/// What was found so far, going through the files from the oldest.
#[derive(Default)]
struct Inspection {
    files: Vec<InspectedFile>,
    batches: u64,
    /// The file of the last batch.
    last_file: usize,
    last: Option<Place>,
    cut: Option<Cut>,
}

struct InspectedFile {
    path: PathBuf,
    /// Where its last intact batch ends.
    intact: usize,
}

/// Where a batch stands in the sequence of all, and where it was found.
#[derive(Clone, Copy, Debug)]
struct Place {
    seqno: u64,
    ordinal: u64,
    file: usize,
    offset: usize,
}

impl Inspection {
    /// Goes through the next file.
    fn add(&mut self, path: &Path, bytes: &[u8]) -> Result<(), JournalError> {
        let file = self.files.len();
        self.files.push(InspectedFile { path: path.to_path_buf(), intact: 0 });
        // Where the padding begins. A batch ends in a byte that is not zero, so none reaches into it.
        let written = bytes.iter().rposition(|&byte| byte != 0).map_or(0, |at| at + 1);
        let written = &bytes[..written];
        let mut at = 0;
        while at < written.len() {
            if let Some(cut) = &self.cut {
                return Err(refuse(cut));
            }
            match self.next_batch(written, at) {
                Ok(batch) => {
                    let Batch { end, seqno, mark } = batch;
                    self.last = Some(Place { seqno, ordinal: mark.ordinal, file, offset: at });
                    self.last_file = file;
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
                    if holds_batch(written, at + 1) {
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
        let batch = parse_batch(bytes, at)?;
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

/// How much room the journal files take, holes not counted.
pub(super) fn bytes_on_disk(directory: &Path) -> Result<u64, JournalError> {
    let mut bytes = 0;
    for path in journal_files(directory)? {
        let metadata = fs::metadata(&path).map_err(|source| JournalError::Io { path, source })?;
        bytes += metadata.blocks() * 512;
    }
    Ok(bytes)
}

fn refuse(cut: &Cut) -> JournalError {
    JournalError::Damaged { path: cut.path.clone(), offset: cut.offset, what: cut.what.clone() }
}

/// The journal files, oldest first. Copies that an earlier check did not finish are removed.
fn journal_files(directory: &Path) -> Result<Vec<PathBuf>, JournalError> {
    let error = |source| JournalError::Io { path: directory.to_path_buf(), source };
    let mut files = Vec::new();
    for entry in fs::read_dir(directory).map_err(error)? {
        let path = entry.map_err(error)?.path();
        let id = path.file_stem().and_then(|stem| stem.to_str()?.parse::<u64>().ok());
        match (id, path.extension().and_then(|extension| extension.to_str())) {
            (Some(id), Some("jnl")) => files.push((id, path)),
            (Some(_), Some("copy")) => fs::remove_file(&path).map_err(error)?,
            _ => {}
        }
    }
    files.sort();
    Ok(files.into_iter().map(|(_, path)| path).collect())
}

/// Puts a copy of the first `length` bytes in the place of the file, durable before the name points to it.
fn rewrite(path: &Path, length: u64) -> io::Result<()> {
    let copy = path.with_extension("copy");
    let mut file = File::create(&copy)?;
    io::copy(&mut File::open(path)?.take(length), &mut file)?;
    file.sync_all()?;
    fs::rename(&copy, path)
}

/// Makes the names in a directory durable.
pub(super) fn sync_directory(directory: &Path) -> io::Result<()> {
    File::open(directory)?.sync_all()
}

/// Whether an intact batch begins anywhere at or after `from`.
fn holds_batch(bytes: &[u8], from: usize) -> bool {
    (from..bytes.len()).any(|at| bytes[at] == START && parse_batch(bytes, at).is_ok())
}

/// Why there is no intact batch here.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
enum Unreadable {
    #[error("it is incomplete")]
    CutShort,
    #[error("it holds an entry of unknown kind {0}")]
    UnknownEntry(u8),
    #[error("it does not begin as a batch does, but with {0}")]
    NoStart(u8),
    #[error("it holds other than the {0} items it says")]
    Count(u32),
    #[error("its checksum does not match its bytes")]
    Checksum,
    #[error("its end mark is not what ends a batch")]
    Trailer,
    #[error("it holds no mark of semel's")]
    Unmarked,
    #[error("its sequence number {found} is out of line with {expected}")]
    Sequence { found: u64, expected: u64 },
    #[error("the sequence number {found} of the batch before it is out of line with {next}")]
    PreviousSequence { found: u64, next: u64 },
    #[error("it is batch {found} where batch {expected} was due")]
    Ordinal { found: u64, expected: u64 },
}

struct Batch {
    end: usize,
    seqno: u64,
    mark: Mark,
}

impl Batch {
    /// Whether it is the batch that follows `last`.
    fn check_place(&self, last: Option<Place>) -> Result<(), Unreadable> {
        let Mark { ordinal, seqno_at_least } = self.mark;
        if let Some(last) = last {
            if ordinal != last.ordinal + 1 {
                return Err(Unreadable::Ordinal { found: ordinal, expected: last.ordinal + 1 });
            }
            if seqno_at_least <= last.seqno {
                return Err(Unreadable::PreviousSequence { found: last.seqno, next: seqno_at_least });
            }
        }
        let in_line = seqno_at_least..seqno_at_least.saturating_add(MOST_SEQNOS_BETWEEN);
        if !in_line.contains(&self.seqno) {
            return Err(Unreadable::Sequence { found: self.seqno, expected: seqno_at_least });
        }
        Ok(())
    }
}

/// Reads bytes in order, never past their end.
struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn take(&mut self, length: usize) -> Result<&'a [u8], Unreadable> {
        let end = self.at.checked_add(length).ok_or(Unreadable::CutShort)?;
        let taken = self.bytes.get(self.at..end).ok_or(Unreadable::CutShort)?;
        self.at = end;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Unreadable> {
        self.take(N)?.try_into().map_err(|_| Unreadable::CutShort)
    }

    fn byte(&mut self) -> Result<u8, Unreadable> {
        Ok(u8::from_le_bytes(self.array()?))
    }

    fn length16(&mut self) -> Result<usize, Unreadable> {
        Ok(usize::from(u16::from_le_bytes(self.array()?)))
    }

    fn length32(&mut self) -> Result<usize, Unreadable> {
        usize::try_from(u32::from_le_bytes(self.array()?)).map_err(|_| Unreadable::CutShort)
    }
}

fn parse_batch(bytes: &[u8], from: usize) -> Result<Batch, Unreadable> {
    let mut reader = Reader { bytes, at: from };
    match reader.byte()? {
        START => {}
        other => return Err(Unreadable::NoStart(other)),
    }
    let count = u32::from_le_bytes(reader.array()?);
    let seqno = u64::from_le_bytes(reader.array()?);
    let mut mark = None;
    let mut items = 0_u32;
    loop {
        match reader.byte()? {
            ITEM => {
                reader.take(10)?; // its type, its compression, its keyspace
                let key_length = reader.length16()?;
                reader.take(4)?; // the value's length before compression
                let value_length = reader.length32()?;
                let key = reader.take(key_length)?;
                let value = reader.take(value_length)?;
                if key == Mark::KEY {
                    mark = Mark::from_bytes(value);
                }
                items = items.checked_add(1).ok_or(Unreadable::Count(count))?;
            }
            CLEAR => {
                reader.take(8)?;
                items = items.checked_add(1).ok_or(Unreadable::Count(count))?;
            }
            END => break,
            other => return Err(Unreadable::UnknownEntry(other)),
        }
        if items > count {
            return Err(Unreadable::Count(count));
        }
    }
    let body = from + START_BYTES..reader.at - 1;
    let checksum = u64::from_le_bytes(reader.array()?);
    if reader.take(TRAILER.len())? != TRAILER {
        return Err(Unreadable::Trailer);
    }
    if items != count {
        return Err(Unreadable::Count(count));
    }
    let mut hasher = Xxh3::new();
    hasher.update(&bytes[body]);
    if hasher.digest() != checksum {
        return Err(Unreadable::Checksum);
    }
    Ok(Batch { end: reader.at, seqno, mark: mark.ok_or(Unreadable::Unmarked)? })
}

#[cfg(test)]
mod tests;
