//! Records on ScyllaDB or Apache Cassandra, shared by many servers: one lightweight transaction for each change.
//!
//! A write names itself by its write id and is conditional on the one before it, so that sending it again settles what a
//! timeout left open. Rows go by TTL. What may be listed is noted in plain rows beside the records (`hints`).

use std::fmt;
use std::sync::atomic::{AtomicI32, Ordering as Atomic};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use async_trait::async_trait;
use scylla::client::session::Session;
use scylla::errors::ExecutionError;
use scylla::response::query_result::QueryResult;
use tokio::sync::Semaphore;
use tokio_util::sync::{CancellationToken, DropGuard};
use tracing::{debug, error, info, warn};
use uuid::Uuid;

use super::record_codec::Codec;
use super::{Expected, Freshness, Page, Put, Scan, Scope, Store, StoreError, Versioned, Write, WriteId};
use crate::domain::{Clock, Interest, Key, Phase, Record, Timestamp};

mod connect_error;
mod errors;
mod expiry;
mod full_scan;
mod hints;
mod listing;
mod place;
mod probe;
mod repair;
mod rows;
pub mod schema;
mod session;
mod settings;
mod statements;
#[cfg(feature = "test-support")]
pub mod test_support;
mod tls;

pub use connect_error::ConnectError;
pub use full_scan::FullScan;
pub use settings::{ClientCertificate, Credentials, Listing, Ordering, Settings, Tls};

use hints::Hints;
use place::Place;
use rows::{Answer, Damage, Row};
use session::Connected;
use statements::Statements;

/// How much is cleared away at once behind the calls. What does not fit is left to a later scan.
const IN_THE_BACKGROUND: usize = 64;

/// The store on a database.
#[derive(Debug)]
pub struct ScyllaStore {
    shared: Arc<Shared>,
    /// Ends the task that looks at the schema.
    _watch: DropGuard,
}

/// What the calls, and what they leave behind them, have in common.
struct Shared {
    settings: Settings,
    session: Session,
    statements: Statements,
    hints: Hints,
    clock: Arc<dyn Clock>,
    /// The format in which records are written: the schema names it.
    codec: Mutex<Codec>,
    longest_ttl: AtomicI32,
    background: Arc<Semaphore>,
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").field("settings", &self.settings).finish_non_exhaustive()
    }
}

impl ScyllaStore {
    /// Connects, and checks that the schema is one that this release works with.
    pub async fn connect(settings: Settings, clock: Arc<dyn Clock>) -> Result<Self, ConnectError> {
        let connected = session::open(&settings).await?;
        let (state, current) = schema::checked(&connected, &settings).await?;
        let Connected { session, datacenter, .. } = connected;
        let prepare = async |session: &Session| {
            let statements = Statements::prepare(session, &settings.keyspace, settings.ordering).await?;
            Ok((statements, Hints::prepare(session, &settings.keyspace, settings.ordering).await?))
        };
        let (statements, hints) = prepare(&session).await.map_err(|error| ConnectError::preparing(&error))?;
        info!(
            database = %state.database,
            datacenter,
            keyspace = settings.keyspace,
            schema = state.number,
            record_format = %state.record_format,
            "connected to the database"
        );
        for advice in &state.advice {
            warn!("{advice}");
        }
        let shared = Arc::new(Shared {
            codec: Mutex::new(settings.codec),
            longest_ttl: AtomicI32::new(current.longest_ttl),
            background: Arc::new(Semaphore::new(IN_THE_BACKGROUND)),
            settings,
            session,
            statements,
            hints,
            clock,
        });
        shared.follow(current);
        let stop = CancellationToken::new();
        tokio::spawn(watch_schema(Arc::downgrade(&shared), stop.clone(), current.ends_in_2038));
        Ok(Self { shared, _watch: stop.drop_guard() })
    }

    /// The longest that the database keeps a row now.
    pub fn longest_kept(&self) -> Duration {
        let seconds = self.shared.longest_ttl.load(Atomic::Relaxed);
        Duration::from_secs(u64::try_from(seconds).unwrap_or(0))
    }

    /// How many requests were sent to the database so far, those that failed included.
    #[cfg(feature = "test-support")]
    pub fn requests(&self) -> u64 {
        self.shared.session.get_metrics().get_requests_unpaged_num()
    }
}

/// Keeps to what the schema says, while the store is there.
async fn watch_schema(shared: Weak<Shared>, stop: CancellationToken, ends_in_2038: bool) {
    let Some(every) = shared.upgrade().map(|shared| shared.settings.schema_look_every) else { return };
    loop {
        tokio::select! {
            () = tokio::time::sleep(every) => {}
            () = stop.cancelled() => return,
        }
        let Some(shared) = shared.upgrade() else { return };
        match schema::current(&shared.session, &shared.settings, ends_in_2038).await {
            Ok(current) => shared.follow(current),
            // The database may be out of reach; what was known last holds. A schema that is too new is another matter.
            Err(error) if error.may_pass() => debug!(%error, "the schema was not looked at"),
            Err(error) => error!(%error, "this server must be upgraded"),
        }
    }
}

