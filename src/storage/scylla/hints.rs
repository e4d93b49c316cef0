//! Where to look for records that may be unresolved, without scanning the cluster.
//!
//! A hint is a plain row with a TTL: a key and the fence of the attempt that gave cause. It says where to look and
//! nothing else; what is listed is the record. Hints stand in partitions of a tenant and an hour (of the fence, so that
//! the record alone tells where its hint is), and `hint_bucket` names the partitions in use.
//!
//! A scan goes from the latest to the earliest: what begins while it runs stands behind it, so it comes to an end however
//! busy the keys are. A takeover leaves the hint of the attempt before in place for a while, and by that one a scan meets
//! a record whose new hint it is past already (`listing`).

use std::collections::HashSet;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use scylla::client::session::Session;
use scylla::deserialize::row::DeserializeRow;
use scylla::errors::{ExecutionError, PrepareError};
use scylla::serialize::row::SerializeRow;
use scylla::statement::prepared::PreparedStatement;

use super::errors::{of_read, read_too_much};
use super::place::{Partition, Place};
use super::settings::Ordering;
use crate::domain::{Endpoint, Fence, Key, Tenant, Timestamp};
use crate::storage::StoreError;

/// How much longer than its record a hint lives: one that is not refreshed in time is no loss then.
pub(super) const LONGER_THAN_ITS_RECORD: Duration = Duration::from_hours(24);
/// How long after its hour a partition may be taken for in use without being noted again. Well below
/// [`EMPTY_UNTIL_DROPPED`], as servers' clocks differ.
const KNOWN_AFTER_ITS_HOUR: Duration = Duration::from_mins(10);
/// How long after its hour an empty partition stays noted.
const EMPTY_UNTIL_DROPPED: Duration = Duration::from_hours(1);
/// How many partitions are looked up at a time.
const PARTITIONS_AT_A_TIME: i32 = 100;

/// Reads and writes hints.
#[derive(Debug)]
pub(super) struct Hints {
    put: PreparedStatement,
    drop: PreparedStatement,
    read: PreparedStatement,
    put_partition: PreparedStatement,
    drop_partition: PreparedStatement,
    partitions: PreparedStatement,
    partitions_of_a_tenant: PreparedStatement,
    /// Partitions that this process has noted.
    noted: Mutex<HashSet<Partition>>,
}

/// A partition that is noted as in use, and when that was written, by the database's clock.
#[derive(Clone, Debug)]
pub(super) struct Noted {
    pub(super) partition: Partition,
    written: i64,
}

impl Noted {
    /// Whether it may be struck off once it is found empty: no attempt of its hour begins any more.
    pub(super) fn is_over(&self, now: Timestamp) -> bool {
        self.partition.end().plus(EMPTY_UNTIL_DROPPED) < now
    }
}

impl Hints {
    pub(super) async fn prepare(
        session: &Session,
        keyspace: &str,
        ordering: Ordering,
    ) -> Result<Self, PrepareError> {
        let prepare = async |statement: &str| {
            let mut statement = session.prepare(statement.replace("KEYSPACE", keyspace)).await?;
            statement.set_consistency(ordering.plain());
            Ok::<_, PrepareError>(statement)
        };
        Ok(Self {
            put: prepare(
                "INSERT INTO \"KEYSPACE\".hint (tenant, bucket, fence, endpoint, key) VALUES (?, ?, ?, ?, ?) USING TTL ?",
            )
            .await?,
            drop: prepare(
                "DELETE FROM \"KEYSPACE\".hint WHERE tenant = ? AND bucket = ? AND fence = ? AND endpoint = ? AND key = ?",
            )
            .await?,
            read: prepare(
                "SELECT fence, endpoint, key FROM \"KEYSPACE\".hint WHERE tenant = ? AND bucket = ? \
                 AND (fence, endpoint, key) < (?, ?, ?) AND (fence) >= (?) \
                 ORDER BY fence DESC, endpoint DESC, key DESC LIMIT ?",
            )
            .await?,
            put_partition: prepare(
                "INSERT INTO \"KEYSPACE\".hint_bucket (root, tenant, bucket, used) VALUES (0, ?, ?, true)",
            )
            .await?,
            drop_partition: prepare(
                "DELETE FROM \"KEYSPACE\".hint_bucket USING TIMESTAMP ? WHERE root = 0 AND tenant = ? AND bucket = ?",
            )
            .await?,
            partitions: prepare(
                "SELECT tenant, bucket, WRITETIME(used) FROM \"KEYSPACE\".hint_bucket \
                 WHERE root = 0 AND (tenant, bucket) <= (?, ?) ORDER BY tenant DESC, bucket DESC LIMIT ?",
            )
            .await?,
            partitions_of_a_tenant: prepare(
                "SELECT tenant, bucket, WRITETIME(used) FROM \"KEYSPACE\".hint_bucket \
                 WHERE root = 0 AND tenant = ? AND bucket <= ? ORDER BY tenant DESC, bucket DESC LIMIT ?",
            )
            .await?,
            noted: Mutex::default(),
        })
    }

