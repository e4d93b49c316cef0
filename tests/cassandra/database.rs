//! A keyspace of its own for each test, a store on it, and what a test does behind the store's back.

use std::net::SocketAddr;
use std::num::NonZeroU8;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use scylla::client::session::Session;
use scylla::deserialize::row::DeserializeRow;
use scylla::errors::ExecutionError;
use semel::domain::{Clock, Key, OnLostLease, Policy, Record, Timestamp};
use semel::storage::scylla::schema::{self, Replication};
use semel::storage::scylla::{ScyllaStore, Settings};
use semel::storage::{Freshness, Put, Scan, Scope, Store, StoreError, Versioned, Write, WriteId};
use uuid::Uuid;

use crate::cluster::{self, Cluster, DATACENTER};

/// Stands still until it is told otherwise.
#[derive(Debug)]
pub(crate) struct SetClock(AtomicU64);

impl SetClock {
    pub(crate) fn at(micros: u64) -> Arc<Self> {
        Arc::new(Self(AtomicU64::new(micros)))
    }

    pub(crate) fn advance(&self, by: Duration) {
        self.0.fetch_add(u64::try_from(by.as_micros()).expect("short"), Ordering::Relaxed);
    }
}

impl Clock for SetClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_micros(self.0.load(Ordering::Relaxed))
    }
}

/// A keyspace with semel's tables. It is not dropped: before a node drops anything it writes out everything, and no
/// cluster outlives the tests.
#[derive(Debug)]
pub(crate) struct Database {
    pub(crate) settings: Settings,
    session: Session,
}

impl Database {
    /// A new one, with as many replicas as there are nodes.
    pub(crate) async fn new(cluster: &Cluster) -> Self {
        let keyspace = format!("k{}", Uuid::new_v4().simple());
        let settings = Settings::new(cluster.contact_points(), keyspace);
        let replicas = u8::try_from(cluster.contact_points().len()).expect("few");
        schema::apply(&settings, Some(&replication(replicas))).await.expect("the schema is applied");
        let node: SocketAddr = cluster.contact_points()[0].parse().expect("an address");
        Self { settings, session: cluster::connect(node, None).await.expect("a session") }
    }

    pub(crate) async fn store(&self, clock: &Arc<SetClock>) -> Arc<ScyllaStore> {
        self.store_with(self.settings.clone(), clock).await
    }

    pub(crate) async fn store_with(&self, settings: Settings, clock: &Arc<SetClock>) -> Arc<ScyllaStore> {
        let clock: Arc<dyn Clock> = clock.clone();
        Arc::new(ScyllaStore::connect(settings, clock).await.expect("the store opens"))
    }

    /// Executes a statement, in which `KS` is this one.
    pub(crate) async fn execute(&self, statement: &str) {
        self.session
            .query_unpaged(self.named(statement), &[])
            .await
            .unwrap_or_else(|error| panic!("{statement}: {error}"));
    }

    /// The rows of a question, in which `KS` is this one.
    pub(crate) async fn ask<R>(&self, question: &str) -> Vec<R>
    where
        R: for<'f, 'm> DeserializeRow<'f, 'm>,
    {
        self.try_ask(question).await.unwrap_or_else(|error| panic!("{question}: {error}"))
    }

    /// The same, where nodes may be too few or too slow to answer.
    pub(crate) async fn try_ask<R>(&self, question: &str) -> Result<Vec<R>, ExecutionError>
    where
        R: for<'f, 'm> DeserializeRow<'f, 'm>,
    {
        let answer = self.session.query_unpaged(self.named(question), &[]).await?;
        let rows = answer.into_rows_result().expect("rows");
        Ok(rows.rows::<R>().expect("of this type").collect::<Result<_, _>>().expect("of this type"))
    }

    /// Whether a question is answered at all.
    pub(crate) async fn is_answered(&self, question: &str) -> bool {
        self.session.query_unpaged(self.named(question), &[]).await.is_ok()
    }

    /// Asks until the answer is `wanted`: for what happens behind the calls.
    pub(crate) async fn until<R>(&self, question: &str, wanted: &[R])
    where
        R: for<'f, 'm> DeserializeRow<'f, 'm> + PartialEq + std::fmt::Debug,
    {
        for _ in 0..3000 {
            if self.ask::<R>(question).await == wanted {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("{question}: {:?}, and {wanted:?} is due", self.ask::<R>(question).await);
    }

    fn named(&self, statement: &str) -> String {
        statement.replace("KS.", &format!("{}.", self.settings.keyspace))
    }
}

pub(crate) fn replication(replicas: u8) -> Replication {
    let replicas = NonZeroU8::new(replicas).expect("at least one");
    Replication::new([(DATACENTER.to_owned(), replicas)]).expect("one datacenter")
}

/// A policy under which a lost attempt is unresolved.
pub(crate) fn mark_unknown() -> Policy {
    Policy { on_lost_lease: OnLostLease::MarkUnknown, ..Policy::default() }
}

pub(crate) fn write(key: &Key, before: Option<&Versioned>, record: Record, policy: &Policy) -> Write {
    let next = Versioned::new(WriteId(Uuid::new_v4()), Arc::new(record));
    Write::new(key.clone(), before, next, policy)
}

pub(crate) fn made_by(write: &Write) -> Versioned {
    write.made()
}

/// Writes a record in the place of `before`, which must work, and returns it.
pub(crate) async fn put(
    store: &dyn Store,
    key: &Key,
    before: Option<&Versioned>,
    record: Record,
    policy: &Policy,
) -> Versioned {
    let write = write(key, before, record, policy);
    assert_eq!(settled(store, &write).await.expect("the store writes"), Put::Applied);
    made_by(&write)
}

/// Sends a write until its outcome is known.
pub(crate) async fn settled(store: &dyn Store, write: &Write) -> Result<Put, StoreError> {
    loop {
        match store.compare_and_put(write).await {
            Err(StoreError::OutcomeUnknown(_)) => {}
            other => return other,
        }
    }
}

pub(crate) async fn read(store: &dyn Store, key: &Key) -> Option<Versioned> {
    store.get(key, Freshness::Acknowledged).await.expect("the store reads")
}

/// The keys of all pages of a scan, in the order of the pages.
pub(crate) async fn listed(store: &dyn Store, scope: Scope, limit: usize) -> Vec<Key> {
    let mut keys = Vec::new();
    let mut after = None;
    loop {
        let page = store.scan(&Scan { scope, tenant: None, after, limit }).await.expect("the store scans");
        assert!(page.records.len() <= limit);
        keys.extend(page.records.into_iter().map(|(key, _)| key));
        after = page.next;
        if after.is_none() {
            return keys;
        }
    }
}
