//! The statements on records: two conditional writes, a repair, and one read.
//!
//! A row is written by UPDATE alone. An INSERT would leave a row marker with a TTL of its own, which outlives a shorter
//! one that comes later. Each write sets both columns with one TTL, and its condition names both, so that a refusal
//! brings both back.

use scylla::client::session::Session;
use scylla::errors::PrepareError;
use scylla::statement::prepared::PreparedStatement;

use super::settings::Ordering;

/// Prepared, with the consistencies of an [`Ordering`].
#[derive(Debug)]
pub(super) struct Statements {
    /// `(ttl, write_id, record, tenant, endpoint, key)`, where there is nothing.
    pub(super) first: PreparedStatement,
    /// `(ttl, write_id, record, tenant, endpoint, key, expected write_id)`, where a whole record is.
    pub(super) later: PreparedStatement,
    /// `(ttl, write_id, record, tenant, endpoint, key, expected write_id, expected record)`, either of which may be
    /// null: where exactly that is left of a row.
    pub(super) repair: PreparedStatement,
    /// `(tenant, endpoint, key)`: what was acknowledged.
    pub(super) read: PreparedStatement,
    /// The same, and what is under way is settled first.
    pub(super) read_serial: PreparedStatement,
}

impl Statements {
    pub(super) async fn prepare(
        session: &Session,
        keyspace: &str,
        ordering: Ordering,
    ) -> Result<Self, PrepareError> {
        let update = format!(
            "UPDATE \"{keyspace}\".record USING TTL ? SET write_id = ?, record = ? \
             WHERE tenant = ? AND endpoint = ? AND key = ?"
        );
        let select = format!(
            "SELECT write_id, record FROM \"{keyspace}\".record WHERE tenant = ? AND endpoint = ? AND key = ?"
        );
        let conditional = async |condition: &str| {
            let mut statement = session.prepare(format!("{update} IF {condition}")).await?;
            statement.set_consistency(ordering.plain());
            statement.set_serial_consistency(Some(ordering.condition()));
            // So that nothing in the driver ever sends it twice by itself.
            statement.set_is_idempotent(false);
            Ok::<_, PrepareError>(statement)
        };
        let mut read = session.prepare(select.as_str()).await?;
        read.set_consistency(ordering.plain());
        let mut read_serial = read.clone();
        read_serial.set_consistency(ordering.serial_read());
        Ok(Self {
            first: conditional("write_id = null AND record = null").await?,
            later: conditional("write_id = ? AND record != null").await?,
            repair: conditional("write_id = ? AND record = ?").await?,
            read,
            read_serial,
        })
    }
}
