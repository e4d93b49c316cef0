//! The committer when it is slow, stuck, or panics. Its steps are held and broken by the test, so nothing here depends
//! on how fast the machine is.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use semel::domain::Policy;
use semel::storage::conformance::{Samples, key};
use semel::storage::embedded::{EmbeddedStore, Settings, Step};
use semel::storage::{Freshness, Put, Store, StoreError, Versioned, Write, WriteId};
use tempfile::TempDir;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::task::JoinSet;
use uuid::Uuid;

/// What only a hang can take.
const AT_MOST: Duration = Duration::from_mins(1);

fn open(directory: &TempDir, change: impl FnOnce(&mut Settings)) -> Arc<EmbeddedStore> {
    let mut settings = Settings { free_space_reserve_bytes: 0, ..Settings::new(directory.path()) };
    change(&mut settings);
    Arc::new(EmbeddedStore::open(settings).expect("the store opens"))
}

fn write_of(n: u64, payload: usize) -> Write {
    let next = Versioned::new(
        WriteId(Uuid::from_u64_pair(1, n)),
        Arc::new(Samples::completed_with(n, vec![7; payload])),
    );
    Write::new(key("t", n), None, next, &Policy::default())
}

/// Holds the committer at a step, once it comes there, until this is dropped.
struct Held {
    at: UnboundedReceiver<()>,
    _release: mpsc::Sender<()>,
}

impl Held {
    fn at(store: &EmbeddedStore, step: Step) -> Self {
        let (tell, at) = unbounded_channel();
        let (release, released): (_, Receiver<()>) = mpsc::channel();
        let released = Mutex::new(released);
        store.on_step(move |now| {
            if now == step {
                // Nobody listens once it was released.
                let _ = tell.send(());
                let _ = released.lock().expect("no panic").recv();
            }
        });
        Self { at, _release: release }
    }

    async fn reached(&mut self) {
        tokio::time::timeout(AT_MOST, self.at.recv()).await.expect("it comes there").expect("it tells");
    }
}

fn panic_at(store: &EmbeddedStore, steps: &[Step]) -> Arc<AtomicU64> {
    let left = Mutex::new(steps.to_vec());
    let panics = Arc::new(AtomicU64::new(0));
    let count = Arc::clone(&panics);
    store.on_step(move |now| {
        let mut left = left.lock().expect("it is let go before a panic");
        if left.first() == Some(&now) {
            left.remove(0);
            drop(left);
            count.fetch_add(1, Ordering::SeqCst);
            panic!("as the test wants, at {now:?}");
        }
    });
    panics
}

