//! Compare and put: who wins, what the others are told, and how an unknown outcome is settled.

use std::collections::HashSet;
use std::sync::Arc;

use futures_util::FutureExt;
use tokio::task::JoinSet;

use super::samples::{Samples, key};
use super::{Kind, Reclaims};
use super::{after, apply, first, made_by, put, read, read_serial};
use crate::storage::{Put, Store, Write};

const WRITERS: u64 = 64;

pub(super) async fn an_absent_key_reads_as_absent(store: Arc<dyn Store>) {
    assert_eq!(read(&*store, &key("t", 1)).await, None);
    assert_eq!(read_serial(&*store, &key("t", 1)).await, None);
}

pub(super) async fn a_first_write_is_read_back(store: Arc<dyn Store>) {
    let write = first(&key("t", 1), Samples::in_progress(1));
    apply(&*store, &write).await;
    assert_eq!(read(&*store, &write.key).await, Some(made_by(&write)));
    assert_eq!(read_serial(&*store, &write.key).await, Some(made_by(&write)));
    assert_eq!(read(&*store, &key("t", 2)).await, None, "another key stays absent");
}

pub(super) async fn a_first_write_on_a_present_key_conflicts(store: Arc<dyn Store>) {
    let write = first(&key("t", 1), Samples::completed(1));
    apply(&*store, &write).await;
    let late = first(&write.key, Samples::in_progress(2));
    assert_eq!(put(&*store, &late).await, Put::Conflict(Some(made_by(&write))));
    assert_eq!(read(&*store, &write.key).await, Some(made_by(&write)), "nothing changed");
}

pub(super) async fn a_write_on_the_right_version_is_applied(store: Arc<dyn Store>) {
    let mut write = first(&key("t", 1), Samples::any(0));
    apply(&*store, &write).await;
    for n in 1..30 {
        write = after(&write, Samples::any(n));
        apply(&*store, &write).await;
        assert_eq!(read(&*store, &write.key).await, Some(made_by(&write)));
    }
}

pub(super) async fn a_write_on_the_wrong_version_conflicts(store: Arc<dyn Store>) {
    let one = first(&key("t", 1), Samples::in_progress(1));
    apply(&*store, &one).await;
    let two = after(&one, Samples::completed(2));
    apply(&*store, &two).await;
    let stale = after(&one, Samples::completed(3));
    assert_eq!(put(&*store, &stale).await, Put::Conflict(Some(made_by(&two))));
    assert_eq!(read(&*store, &one.key).await, Some(made_by(&two)));
}

pub(super) async fn a_write_on_an_absent_key_conflicts_with_nothing(store: Arc<dyn Store>) {
    let never_sent = first(&key("t", 1), Samples::in_progress(1));
    let write = after(&never_sent, Samples::completed(1));
    assert_eq!(put(&*store, &write).await, Put::Conflict(None));
    assert_eq!(read(&*store, &write.key).await, None);
}

pub(super) async fn the_same_write_sent_twice_is_applied_once(store: Arc<dyn Store>) {
    let one = first(&key("t", 1), Samples::in_progress(1));
    apply(&*store, &one).await;
    apply(&*store, &one).await;
    let two = after(&one, Samples::completed(2));
    apply(&*store, &two).await;
    apply(&*store, &two).await;
    assert_eq!(read(&*store, &one.key).await, Some(made_by(&two)));
}

pub(super) async fn a_write_sent_again_after_its_successor_conflicts(store: Arc<dyn Store>) {
    let one = first(&key("t", 1), Samples::in_progress(1));
    let two = after(&one, Samples::completed(2));
    apply(&*store, &one).await;
    apply(&*store, &two).await;
    assert_eq!(put(&*store, &one).await, Put::Conflict(Some(made_by(&two))));
}

/// Sends all writes at once and returns the one that won, checking what the others were told.
async fn race(store: &Arc<dyn Store>, writes: Vec<Write>) -> Write {
    let mut senders = JoinSet::new();
    for write in writes {
        let store = Arc::clone(store);
        senders.spawn(async move { (put(&*store, &write).await, write) });
    }
    let answers = senders.join_all().await;
    let winners: Vec<_> = answers.iter().filter(|(answer, _)| *answer == Put::Applied).collect();
    assert_eq!(winners.len(), 1, "exactly one write is applied");
    let winner = winners[0].1.clone();
    for (answer, _) in answers.iter().filter(|(answer, _)| *answer != Put::Applied) {
        assert_eq!(*answer, Put::Conflict(Some(made_by(&winner))), "a loser gets the current record");
    }
    assert_eq!(read(&**store, &winner.key).await, Some(made_by(&winner)));
    winner
}

pub(super) async fn sixty_four_first_writers_have_one_winner(store: Arc<dyn Store>) {
    for round in 0..10 {
        let key = key("t", round);
        race(&store, (0..WRITERS).map(|n| first(&key, Samples::any(n))).collect()).await;
    }
}

