//! Servers whose clocks differ: by less than the allowance, and by more.

use std::sync::Arc;
use std::time::Duration;

use semel::proto;
use semel::proto::abort_request::Disposition;
use semel::proto::begin_response::Decision;
use tokio::runtime::Runtime;
use tonic::Status;

use crate::callers::{answered, lease};
use crate::calls::{abort, attempt_id, begin, complete, decision, key, reason};
use crate::cluster::Cluster;
use crate::database::{Database, SetClock};
use crate::servers::{Semel, Start};
use crate::support;

const NOW: u64 = 1_800_000_000_000_000;
const LEASE: Duration = Duration::from_secs(3);
const STEP: Duration = Duration::from_millis(100);

/// Two servers, the second's clock ahead, or behind. Time passes when a test says so.
struct Pair {
    servers: [Semel; 2],
    clocks: [Arc<SetClock>; 2],
}

impl Pair {
    async fn new(database: &Database, ahead: [Duration; 2]) -> Self {
        let clocks = ahead.map(|ahead| SetClock::at(NOW + u64::try_from(ahead.as_micros()).expect("short")));
        let start = |n: usize| Start { clock: clocks[n].clone(), ..Start::on(&database.settings, n as u64) };
        let servers = [start(0).serve().await, start(1).serve().await];
        Self { servers, clocks }
    }

    fn pass(&self, time: Duration) {
        self.clocks.iter().for_each(|clock| clock.advance(time));
    }
}

async fn begun(server: &Semel, name: &str, attempt: u32) -> Decision {
    let request = proto::BeginRequest { lease: Some(lease(LEASE)), retry: true, ..begin(name, attempt) };
    decision(answered(async || server.client().begin(request.clone()).await).await.expect("it is answered"))
}

async fn started(server: &Semel, name: &str, attempt: u32) -> proto::Started {
    match begun(server, name, attempt).await {
        Decision::Started(started) => started,
        other => panic!("{other:?}"),
    }
}

/// Within the allowance of a second nobody begins while another's lease runs, by the clock of the server that granted it;
/// and soon afterwards somebody does.
pub(crate) fn clocks_within_the_allowance_leave_one_owner(cluster: &mut Cluster, runtime: &Runtime) {
    runtime.block_on(async {
        cluster.until_serving().await;
        let database = Database::new(cluster).await;
        let apart = Duration::from_millis(900);
        let mut takeovers = 0;
        for (n, ahead) in [[Duration::ZERO, apart], [apart, Duration::ZERO]].into_iter().enumerate() {
            let pair = Pair::new(&database, ahead).await;
            let [owners, other] = &pair.servers;
            let name = format!("apart {n}");
            let first = started(owners, &name, 1).await;
            let mut passed = Duration::ZERO;
            let second = loop {
                match begun(other, &name, 2).await {
                    Decision::InProgress(_) => {}
                    Decision::Started(second) => break second,
                    wrong => panic!("{wrong:?}"),
                }
                pair.pass(STEP);
                passed += STEP;
                assert!(passed < Duration::from_secs(10), "nobody takes over");
            };
            // The allowance of a second, less or more what the clocks differ by.
            let over = LEASE + Duration::from_millis(if n == 0 { 100 } else { 1900 });
            assert!(passed > LEASE && passed > over && passed <= over + STEP, "after {passed:?}");
            assert!(second.fence > first.fence, "the fence rises, whoever's clock is behind");
            takeovers += 1;
        }
        support::count("cassandra_takeovers_by_clock", takeovers);
    });
}

/// Beyond it a lease may be taken away early. Then the fence stops its owner, whatever it writes, and the key has the
/// result of the other.
pub(crate) fn beyond_the_allowance_the_fence_protects(cluster: &mut Cluster, runtime: &Runtime) {
    runtime.block_on(async {
        cluster.until_serving().await;
        let database = Database::new(cluster).await;
        let apart = Duration::from_secs(5);
        let pair = Pair::new(&database, [Duration::ZERO, apart]).await;
        let [behind, ahead] = &pair.servers;
        let (mut refused, keys) = (0, support::size("SEMEL_CLOCK_KEYS", 10));
        for n in 0..keys {
            let name = &format!("far apart {n}");
            let first = started(behind, name, 1).await;
            // No time has passed: the lease has just begun.
            let second = started(ahead, name, 2).await;
            assert!(second.attempt == 2 && second.fence > first.fence);

            // Each of them first for some keys: then the server acts on what it wrote itself, and the condition of its
            // write alone stops it.
            for write in 0..4 {
                let answer = write_as_owner(behind, name, first.fence, (n + write) % 4).await;
                assert_eq!(reason(&answer.expect_err("its fence is lost")), "FENCE_LOST", "{name}: {write}");
                refused += 1;
            }
            // By the clock that is behind, this lease is far from over.
            assert!(matches!(begun(behind, name, 3).await, Decision::InProgress(_)));
            let good = complete(name, 2, second.fence, "good");
            answered(async || ahead.client().complete(good.clone()).await).await.expect("it owns the key");
            match begun(behind, name, 3).await {
                Decision::Replayed(replayed) => {
                    assert_eq!(replayed.fence, second.fence);
                    assert_eq!(&replayed.result.expect("a result").payload[..], b"good");
                }
                other => panic!("{other:?}"),
            }
        }
        support::count("cassandra_fenced_writes", refused);
    });
}

async fn write_as_owner(server: &Semel, name: &str, fence: i64, which: u64) -> Result<(), Status> {
    let attempt_id = attempt_id(1);
    match which {
        0 => {
            let lease = Some(lease(2 * LEASE));
            let renew = proto::RenewRequest { key: Some(key(name)), fence, attempt_id, lease };
            answered(async || server.client().renew(renew.clone()).await).await.map(|_| ())
        }
        1 => {
            let save = proto::SaveCheckpointRequest {
                key: Some(key(name)),
                fence,
                attempt_id,
                name: "point".into(),
                value: "1".into(),
            };
            answered(async || server.client().save_checkpoint(save.clone()).await).await.map(|_| ())
        }
        2 => {
            let release = abort(name, 1, fence, Disposition::Release);
            answered(async || server.client().abort(release.clone()).await).await.map(|_| ())
        }
        _ => {
            let stale = complete(name, 1, fence, "stale");
            answered(async || server.client().complete(stale.clone()).await).await.map(|_| ())
        }
    }
}