    /// Writes the hint for an attempt on `key`; when this returns, whoever scans finds it.
    pub(super) async fn put(
        &self,
        session: &Session,
        key: &Key,
        fence: Fence,
        ttl: i32,
        now: Timestamp,
    ) -> Result<(), ExecutionError> {
        let partition = Partition::of(&key.tenant, fence);
        let (endpoint, idempotency_key) = (key.endpoint.as_str(), key.idempotency_key.as_str());
        let values = (key.tenant.as_str(), partition.bucket, fence.get(), endpoint, idempotency_key, ttl);
        session.execute_unpaged(&self.put, values).await?;
        // After the hint: whoever strikes off an empty partition strikes off the note that was there when it was empty.
        let stays_noted = now < partition.end().plus(KNOWN_AFTER_ITS_HOUR);
        if stays_noted && self.noted().contains(&partition) {
            return Ok(());
        }
        let values = (partition.tenant.as_str(), partition.bucket);
        session.execute_unpaged(&self.put_partition, values).await?;
        if stays_noted {
            let mut noted = self.noted();
            noted.retain(|noted| now < noted.end().plus(KNOWN_AFTER_ITS_HOUR));
            noted.insert(partition);
        }
        Ok(())
    }

    /// Drops the hint of an attempt.
    pub(super) async fn drop(&self, session: &Session, place: &Place) -> Result<(), ExecutionError> {
        let (key, partition) = (&place.key, place.partition());
        let values = (
            key.tenant.as_str(),
            partition.bucket,
            place.fence.get(),
            key.endpoint.as_str(),
            key.idempotency_key.as_str(),
        );
        session.execute_unpaged(&self.drop, values).await.map(|_| ())
    }

    /// Strikes a partition off, as it was noted then: a note that was made since stays.
    pub(super) async fn drop_partition(
        &self,
        session: &Session,
        noted: &Noted,
    ) -> Result<(), ExecutionError> {
        let values = (noted.written, noted.partition.tenant.as_str(), noted.partition.bucket);
        session.execute_unpaged(&self.drop_partition, values).await.map(|_| ())
    }

    /// The partitions in use from `from` on, downwards: some of them, and none only where there are none.
    pub(super) async fn partitions(
        &self,
        session: &Session,
        tenant: Option<&Tenant>,
        from: Option<&Partition>,
    ) -> Result<Vec<Noted>, StoreError> {
        let beyond_all = beyond_all();
        let from = from.map_or((beyond_all.as_str(), i64::MAX), |from| (from.tenant.as_str(), from.bucket));
        let statement = if tenant.is_some() { &self.partitions_of_a_tenant } else { &self.partitions };
        let from_tenant = tenant.map_or(from.0, Tenant::as_str);
        let rows: Vec<(String, i64, Option<i64>)> =
            rows(session, statement, (from_tenant, from.1, PARTITIONS_AT_A_TIME)).await?;
        let noted = rows.into_iter().filter_map(|(tenant, bucket, written)| {
            Some(Noted { partition: Partition::stored(&tenant, bucket)?, written: written? })
        });
        Ok(noted.collect())
    }

    /// Up to `limit` hints of a partition below a place in it, downwards, and whether these are all.
    ///
    /// The hints of attempts that were settled leave tombstones, and a node refuses to read past too many. Then less of
    /// the hour is read at a time.
    pub(super) async fn read(
        &self,
        session: &Session,
        partition: &Partition,
        below: Option<&Place>,
        limit: usize,
    ) -> Result<(Vec<Place>, bool), StoreError> {
        let (first, last) = partition.fences();
        let beyond_all = beyond_all();
        let (mut fence, mut endpoint, mut key) = below.map_or((last, beyond_all.as_str(), ""), |place| {
            (place.fence.get(), place.key.endpoint.as_str(), place.key.idempotency_key.as_str())
        });
        let mut width = fence - first;
        let mut found: Vec<Place> = Vec::new();
        loop {
            let downto = fence.saturating_sub(width).max(first);
            let wanted = limit - found.len();
            let values = (
                partition.tenant.as_str(),
                partition.bucket,
                fence,
                endpoint,
                key,
                downto,
                i32::try_from(wanted).unwrap_or(i32::MAX),
            );
            let answer = session.execute_unpaged(&self.read, values).await;
            if let Err(error) = &answer {
                if read_too_much(error) && width > 1 {
                    width /= 2;
                    continue;
                }
                return Err(of_read(error));
            }
            let rows: Vec<(i64, String, String)> = collected(answer)?;
            let full = rows.len() == wanted;
            found.extend(
                rows.into_iter()
                    .filter_map(|(fence, endpoint, key)| Place::stored(partition, fence, &endpoint, &key)),
            );
            if full || downto == first {
                return Ok((found, !full));
            }
            // No endpoint is empty, so this is below every hint with this fence.
            (fence, endpoint, key) = (downto, "", "");
        }
    }

    fn noted(&self) -> MutexGuard<'_, HashSet<Partition>> {
        // No code panics while it holds the lock half-way through a change.
        self.noted.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A text beyond every name of a tenant and of an endpoint: longer than either may be, of the last character there is.
fn beyond_all() -> String {
    char::MAX.to_string().repeat(Endpoint::MAX_BYTES.max(Tenant::MAX_BYTES))
}

async fn rows<R>(
    session: &Session,
    statement: &PreparedStatement,
    values: impl SerializeRow,
) -> Result<Vec<R>, StoreError>
where
    R: for<'f, 'm> DeserializeRow<'f, 'm>,
{
    collected(session.execute_unpaged(statement, values).await)
}

fn collected<R>(
    answer: Result<scylla::response::query_result::QueryResult, ExecutionError>,
) -> Result<Vec<R>, StoreError>
where
    R: for<'f, 'm> DeserializeRow<'f, 'm>,
{
    let unreadable = |error: &dyn std::error::Error| StoreError::Unavailable(error.to_string());
    let rows =
        answer.map_err(|error| of_read(&error))?.into_rows_result().map_err(|error| unreadable(&error))?;
    let rows = rows.rows::<R>().map_err(|error| unreadable(&error))?;
    rows.collect::<Result<_, _>>().map_err(|error| unreadable(&error))
}
