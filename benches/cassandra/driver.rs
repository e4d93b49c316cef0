//! The driver alone: what semel's conditional updates cost without semel.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use scylla::client::execution_profile::ExecutionProfile;
use scylla::client::session::Session;
use scylla::client::session_builder::SessionBuilder;
use scylla::policies::retry::FallthroughRetryPolicy;
use scylla::statement::prepared::PreparedStatement;
use scylla::statement::{Consistency, SerialConsistency};
use scylla::value::Row;
use semel::bench::Phases;
use tokio::task::JoinSet;
use uuid::Uuid;

use crate::cluster::Cluster;

/// Writes rows like those of a semel server, and nothing else.
#[derive(Debug)]
pub(crate) struct Driver {
    shared: Arc<Shared>,
    concurrency: usize,
}

#[derive(Debug)]
struct Shared {
    session: Session,
    first: PreparedStatement,
    later: PreparedStatement,
    begun: Vec<Pattern>,
    completed: Vec<Pattern>,
}

/// How many rows of semel's are the patterns: so many that no two which the disk compresses together are alike.
pub(crate) const PATTERNS: u64 = 1000;

/// A row as semel wrote it.
#[derive(Debug)]
struct Pattern {
    tenant: String,
    endpoint: String,
    key: String,
    record: Vec<u8>,
    ttl: i32,
}

/// The rows that a phase wrote.
pub(crate) type Begun = Vec<(String, Uuid)>;

impl Driver {
    /// Takes for its patterns what `server` writes for Begins and for their Completes, on a table that was empty.
    pub(crate) async fn like(server: &Phases, cluster: &Cluster, keyspace: &str, concurrency: usize) -> Self {
        // As src/storage/scylla/session.rs has it.
        let profile = ExecutionProfile::builder()
            .consistency(Consistency::LocalQuorum)
            .serial_consistency(Some(SerialConsistency::LocalSerial))
            .retry_policy(Arc::new(FallthroughRetryPolicy::new()))
            .speculative_execution_policy(None)
            .build();
        let session = SessionBuilder::new()
            .known_nodes(cluster.contact_points())
            .default_execution_profile_handle(profile.into_handle())
            .build()
            .await
            .unwrap();
        // As src/storage/scylla/statements.rs has them.
        let update = format!(
            "UPDATE \"{keyspace}\".record USING TTL ? SET write_id = ?, record = ? \
             WHERE tenant = ? AND endpoint = ? AND key = ? IF"
        );
        let prepare = async |condition: &str| session.prepare(format!("{update} {condition}")).await.unwrap();
        let first = prepare("write_id = null AND record = null").await;
        let later = prepare("write_id = ? AND record != null").await;
        let keys = server.begin(0..PATTERNS).await;
        let begun = patterns(&session, keyspace).await;
        server.complete(keys).await;
        let completed = patterns(&session, keyspace).await;
        let shared = Shared { session, first, later, begun, completed };
        Self { shared: Arc::new(shared), concurrency }
    }

    /// Writes a row for each number, where none is.
    pub(crate) async fn begin(&self, keys: Range<u64>) -> Begun {
        let next = Arc::new(AtomicU64::new(keys.start));
        let mut writers = JoinSet::new();
        for _ in 0..self.concurrency {
            let (shared, next) = (self.shared.clone(), next.clone());
            writers.spawn(async move {
                let mut begun = Begun::new();
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= keys.end {
                        return begun;
                    }
                    let row = nth(&shared.begun, number);
                    let (key, made_by) = (row.key_like(number), Uuid::new_v4());
                    let values = (row.ttl, made_by, &row.record, &row.tenant, &row.endpoint, &key);
                    shared.applied(&shared.first, values).await;
                    begun.push((key, made_by));
                }
            });
        }
        writers.join_all().await.into_iter().flatten().collect()
    }

    /// Writes each of these rows anew, where it is as it was written.
    pub(crate) async fn complete(&self, begun: Begun) {
        let (next, begun) = (Arc::new(AtomicU64::new(0)), Arc::new(begun));
        let mut writers = JoinSet::new();
        for _ in 0..self.concurrency {
            let (shared, next, begun) = (self.shared.clone(), next.clone(), begun.clone());
            writers.spawn(async move {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    let Some((key, before)) = begun.get(usize::try_from(number).unwrap()) else { return };
                    let row = nth(&shared.completed, number);
                    let values =
                        (row.ttl, Uuid::new_v4(), &row.record, &row.tenant, &row.endpoint, key, before);
                    shared.applied(&shared.later, values).await;
                }
            });
        }
        writers.join_all().await;
    }
}

impl Shared {
    /// Executes a conditional write, which must apply.
    async fn applied(
        &self,
        statement: &PreparedStatement,
        values: impl scylla::serialize::row::SerializeRow,
    ) {
        let answer = self.session.execute_unpaged(statement, values).await.unwrap();
        let row: Row = answer.into_rows_result().unwrap().first_row().unwrap();
        let applied = row.columns[0].as_ref().and_then(scylla::value::CqlValue::as_boolean);
        assert_eq!(applied, Some(true), "nobody else writes these rows");
    }
}

impl Pattern {
    /// A key of its own for each number, about as long as the pattern's.
    fn key_like(&self, number: u64) -> String {
        format!("driver-{number:0>width$}", width = self.key.len().saturating_sub("driver-".len()))
    }
}

/// The pattern of a number: they go round.
fn nth(patterns: &[Pattern], number: u64) -> &Pattern {
    &patterns[usize::try_from(number).unwrap() % patterns.len()]
}

/// All rows that are there.
async fn patterns(session: &Session, keyspace: &str) -> Vec<Pattern> {
    let question = format!("SELECT tenant, endpoint, key, record, TTL(record) FROM \"{keyspace}\".record");
    let answer = session.query_unpaged(question, ()).await.unwrap().into_rows_result().unwrap();
    let rows = answer.rows::<(String, String, String, Vec<u8>, i32)>().unwrap().map(Result::unwrap);
    let patterns: Vec<_> = rows
        .map(|(tenant, endpoint, key, record, ttl)| Pattern { tenant, endpoint, key, record, ttl })
        .collect();
    assert_eq!(patterns.len() as u64, PATTERNS);
    patterns
}
