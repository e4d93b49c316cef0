//! The attempt that owns a key while its work runs.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio_util::sync::CancellationToken;

use crate::client::Client;
use crate::error::{Error, refused};
use crate::handoff::Handoff;
use crate::key::derived_key;
use crate::proto;

/// The attempt that owns a key while its work runs. Clones are the same attempt.
#[derive(Clone)]
pub struct Attempt {
    inner: Arc<Inner>,
}

struct Inner {
    client: Client,
    /// Who it is; the fence is 0 where it owns nothing.
    owner: Handoff,
    cancellation: CancellationToken,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    checkpoints: Vec<Checkpoint>,
    handed_off: bool,
}

/// A recovery point: what an attempt saved for the next one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// 1 to 64 bytes.
    pub name: String,
    /// Up to 64 KiB, with all others of the key.
    pub value: Bytes,
}

impl Attempt {
    pub(crate) fn new(
        client: Client,
        owner: Handoff,
        checkpoints: Vec<Checkpoint>,
        cancel: Option<&CancellationToken>,
    ) -> Self {
        let cancellation = cancel.map_or_else(CancellationToken::new, CancellationToken::child_token);
        let state = Mutex::new(State { checkpoints, handed_off: false });
        Self { inner: Arc::new(Inner { client, owner, cancellation, state }) }
    }

    /// Rises with every attempt of the key: pass it to whatever can refuse a stale writer. 0 where unprotected.
    pub fn fence(&self) -> i64 {
        self.inner.owner.fence
    }

    /// Counts the attempts of the key, 1 for the first. 0 where unprotected.
    pub fn number(&self) -> u32 {
        self.inner.owner.attempt
    }

    /// False where the work runs only because of [`fail_open`](crate::OnceOptions::fail_open): others may run it, too.
    pub fn protected(&self) -> bool {
        self.fence() > 0
    }

    /// What earlier attempts and this one saved, oldest first.
    pub fn checkpoints(&self) -> Vec<Checkpoint> {
        self.state().checkpoints.clone()
    }

    /// Saves a recovery point, which the next attempt gets. Where unprotected, nothing is sent.
    ///
    /// # Errors
    ///
    /// [`CheckpointRefused`](crate::ErrorKind::CheckpointRefused) where the name has another value, or there are too many;
    /// [`LeaseLost`](crate::ErrorKind::LeaseLost); those of the call.
    pub async fn checkpoint(&self, name: impl Into<String>, value: impl Into<Bytes>) -> Result<(), Error> {
        let checkpoint = Checkpoint { name: name.into(), value: value.into() };
        if self.protected() {
            let request = proto::SaveCheckpointRequest {
                key: Some(self.inner.owner.proto_key()),
                fence: self.fence(),
                attempt_id: self.inner.owner.attempt_id.clone(),
                name: checkpoint.name.clone(),
                value: checkpoint.value.clone(),
            };
            self.inner.client.save_checkpoint(request).await?;
        }
        let mut state = self.state();
        if state.checkpoints.iter().all(|known| known.name != checkpoint.name) {
            state.checkpoints.push(checkpoint);
        }
        Ok(())
    }

    /// Fires when the caller cancels, or ownership is lost: stop, and return [`Cancelled`](crate::Cancelled), or finish
    /// and return the value, which is stored if nobody took over.
    pub fn cancellation(&self) -> &CancellationToken {
        &self.inner.cancellation
    }

    /// The idempotency key for a call further down: a UUID, the same in every attempt of this key and in every language.
    ///
    /// # Errors
    ///
    /// [`Invalid`](crate::ErrorKind::Invalid) `empty_part` where the step is empty.
    pub fn derived_key(&self, step: &str) -> Result<String, Error> {
        let Handoff { tenant, endpoint, key, .. } = &self.inner.owner;
        derived_key(tenant, endpoint, key, step)
    }

    /// Gives the attempt to another process, which says [`resume`](Client::resume) or
    /// [`complete_handoff`](Client::complete_handoff). This `once` then reports nothing; it renews until its work ends.
    ///
    /// # Errors
    ///
    /// [`Invalid`](crate::ErrorKind::Invalid) `UNPROTECTED` where nothing is owned.
    pub fn handoff(&self) -> Result<Handoff, Error> {
        if !self.protected() {
            return Err(refused("UNPROTECTED", "the attempt owns nothing that could be handed off"));
        }
        self.state().handed_off = true;
        Ok(self.inner.owner.clone())
    }

    pub(crate) fn is_handed_off(&self) -> bool {
        self.state().handed_off
    }

    pub(crate) fn client(&self) -> &Client {
        &self.inner.client
    }

    /// Who it is.
    pub(crate) fn owner(&self) -> &Handoff {
        &self.inner.owner
    }

    pub(crate) fn lease(&self) -> Duration {
        self.inner.owner.lease
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.inner.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Attempt {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Attempt({} of {})", self.number(), self.inner.owner.endpoint)
    }
}
