//! What stands between a caller and a store: something is done about writes, and everything else passes as it is.

use std::fmt;

use async_trait::async_trait;
use semel::domain::{Key, Timestamp};
use semel::storage::{Freshness, Page, Put, Scan, Store, StoreError, Versioned, Write};

/// What is done about writes.
#[async_trait]
pub(crate) trait Writes: fmt::Debug + Send + Sync {
    /// The store behind it.
    fn store(&self) -> &dyn Store;

    async fn compare_and_put(&self, write: &Write) -> Result<Put, StoreError>;
}

#[derive(Debug)]
pub(crate) struct Between<W>(pub(crate) W);

#[async_trait]
impl<W: Writes + 'static> Store for Between<W> {
    async fn get(&self, key: &Key, freshness: Freshness) -> Result<Option<Versioned>, StoreError> {
        self.0.store().get(key, freshness).await
    }

    async fn compare_and_put(&self, write: &Write) -> Result<Put, StoreError> {
        self.0.compare_and_put(write).await
    }

    async fn scan(&self, scan: &Scan) -> Result<Page, StoreError> {
        self.0.store().scan(scan).await
    }

    async fn reclaim(&self, now: Timestamp, limit: usize) -> Result<usize, StoreError> {
        self.0.store().reclaim(now, limit).await
    }

    async fn ping(&self) -> Result<(), StoreError> {
        self.0.store().ping().await
    }
}
