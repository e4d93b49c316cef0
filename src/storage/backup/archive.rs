//! The file of a backup: a few fixed bytes, then frames, each with its length and a checksum.
//!
//! The checksum of a frame depends on its place, so none is missing, doubled or exchanged unnoticed; the last frame
//! counts the records, so no file is taken for whole that is not. Checksums find damage, not malice.

use std::io::{self, Read, Write};
use std::time::Duration;

use prost::Message;
use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::domain::Timestamp;
use crate::storage::embedded::StoredBatch;

/// How a backup begins. The line ends are there to be damaged where something takes the file for text.
const MAGIC: &[u8; 16] = b"semel backup\r\n\x1a\n";
/// The version of all that comes after the magic bytes.
const FORMAT: u8 = 1;
/// A frame's length and checksum.
const HEAD_BYTES: usize = 12;
/// The largest frame that is read: a record has a few MiB at most, and a batch of them one more.
const MOST_FRAME_BYTES: u32 = 64 * 1024 * 1024;

/// Why the bytes are not a backup that was written whole.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// They cannot be read.
    #[error("the backup cannot be read: {0}")]
    Read(#[from] io::Error),
    /// They are something else.
    #[error("this is no backup made by semel backup")]
    NoBackup,
    /// A later semel wrote it.
    #[error(
        "the backup has format {found}, and this semel reads format {FORMAT}: restore it with the semel that made it"
    )]
    LaterFormat {
        /// The format that it has.
        found: u8,
    },
    /// It ends before its end.
    #[error(
        "the backup is cut short after {bytes} bytes: what made it, or copied it, did not get to its end. Take another"
    )]
    CutShort {
        /// How many bytes there are.
        bytes: u64,
    },
    /// A byte of it is not what was written.
    #[error("the backup is damaged between byte {from} and byte {to}: take another copy of it")]
    Damaged {
        /// Where the frame begins.
        from: u64,
        /// Where it ends.
        to: u64,
    },
    /// There is something after its end.
    #[error(
        "the backup ends at byte {bytes}, and something comes after it: it was written over another file, or joined to one"
    )]
    MoreAfterTheEnd {
        /// Where it ends.
        bytes: u64,
    },
    /// Whoever wrote it gave up.
    #[error("the backup was given up: {0}")]
    GivenUp(String),
}

/// What is in a whole backup.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Contents {
    /// When it was made: what was acknowledged before is in it.
    pub created_at: Timestamp,
    /// How many records.
    pub records: u64,
    /// How many are missing from it, since they could not be read.
    pub unreadable: u64,
    /// The bytes of the file.
    pub bytes: u64,
}

/// What comes next in a backup.
#[derive(Debug)]
pub(super) enum Event {
    /// Records: key and record, as the store keeps them.
    Records(Vec<(Vec<u8>, Vec<u8>)>),
    /// The end: it is whole.
    End(Contents),
}

/// Writes a backup.
pub(super) struct Writer<W> {
    out: W,
    frames: u64,
    contents: Contents,
}

impl<W: Write> Writer<W> {
    pub(super) fn begin(out: W, created_at: Timestamp, longest_kept: Duration) -> io::Result<Self> {
        let contents = Contents { created_at, records: 0, unreadable: 0, bytes: 0 };
        let mut writer = Self { out, frames: 0, contents };
        writer.put(MAGIC)?;
        writer.put(&[FORMAT])?;
        let longest_kept = u64::try_from(longest_kept.as_micros()).unwrap_or(u64::MAX);
        let semel = env!("CARGO_PKG_VERSION").to_owned();
        writer.frame(Body::Header(Header { created_at: created_at.as_micros(), longest_kept, semel }))?;
        Ok(writer)
    }

    pub(super) fn add(&mut self, batch: StoredBatch) -> io::Result<()> {
        self.contents.records += batch.records.len() as u64;
        self.contents.unreadable += batch.unreadable;
        let entries = batch.records.into_iter().map(|(key, record)| Entry { key, record }).collect();
        self.frame(Body::Records(Records { entries }))
    }

    /// Ends it: from now on it is whole.
    pub(super) fn end(mut self) -> io::Result<Contents> {
        let Contents { records, unreadable, .. } = self.contents;
        self.frame(Body::End(End { records, unreadable }))?;
        self.out.flush()?;
        Ok(self.contents)
    }

    /// Says to whoever reads it why it will not be whole.
    pub(super) fn give_up(mut self, why: &str) -> io::Result<()> {
        self.frame(Body::GivenUp(why.to_owned()))?;
        self.out.flush()
    }

    fn frame(&mut self, body: Body) -> io::Result<()> {
        let body = Frame { body: Some(body) }.encode_to_vec();
        let length = u32::try_from(body.len())
            .ok()
            .filter(|length| *length <= MOST_FRAME_BYTES)
            .ok_or_else(|| io::Error::other("a record is larger than any may be"))?;
        let checksum = xxh3_64_with_seed(&body, self.frames);
        self.frames += 1;
        self.put(&length.to_le_bytes())?;
        self.put(&checksum.to_le_bytes())?;
        self.put(&body)
    }

    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.out.write_all(bytes)?;
        self.contents.bytes += bytes.len() as u64;
        Ok(())
    }
}

/// Says over `out`, where a backup was asked for, that there will be none.
pub(super) fn refuse(out: impl Write, now: Timestamp, why: &str) -> io::Result<()> {
    Writer::begin(out, now, Duration::ZERO)?.give_up(why)
}

/// Reads a backup, and lets nothing pass that is not as it was written.
pub(super) struct Reader<R> {
    from: R,
    frames: u64,
    longest_kept: Duration,
    contents: Contents,
}

