//! Where records are kept. Every backend passes `storage/conformance.rs`.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use uuid::Uuid;

use self::sealed::Sealed;
use crate::domain::{Interest, Key, Policy, Record, Restored, Tenant, Timestamp};

pub mod backup;
#[cfg(feature = "test-support")]
pub mod conformance;
pub mod copy;
pub mod embedded;
#[cfg(feature = "test-support")]
pub mod fault_injecting;
pub mod memory;
pub mod metered;
pub mod record_codec;
pub mod scylla;
pub mod sealed;
mod weight;

/// Keeps one record per key and changes it only under a condition.
///
/// A write that was answered with [`Put::Applied`], and every answer of [`Store::get`] and every
/// [`Put::Conflict`], is durable: it survives whatever the backend promises to survive. Per key, `compare_and_put`
/// is linearizable.
#[async_trait]
pub trait Store: fmt::Debug + Send + Sync + 'static {
    /// The record of `key`, as fresh as asked. Expiry is not the store's concern: it returns what is there.
    async fn get(&self, key: &Key, freshness: Freshness) -> Result<Option<Versioned>, StoreError>;

    /// Stores `write.next` if what is there is what `write.expected` says, and nothing otherwise.
    ///
    /// Finding `write.write_id` already there is success: the same write was sent before.
    async fn compare_and_put(&self, write: &Write) -> Result<Put, StoreError>;

    /// A page of records, in no particular order: each record that is there during the whole scan comes at
    /// least once, over all its pages. One that cannot be read is left out, and the log is told.
    async fn scan(&self, scan: &Scan) -> Result<Page, StoreError>;

    /// Drops up to `limit` rows whose `reclaim_at` is at or before `now`, and tells how many. A backend that
    /// reclaims by itself does nothing here.
    async fn reclaim(&self, now: Timestamp, limit: usize) -> Result<usize, StoreError>;

    /// Whether reads and writes are expected to work now.
    async fn ping(&self) -> Result<(), StoreError>;

    /// What the store knows of having been restored from a backup. It does not change while the store is open. Only the
    /// embedded store is restored by semel; a wrapper says what the store within says.
    fn restored(&self) -> Option<Restored> {
        None
    }
}

/// How a store is named in traces, by OpenTelemetry's conventions for databases.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreName {
    /// `db.system.name`.
    pub system: &'static str,
    /// `db.namespace`: the keyspace, where there is one.
    pub namespace: Option<String>,
    /// `db.collection.name`.
    pub collection: &'static str,
}

impl StoreName {
    /// A store that is a part of the server.
    pub const fn of_own(system: &'static str) -> Self {
        Self { system, namespace: None, collection: "record" }
    }
}

/// Names one logical write, however often it is sent; the version of the record that it made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct WriteId(pub Uuid);

/// What a read must not miss.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Freshness {
    /// Every write that was acknowledged before the read began.
    Acknowledged,
    /// Also the writes whose outcome was unknown: after this read they have happened, or never will. Where the store is
    /// a database, that is so of those that had begun there; one that is still on its way may happen later, if its
    /// condition holds then.
    Serial,
}

/// A record and the write that made it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Versioned {
    /// The write that made it.
    pub write_id: WriteId,
    /// What is stored.
    pub record: Arc<Record>,
    /// What callers wrote in it, where that is encrypted: the record has none of it then. Whoever holds it passes it on
    /// as it is, or opens it; nobody else may take the record for the whole.
    pub sealed: Option<Arc<Sealed>>,
}

impl Versioned {
    /// A record of which nothing is encrypted.
    pub const fn new(write_id: WriteId, record: Arc<Record>) -> Self {
        Self { write_id, record, sealed: None }
    }
}

/// The condition of a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expected {
    /// There is no record.
    Absent,
    /// There is the record that this write made.
    Version(WriteId),
}

