//! Three servers under load while nodes stand still, die and come back: what callers hear stays true, and nothing that
//! was acknowledged is lost.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use futures_util::{StreamExt, stream};
use prost::Message;
use semel::proto;
use semel::proto::begin_response::Decision;
use tokio::runtime::Runtime;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tonic::{Code, Status};

use crate::callers::{Manners, PATIENCE, Raced, race};
use crate::calls::{attempt_id, begin, complete, decision, key, reason, seconds};
use crate::cluster::Cluster;
use crate::database::Database;
use crate::history::Figures;
use crate::raw::RawClient;
use crate::servers::{Semel, Start, three};
use crate::support;

const KEYS_AT_ONCE: usize = 8;
/// How many keys are raced for in each trouble.
const KEYS: u64 = 20;

/// Races without end, until it is told.
struct Load {
    raced: watch::Receiver<u64>,
    stop: Arc<AtomicU64>,
    running: JoinHandle<Vec<Raced>>,
}

impl Load {
    fn start(runtime: &Runtime, servers: &Arc<Vec<Semel>>) -> Self {
        let (count, raced) = watch::channel(0);
        let stop = Arc::new(AtomicU64::new(u64::MAX));
        let running = runtime.spawn({
            let (servers, stop) = (servers.clone(), stop.clone());
            async move {
                let going = |n: &u64| std::future::ready(*n < stop.load(Ordering::Relaxed));
                stream::iter(0..)
                    .take_while(going)
                    .map(|n| {
                        let servers = servers.clone();
                        // A task of its own: they run at once on all cores.
                        tokio::spawn(
                            async move { race(&servers, format!("load {n}"), 6, Manners::MIXED).await },
                        )
                    })
                    .buffer_unordered(KEYS_AT_ONCE)
                    .map(|raced| raced.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic())))
                    .inspect(|_| count.send_modify(|count| *count += 1))
                    .collect()
                    .await
            }
        });
        Self { raced, stop, running }
    }

    /// Waits until `keys` more have been raced for.
    fn goes_on(&mut self, runtime: &Runtime, keys: u64) {
        let due = *self.raced.borrow() + keys;
        let came = runtime.block_on(async {
            tokio::time::timeout(PATIENCE, self.raced.wait_for(|raced| *raced >= due))
                .await
                .map(|came| came.is_ok())
        });
        if came != Ok(true) {
            self.running.abort();
            panic!("the load does not go on: {} keys, and {due} are due", *self.raced.borrow());
        }
    }

    fn end(self, runtime: &Runtime) -> Vec<Raced> {
        self.stop.store(0, Ordering::Relaxed);
        match runtime.block_on(self.running) {
            Ok(raced) => raced,
            Err(error) => std::panic::resume_unwind(error.into_panic()),
        }
    }
}

pub(crate) fn nothing_is_lost_while_nodes_die(cluster: &mut Cluster, runtime: &Runtime) {
    runtime.block_on(cluster.until_serving());
    let database = runtime.block_on(Database::new(cluster));
    let servers = Arc::new(runtime.block_on(three(&database.settings)));
    let mut load = Load::start(runtime, &servers);
    load.goes_on(runtime, KEYS);
    let mut troubles = 0;
    // Each node in turn in the full form; in the small one, what follows kills one and then a second.
    for node in 0..usize::try_from(support::size("SEMEL_NODES_IN_TURN", 0)).expect("at most three") {
        cluster.kill(node);
        load.goes_on(runtime, KEYS);
        cluster.restart(node);
        load.goes_on(runtime, KEYS);
        runtime.block_on(cluster.until_serving());
        stand_still(cluster, node, &mut load, runtime);
        troubles += 2;
    }
    stand_still(cluster, 2, &mut load, runtime);
    cluster.kill(1);
    load.goes_on(runtime, KEYS);
    let owned = runtime.block_on(own(&servers));
    cluster.kill(2);
    let refused = runtime.block_on(refused(&servers, &owned));
    cluster.restart(1);
    // Two of three again: it goes on by itself.
    load.goes_on(runtime, KEYS);
    cluster.restart(2);
    runtime.block_on(cluster.until_serving());
    load.goes_on(runtime, KEYS);
    troubles += 3;
    let raced = load.end(runtime);

    runtime.block_on(async {
        for (server, (name, fence)) in servers.iter().zip(&owned) {
            settled(server, name, *fence).await;
        }
        let mut figures = Figures::default();
        for raced in &raced {
            figures += raced.figures;
        }
        let transactions: u64 = servers.iter().map(Semel::transactions).sum();
        println!(
            "{figures:?}, refused while two nodes were down: {refused:?}, {transactions} conditional writes"
        );
        // One that has cached nothing.
        let newcomer = Start::on(&database.settings, 9).serve().await;
        stream::iter(&raced).for_each_concurrent(KEYS_AT_ONCE, |raced| still_there(&newcomer, raced)).await;
        support::count("cassandra_troubles", troubles);
        support::count("cassandra_troubled_keys", figures.keys);
        support::count("cassandra_troubled_takeovers", figures.takeovers);
        support::count("cassandra_refused_calls", refused.calls);
    });
}

