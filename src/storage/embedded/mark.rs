//! What marks a batch as one of this store's, and where it belongs among them.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

use uuid::Uuid;

use super::sealed_text;

/// A random number that every batch of a store holds. Whoever writes records cannot know it, so no payload can pass
/// for a batch. It never changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct StoreId(pub(super) [u8; 16]);

impl StoreId {
    /// The file in the engine's directory that holds it.
    pub(super) const FILE: &'static str = "semel";
    /// How the file begins: the version of the layout of keyspaces, keys and marks.
    const FORMAT: &'static str = "semel embedded store, format 1";

    /// Makes the file of a new store, and syncs it.
    pub(super) fn create(directory: &Path) -> io::Result<Self> {
        let id = Uuid::new_v4();
        let text = format!("{}\nid {}\n", Self::FORMAT, id.simple());
        let mut file = File::create(directory.join(Self::FILE))?;
        file.write_all(sealed_text::seal(&text).as_bytes())?;
        file.sync_all()?;
        Ok(Self(id.into_bytes()))
    }

    /// Reads the file; in words, why this directory is not to be opened.
    pub(super) fn read(directory: &Path) -> Result<Self, String> {
        let path = directory.join(Self::FILE);
        let text = fs::read_to_string(&path).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => format!(
                "{} is missing. Either it was made by a version of semel before the first release, whose format is \
                 no longer read: begin with an empty directory; or the file was lost: restore it from a backup of \
                 this directory, of any age",
                path.display()
            ),
            _ => format!("{}: {error}", path.display()),
        })?;
        if text.starts_with("semel embedded store") && !text.starts_with(Self::FORMAT) {
            let format = text.lines().next().unwrap_or_default();
            return Err(format!(
                "its format is \"{format}\", and this version of semel reads \"{}\"",
                Self::FORMAT
            ));
        }
        Self::parse(&text).ok_or_else(|| {
            format!(
                "{} is damaged. It never changes: restore it from a backup of this directory, of any age",
                path.display()
            )
        })
    }

    fn parse(text: &str) -> Option<Self> {
        let id = sealed_text::open(text)?.strip_prefix(Self::FORMAT)?.strip_prefix("\nid ")?.trim_end();
        Some(Self(Uuid::try_parse(id).ok()?.into_bytes()))
    }
}

/// The item that every batch of ours holds in each keyspace. The checksum of a batch covers its items, but neither
/// its sequence number nor its place; the mark covers both.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Mark {
    /// Whose batch it is.
    pub(super) store: StoreId,
    /// One more than in the batch before.
    pub(super) ordinal: u64,
    /// At most the batch's own sequence number, and above that of the batch before.
    pub(super) seqno_at_least: u64,
    /// How many bytes of the journal the batch takes. The last mark ends it: so a batch is found from its end.
    pub(super) length: u64,
}

impl Mark {
    /// Its key in each keyspace, past every entry there: no record's key begins with 0xFF.
    pub(super) const KEY: &'static [u8] = b"\xff\xff\xff\xff\xff\xff\xff\xff\xffmark";
    /// The length of its value.
    pub(super) const BYTES: usize = 40;

    /// Its value.
    pub(super) fn to_bytes(self) -> [u8; Self::BYTES] {
        let mut bytes = [0; Self::BYTES];
        bytes[..16].copy_from_slice(&self.store.0);
        bytes[16..24].copy_from_slice(&self.ordinal.to_be_bytes());
        bytes[24..32].copy_from_slice(&self.seqno_at_least.to_be_bytes());
        bytes[32..].copy_from_slice(&self.length.to_be_bytes());
        bytes
    }

    /// Reads back what [`Self::to_bytes`] wrote.
    pub(super) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (store, rest) = bytes.split_first_chunk::<16>()?;
        let (ordinal, rest) = rest.split_first_chunk::<8>()?;
        let (seqno_at_least, rest) = rest.split_first_chunk::<8>()?;
        Some(Self {
            store: StoreId(*store),
            ordinal: u64::from_be_bytes(*ordinal),
            seqno_at_least: u64::from_be_bytes(*seqno_at_least),
            length: u64::from_be_bytes(rest.try_into().ok()?),
        })
    }
}
