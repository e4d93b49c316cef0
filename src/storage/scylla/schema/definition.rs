//! The tables, as CQL.
//!
//! `record` is rewritten some times within its first minutes, and goes by TTL: after a day, as a rule. Its first version
//! carries a TTL of weeks, for what it would be if nobody came back, and its last one that of its result. So compaction
//! is by size: by windows of time, which suits data that is written once, no window would go before its longest TTL.
//! `gc_grace_seconds` stays at ten days: a replica that missed the last version still has an earlier one, with a longer
//! TTL, and a repair within that time keeps it from coming back. ScyllaDB's Paxos state lives as long, so that one repair
//! serves both.
//!
//! `hint` and `hint_bucket` say where to look for records that may be unresolved. What they say is checked against the
//! record, so a hint that comes back from the dead costs a read: their tombstones may go after an hour, and must, as
//! listing reads past them.

use std::collections::BTreeMap;
use std::num::NonZeroU8;

use super::database::{Database, Product};

/// Ten days: repairs must be more frequent.
const RECORD_GRACE: u32 = 864_000;
const HINT_GRACE: u32 = 3_600;

/// How many replicas each datacenter has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replication(BTreeMap<String, NonZeroU8>);

impl Replication {
    /// By datacenter. Names are those that the cluster gives them.
    pub fn new(factors: impl IntoIterator<Item = (String, NonZeroU8)>) -> Option<Self> {
        let factors: BTreeMap<_, _> = factors.into_iter().collect();
        (!factors.is_empty()).then_some(Self(factors))
    }

    /// By datacenter.
    pub const fn factors(&self) -> &BTreeMap<String, NonZeroU8> {
        &self.0
    }
}

/// Makes the keyspace.
pub(super) fn keyspace(name: &str, replication: &Replication, database: &Database) -> String {
    let factors: Vec<_> = replication
        .0
        .iter()
        .map(|(datacenter, factor)| format!("'{}': {factor}", datacenter.replace('\'', "''")))
        .collect();
    let factors = factors.join(", ");
    let tablets = if database.tablets_must_be_off() { " AND tablets = {'enabled': false}" } else { "" };
    format!(
        "CREATE KEYSPACE IF NOT EXISTS \"{name}\" \
         WITH replication = {{'class': 'NetworkTopologyStrategy', {factors}}} AND durable_writes = true{tablets}"
    )
}

/// Makes the table that says what the schema is. It is there before the first migration.
pub(super) fn schema_version(keyspace: &str) -> String {
    format!(
        "CREATE TABLE IF NOT EXISTS \"{keyspace}\".schema_version \
         (part text PRIMARY KEY, number int, usable_from int, record_format int, applying uuid) \
         WITH comment = 'semel: the number of the schema, and the format in which records are written'"
    )
}

/// What migration 1 makes.
pub(super) fn version_1(keyspace: &str, database: &Database) -> Vec<String> {
    let paxos = match database.product {
        Product::Cassandra => String::new(),
        Product::ScyllaDb => format!(" AND paxos_grace_seconds = {RECORD_GRACE}"),
    };
    let by_size = if database.has_unified_compaction() {
        "{'class': 'UnifiedCompactionStrategy', 'scaling_parameters': 'T4'}"
    } else if database.has_incremental_compaction() {
        "{'class': 'IncrementalCompactionStrategy'}"
    } else {
        "{'class': 'SizeTieredCompactionStrategy'}"
    };
    let by_level = if database.has_unified_compaction() {
        "{'class': 'UnifiedCompactionStrategy', 'scaling_parameters': 'L10'}"
    } else {
        "{'class': 'LeveledCompactionStrategy'}"
    };
    vec![
        format!(
            "CREATE TABLE IF NOT EXISTS \"{keyspace}\".record \
             (tenant text, endpoint text, key text, write_id uuid, record blob, \
             PRIMARY KEY ((tenant, endpoint, key))) \
             WITH comment = 'semel: a record per key; written by lightweight transactions alone' \
             AND gc_grace_seconds = {RECORD_GRACE} AND compaction = {by_size}{paxos}"
        ),
        format!(
            "CREATE TABLE IF NOT EXISTS \"{keyspace}\".hint \
             (tenant text, bucket bigint, fence bigint, endpoint text, key text, \
             PRIMARY KEY ((tenant, bucket), fence, endpoint, key)) \
             WITH comment = 'semel: where to look for records that may be unresolved' \
             AND gc_grace_seconds = {HINT_GRACE} AND compaction = {by_level}"
        ),
        format!(
            "CREATE TABLE IF NOT EXISTS \"{keyspace}\".hint_bucket \
             (root tinyint, tenant text, bucket bigint, used boolean, PRIMARY KEY ((root), tenant, bucket)) \
             WITH comment = 'semel: which partitions of hint are in use' \
             AND gc_grace_seconds = {HINT_GRACE} AND compaction = {by_level}"
        ),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_dialects() {
        let replication =
            Replication::new([("o'hare".to_owned(), NonZeroU8::new(3).unwrap())]).expect("not empty");
        let old = Database::new(Product::ScyllaDb, "2025.3.0");
        let new = Database::new(Product::ScyllaDb, "2025.4.0");
        let cassandra = Database::new(Product::Cassandra, "5.0.9");
        let create = keyspace("k", &replication, &old);
        assert!(
            create.contains("'o''hare': 3") && create.ends_with("tablets = {'enabled': false}"),
            "{create}"
        );
        for database in [&new, &cassandra] {
            assert!(!keyspace("k", &replication, database).contains("tablets"));
        }
        let all = |database| version_1("k", database).join(";");
        assert!(all(&new).contains("paxos_grace_seconds") && all(&new).contains("Incremental"));
        assert!(!all(&cassandra).contains("paxos_grace_seconds") && all(&cassandra).contains("Unified"));
        assert!(all(&Database::new(Product::Cassandra, "4.1.0")).contains("Leveled"));
        assert_eq!(Replication::new([]), None);
    }
}
