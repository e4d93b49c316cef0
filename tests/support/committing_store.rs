//! A store that commits as the embedded one does, when a test says so: what was sent happens whether its sender is
//! there or not, a plain read sees nothing of it before, and a serial read waits for it.

#![allow(dead_code, reason = "each integration test compiles this module, and none uses all of it")]

use std::sync::Mutex;

use async_trait::async_trait;
use semel::domain::{Key, Restored, Timestamp};
use semel::storage::memory::MemoryStore;
use semel::storage::{Freshness, Page, Put, Scan, Store, StoreError, Versioned, Write};
use tokio::sync::{oneshot, watch};

#[derive(Debug)]
enum Request {
    Put(Write, oneshot::Sender<Put>),
    Read(Key, oneshot::Sender<Option<Versioned>>),
}

/// Commits at once until it is told to hold.
#[derive(Debug)]
pub(crate) struct CommittingStore {
    inner: MemoryStore,
    /// Requests that wait, in order; `None` when none has to.
    held: Mutex<Option<Vec<Request>>>,
    /// How many requests were held so far.
    arrived: watch::Sender<usize>,
}

impl CommittingStore {
    pub(crate) fn new() -> Self {
        Self { inner: MemoryStore::new(), held: Mutex::new(None), arrived: watch::Sender::new(0) }
    }

    /// From now on requests wait.
    pub(crate) fn hold(&self) {
        self.held.lock().unwrap().get_or_insert_default();
    }

    /// Ends when `count` requests were held, since the store was made.
    pub(crate) async fn holds(&self, count: usize) {
        self.arrived.subscribe().wait_for(|arrived| *arrived >= count).await.unwrap();
    }

    /// Does what waits, and holds nothing from now on.
    pub(crate) async fn commit(&self) {
        let held = self.held.lock().unwrap().take();
        for request in held.unwrap_or_default() {
            // Who is gone is not told.
            match request {
                Request::Put(write, reply) => {
                    drop(reply.send(self.inner.compare_and_put(&write).await.unwrap()));
                }
                Request::Read(key, reply) => {
                    drop(reply.send(self.inner.get(&key, Freshness::Serial).await.unwrap()));
                }
            }
        }
    }

    /// Queues a request, where requests are held.
    fn queue(&self, request: Request) -> Result<(), Request> {
        match &mut *self.held.lock().unwrap() {
            Some(held) => held.push(request),
            None => return Err(request),
        }
        self.arrived.send_modify(|arrived| *arrived += 1);
        Ok(())
    }
}

fn gone<E>(_: E) -> StoreError {
    StoreError::OutcomeUnknown("the store is gone".to_owned())
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl Store for CommittingStore {
    async fn get(&self, key: &Key, freshness: Freshness) -> Result<Option<Versioned>, StoreError> {
        if freshness == Freshness::Serial {
            let (reply, answer) = oneshot::channel();
            if self.queue(Request::Read(key.clone(), reply)).is_ok() {
                return answer.await.map_err(gone);
            }
        }
        self.inner.get(key, freshness).await
    }

    async fn compare_and_put(&self, write: &Write) -> Result<Put, StoreError> {
        let (reply, answer) = oneshot::channel();
        if self.queue(Request::Put(write.clone(), reply)).is_ok() {
            return answer.await.map_err(gone);
        }
        self.inner.compare_and_put(write).await
    }

    async fn scan(&self, scan: &Scan) -> Result<Page, StoreError> {
        self.inner.scan(scan).await
    }

    async fn reclaim(&self, now: Timestamp, limit: usize) -> Result<usize, StoreError> {
        self.inner.reclaim(now, limit).await
    }

    async fn ping(&self) -> Result<(), StoreError> {
        self.inner.ping().await
    }

    fn restored(&self) -> Option<Restored> {
        self.inner.restored()
    }
}
