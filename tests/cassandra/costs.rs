//! What calls cost the database, counted where they pass: conditional writes and reads of the key.

use futures_util::future::join_all;
use semel::proto;
use semel::proto::abort_request::Disposition;
use semel::proto::begin_response::Decision;
use semel::storage::metered::{CallOutcome, Operation};
use tokio::runtime::Runtime;
use tonic::Response;

use crate::callers::answered;
use crate::calls::{abort, begin, complete, decision, replayed, started};
use crate::cluster::Cluster;
use crate::database::Database;
use crate::servers::{Semel, Start};
use crate::support;
use crate::wire::{Asked, Wire};

const fn cost(transactions: u64, reads: u64) -> Asked {
    Asked { transactions, reads }
}

/// A call's name, what it cost, and the most reads that it may cost.
type Bill = (&'static str, Asked, Asked);

/// Has each call on a key billed by itself.
struct Account<'a> {
    wire: &'a Wire,
    key: &'a str,
    billed: Asked,
}

impl<'a> Account<'a> {
    fn of(wire: &'a Wire, key: &'a str) -> Self {
        Self { wire, key, billed: wire.asked(key) }
    }

    fn bill(&mut self, call: &'static str, allowed: Asked) -> Bill {
        let spent = self.wire.asked_since(self.key, self.billed);
        self.billed = self.wire.asked(self.key);
        (call, spent, allowed)
    }
}

/// Each call costs what it must. Where a node was too slow to answer, the write was sent again, rightly; then another key
/// is tried.
pub(crate) fn calls_cost_what_they_must(cluster: &mut Cluster, runtime: &Runtime) {
    runtime.block_on(async {
        cluster.until_serving().await;
        let database = Database::new(cluster).await;
        let wire = Wire::before(&cluster.contact_points()).await;
        let settings = wire.through(&database.settings);
        let servers = [Start::on(&settings, 1).serve().await, Start::on(&settings, 2).serve().await];
        let keys = support::size("SEMEL_COSTED_KEYS", 20);
        let (mut calls, mut disturbed) = (0, 0);
        for n in 0..keys {
            let bills = loop {
                let before = failed(&servers);
                let bills = bills(&wire, &servers, n, disturbed).await;
                if failed(&servers) == before {
                    break bills;
                }
                disturbed += 1;
                assert!(disturbed < 1000, "the nodes are too slow to count anything");
            };
            for (call, spent, allowed) in bills {
                assert_eq!(spent.transactions, allowed.transactions, "{call}");
                assert!(spent.reads <= allowed.reads, "{call}: {spent:?}");
                calls += 1;
            }
        }
        let spent = loop {
            let before = failed(&servers);
            let spent = many_begin_one_key(&wire, &servers[0], &format!("hot {disturbed}")).await;
            if failed(&servers) == before {
                break spent;
            }
            disturbed += 1;
        };
        assert!((1..=2).contains(&spent.transactions), "{spent:?}");
        println!("{calls} calls; 1000 Begins of one key at once: {spent:?}; tried again: {disturbed}");
        support::count("cassandra_costed_calls", calls);
    });
}

/// How many requests failed: each is sent again, by the server or by its caller.
fn failed(servers: &[Semel]) -> u64 {
    let failed = |server: &Semel| -> u64 {
        [Operation::Get, Operation::CompareAndPut]
            .into_iter()
            .flat_map(|operation| {
                [(operation, CallOutcome::Unavailable), (operation, CallOutcome::OutcomeUnknown)]
            })
            .map(|(operation, outcome)| server.metered.calls(operation, outcome).count)
            .sum()
    };
    servers.iter().map(failed).sum()
}

async fn begun(server: &Semel, request: proto::BeginRequest) -> Response<proto::BeginResponse> {
    answered(async || server.client().begin(request.clone()).await).await.expect("it is answered")
}

async fn completed(server: &Semel, name: &str, attempt: u32, fence: i64) {
    let request = complete(name, attempt, fence, "done");
    answered(async || server.client().complete(request.clone()).await).await.expect("it is the owner");
}

async fn bills(wire: &Wire, servers: &[Semel; 2], n: u64, trial: u32) -> Vec<Bill> {
    let mut bills = Vec::new();
    let [here, elsewhere] = servers;
    let name = &format!("costed {n} {trial}");
    let mut account = Account::of(wire, name);
    let first = started(begun(here, begin(name, 1)).await);
    bills.push(account.bill("a fresh Begin", cost(1, 0)));
    let give_up = abort(name, 1, first.fence, Disposition::OutcomeUnknown);
    answered(async || here.client().abort(give_up.clone()).await).await.expect("given up");
    bills.push(account.bill("an Abort on the server that did the Begin", cost(1, 0)));
    let retry = proto::BeginRequest { retry: true, ..begin(name, 2) };
    let taken = started(begun(elsewhere, retry).await);
    assert_eq!(taken.attempt, 2);
    bills.push(account.bill("a takeover by a retry", cost(1, 1)));
    completed(elsewhere, name, 2, taken.fence).await;
    bills.push(account.bill("a Complete on the server that did the Begin", cost(1, 0)));
    for attempt in 3..6 {
        replayed(begun(elsewhere, begin(name, attempt)).await);
    }
    bills.push(account.bill("replays from the cache", cost(0, 0)));

    let name = &format!("costed elsewhere {n} {trial}");
    let mut account = Account::of(wire, name);
    let first = started(begun(here, begin(name, 1)).await);
    bills.push(account.bill("a fresh Begin", cost(1, 0)));
    completed(elsewhere, name, 1, first.fence).await;
    bills.push(account.bill("a Complete on another server", cost(1, 1)));
    bills
}

async fn many_begin_one_key(wire: &Wire, server: &Semel, name: &str) -> Asked {
    let calls = (1..=1000).map(|attempt| begun(server, begin(name, attempt)));
    let decisions: Vec<_> = join_all(calls).await.into_iter().map(decision).collect();
    let owns = |decision: &&Decision| matches!(decision, Decision::Started(_));
    assert_eq!(decisions.iter().filter(owns).count(), 1);
    wire.asked(name)
}