fn stand_still(cluster: &Cluster, node: usize, load: &mut Load, runtime: &Runtime) {
    cluster.pause(node);
    std::thread::sleep(Duration::from_secs(5));
    cluster.resume(node);
    load.goes_on(runtime, KEYS);
}

async fn still_there(server: &Semel, raced: &Raced) {
    let began = Instant::now();
    loop {
        let request = proto::BeginRequest { retry: true, ..begin(&raced.name, 999_999) };
        match server.client().begin(request).await.map(decision) {
            Ok(Decision::Replayed(replayed)) => {
                assert_eq!((replayed.fence, replayed.result.as_ref()), (raced.fence, Some(&raced.result)));
                return;
            }
            Err(status) if status.code() == Code::Unavailable && began.elapsed() < PATIENCE => {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            other => panic!("{}: {other:?}", raced.name),
        }
    }
}

/// A key that each server owns.
async fn own(servers: &[Semel]) -> Vec<(String, i64)> {
    let mut owned = Vec::new();
    for (n, server) in servers.iter().enumerate() {
        let name = format!("owned {n}");
        let request = proto::BeginRequest { lease: seconds(3000), ..begin(&name, 1) };
        let began = Instant::now();
        let fence = loop {
            match server.client().begin(request.clone()).await.map(decision) {
                Ok(Decision::Started(started)) => break started.fence,
                Err(status) if status.code() == Code::Unavailable && began.elapsed() < PATIENCE => {
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
                other => panic!("{name}: {other:?}"),
            }
        };
        owned.push((name, fence));
    }
    owned
}

/// What the calls heard that could not be done.
#[derive(Clone, Copy, Debug, Default)]
struct Refused {
    calls: u64,
    unknown: u64,
    longest: Duration,
}

/// Two of three nodes are dead: every call that writes is refused, in time, before and after the third notices.
async fn refused(servers: &[Semel], owned: &[(String, i64)]) -> Refused {
    let began = Instant::now();
    let mut refused = Refused::default();
    for round in 0_u32.. {
        let calls = servers.iter().zip(owned).enumerate().flat_map(|(n, (server, (name, fence)))| {
            let name = name.clone();
            let renew = proto::RenewRequest {
                key: Some(key(&name)),
                fence: *fence,
                attempt_id: attempt_id(1),
                lease: seconds(3000),
            };
            [
                ("Begin", begin(&format!("refused {n} {round}"), 1).encode_to_vec()),
                ("Renew", renew.encode_to_vec()),
                ("Complete", complete(&name, 1, *fence, "done").encode_to_vec()),
            ]
            .map(|(method, message)| refusal(server, method, message))
        });
        let answers = futures_util::future::join_all(calls).await;
        refused.calls += answers.len() as u64;
        refused.unknown +=
            answers.iter().filter(|(reason, _)| reason == "STORE_OUTCOME_UNKNOWN").count() as u64;
        refused.longest = answers.iter().map(|(_, took)| *took).fold(refused.longest, Duration::max);
        if answers.iter().all(|(reason, _)| reason == "STORE_UNAVAILABLE") {
            return refused;
        }
        assert!(began.elapsed() < PATIENCE, "the last node does not notice that it is alone: {answers:?}");
    }
    unreachable!("rounds do not run out")
}

/// Why a call was refused and how long that took. It is not this caller who ends it.
async fn refusal(server: &Semel, method: &str, message: Vec<u8>) -> (String, Duration) {
    const DEADLINE: Duration = Duration::from_secs(30);
    let mut client = RawClient::connect(&server.address).await;
    let path = format!("/semel.v1.IdempotencyService/{method}");
    let sent = Instant::now();
    let answer = client.call(&path, &[("grpc-timeout", "30S")], &message).await;
    let took = sent.elapsed();
    let status: Status = answer.expect_err("nothing can be written");
    assert_eq!(status.code(), Code::Unavailable, "{method}: {status:?}");
    let reason = reason(&status);
    assert!(
        ["STORE_UNAVAILABLE", "STORE_OUTCOME_UNKNOWN"].contains(&reason.as_str()),
        "{method}: {status:?}"
    );
    assert!(took < DEADLINE, "{method} took {took:?}");
    (reason, took)
}

/// What was refused or unknown is settled by the same call.
async fn settled(server: &Semel, name: &str, fence: i64) {
    let began = Instant::now();
    loop {
        match server.client().complete(complete(name, 1, fence, "done")).await {
            Ok(_) => return,
            Err(status) => {
                assert!(
                    status.code() == Code::Unavailable && began.elapsed() < PATIENCE,
                    "{name}: {status:?}"
                );
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}
