//! What each kind of call costs the store, counted: a conditional write on a cluster costs several reads, and a serial
//! read as much as a write.

#[path = "support/fixtures.rs"]
mod fixtures;
#[path = "support/simulated.rs"]
mod simulated;
#[path = "support/timed_store.rs"]
mod timed_store;

use std::sync::Arc;

use fixtures::{begin, result};
use semel::coordinator::CallError;
use semel::domain::{
    BeginAnswer, CheckpointName, Complete, Fence, OperationResult, Refusal, Renew, SaveCheckpoint, Started,
};
use semel::storage::Store;
use semel::storage::memory::MemoryStore;
use simulated::{SECOND, Server};
use tokio::task::JoinSet;

/// Plain reads, serial reads, writes.
type Cost = (usize, usize, usize);

const NOTHING: Cost = (0, 0, 0);
const ONE_WRITE: Cost = (0, 0, 1);
const ONE_READ: Cost = (1, 0, 0);
const A_READ_AND_A_WRITE: Cost = (1, 0, 1);

fn two_servers() -> [Server; 2] {
    let memory: Arc<dyn Store> = Arc::new(MemoryStore::new());
    Server::several(2, &memory).try_into().ok().expect("two")
}

async fn cost<A>(server: &Server, work: impl Future<Output = A>) -> (A, Cost) {
    let serial = server.store.serial_reads();
    let (answer, (reads, writes)) = server.cost(work).await;
    let serial = server.store.serial_reads() - serial;
    (answer, (reads - serial, serial, writes))
}

fn started(answer: Result<BeginAnswer, CallError>) -> Started {
    match answer {
        Ok(BeginAnswer::Started(started)) => started,
        other => panic!("{other:?}"),
    }
}

fn renew(attempt: u128, fence: Fence) -> Renew {
    let lease = semel::domain::PositiveDuration::new(40 * SECOND).ok();
    Renew { fence, attempt_id: begin(attempt).attempt_id, lease }
}

fn save(attempt: u128, fence: Fence, name: &str) -> SaveCheckpoint {
    let (name, value) = (CheckpointName::new(name).unwrap(), b"1"[..].into());
    SaveCheckpoint { fence, attempt_id: begin(attempt).attempt_id, name, value }
}

#[tokio::test(start_paused = true)]
async fn a_life_on_one_server_costs_one_write_for_each_change() {
    let [server, _] = two_servers();
    let (answer, spent) = cost(&server, server.begin("k", &begin(1))).await;
    let fence = started(answer).fence;
    assert_eq!(spent, ONE_WRITE, "a fresh Begin");
    let (answer, spent) = cost(&server, server.run("k", &renew(1, fence))).await;
    assert_eq!((answer.is_ok(), spent), (true, ONE_WRITE), "Renew");
    let (answer, spent) = cost(&server, server.run("k", &save(1, fence, "a"))).await;
    assert_eq!((answer.is_ok(), spent), (true, ONE_WRITE), "SaveCheckpoint");
    let (answer, spent) = cost(&server, server.complete("k", 1, fence, "done")).await;
    assert_eq!((answer.is_ok(), spent), (true, ONE_WRITE), "Complete");
    for retried in [false, true] {
        let again = begin(2);
        let replay = async {
            if retried { server.begin_again("k", &again).await } else { server.begin("k", &again).await }
        };
        let (answer, spent) = cost(&server, replay).await;
        assert!(matches!(answer, Ok(BeginAnswer::Replayed(_))));
        assert_eq!(spent, NOTHING, "a replay from the cache");
    }
}