pub(super) async fn sixty_four_writers_have_one_winner_per_version(store: Arc<dyn Store>) {
    let mut current = first(&key("t", 1), Samples::in_progress(0));
    apply(&*store, &current).await;
    for round in 1..=20 {
        let writes = (0..WRITERS).map(|n| after(&current, Samples::any(round * WRITERS + n))).collect();
        current = race(&store, writes).await;
    }
}

pub(super) async fn sixty_four_copies_of_one_write_are_all_applied(store: Arc<dyn Store>) {
    let write = first(&key("t", 1), Samples::in_progress(1));
    let mut senders = JoinSet::new();
    for _ in 0..WRITERS {
        let (store, write) = (Arc::clone(&store), write.clone());
        senders.spawn(async move { put(&*store, &write).await });
    }
    assert_eq!(senders.join_all().await, vec![Put::Applied; 64]);
    assert_eq!(read(&*store, &write.key).await, Some(made_by(&write)));
}

pub(super) async fn writers_of_different_keys_do_not_meet(store: Arc<dyn Store>) {
    let mut writers = JoinSet::new();
    for n in 0..WRITERS {
        let store = Arc::clone(&store);
        writers.spawn(async move {
            let mut write = first(&key("t", n), Samples::in_progress(n));
            apply(&*store, &write).await;
            for step in 1..10 {
                write = after(&write, Samples::any(n * 100 + step));
                apply(&*store, &write).await;
            }
            write
        });
    }
    for write in writers.join_all().await {
        assert_eq!(read(&*store, &write.key).await, Some(made_by(&write)));
    }
}

pub(super) async fn a_chain_of_writes_without_waiting_keeps_its_order(store: Arc<dyn Store>) {
    // Each write expects the one before it, and all are under way at once: a prefix of them is applied.
    let mut chain = vec![first(&key("t", 1), Samples::in_progress(0))];
    for n in 1..50 {
        chain.push(after(&chain[chain.len() - 1], Samples::any(n)));
    }
    let sent = chain.iter().map(|write| put(&*store, write));
    let answers = futures_util::future::join_all(sent).await;
    let applied = answers.iter().take_while(|answer| **answer == Put::Applied).count();
    assert!(answers[applied..].iter().all(|answer| matches!(answer, Put::Conflict(_))));
    assert!(applied >= 1);
    assert_eq!(read(&*store, &chain[0].key).await, Some(made_by(&chain[applied - 1])));
}

/// Starts to send a write and drops the call: its sender does not learn what becomes of it.
fn send_and_leave(store: &dyn Store, write: &Write) {
    let _ = store.compare_and_put(write).now_or_never();
}

pub(super) async fn a_write_whose_sender_left_is_settled_by_sending_it_again(store: Arc<dyn Store>) {
    for n in 0..20 {
        let write = first(&key("t", n), Samples::in_progress(n));
        send_and_leave(&*store, &write);
        apply(&*store, &write).await;
        assert_eq!(read(&*store, &write.key).await, Some(made_by(&write)));
    }
}

pub(super) async fn a_serial_read_settles_a_write_whose_sender_left(store: Arc<dyn Store>, kind: Kind) {
    for n in 0..20 {
        let write = first(&key("t", n), Samples::in_progress(n));
        send_and_leave(&*store, &write);
        let mut settled = read_serial(&*store, &write.key).await;
        assert!(settled.is_none() || settled == Some(made_by(&write)));
        for _ in 0..5 {
            tokio::task::yield_now().await;
            let again = read_serial(&*store, &write.key).await;
            if settled.is_none() && kind.reclaims == Reclaims::ByTtl && again == Some(made_by(&write)) {
                // A database read before the write, which was on its way to it, had begun there.
                settled = again;
                continue;
            }
            assert_eq!(again, settled, "it has happened, or never will");
        }
    }
}

pub(super) async fn a_conflict_settles_a_write_whose_sender_left(store: Arc<dyn Store>) {
    let mut seen = HashSet::new();
    for n in 0..20 {
        let key = key("t", n);
        let left = first(&key, Samples::in_progress(n));
        send_and_leave(&*store, &left);
        let next = first(&key, Samples::in_progress(n + 100));
        match put(&*store, &next).await {
            Put::Applied => {
                seen.insert("won");
                assert_eq!(put(&*store, &left).await, Put::Conflict(Some(made_by(&next))));
            }
            Put::Conflict(current) => {
                seen.insert("lost");
                assert_eq!(current, Some(made_by(&left)));
                assert_eq!(put(&*store, &left).await, Put::Applied);
            }
        }
    }
    assert!(!seen.is_empty());
}

pub(super) async fn the_store_says_that_it_is_there(store: Arc<dyn Store>) {
    store.ping().await.expect("a store that works says so");
    apply(&*store, &first(&key("t", 1), Samples::completed(1))).await;
    store.ping().await.expect("after a write too");
}
