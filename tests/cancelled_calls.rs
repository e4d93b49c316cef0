//! Every command, given up at every point where it waits: its whole effect is there or none, and nothing of it is left
//! behind.

#[path = "support/fixtures.rs"]
mod fixtures;
#[path = "support/simulated.rs"]
mod simulated;
#[path = "support/timed_store.rs"]
mod timed_store;

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll as Polled;
use std::time::Duration;

use fixtures::{begin, key, result};
use semel::coordinator::{Poll, Settings};
use semel::domain::{
    Abort, BeginAnswer, CheckpointName, Complete, Detail, Disposition, Fence, Forget, Lookup, Note, Record,
    Renew, Resolution, Resolve, SaveCheckpoint,
};
use semel::storage::memory::MemoryStore;
use semel::storage::{Freshness, Store};
use simulated::{MILLI, SECOND, Server};
use timed_store::Faults;
use tokio::time::Instant;

/// What is asked, of a key that is in a state where it changes something, or nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Call {
    Begin,
    Retry,
    TakeOver,
    /// Held while an attempt runs, until that is released.
    Wait,
    Renew,
    Save,
    Complete,
    Release,
    GiveUp,
    Resolve,
    Forget,
    Lookup,
}

impl Call {
    const ALL: [Self; 12] = [
        Self::Begin,
        Self::Retry,
        Self::TakeOver,
        Self::Wait,
        Self::Renew,
        Self::Save,
        Self::Complete,
        Self::Release,
        Self::GiveUp,
        Self::Resolve,
        Self::Forget,
        Self::Lookup,
    ];

    /// What there is before the call.
    async fn prepare(self, server: &Server) -> Fence {
        if matches!(self, Self::Begin | Self::Retry) {
            return Fence::new(1).unwrap();
        }
        let fence = server.start("k", 1).await.fence;
        match self {
            Self::TakeOver => server.release("k", 1, fence).await,
            Self::Forget => _ = server.complete("k", 1, fence, "done").await.unwrap(),
            _ => {}
        }
        fence
    }

    /// Whether it was answered as expected.
    async fn make(self, server: &Server, fence: Fence) -> bool {
        let attempt_id = begin(1).attempt_id;
        let started = |answer| matches!(answer, Ok(BeginAnswer::Started(_)));
        let abort = |disposition| Abort {
            fence,
            attempt_id,
            disposition,
            detail: Detail::default(),
            retry_after: Duration::ZERO,
        };
        match self {
            Self::Begin => started(server.begin("k", &begin(1)).await),
            Self::Retry => started(server.begin_again("k", &begin(1)).await),
            Self::TakeOver => started(server.begin("k", &begin(2)).await),
            Self::Wait => {
                let begun = server.begin_waiting("k", &begin(2), 20 * SECOND, None).await;
                started(begun.map(|begun| begun.answer))
            }
            Self::Renew => {
                let lease = semel::domain::PositiveDuration::new(50 * SECOND).ok();
                server.run("k", &Renew { fence, attempt_id, lease }).await.is_ok()
            }
            Self::Save => {
                let (name, value) = (CheckpointName::new("charged").unwrap(), b"ch_1"[..].into());
                server.run("k", &SaveCheckpoint { fence, attempt_id, name, value }).await.is_ok()
            }
            Self::Complete => {
                let complete = Complete { fence, attempt_id, result: result("done"), retention: None };
                server.run("k", &complete).await.is_ok()
            }
            Self::Release => server.run("k", &abort(Disposition::Release)).await.is_ok(),
            Self::GiveUp => server.run("k", &abort(Disposition::OutcomeUnknown)).await.is_ok(),
            Self::Resolve => {
                let (resolution, note) = (Resolution::Result(result("found")), Note::default());
                server.run("k", &Resolve { fence, resolution, note, force: true }).await.is_ok()
            }
            Self::Forget => server.run("k", &Forget { fence, force: false }).await.is_ok(),
            Self::Lookup => server.run("k", &Lookup).await.is_ok(),
        }
    }
}