impl Shared {
    fn follow(&self, current: schema::Current) {
        self.longest_ttl.store(current.longest_ttl, Atomic::Relaxed);
        let Ok(codec) = self.settings.codec.writing(current.record_format) else { return };
        let mut present = self.codec.lock().unwrap_or_else(PoisonError::into_inner);
        if *present != codec {
            info!(record_format = %current.record_format, "records are written in this format from now on");
            *present = codec;
        }
    }

    fn codec(&self) -> Codec {
        *self.codec.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn ttl(&self, reclaim_at: Timestamp) -> i32 {
        expiry::ttl(reclaim_at, self.clock.now(), self.longest_ttl.load(Atomic::Relaxed))
    }

    /// What is there; damage is repaired first.
    async fn read(&self, key: &Key, freshness: Freshness) -> Result<Option<Versioned>, StoreError> {
        let statement = match freshness {
            Freshness::Acknowledged => &self.statements.read,
            Freshness::Serial => &self.statements.read_serial,
        };
        let (tenant, endpoint, name) = parts(key);
        let answer = self.session.execute_unpaged(statement, (tenant, endpoint, name)).await;
        let answer = answer.map_err(|error| errors::of_read(&error))?;
        let row = rows::first_row(answer).and_then(rows::row).map_err(|error| self.refused(key, &error))?;
        self.whole(key, row).await
    }

    /// The record in `row`, once it is whole.
    async fn whole(&self, key: &Key, row: Row) -> Result<Option<Versioned>, StoreError> {
        let row = match row {
            Row::Damaged(damage) => self.repair(key, &damage).await?,
            row => row,
        };
        match row {
            Row::Absent => Ok(None),
            Row::Whole { write_id, record } => {
                let found = self.codec().decode(&record).map_err(|error| self.refused(key, &error))?;
                if found.write_id != write_id {
                    let apart = "its write id is not that of the record in it";
                    return Err(self.refused(key, &apart));
                }
                Ok(Some(found))
            }
            Row::Damaged(_) => Err(self.refused(key, &"it is still damaged after it was repaired")),
        }
    }

    /// Puts something whole in the place of a damaged row, and returns what is there then: another may have been
    /// faster, which is as good.
    async fn repair(&self, key: &Key, damage: &Damage) -> Result<Row, StoreError> {
        let mine = WriteId(Uuid::new_v4());
        let codec = self.codec();
        let next = repair::repaired(damage, mine, self.clock.now(), codec)
            .map_err(|error| self.refused(key, &error))?;
        error!(
            semel.tenant = key.tenant.as_str(),
            semel.endpoint = key.endpoint.as_str(),
            fence = next.record.fence().get(),
            "a row is damaged: one of its columns is gone, which no semel does; it is repaired, and where its record is \
             gone, an operator must resolve the key"
        );
        let ttl = self.ttl(next.record.reclaim_at());
        // It may be unresolved from here on, so it must be found.
        if next.record.is_open() {
            self.note(key, &next.record).await.map_err(|error| errors::of_read(&error))?;
        }
        let record = codec.encode(&next);
        let (expected_id, expected_record) = match damage {
            Damage::RecordGone(write_id) => (Some(write_id.0), None),
            Damage::WriteIdGone(record) => (None, Some(record.as_slice())),
        };
        let (tenant, endpoint, name) = parts(key);
        let values = (ttl, next.write_id.0, &record, tenant, endpoint, name, expected_id, expected_record);
        let answer = self.session.execute_unpaged(&self.statements.repair, values).await;
        // Whatever became of it: the next call finds out.
        let answer = answer.map_err(|error| errors::of_read(&error))?;
        match rows::first_row(answer).and_then(rows::answer).map_err(|error| self.refused(key, &error))? {
            Answer::Applied => Ok(Row::Whole { write_id: next.write_id, record }),
            Answer::Refused(row) => Ok(row),
        }
    }

    /// Sends a conditional write once.
    async fn send(&self, write: &Write) -> Result<QueryResult, ExecutionError> {
        let ttl = self.ttl(write.next.reclaim_at());
        let record = self.codec().encode(&write.made());
        let (tenant, endpoint, key) = parts(&write.key);
        let made_by = write.write_id.0;
        match write.expected {
            Expected::Absent => {
                let values = (ttl, made_by, record, tenant, endpoint, key);
                self.session.execute_unpaged(&self.statements.first, values).await
            }
            Expected::Version(WriteId(expected)) => {
                let values = (ttl, made_by, record, tenant, endpoint, key, expected);
                self.session.execute_unpaged(&self.statements.later, values).await
            }
        }
    }

    /// Writes the hint for what `record` says of `key`.
    async fn note(&self, key: &Key, record: &Record) -> Result<(), ExecutionError> {
        let ttl = self.ttl(record.reclaim_at().plus(hints::LONGER_THAN_ITS_RECORD));
        self.hints.put(&self.session, key, record.fence(), ttl, self.clock.now()).await
    }

    fn is_listed(&self, interest: Interest) -> bool {
        match self.settings.listing {
            Listing::Unresolved => interest == Interest::MayEndUnresolved,
            Listing::Open => interest > Interest::Settled,
        }
    }

    /// Does `work` behind the call, unless there is too much already.
    fn in_the_background<Work, Done>(self: &Arc<Self>, work: Work)
    where
        Work: FnOnce(Arc<Self>) -> Done + Send + 'static,
        Done: Future<Output = Result<(), StoreError>> + Send,
    {
        let Ok(permit) = Arc::clone(&self.background).try_acquire_owned() else { return };
        let shared = Arc::clone(self);
        tokio::spawn(async move {
            if let Err(error) = work(shared).await {
                debug!(%error, "left for later");
            }
            drop(permit);
        });
    }

    /// Drops the hint of a place behind the call.
    fn forget(self: &Arc<Self>, place: Place) {
        self.in_the_background(async move |shared: Arc<Self>| {
            shared.hints.drop(&shared.session, &place).await.map_err(|error| errors::of_read(&error))
        });
    }

    /// The error for a row that is not to be worked with. It is reported, and nothing is done about it.
    fn refused(&self, key: &Key, reason: &dyn fmt::Display) -> StoreError {
        error!(
            semel.tenant = key.tenant.as_str(),
            semel.endpoint = key.endpoint.as_str(),
            keyspace = self.settings.keyspace,
            %reason,
            "a row is refused, and the calls on its key with it"
        );
        StoreError::Unavailable(format!("a row is refused: {reason}"))
    }
}

fn parts(key: &Key) -> (&str, &str, &str) {
    (key.tenant.as_str(), key.endpoint.as_str(), key.idempotency_key.as_str())
}

/// Whether `next` is of an attempt that this write begins: its fence is no older than its last change.
fn begins(next: &Record) -> bool {
    next.fence().moment() >= next.changed_at()
}

/// Whether nothing that is written with this fence can need a hint any more. While an attempt is under way a change of
/// policy may bring the need back, and a hint that is dropped late must not be one that is needed again.
fn is_over(record: &Record) -> bool {
    !matches!(record, Record::Kept(kept) if matches!(kept.phase, Phase::InProgress { .. }))
}

#[async_trait]
impl Store for ScyllaStore {
    async fn get(&self, key: &Key, freshness: Freshness) -> Result<Option<Versioned>, StoreError> {
        self.shared.read(key, freshness).await
    }

