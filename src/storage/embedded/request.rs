//! What the committer is asked, what it answers, and the queue between.

use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, Sender};

use fjall::{UserKey, UserValue};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use crate::domain::Timestamp;
use crate::storage::record_codec::Head;
use crate::storage::{Expected, StoreError, Versioned};

/// What a waiting request takes besides its key and its record.
const REQUEST_BYTES: usize = 512;

/// Where requests wait for the committer. What callers may put into it is bounded, in bytes: a disk that is slower
/// than they are must not fill the memory.
pub(super) struct Queue {
    requests: Sender<Request>,
    room: Arc<Semaphore>,
    bytes: u32,
}

impl Queue {
    pub(super) fn new(bytes: u64) -> (Self, Receiver<Request>) {
        let (requests, receiver) = mpsc::channel();
        let bytes = u32::try_from(bytes.max(1)).unwrap_or(u32::MAX);
        // A semaphore holds far more than a u32, on machines of 64 bits; on others the bound is what it holds.
        let permits = usize::try_from(bytes).unwrap_or(usize::MAX).min(Semaphore::MAX_PERMITS);
        (Self { requests, room: Arc::new(Semaphore::new(permits)), bytes }, receiver)
    }

    /// Takes room for a request with that many bytes of key and record, or refuses at once: nothing was written.
    /// A caller that is told so comes back later; one that waited here would be in a queue without bound again.
    pub(super) fn room(&self, bytes: usize) -> Result<OwnedSemaphorePermit, StoreError> {
        let bytes = u32::try_from(bytes.saturating_add(REQUEST_BYTES)).unwrap_or(u32::MAX).min(self.bytes);
        Arc::clone(&self.room).try_acquire_many_owned(bytes).map_err(|_| {
            StoreError::Unavailable(format!(
                "the disk is slower than the writes that come: {} bytes of them are waiting",
                self.bytes as usize - self.room.available_permits()
            ))
        })
    }

    pub(super) fn send(&self, request: Request) -> Result<(), StoreError> {
        self.requests.send(request).map_err(|_| StoreError::Unavailable("the store is closed".to_owned()))
    }
}

pub(super) type Reply<T> = oneshot::Sender<Result<T, StoreError>>;

/// What the committer is asked to do.
pub(super) enum Request {
    Put(Put),
    /// The current record, after every request before this one.
    Read {
        key: UserKey,
        room: OwnedSemaphorePermit,
        reply: Reply<Option<Current>>,
    },
    /// Drops the records behind these entries of the reclaim index, as far as they are still due.
    Reclaim {
        entries: Vec<UserKey>,
        now: Timestamp,
        reply: Reply<usize>,
    },
    /// Stores records whatever is there.
    Load {
        records: Vec<(UserKey, Next)>,
        reply: Reply<()>,
    },
    Close,
}

/// A conditional write, encoded.
pub(super) struct Put {
    pub(super) key: UserKey,
    pub(super) expected: Expected,
    pub(super) next: Next,
    /// Its share of the queue, until the committer has taken it.
    pub(super) room: OwnedSemaphorePermit,
    pub(super) reply: Reply<Verdict>,
}

/// A record to be stored.
#[derive(Clone)]
pub(super) struct Next {
    pub(super) head: Head,
    pub(super) value: UserValue,
    pub(super) current: Versioned,
}

/// A record that is there, decoded or not yet: who asked decodes it, not the committer.
#[derive(Clone)]
pub(super) enum Current {
    Decoded(Versioned),
    Stored(UserValue),
}

#[derive(Clone)]
pub(super) enum Verdict {
    Applied,
    Conflict(Option<Current>),
}

/// An answer that waits for the sync.
pub(super) enum Answer {
    Put(Reply<Verdict>, Verdict),
    Read(Reply<Option<Current>>, Option<Current>),
    Reclaimed(Reply<usize>, usize),
    Loaded(Reply<()>),
}

impl Answer {
    pub(super) fn send(self) {
        // Whoever asked may have gone.
        match self {
            Self::Put(reply, verdict) => drop(reply.send(Ok(verdict))),
            Self::Read(reply, current) => drop(reply.send(Ok(current))),
            Self::Reclaimed(reply, count) => drop(reply.send(Ok(count))),
            Self::Loaded(reply) => drop(reply.send(Ok(()))),
        }
    }

    /// After a commit whose outcome is unknown: what changed nothing itself did not happen.
    pub(super) fn unknown(self, cause: &str) {
        let unknown = || StoreError::OutcomeUnknown(cause.to_owned());
        match self {
            Self::Put(reply, Verdict::Applied) => drop(reply.send(Err(unknown()))),
            Self::Reclaimed(reply, _) => drop(reply.send(Err(unknown()))),
            Self::Loaded(reply) => drop(reply.send(Err(unknown()))),
            Self::Put(_, Verdict::Conflict(_)) | Self::Read(..) => self.unavailable(cause),
        }
    }

    pub(super) fn unavailable(self, cause: &str) {
        let unavailable = || StoreError::Unavailable(cause.to_owned());
        match self {
            Self::Put(reply, _) => drop(reply.send(Err(unavailable()))),
            Self::Read(reply, _) => drop(reply.send(Err(unavailable()))),
            Self::Reclaimed(reply, _) => drop(reply.send(Err(unavailable()))),
            Self::Loaded(reply) => drop(reply.send(Err(unavailable()))),
        }
    }
}

impl Request {
    pub(super) fn bytes(&self) -> usize {
        match self {
            Self::Put(put) => put.key.len() + put.next.value.len(),
            Self::Load { records, .. } => {
                records.iter().map(|(key, next)| key.len() + next.value.len()).sum()
            }
            Self::Read { .. } | Self::Reclaim { .. } | Self::Close => 0,
        }
    }

    pub(super) fn refuse(self, error: StoreError) {
        match self {
            Self::Put(put) => drop(put.reply.send(Err(error))),
            Self::Read { reply, .. } => drop(reply.send(Err(error))),
            Self::Reclaim { reply, .. } => drop(reply.send(Err(error))),
            Self::Load { reply, .. } => drop(reply.send(Err(error))),
            Self::Close => {}
        }
    }
}

/// Refuses those requests as not done.
pub(super) fn refuse_where(group: &mut Vec<Request>, cause: &str, which: impl Fn(&Request) -> bool) {
    for request in group.extract_if(.., |request| which(request)) {
        request.refuse(StoreError::Unavailable(cause.to_owned()));
    }
}
