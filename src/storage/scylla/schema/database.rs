//! Which database it is: ScyllaDB and Cassandra differ in what their tables can be told.

use std::fmt;

use scylla::client::session::Session;

use crate::storage::scylla::connect_error::ConnectError;

/// A database and its version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Database {
    /// Which of the two.
    pub product: Product,
    /// The version in its own words.
    pub version: String,
}

/// The databases that are supported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Product {
    /// Apache Cassandra.
    Cassandra,
    /// ScyllaDB.
    ScyllaDb,
}

impl fmt::Display for Database {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let product = match self.product {
            Product::Cassandra => "Apache Cassandra",
            Product::ScyllaDb => "ScyllaDB",
        };
        write!(f, "{product} {}", self.version)
    }
}

impl Database {
    /// A database of this version.
    pub fn new(product: Product, version: impl Into<String>) -> Self {
        Self { product, version: version.into() }
    }

    /// Asks the cluster. ScyllaDB calls itself an old Cassandra where a Cassandra is asked for its version, and has a
    /// table of its own for the real one.
    pub(super) async fn detect(session: &Session) -> Result<Self, ConnectError> {
        const DOING: &str = "asking the database for its version";
        let own = text(
            session,
            "SELECT table_name FROM system_schema.tables WHERE keyspace_name = 'system' AND table_name = 'versions'",
            DOING,
        )
        .await?;
        let (product, question) = if own.is_some() {
            (Product::ScyllaDb, "SELECT version FROM system.versions WHERE key = 'local'")
        } else {
            (Product::Cassandra, "SELECT release_version FROM system.local")
        };
        Ok(Self::new(product, text(session, question, DOING).await?.unwrap_or_default()))
    }

    /// Whether tablets must be turned off for lightweight transactions. They came with 6.0, and work together from
    /// 2025.4 on (docs.scylladb.com, "Lightweight Transactions" of 2025.3 and of later releases).
    pub(super) fn tablets_must_be_off(&self) -> bool {
        self.product == Product::ScyllaDb && (6, 0) <= self.numbers() && self.numbers() < (2025, 4)
    }

    pub(super) fn has_unified_compaction(&self) -> bool {
        self.product == Product::Cassandra && self.numbers() >= (5, 0)
    }

    /// In the releases that are named by their year.
    pub(super) fn has_incremental_compaction(&self) -> bool {
        self.product == Product::ScyllaDb && self.numbers() >= (2019, 1)
    }

    fn numbers(&self) -> (u32, u32) {
        let mut numbers = self.version.split(|c: char| !c.is_ascii_digit()).map(str::parse);
        let mut next = || numbers.next().and_then(Result::ok).unwrap_or(0);
        (next(), next())
    }
}

/// The first column of the first row, a text.
async fn text(
    session: &Session,
    question: &str,
    doing: &'static str,
) -> Result<Option<String>, ConnectError> {
    let unreadable = |cause: String| ConnectError::Database { doing, cause };
    let answer = session
        .query_unpaged(question, &[])
        .await
        .map_err(|error| ConnectError::executing(doing, &error))?
        .into_rows_result()
        .map_err(|error| unreadable(error.to_string()))?;
    let row = answer.maybe_first_row::<(Option<String>,)>().map_err(|error| unreadable(error.to_string()))?;
    Ok(row.and_then(|(text,)| text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_version_can_do() {
        let scylla = |version: &str| Database::new(Product::ScyllaDb, version);
        for (version, off) in [
            ("5.4.9-0.20240703", false),
            ("6.0.0", true),
            ("6.2.3", true),
            ("2024.1.5", true),
            ("2025.3.1-0.20250911", true),
            ("2025.4.0", false),
            ("2026.1.0", false),
        ] {
            assert_eq!(scylla(version).tablets_must_be_off(), off, "{version}");
        }
        assert!(scylla("2025.1.0").has_incremental_compaction());
        assert!(!scylla("6.2.0").has_incremental_compaction());
        let cassandra = |version: &str| Database::new(Product::Cassandra, version);
        assert!(cassandra("5.0.9").has_unified_compaction());
        assert!(!cassandra("4.1.3").has_unified_compaction());
        assert!(!cassandra("").has_unified_compaction());
        assert!(!cassandra("6.0.0").tablets_must_be_off());
    }
}