#[tokio::test(start_paused = true)]
async fn an_owner_that_comes_to_another_server_costs_a_plain_read_more() {
    let [here, elsewhere] = two_servers();
    for (n, name) in ["renew", "save", "complete"].iter().enumerate() {
        let fence = elsewhere.start(name, 1).await.fence;
        let (done, spent) = match n {
            0 => cost(&here, async { here.run(name, &renew(1, fence)).await.is_ok() }).await,
            1 => cost(&here, async { here.run(name, &save(1, fence, "a")).await.is_ok() }).await,
            _ => cost(&here, async { here.complete(name, 1, fence, "done").await.is_ok() }).await,
        };
        assert_eq!((done, spent), (true, A_READ_AND_A_WRITE), "{name}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_owner_is_not_stopped_by_what_this_server_saw_of_an_earlier_attempt() {
    let [here, elsewhere] = two_servers();
    let first = here.start("k", 1).await;
    here.release("k", 1, first.fence).await;
    let second = elsewhere.start("k", 2).await;
    let (completed, spent) = cost(&here, here.complete("k", 2, second.fence, "done")).await;
    assert!(!completed.expect("the owner of the second attempt").repeated);
    assert_eq!(spent, A_READ_AND_A_WRITE);
}

#[tokio::test(start_paused = true)]
async fn an_owner_is_stopped_by_a_serial_read_alone_and_only_after_a_plain_one() {
    let [here, elsewhere] = two_servers();
    let fence = elsewhere.start("k", 1).await.fence;
    let stale = Fence::new(fence.get() - 1).unwrap();
    let (refused, spent) = cost(&here, here.complete("k", 1, stale, "done")).await;
    assert_eq!(refused, Err(CallError::Refused(Refusal::FenceLost { superseded: true })));
    assert_eq!(spent, (1, 1, 0));
    let (refused, spent) = cost(&here, here.complete("unknown", 1, fence, "done")).await;
    assert_eq!(refused, Err(CallError::Refused(Refusal::KeyNotFound)));
    assert_eq!(spent, (1, 1, 0));
    let (refused, spent) = cost(&here, here.lookup("unknown")).await;
    assert_eq!(refused, Err(CallError::Refused(Refusal::KeyNotFound)));
    assert_eq!(spent, ONE_READ, "nobody stops at a Lookup");
}

#[tokio::test(start_paused = true)]
async fn a_takeover_costs_a_read_and_a_write() {
    let [here, elsewhere] = two_servers();
    elsewhere.start("k", 1).await;
    tokio::time::sleep(32 * SECOND).await;
    let (answer, spent) = cost(&here, here.begin_again("k", &begin(2))).await;
    assert_eq!(started(answer).attempt, 2);
    assert_eq!(spent, A_READ_AND_A_WRITE, "on another server, said to be a retry");
    tokio::time::sleep(32 * SECOND).await;
    let (answer, spent) = cost(&here, here.begin("k", &begin(3))).await;
    assert_eq!(started(answer).attempt, 3);
    assert_eq!(
        spent, A_READ_AND_A_WRITE,
        "on the server of the attempt before: its owner may have renewed elsewhere"
    );
}

#[tokio::test(start_paused = true)]
async fn where_nobody_else_writes_a_takeover_costs_no_read() {
    let server = Server::new();
    server.start("k", 1).await;
    tokio::time::sleep(32 * SECOND).await;
    let (answer, spent) = cost(&server, server.begin("k", &begin(2))).await;
    assert_eq!((started(answer).attempt, spent), (2, ONE_WRITE));
}

#[tokio::test(start_paused = true)]
async fn what_the_cache_may_no_longer_replay_costs_a_read() {
    let [here, elsewhere] = two_servers();
    let fence = elsewhere.start("k", 1).await.fence;
    elsewhere.complete("k", 1, fence, "done").await.unwrap();
    let (answer, spent) = cost(&here, here.begin_again("k", &begin(2))).await;
    assert!(matches!(answer, Ok(BeginAnswer::Replayed(_))));
    assert_eq!(spent, ONE_READ, "a retry reads first");
    for round in 0..3 {
        let (answer, spent) = cost(&here, here.begin("k", &begin(3))).await;
        assert!(matches!(answer, Ok(BeginAnswer::Replayed(_))));
        assert_eq!(spent, NOTHING);
        tokio::time::sleep(31 * SECOND).await;
        let (answer, spent) = cost(&here, here.begin("k", &begin(4))).await;
        assert!(matches!(answer, Ok(BeginAnswer::Replayed(_))));
        assert_eq!(spent, ONE_READ, "round {round}: never a write for what was once seen");
    }
}

#[tokio::test(start_paused = true)]
async fn a_thousand_begins_of_one_key_cost_at_most_two_writes() {
    #[derive(Clone, Copy, Debug)]
    enum Key {
        Fresh,
        OwnedElsewhere,
        ReleasedElsewhere,
        CompletedElsewhere,
    }
    for state in [Key::Fresh, Key::OwnedElsewhere, Key::ReleasedElsewhere, Key::CompletedElsewhere] {
        let [here, elsewhere] = two_servers();
        if !matches!(state, Key::Fresh) {
            let fence = elsewhere.start("hot", 5000).await.fence;
            match state {
                Key::ReleasedElsewhere => elsewhere.release("hot", 5000, fence).await,
                Key::CompletedElsewhere => _ = elsewhere.complete("hot", 5000, fence, "done").await.unwrap(),
                Key::Fresh | Key::OwnedElsewhere => {}
            }
        }
        let mut calls = JoinSet::new();
        let (answers, (plain, serial, writes)) = cost(&here, async {
            for attempt in 0..1000 {
                let here = here.share();
                calls.spawn(async move { here.begin("hot", &begin(attempt)).await.unwrap() });
            }
            calls.join_all().await
        })
        .await;
        let started = answers.iter().filter(|answer| matches!(answer, BeginAnswer::Started(_))).count();
        let expected = usize::from(matches!(state, Key::Fresh | Key::ReleasedElsewhere));
        assert_eq!((answers.len(), started), (1000, expected), "{state:?}");
        assert!(writes <= 2 && serial == 0 && plain <= 2, "{state:?}: {plain} reads, {writes} writes");
    }
}

#[tokio::test(start_paused = true)]
async fn a_repeated_complete_costs_a_read() {
    let [here, _] = two_servers();
    let fence = here.start("k", 1).await.fence;
    let result: Arc<OperationResult> = result("done");
    let complete = Complete { fence, attempt_id: begin(1).attempt_id, result, retention: None };
    here.run("k", &complete).await.unwrap();
    let (completed, spent) = cost(&here, here.run("k", &complete)).await;
    assert!(completed.unwrap().repeated);
    assert_eq!(spent, ONE_READ, "what was written last is read, whatever is believed of it");
}
