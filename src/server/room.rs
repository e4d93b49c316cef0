//! What requests on their way here and answers on their way out take together: bounded over all connections, and where
//! there is no room, the oldest of them gives way.
//!
//! A client that sends or takes a large message slowly thus loses to whoever comes later, and nobody is refused for it.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::{Context, Poll, ready};

use tokio::sync::Notify;
use tokio::sync::futures::OwnedNotified;
use tokio::task::AbortHandle;
use tracing::debug;

/// A message up to this size takes no room: those of ordinary calls never give way.
const SMALL_BYTES: usize = 64 << 10;

/// The task that serves a stream; known as soon as it was started.
type StreamTask = Arc<OnceLock<AbortHandle>>;

tokio::task_local! {
    /// This task, for whoever needs its room.
    static THIS: StreamTask;
}

/// Starts the task of a stream, whose messages may have to give way.
pub(super) fn spawn(stream: impl Future<Output = ()> + Send + 'static) {
    let this = StreamTask::default();
    let task = tokio::spawn(THIS.scope(this.clone(), stream));
    // The first to set it: nobody else does.
    let _ = this.set(task.abort_handle());
}

/// The room for all messages under way.
#[derive(Debug)]
pub(super) struct Room {
    most: usize,
    taken: Mutex<Taken>,
    /// Told whenever a place becomes free.
    freed: Arc<Notify>,
}

#[derive(Debug, Default)]
struct Taken {
    bytes: usize,
    /// Those of messages that have to give way, and have not gone yet.
    leaving: usize,
    /// The number of the next place.
    next: u64,
    /// The oldest first.
    places: BTreeMap<u64, (usize, StreamTask)>,
}

impl Room {
    pub(super) fn new(most: usize) -> Arc<Self> {
        Arc::new(Self { most, taken: Mutex::default(), freed: Arc::default() })
    }

    fn taken(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether somebody has to go first.
    fn is_overfull(&self) -> bool {
        self.taken().bytes > self.most
    }
}

impl Taken {
    /// Ends the streams of the oldest messages, until the others have room.
    fn make_room(&mut self, most: usize) {
        while self.bytes - self.leaving > most
            && let Some((_, (bytes, task))) = self.places.pop_first()
        {
            self.leaving += bytes;
            debug!(bytes, "a message under way gave way to later ones");
            if let Some(task) = task.get() {
                task.abort();
            }
        }
    }
}

/// The place of one message, which grows while the message does, and is free again once this is dropped.
#[derive(Debug)]
pub(super) struct Place {
    room: Arc<Room>,
    /// Known once it is needed.
    task: Option<StreamTask>,
    bytes: usize,
    /// Once it takes room: its number, and what it takes.
    taken: Option<(u64, usize)>,
    waiting: Option<Pin<Box<OwnedNotified>>>,
}

impl Place {
    pub(super) const fn new(room: Arc<Room>) -> Self {
        Self { room, task: None, bytes: 0, taken: None, waiting: None }
    }

    /// Ready once everybody who had to give way has gone: they are told to, and their memory is free a little later.
    pub(super) fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<()> {
        while self.room.is_overfull() {
            if let Some(waiting) = &mut self.waiting {
                ready!(waiting.as_mut().poll(context));
                self.waiting = None;
            } else {
                // It hears of what becomes free from now on; so there is one more look.
                self.waiting = Some(Box::pin(self.room.freed.clone().notified_owned()));
            }
        }
        Poll::Ready(())
    }

    /// So many bytes more; said in the task of the message's stream.
    pub(super) fn grow(&mut self, more: usize) {
        self.bytes += more;
        if self.bytes <= SMALL_BYTES {
            return;
        }
        if self.task.is_none() {
            self.task = THIS.try_with(Clone::clone).ok();
        }
        let Some(task) = &self.task else { return };
        let mut taken = self.room.taken();
        if let Some((number, own)) = &mut self.taken {
            // It is gone where it has given way: then its stream ends.
            let Some((bytes, _)) = taken.places.get_mut(number) else { return };
            *bytes += more;
            *own += more;
            taken.bytes += more;
        } else {
            let number = taken.next;
            taken.next += 1;
            taken.bytes += self.bytes;
            taken.places.insert(number, (self.bytes, task.clone()));
            self.taken = Some((number, self.bytes));
        }
        taken.make_room(self.room.most);
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let Some((number, bytes)) = self.taken else { return };
        let mut taken = self.room.taken();
        taken.bytes -= bytes;
        if taken.places.remove(&number).is_none() {
            taken.leaving -= bytes;
        }
        drop(taken);
        self.room.freed.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use std::future::{pending, poll_fn};
    use std::sync::Arc;
    use std::task::Poll;

    use super::{Place, Room, SMALL_BYTES, StreamTask};

    fn stream() -> (tokio::task::JoinHandle<()>, StreamTask) {
        let stream = tokio::spawn(pending());
        let task = StreamTask::default();
        task.set(stream.abort_handle()).unwrap();
        (stream, task)
    }

    fn place(room: &Arc<Room>, task: StreamTask) -> Place {
        let mut place = Place::new(room.clone());
        place.task = Some(task);
        place
    }

    #[tokio::test]
    async fn the_oldest_gives_way_and_small_ones_never() {
        let room = Room::new(10 * SMALL_BYTES);
        let (streams, tasks): (Vec<_>, Vec<_>) = (0..4).map(|_| stream()).unzip();
        let mut places: Vec<_> = tasks.into_iter().map(|task| place(&room, task)).collect();
        places[0].grow(SMALL_BYTES);
        places[1].grow(3 * SMALL_BYTES);
        places[2].grow(4 * SMALL_BYTES);
        places[3].grow(3 * SMALL_BYTES);
        assert!(!room.is_overfull());
        places[3].grow(1);
        // What has to give way takes no more, and its room until it has gone.
        places[1].grow(SMALL_BYTES);
        assert_eq!(room.taken().bytes, 10 * SMALL_BYTES + 1);
        let mut later = Place::new(room.clone());
        let mut waits = Box::pin(poll_fn(|context| later.poll_ready(context)));
        assert!(poll_fn(|context| Poll::Ready(waits.as_mut().poll(context).is_pending())).await);
        drop(places.remove(1));
        waits.await;
        assert_eq!(room.taken().bytes, 7 * SMALL_BYTES + 1);
        for (number, stream) in streams.into_iter().enumerate() {
            if number == 1 {
                assert!(stream.await.unwrap_err().is_cancelled());
            } else {
                assert!(!stream.is_finished(), "{number}");
            }
        }
        places.truncate(2);
        assert_eq!(room.taken().bytes, 4 * SMALL_BYTES);
        drop(places);
        let taken = room.taken();
        assert_eq!((taken.bytes, taken.leaving, taken.places.len()), (0, 0, 0));
    }
}