/// A whole record, to be stored under a condition. Its row may go at `next.reclaim_at()`.
#[derive(Clone, Debug)]
pub struct Write {
    /// Whose record.
    pub key: Key,
    /// The condition.
    pub expected: Expected,
    /// Unique to this logical write; the same when it is sent again.
    pub write_id: WriteId,
    /// The record from then on.
    pub next: Arc<Record>,
    /// What callers wrote in it, where that is encrypted.
    pub sealed: Option<Arc<Sealed>>,
    /// The interest in the record that `expected` names, where it has the fence of `next`; [`Interest::Settled`] where
    /// it has another or there is none: what was noted of another attempt says nothing of this one. Like `becomes`, it
    /// is by the policy in force at this call: another may have said otherwise when that record was written.
    pub was: Interest,
    /// The interest in `next`. A store that does not list everything notes by these two what it has to list.
    pub becomes: Interest,
}

impl Write {
    /// The write that puts `next` in the place of `before`, as a call under `policy` decided.
    pub fn new(key: Key, before: Option<&Versioned>, next: Versioned, policy: &Policy) -> Self {
        Self {
            key,
            expected: before.map_or(Expected::Absent, |before| Expected::Version(before.write_id)),
            write_id: next.write_id,
            was: before
                .filter(|before| before.record.fence() == next.record.fence())
                .map_or(Interest::Settled, |before| before.record.interest(policy)),
            becomes: next.record.interest(policy),
            next: next.record,
            sealed: next.sealed,
        }
    }
}

impl Write {
    /// What is there once it is stored.
    pub fn made(&self) -> Versioned {
        Versioned { write_id: self.write_id, record: self.next.clone(), sealed: self.sealed.clone() }
    }

    /// Whether a key is open from then on that was not before: a first attempt, on nothing or on what had expired.
    pub fn opens(&self) -> bool {
        let first = matches!(&*self.next, Record::Kept(kept) if kept.attempt == 1);
        first && self.next.is_open() && self.was == Interest::Settled
    }

    /// Whether a key is no longer open that was before.
    pub fn closes(&self) -> bool {
        !self.next.is_open() && self.was > Interest::Settled
    }
}

/// What a conditional write came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Put {
    /// The record is stored.
    Applied,
    /// Something else is there.
    Conflict(Option<Versioned>),
}

/// Which records to page through.
#[derive(Clone, Debug)]
pub struct Scan {
    /// Which of them.
    pub scope: Scope,
    /// Whose; everybody's where absent.
    pub tenant: Option<Tenant>,
    /// Where the page before ended.
    pub after: Option<Cursor>,
    /// The most records in the page.
    pub limit: usize,
}

/// Which records a scan covers. Ordered: each scope covers the one before it, and a store that lists one lists those
/// before it too.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Scope {
    /// At least those that read as unresolved, or may come to without another call
    /// ([`Interest::MayEndUnresolved`]), and no settled one.
    Unresolved,
    /// Those that are neither completed nor forgotten ([`Record::is_open`]); settled ones are not touched.
    Open,
    /// All.
    All,
}

/// A place in a scan, opaque to all but the backend that made it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cursor(pub Vec<u8>);

/// Some records of a scan.
#[derive(Clone, Debug)]
pub struct Page {
    /// At most as many as were asked for.
    pub records: Vec<(Key, Versioned)>,
    /// Where to go on; absent at the end.
    pub next: Option<Cursor>,
}

/// Why the store did not do it. The text is for the log, never for a caller.
#[derive(Clone, Debug, thiserror::Error)]
pub enum StoreError {
    /// Nothing was written, and nothing of this call will be.
    #[error("the store is unavailable: {0}")]
    Unavailable(String),
    /// The write may have happened, or may still. Sending the same write again settles it.
    #[error("the store did not say whether the write happened: {0}")]
    OutcomeUnknown(String),
    /// This backend keeps no list of the records asked for.
    #[error("the store lists no more than {listed:?} records")]
    NotListed {
        /// The widest scope that it does list.
        listed: Scope,
    },
}