async fn until(happened: impl AsyncFn() -> bool) {
    let happened = async {
        while !happened().await {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(AT_MOST, happened).await.expect("it happens by itself");
}

async fn is_there(store: &EmbeddedStore, write: &Write) {
    let expected = write.made();
    let found = store.get(&write.key, Freshness::Serial).await.expect("the store reads");
    assert!(found == Some(expected), "{:?}", write.write_id);
}

#[tokio::test]
async fn what_waits_for_the_disk_is_bounded_and_what_is_refused_was_not_written() {
    const WRITES: u64 = 20;
    let directory = tempfile::tempdir().expect("a temporary directory");
    let store = open(&directory, |settings| settings.waiting_bytes = 64 * 1024);
    let mut held = Held::at(&store, Step::Gathered);
    let mut first = JoinSet::new();
    let put = |write: Write| {
        let store = Arc::clone(&store);
        async move {
            let answer = store.compare_and_put(&write).await;
            (write, answer)
        }
    };
    first.spawn(put(write_of(1000, 10)));
    held.reached().await;

    let mut waiting = JoinSet::new();
    for n in 0..WRITES {
        waiting.spawn(put(write_of(n, 10_000)));
    }
    // Six fit, by what they weigh; nobody but the refused is answered while the committer is held.
    let mut refused = Vec::new();
    while refused.len() < 14 {
        let next =
            tokio::time::timeout(AT_MOST, waiting.join_next()).await.expect("some are refused at once");
        match next.expect("there are more").expect("no panic") {
            (write, Err(StoreError::Unavailable(cause))) => {
                assert!(cause.contains("slower") && cause.contains("waiting"), "{cause}");
                refused.push(write);
            }
            (_, other) => panic!("refused at once, or not at all: {other:?}"),
        }
    }
    let absent = key("t", 2000);
    let serial = store.get(&absent, Freshness::Serial);
    let late = tokio::time::timeout(Duration::ZERO, serial).await;
    assert!(late.is_err(), "a small one finds room, and waits");
    drop(held);
    let mut applied = 0;
    while let Some(next) = waiting.join_next().await {
        let (write, answer) = next.expect("no panic");
        assert_eq!(answer.expect("written"), Put::Applied);
        is_there(&store, &write).await;
        applied += 1;
    }
    assert_eq!(applied, 6);
    for write in &refused {
        assert_eq!(store.get(&write.key, Freshness::Serial).await.expect("it reads"), None);
    }
    // What is larger than the queue finds room in an empty one.
    let larger_than_the_queue = write_of(3000, 200_000);
    assert_eq!(store.compare_and_put(&larger_than_the_queue).await.expect("written"), Put::Applied);
    for write in &refused {
        assert_eq!(store.compare_and_put(write).await.expect("written"), Put::Applied);
    }
}

#[tokio::test]
async fn a_committer_that_is_stuck_is_unwell_and_well_again_when_it_goes_on() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let store = open(&directory, |settings| settings.stuck_after = Duration::ZERO);
    until(async || store.ping().await.is_ok()).await;
    let mut held = Held::at(&store, Step::Committed);
    let writer = tokio::spawn({
        let store = Arc::clone(&store);
        async move { store.compare_and_put(&write_of(1, 10)).await }
    });
    held.reached().await;
    let StoreError::Unavailable(cause) = store.ping().await.expect_err("it is stuck") else {
        panic!("nothing was written by a ping");
    };
    assert!(cause.contains("at one step"), "{cause}");
    drop(held);
    assert_eq!(writer.await.expect("no panic").expect("written"), Put::Applied);
    until(async || store.ping().await.is_ok()).await;
}

#[tokio::test]
async fn a_panic_of_the_committer_is_an_unknown_outcome_and_the_store_goes_on_by_itself() {
    use Step::{Committed, Gathered, Idle, Reopening};
    let directory = tempfile::tempdir().expect("a temporary directory");
    let store = open(&directory, |_| ());
    let mut written = Vec::new();
    for (n, steps) in
        (0..).zip([&[Gathered][..], &[Committed], &[Committed, Reopening, Reopening], &[Gathered, Reopening]])
    {
        let before = store.stats().reopened;
        let panics = panic_at(&store, steps);
        let write = write_of(n, 100);
        let answer = store.compare_and_put(&write).await;
        assert!(matches!(answer, Err(StoreError::OutcomeUnknown(_))), "{steps:?}: {answer:?}");
        // Settled as any unknown outcome is: the same write again.
        until(async || matches!(store.compare_and_put(&write).await, Ok(Put::Applied))).await;
        until(async || store.ping().await.is_ok()).await;
        assert_eq!(panics.load(Ordering::SeqCst), steps.len() as u64, "{steps:?}");
        assert!(store.stats().reopened > before, "memory may be ahead of the disk, or behind");
        written.push(write);
        for write in &written {
            is_there(&store, write).await;
        }
    }
    let before = store.stats().reopened;
    let panics = panic_at(&store, &[Idle]);
    until(async || store.stats().reopened > before && store.ping().await.is_ok()).await;
    assert_eq!(panics.load(Ordering::SeqCst), 1);
    for write in &written {
        is_there(&store, write).await;
    }
}

#[tokio::test]
async fn a_store_closes_though_its_committer_panics() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let store = open(&directory, |_| ());
    panic_at(&store, &[Step::Gathered]);
    let (tell, told) = mpsc::channel();
    let closing = Arc::clone(&store);
    std::thread::spawn(move || {
        closing.close();
        let _ = tell.send(());
    });
    let told = tokio::task::spawn_blocking(move || told.recv_timeout(AT_MOST));
    told.await.expect("no panic").expect("it closes");
    store.ping().await.expect_err("closed");
    drop(open(&directory, |_| ()));
}