/// Polls `call` so many times at most: its answer, or `None` when it is given up.
async fn polled<A>(mut call: Pin<&mut impl Future<Output = A>>, times: usize) -> Option<A> {
    let mut left = times;
    poll_fn(|context| {
        if left == 0 {
            return Polled::Ready(None);
        }
        left -= 1;
        let polled = call.as_mut().poll(context).map(Some);
        // It is given up at once, not when something wakes it again.
        if polled.is_pending() && left == 0 { Polled::Ready(None) } else { polled }
    })
    .await
}

/// The record before the call, the one after it, and whether the call ended, when it is given up after so many polls.
async fn given_up(
    call: Call,
    times: usize,
    settings: &Settings,
) -> (Option<Arc<Record>>, Option<Arc<Record>>, bool) {
    let what = format!("{call:?} given up after {times} polls");
    let memory: Arc<dyn Store> = Arc::new(MemoryStore::new());
    let read = async || memory.get(&key("k"), Freshness::Serial).await.unwrap().map(|current| current.record);
    let server = Server::on(memory.clone(), 1, Duration::ZERO, settings.clone(), Faults::default());
    let fence = call.prepare(&server).await;
    let before = read().await;
    let releasing = (call == Call::Wait).then(|| {
        let server = server.share();
        tokio::spawn(async move {
            tokio::time::sleep(100 * MILLI).await;
            server.release("k", 1, fence).await;
        })
    });
    let ended = {
        let made = pin!(call.make(&server, fence));
        polled(made, times).await
    };
    assert_ne!(ended, Some(false), "{what}: it was refused");
    if let Some(releasing) = releasing {
        releasing.await.unwrap();
    }
    // What goes on without its caller comes to an end.
    tokio::time::sleep(SECOND).await;
    let after = read().await;
    // Debug shows the lanes that somebody uses.
    let inside = format!("{:?}", server.coordinator);
    assert!(inside.contains("lanes: Lanes({})"), "{what}: somebody is left behind in {inside}");
    // The place of one that was held is free, and whoever comes next is served.
    server.start("other", 1).await;
    let began = Instant::now();
    let held = server.begin_waiting("other", &begin(9), 10 * MILLI, None).await.unwrap();
    assert!(matches!(held.answer, BeginAnswer::InProgress(_)), "{what}");
    assert_eq!(
        server.lookup("k").await.ok().as_ref(),
        after.as_ref().and_then(|record| record.live(server.coordinator.now())),
        "{what}"
    );
    assert!(began.elapsed() < SECOND, "{what}");
    (before, after, ended.is_some())
}

#[tokio::test(start_paused = true)]
async fn every_call_given_up_anywhere_leaves_its_whole_effect_or_none() {
    let polling = Some(Poll { first: 50 * MILLI, longest: SECOND });
    let mut given = 0;
    for settings in [None, polling].map(|poll| Settings { poll, max_waiters: 1, ..Settings::default() }) {
        for call in Call::ALL {
            let (_, whole, ended) = given_up(call, usize::MAX, &settings).await;
            assert!(ended);
            let mut points = 0;
            for times in 1.. {
                let (before, after, ended) = given_up(call, times, &settings).await;
                let mut allowed = vec![before.clone(), whole.clone()];
                if call == Call::Wait {
                    // The owner's release happens whoever waits for it.
                    let Some(Record::Kept(kept)) = after.as_deref() else { panic!("{after:?}") };
                    allowed.push(after.clone().filter(|_| kept.attempt == 1));
                }
                assert!(allowed.contains(&after), "{call:?}, {times} polls: {after:?}");
                points += 1;
                given += 1;
                if ended {
                    break;
                }
            }
            assert!(points >= 2, "{call:?} waits at least once");
        }
    }
    assert!(given >= 60, "given up at {given} points");
}