impl<R: Read> Reader<R> {
    pub(super) fn begin(mut from: R) -> Result<Self, ArchiveError> {
        let mut start = Vec::with_capacity(MAGIC.len() + 1);
        (&mut from).take(MAGIC.len() as u64 + 1).read_to_end(&mut start)?;
        let bytes = start.len() as u64;
        if !MAGIC.starts_with(&start[..start.len().min(MAGIC.len())]) || start.is_empty() {
            return Err(ArchiveError::NoBackup);
        }
        match start.get(MAGIC.len()) {
            None => return Err(ArchiveError::CutShort { bytes }),
            Some(&FORMAT) => {}
            Some(&found) => return Err(ArchiveError::LaterFormat { found }),
        }
        let contents = Contents { created_at: Timestamp::default(), records: 0, unreadable: 0, bytes };
        let mut reader = Self { from, frames: 0, longest_kept: Duration::ZERO, contents };
        match reader.frame()? {
            (_, Body::Header(header)) => {
                reader.contents.created_at = Timestamp::from_micros(header.created_at);
                reader.longest_kept = Duration::from_micros(header.longest_kept);
                Ok(reader)
            }
            (from, _) => Err(reader.damaged(from)),
        }
    }

    /// When the backup was made.
    pub(super) const fn created_at(&self) -> Timestamp {
        self.contents.created_at
    }

    /// How long a record may have been kept after it changed, by the policies of then.
    pub(super) const fn longest_kept(&self) -> Duration {
        self.longest_kept
    }

    pub(super) fn next(&mut self) -> Result<Event, ArchiveError> {
        let (from, body) = self.frame()?;
        match body {
            Body::Records(records) => {
                self.contents.records += records.entries.len() as u64;
                let entries = records.entries.into_iter().map(|entry| (entry.key, entry.record));
                Ok(Event::Records(entries.collect()))
            }
            Body::End(End { records, unreadable }) if records == self.contents.records => {
                self.contents.unreadable = unreadable;
                if self.read_up_to(1)?.is_empty() {
                    Ok(Event::End(self.contents))
                } else {
                    Err(ArchiveError::MoreAfterTheEnd { bytes: self.contents.bytes })
                }
            }
            Body::GivenUp(why) => Err(ArchiveError::GivenUp(why)),
            Body::Header(_) | Body::End(_) => Err(self.damaged(from)),
        }
    }

    /// The next frame, and where it begins.
    fn frame(&mut self) -> Result<(u64, Body), ArchiveError> {
        let from = self.contents.bytes;
        let head = self.read_up_to(HEAD_BYTES as u64)?;
        let (Some((length, rest)), bytes) = (head.split_first_chunk::<4>(), from + head.len() as u64) else {
            return Err(ArchiveError::CutShort { bytes: from + head.len() as u64 });
        };
        let Ok(checksum) = <[u8; 8]>::try_from(rest) else { return Err(ArchiveError::CutShort { bytes }) };
        self.contents.bytes = bytes;
        let length = u32::from_le_bytes(*length);
        if length > MOST_FRAME_BYTES {
            return Err(self.damaged(from));
        }
        let body = self.read_up_to(length.into())?;
        self.contents.bytes += body.len() as u64;
        if body.len() as u64 != u64::from(length) {
            return Err(ArchiveError::CutShort { bytes: self.contents.bytes });
        }
        if xxh3_64_with_seed(&body, self.frames) != u64::from_le_bytes(checksum) {
            return Err(self.damaged(from));
        }
        self.frames += 1;
        let frame = Frame::decode(&*body).map_err(|_| self.damaged(from))?;
        Ok((from, frame.body.ok_or_else(|| self.damaged(from))?))
    }

    /// The next bytes: fewer than asked for only at the end.
    fn read_up_to(&mut self, length: u64) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        (&mut self.from).take(length).read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    /// It was read up to here, and not to its end.
    pub(super) const fn cut_short(&self) -> ArchiveError {
        ArchiveError::CutShort { bytes: self.contents.bytes }
    }

    const fn damaged(&self, from: u64) -> ArchiveError {
        ArchiveError::Damaged { from, to: self.contents.bytes }
    }
}

/// What a frame holds, as bytes: a protobuf message of our own.
#[derive(Clone, PartialEq, Message)]
struct Frame {
    #[prost(oneof = "Body", tags = "1, 2, 3, 4")]
    body: Option<Body>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
enum Body {
    #[prost(message, tag = "1")]
    Header(Header),
    #[prost(message, tag = "2")]
    Records(Records),
    #[prost(message, tag = "3")]
    End(End),
    /// Why there will be no more.
    #[prost(string, tag = "4")]
    GivenUp(String),
}

/// The first frame. Moments and lengths of time are in microseconds.
#[derive(Clone, PartialEq, Message)]
struct Header {
    #[prost(uint64, tag = "1")]
    created_at: u64,
    #[prost(uint64, tag = "2")]
    longest_kept: u64,
    /// The version that wrote it, for people.
    #[prost(string, tag = "3")]
    semel: String,
}

#[derive(Clone, PartialEq, Message)]
struct Records {
    #[prost(message, repeated, tag = "1")]
    entries: Vec<Entry>,
}

/// Key and record, each as the store keeps it.
#[derive(Clone, PartialEq, Message)]
struct Entry {
    #[prost(bytes = "vec", tag = "1")]
    key: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    record: Vec<u8>,
}

/// The last frame.
#[derive(Clone, PartialEq, Message)]
struct End {
    #[prost(uint64, tag = "1")]
    records: u64,
    #[prost(uint64, tag = "2")]
    unreadable: u64,
}
