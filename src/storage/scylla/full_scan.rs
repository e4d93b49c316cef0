//! Every record of the keyspace, for an operator who moves them elsewhere. It costs the cluster a read for each, and is
//! no part of what a server does.

use std::sync::Arc;

use async_trait::async_trait;
use futures_util::stream::{self, StreamExt, TryStreamExt};
use scylla::response::{PagingState, PagingStateResponse};
use scylla::statement::prepared::PreparedStatement;

use super::{ScyllaStore, Shared, errors, parts, rows};
use crate::domain::{Endpoint, IdempotencyKey, Key, Tenant};
use crate::storage::copy::{Batch, Reader};
use crate::storage::{StoreError, Versioned};

/// Into how many parts of equal size the ring is cut, so that no question is about much of it.
const PARTS: u64 = 256;
/// Keys at a time, and the reads of their records at a time: this bounds what is held in memory.
const PAGE: i32 = 128;
const READS_AT_ONCE: usize = 32;

/// Reads all records of a keyspace, by token ranges.
#[derive(Debug)]
pub struct FullScan {
    shared: Arc<Shared>,
    keys: PreparedStatement,
    part: u64,
    /// How far the part was read.
    paging: PagingState,
}

impl ScyllaStore {
    /// A scan of all records. What servers write meanwhile may be missed.
    pub async fn full_scan(&self) -> Result<FullScan, StoreError> {
        let shared = Arc::clone(&self.shared);
        let token = "token(tenant, endpoint, key)";
        let keys = format!(
            "SELECT tenant, endpoint, key FROM \"{}\".record WHERE {token} >= ? AND {token} <= ?",
            shared.settings.keyspace
        );
        let unavailable = |error: &dyn std::error::Error| StoreError::Unavailable(error.to_string());
        let mut keys = shared.session.prepare(keys).await.map_err(|error| unavailable(&error))?;
        keys.set_consistency(shared.settings.ordering.plain());
        keys.set_page_size(PAGE);
        Ok(FullScan { shared, keys, part: 0, paging: PagingState::start() })
    }
}

/// The first token of a part, and the last.
fn tokens(part: u64) -> (i64, i64) {
    const WIDTH: u64 = u64::MAX / PARTS + 1;
    // Tokens are signed, and begin at the least number.
    let at = |offset: u64| i64::MIN.wrapping_add_unsigned(offset);
    (at(part * WIDTH), at(part * WIDTH + (WIDTH - 1)))
}

#[async_trait]
impl Reader for FullScan {
    async fn next(&mut self) -> Result<Option<Batch>, StoreError> {
        if self.part == PARTS {
            return Ok(None);
        }
        let Shared { session, .. } = &*self.shared;
        let page = session.execute_single_page(&self.keys, tokens(self.part), self.paging.clone()).await;
        let (answer, more) = page.map_err(|error| errors::of_read(&error))?;
        let unreadable = |error: &dyn std::error::Error| StoreError::Unavailable(error.to_string());
        let answer = answer.into_rows_result().map_err(|error| unreadable(&error))?;
        let names: Vec<(String, String, String)> = answer
            .rows()
            .map_err(|error| unreadable(&error))?
            .collect::<Result<_, _>>()
            .map_err(|error| unreadable(&error))?;
        let found: Vec<Found> = stream::iter(names)
            .map(|names| read(&self.shared, names))
            .buffer_unordered(READS_AT_ONCE)
            .try_collect()
            .await?;
        let mut batch = Batch::default();
        for found in found {
            match found {
                Found::Record(found) => batch.records.push(*found),
                Found::Unreadable => batch.unreadable += 1,
                Found::Gone => {}
            }
        }
        match more {
            PagingStateResponse::HasMorePages { state } => self.paging = state,
            PagingStateResponse::NoMorePages => {
                self.part += 1;
                self.paging = PagingState::start();
            }
        }
        Ok(Some(batch))
    }
}

enum Found {
    Record(Box<(Key, Versioned)>),
    /// What is wrong with it was said.
    Unreadable,
    /// Its time was over between the two reads.
    Gone,
}

async fn read(
    shared: &Shared,
    (tenant, endpoint, key): (String, String, String),
) -> Result<Found, StoreError> {
    let names = (Tenant::new(&tenant), Endpoint::new(&endpoint), IdempotencyKey::new(&key));
    let (Ok(tenant), Ok(endpoint), Ok(idempotency_key)) = names else {
        tracing::error!("a row has names that no semel takes, and is left out");
        return Ok(Found::Unreadable);
    };
    let key = Key { tenant, endpoint, idempotency_key };
    let (tenant, endpoint, name) = parts(&key);
    let answer = shared.session.execute_unpaged(&shared.statements.read, (tenant, endpoint, name)).await;
    let answer = answer.map_err(|error| errors::of_read(&error))?;
    let row = match rows::first_row(answer).and_then(rows::row) {
        Ok(row) => row,
        Err(error) => {
            shared.refused(&key, &error);
            return Ok(Found::Unreadable);
        }
    };
    Ok(match shared.whole(&key, row).await {
        Ok(Some(current)) => Found::Record(Box::new((key, current))),
        Ok(None) => Found::Gone,
        Err(_) => Found::Unreadable,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parts_are_the_whole_ring() {
        assert_eq!(tokens(0).0, i64::MIN);
        assert_eq!(tokens(PARTS - 1).1, i64::MAX);
        for part in 1..PARTS {
            assert_eq!(tokens(part).0, tokens(part - 1).1 + 1, "{part}");
            assert!(tokens(part).0 < tokens(part).1);
        }
    }
}
