//! A store that does what a test tells it to, and says when it is called.

#![allow(dead_code, reason = "each integration test compiles this module, and none uses all of it")]

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use semel::domain::{Key, Timestamp};
use semel::storage::memory::MemoryStore;
use semel::storage::{Freshness, Page, Put, Scan, Scope, Store, StoreError, Versioned, Write};
use tokio::sync::watch;

/// What becomes of the next calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Script {
    /// They work.
    Work,
    /// They fail, and nothing is written.
    Refuse,
    /// Writes happen, but nobody learns it.
    LoseAnswers,
    /// They do not end until the script changes; then they work.
    Hang,
    /// They panic.
    Panic,
    /// Only what may be unresolved is listed; everything else works.
    ListUnresolved,
}

#[derive(Debug)]
pub(crate) struct ScriptedStore {
    inner: MemoryStore,
    script: watch::Sender<Script>,
    calls: watch::Sender<usize>,
    /// Calls of a higher number hang.
    hang_after: Mutex<Option<usize>>,
    /// What a test wants to find in no error: the texts of all causes that were made up.
    cause: Mutex<String>,
}

impl ScriptedStore {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self {
            inner: MemoryStore::new(),
            script: watch::Sender::new(Script::Work),
            calls: watch::Sender::new(0),
            hang_after: Mutex::new(None),
            cause: Mutex::new("scripted".into()),
        })
    }

    pub(crate) fn play(&self, script: Script) {
        self.script.send_replace(script);
    }

    /// The next `more` calls work; from then on they hang, as in [`Script::Hang`].
    pub(crate) fn hang_after(&self, more: usize) {
        *self.hang_after.lock().unwrap() = Some(self.calls() + more);
    }

    /// What the store's own errors, and its panic, say.
    pub(crate) fn blame(&self, cause: &str) {
        cause.clone_into(&mut self.cause.lock().unwrap());
    }

    /// How many calls have begun, without pings.
    pub(crate) fn calls(&self) -> usize {
        *self.calls.borrow()
    }

    /// Ends once more than `before` calls have begun.
    pub(crate) async fn called_after(&self, before: usize) {
        self.calls.subscribe().wait_for(|calls| *calls > before).await.unwrap();
    }

    /// Whether the call is to go on.
    async fn act(&self) -> Result<Script, StoreError> {
        let mut script = self.script.subscribe();
        let now = *script.wait_for(|script| *script != Script::Hang).await.unwrap();
        let cause = self.cause.lock().unwrap().clone();
        match now {
            Script::Refuse => Err(StoreError::Unavailable(cause)),
            Script::Panic => panic!("{cause}"),
            Script::Work | Script::LoseAnswers | Script::Hang | Script::ListUnresolved => Ok(now),
        }
    }

    async fn begin(&self) -> Result<Script, StoreError> {
        let mut number = 0;
        self.calls.send_modify(|calls| {
            *calls += 1;
            number = *calls;
        });
        if self.hang_after.lock().unwrap().take_if(|most| number > *most).is_some() {
            self.play(Script::Hang);
        }
        self.act().await
    }
}

#[async_trait]
impl Store for ScriptedStore {
    async fn get(&self, key: &Key, freshness: Freshness) -> Result<Option<Versioned>, StoreError> {
        self.begin().await?;
        self.inner.get(key, freshness).await
    }

    async fn compare_and_put(&self, write: &Write) -> Result<Put, StoreError> {
        let script = self.begin().await?;
        let put = self.inner.compare_and_put(write).await?;
        match script {
            Script::LoseAnswers => Err(StoreError::OutcomeUnknown(self.cause.lock().unwrap().clone())),
            _ => Ok(put),
        }
    }

    async fn scan(&self, scan: &Scan) -> Result<Page, StoreError> {
        match self.begin().await? {
            Script::ListUnresolved if scan.scope > Scope::Unresolved => {
                Err(StoreError::NotListed { listed: Scope::Unresolved })
            }
            _ => self.inner.scan(scan).await,
        }
    }

    async fn reclaim(&self, now: Timestamp, limit: usize) -> Result<usize, StoreError> {
        self.begin().await?;
        self.inner.reclaim(now, limit).await
    }

    async fn ping(&self) -> Result<(), StoreError> {
        self.act().await.map(|_| ())
    }
}
