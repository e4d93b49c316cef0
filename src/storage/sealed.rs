//! Encryption of what callers wrote, between whoever decides and the store.
//!
//! A record is sealed as a whole: its bytes, as the codec writes them, are encrypted (XChaCha20-Poly1305, a random nonce),
//! bound to the key and the write that they belong to; beside them stands the same record without anything that callers
//! wrote. So a store keeps its indexes, a sweep counts and an operator forgets, without a key; and nothing of a
//! ciphertext can be put beside another record. What is opened must be what stands beside it.

mod keyring;

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use tracing::error;

use super::record_codec::{Codec, FormatVersion};
use super::{Freshness, Page, Put, Scan, Store, StoreError, Versioned, Write, WriteId};
use crate::domain::{
    Checkpoints, Detail, GivenUp, Kept, Key, Labels, Note, OperationResult, Phase, Record, Restored,
    Timestamp,
};

pub use keyring::{KEY_BYTES, KeyId, Keyring, Keyrings, NONCE_BYTES};

/// What callers wrote in a record, encrypted, and under which key.
#[derive(Clone, PartialEq, Eq)]
pub struct Sealed {
    /// The key's id.
    pub key_id: KeyId,
    /// The write that it was encrypted for.
    pub write_id: WriteId,
    /// Unique to this ciphertext.
    pub nonce: [u8; NONCE_BYTES],
    /// The encrypted record, and the tag that authenticates it.
    pub ciphertext: Bytes,
}

impl fmt::Debug for Sealed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes = self.ciphertext.len();
        f.debug_struct("Sealed").field("key_id", &self.key_id).field("bytes", &bytes).finish_non_exhaustive()
    }
}

/// Why a sealed record stays closed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Closed {
    /// Its key is not in the key file.
    #[error(
        "it is encrypted under the key {0}, which this server's key file does not have: put the key back, or, if it was \
         deleted on purpose, forget the record"
    )]
    NoSuchKey(KeyId),
    /// It is not what was written.
    #[error("what is encrypted under the key {0} was not written for this record, or is damaged")]
    NotGenuine(KeyId),
}

/// The record without anything that callers wrote: how it reads, and when it goes, is all that is left.
fn emptied(record: &Record) -> Record {
    let Record::Kept(kept) = record else { return record.clone() };
    let without = |note: &Option<Note>| note.as_ref().map(|_| Note::default());
    let phase = match &kept.phase {
        Phase::InProgress { lease_end, lease, on_lost_lease, given_up } => Phase::InProgress {
            lease_end: *lease_end,
            lease: *lease,
            on_lost_lease: *on_lost_lease,
            given_up: given_up
                .as_ref()
                .map(|given_up| GivenUp { detail: Detail::default(), ..given_up.clone() }),
        },
        Phase::Completed { result, resolution } => Phase::Completed {
            result: Arc::new(OperationResult {
                outcome: result.outcome,
                code: result.code,
                content_type: String::new(),
                headers: Vec::new(),
                payload: Bytes::new(),
                payload_omitted: result.payload_omitted,
            }),
            resolution: without(resolution),
        },
        Phase::Released { pause_until, resolution, .. } => Phase::Released {
            pause_until: *pause_until,
            detail: Detail::default(),
            resolution: without(resolution),
        },
    };
    Record::Kept(Kept {
        fingerprint: None,
        checkpoints: Checkpoints::default(),
        labels: Labels::default(),
        phase,
        ..kept.clone()
    })
}

/// What a ciphertext is bound to, so that it opens nowhere else: the write that made it, and the key's three texts.
fn bound_to(key: &Key, write_id: WriteId) -> Vec<u8> {
    let mut bytes = b"semel sealed record 1".to_vec();
    bytes.extend_from_slice(write_id.0.as_bytes());
    bytes.extend(key.to_bytes());
    bytes
}

/// Writes the earliest format that holds all of a record: whoever can read the sealed record can read what is in it.
fn codec() -> Codec {
    Codec::LATEST.writing(FormatVersion::FIRST).unwrap_or(Codec::LATEST)
}

