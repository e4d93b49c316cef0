//! The bytes of the engine's journal, read as strictly as they are written.
//!
//! The format is that of fjall 3.1 (`journal/entry.rs`), which Cargo.toml pins. A batch is
//! `1, items: u32, seqno: u64`, its items, `3, checksum: u64, "FJL\x03"`; an item is
//! `2, type: u8, compression: u8, keyspace: u64, key length: u16, value length: u32, stored length: u32, key, value`;
//! all little-endian; the checksum is XXH3 over the items' bytes. New files are padded with zeros.

use xxhash_rust::xxh3::Xxh3;

use super::mark::{Mark, StoreId};

pub(super) const START: u8 = 1;
pub(super) const ITEM: u8 = 2;
pub(super) const END: u8 = 3;
pub(super) const CLEAR: u8 = 4;
pub(super) const TRAILER: &[u8] = b"FJL\x03";
/// What comes before a batch's items, what an item takes besides its key and value, and what comes after the items.
pub(super) const START_BYTES: usize = 13;
pub(super) const ITEM_BYTES: usize = 21;
pub(super) const END_BYTES: usize = 13;

/// How many sequence numbers the engine may have taken for itself between a mark and its batch.
const MOST_SEQNOS_BETWEEN: u64 = 1024;

/// Whether an intact batch of this store, later than `last`, begins anywhere at or after `from`.
///
/// Only where a mark with the store's id says that it ends: nobody who writes records knows the id, and so each byte
/// is looked at a bounded number of times, whatever they wrote.
pub(super) fn holds_batch(bytes: &[u8], from: usize, store: StoreId, last: Option<u64>) -> bool {
    let needle = [Mark::KEY, &store.0].concat();
    let found = bytes[from..].windows(needle.len()).enumerate().filter(|(_, window)| *window == needle);
    let mut starts = found.filter_map(|(at, _)| {
        let value = from + at + Mark::KEY.len();
        let mark = Mark::from_bytes(bytes.get(value..value + Mark::BYTES)?)?;
        let end = value + Mark::BYTES + END_BYTES;
        let start = end.checked_sub(usize::try_from(mark.length).ok()?)?;
        (start >= from && last.is_none_or(|last| mark.ordinal > last)).then_some(start)
    });
    starts.any(|start| parse_batch(bytes, start, store).is_ok())
}

/// Why there is no intact batch here.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Unreadable {
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
    #[error("it holds no mark of this store's")]
    Unmarked,
    #[error("it is not as long as its mark says")]
    Length,
    #[error("its sequence number {found} is out of line with {expected}")]
    Sequence { found: u64, expected: u64 },
    #[error("the sequence number {found} of the batch before it is out of line with {next}")]
    PreviousSequence { found: u64, next: u64 },
    #[error("it is batch {found} where batch {expected} was due")]
    Ordinal { found: u64, expected: u64 },
}

/// An intact batch.
pub(super) struct Batch {
    /// Where it ends.
    pub(super) end: usize,
    pub(super) seqno: u64,
    pub(super) mark: Mark,
}

impl Batch {
    /// Whether it is the batch that follows `last`.
    pub(super) fn check_place(&self, last: Option<Place>) -> Result<(), Unreadable> {
        let Mark { ordinal, seqno_at_least, .. } = self.mark;
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

/// Where a batch stands in the sequence of all, and where it was found.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    pub(super) seqno: u64,
    pub(super) ordinal: u64,
    pub(super) file: usize,
    pub(super) offset: usize,
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

/// Reads the batch that begins at `from`.
pub(super) fn parse_batch(bytes: &[u8], from: usize, store: StoreId) -> Result<Batch, Unreadable> {
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
    let mark = mark.filter(|mark| mark.store == store).ok_or(Unreadable::Unmarked)?;
    if mark.length != (reader.at - from) as u64 {
        return Err(Unreadable::Length);
    }
    Ok(Batch { end: reader.at, seqno, mark })
}