    async fn compare_and_put(&self, write: &Write) -> Result<Put, StoreError> {
        let shared = &self.shared;
        let note = || shared.note(&write.key, &write.next);
        let may_end_unresolved = write.becomes == Interest::MayEndUnresolved;
        let answer = if may_end_unresolved && (write.was != write.becomes || begins(&write.next)) {
            // First: should this server end after the write, the record is found all the same.
            note().await.map_err(|error| errors::of_read(&error))?;
            shared.send(write).await
        } else if shared.is_listed(write.becomes) {
            let (answer, noted) = tokio::join!(shared.send(write), note());
            if let Err(error) = noted {
                debug!(error = errors::described(&error), "a hint was not refreshed");
            }
            answer
        } else {
            shared.send(write).await
        };
        let answer = answer.map_err(|error| errors::of_write(&error))?;
        let answer = rows::first_row(answer).and_then(rows::answer).map_err(|error| {
            // It was an answer; which one, nobody knows.
            StoreError::OutcomeUnknown(error.to_string())
        })?;
        let put = match answer {
            Answer::Applied => Put::Applied,
            Answer::Refused(Row::Whole { write_id, .. }) if write_id == write.write_id => Put::Applied,
            Answer::Refused(row) => Put::Conflict(shared.whole(&write.key, row).await?),
        };
        if put == Put::Applied
            && shared.is_listed(write.was)
            && !shared.is_listed(write.becomes)
            && is_over(&write.next)
        {
            shared.forget(Place { fence: write.next.fence(), key: write.key.clone() });
        }
        Ok(put)
    }

    async fn scan(&self, scan: &Scan) -> Result<Page, StoreError> {
        let listed = match self.shared.settings.listing {
            Listing::Unresolved => Scope::Unresolved,
            Listing::Open => Scope::Open,
        };
        if scan.scope > listed {
            return Err(StoreError::NotListed { listed });
        }
        listing::page(&self.shared, scan).await
    }

    /// The database reclaims by itself.
    async fn reclaim(&self, _: Timestamp, _: usize) -> Result<usize, StoreError> {
        Ok(0)
    }

    async fn ping(&self) -> Result<(), StoreError> {
        // Reads that need as many replicas as any other, each of a key that is somewhere else and that nobody has.
        probe::any_answer(|| async {
            let key = Uuid::new_v4().to_string();
            let answer =
                self.shared.session.execute_unpaged(&self.shared.statements.read, ("-", "-", &key)).await;
            answer.map(|_| ()).map_err(|error| errors::of_read(&error))
        })
        .await
    }
}