/// `write`, with everything that callers wrote encrypted; as it is where they wrote nothing, or where their tenant has
/// no key.
fn seal(keyring: &Keyring, write: &Write) -> Option<Write> {
    let next = emptied(&write.next);
    if next == *write.next {
        return None;
    }
    let plain = codec().encode(&Versioned::new(write.write_id, write.next.clone()));
    let sealed = keyring.seal(&write.key, write.write_id, &plain)?;
    Some(Write { next: Arc::new(next), sealed: Some(Arc::new(sealed)), ..write.clone() })
}

/// The record as it was written; in a store that was restored, as the restore has changed it.
fn open(
    keyring: &Keyring,
    restored: Option<Restored>,
    (key, found): (&Key, &Versioned),
    sealed: &Sealed,
) -> Result<Versioned, Closed> {
    let not_genuine = || Closed::NotGenuine(sealed.key_id.clone());
    let plain = keyring.open(key, sealed)?;
    let opened = codec().decode(&plain).map_err(|_| not_genuine())?;
    if opened.write_id != sealed.write_id {
        return Err(not_genuine());
    }
    if opened.write_id == found.write_id && emptied(&opened.record) == *found.record {
        return Ok(opened);
    }
    let record = restored.ok_or_else(not_genuine)?.record((*opened.record).clone());
    if emptied(&record) == emptied(&found.record) {
        Ok(Versioned::new(found.write_id, Arc::new(record)))
    } else {
        Err(not_genuine())
    }
}

/// A store whose records are encrypted.
#[derive(Debug)]
pub struct Sealing {
    inner: Arc<dyn Store>,
    keyrings: Arc<Keyrings>,
}

impl Sealing {
    /// Encrypts what goes into `inner` under the keys in force, and opens what comes out of it.
    pub const fn new(inner: Arc<dyn Store>, keyrings: Arc<Keyrings>) -> Self {
        Self { inner, keyrings }
    }

    /// What was found, opened. What cannot be opened stays sealed: nobody takes it for an empty record.
    fn opened(&self, key: &Key, found: Option<Versioned>) -> Option<Versioned> {
        let found = found?;
        let Some(sealed) = &found.sealed else { return Some(found) };
        match open(&self.keyrings.current(), self.restored(), (key, &found), sealed) {
            Ok(opened) => Some(opened),
            Err(problem) => {
                error!(
                    semel.tenant = key.tenant.as_str(),
                    semel.endpoint = key.endpoint.as_str(),
                    semel.fence = found.record.fence().get(),
                    "a record cannot be opened: {problem}"
                );
                Some(found)
            }
        }
    }
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl Store for Sealing {
    async fn get(&self, key: &Key, freshness: Freshness) -> Result<Option<Versioned>, StoreError> {
        Ok(self.opened(key, self.inner.get(key, freshness).await?))
    }

    async fn compare_and_put(&self, write: &Write) -> Result<Put, StoreError> {
        let sealed = seal(&self.keyrings.current(), write);
        let put = self.inner.compare_and_put(sealed.as_ref().unwrap_or(write)).await?;
        Ok(match put {
            Put::Applied => Put::Applied,
            Put::Conflict(found) => Put::Conflict(self.opened(&write.key, found)),
        })
    }

    async fn scan(&self, scan: &Scan) -> Result<Page, StoreError> {
        let mut page = self.inner.scan(scan).await?;
        let keyring = self.keyrings.current();
        let (mut closed, mut first) = (0_usize, None);
        for (key, found) in &mut page.records {
            let Some(sealed) = &found.sealed else { continue };
            match open(&keyring, self.restored(), (key, found), sealed) {
                Ok(opened) => *found = opened,
                Err(problem) => {
                    closed += 1;
                    first.get_or_insert(problem);
                }
            }
        }
        if let Some(problem) = first {
            error!(records = closed, "records cannot be opened, the first of them because {problem}");
        }
        Ok(page)
    }

    async fn reclaim(&self, now: Timestamp, limit: usize) -> Result<usize, StoreError> {
        self.inner.reclaim(now, limit).await
    }

    async fn ping(&self) -> Result<(), StoreError> {
        self.inner.ping().await
    }

    fn restored(&self) -> Option<Restored> {
        self.inner.restored()
    }
}
