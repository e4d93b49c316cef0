//! A server dies with a key that nobody may run again, and nobody asks: another server finds it and says so.

use std::time::Duration;

use semel::domain::Key;
use semel::proto;
use semel::sweep::{Counts, INTERVAL, Sweep};
use semel::telemetry::KeyHash;
use tokio::runtime::Runtime;

use crate::callers::{answered, lease};
use crate::calls::{begin, key, started};
use crate::cluster::Cluster;
use crate::database::{Database, SetClock, mark_unknown};
use crate::log::Log;
use crate::servers::Start;
use crate::support;

const NOW: u64 = 1_800_000_000_000_000;

/// The clocks are set, so that no second passes: the sweep that comes last before the lease is over, and the next one.
pub(crate) fn what_a_dead_server_began_is_found(cluster: &mut Cluster, runtime: &Runtime) {
    let keys = support::size("SEMEL_ABANDONED_KEYS", 5);
    let lease_length = Duration::from_secs(20);
    runtime.block_on(async {
        cluster.until_serving().await;
        let database = Database::new(cluster).await;
        let clock = SetClock::at(NOW);
        let start = |seed| Start {
            clock: clock.clone(),
            policy: mark_unknown(),
            ..Start::on(&database.settings, seed)
        };
        let dying = start(1).serve().await;
        for n in 0..keys {
            let request =
                proto::BeginRequest { lease: Some(lease(lease_length)), ..begin(&format!("left {n}"), 1) };
            started(answered(async || dying.client().begin(request.clone()).await).await.expect("begun"));
        }
        drop(dying);

        let other = start(2).serve().await;
        let key_hash = KeyHash::new(b"secret");
        let mut sweep =
            Sweep::new(other.metered.clone(), other.policies.clone(), other.clock.clone(), key_hash.clone());
        let counts = sweep.counts();
        let log = Log::default();
        let guard = log.capture();
        // As late as a sweep can come that does not see it yet: nothing is over when the lease and the allowance are.
        clock.advance(lease_length + mark_unknown().clock_skew_allowance);
        sweep.once().await.expect("it sweeps");
        assert_eq!(*counts.borrow(), Some(Counts::default()));
        assert!(!log.text().contains("unresolved"), "{}", log.text());
        clock.advance(INTERVAL);
        sweep.once().await.expect("it sweeps");
        drop(guard);
        assert!(INTERVAL < Duration::from_secs(90), "with the time that a sweep takes");
        assert_eq!(*counts.borrow(), Some(Counts { outcome_unknown: keys, ..Counts::default() }), "counted");

        let text = log.text();
        let listed = list(&other).await;
        assert_eq!(listed.len() as u64, keys, "listed");
        for record in listed {
            let unresolved = record.unresolved.expect("it reads so");
            assert_eq!(unresolved.reason(), proto::unresolved::Reason::OutcomeUnknown);
            let name = key_hash.name(&domain_key(&record.key.expect("it has a key")));
            let logged =
                text.lines().filter(|line| line.contains(&name) && line.contains("OUTCOME_UNKNOWN")).count();
            assert_eq!(logged, 1, "logged once: {text}");
        }
        support::count("cassandra_abandoned_keys", keys);
    });
}

async fn list(server: &crate::servers::Semel) -> Vec<proto::Record> {
    let request = proto::ListRecordsRequest {
        tenant: key("").tenant,
        state: proto::State::Unresolved.into(),
        ..proto::ListRecordsRequest::default()
    };
    server.operator().list_records(request).await.expect("they are listed").into_inner().records
}

fn domain_key(key: &proto::Key) -> Key {
    Key {
        tenant: semel::domain::Tenant::new(&key.tenant).expect("valid"),
        endpoint: semel::domain::Endpoint::new(&key.endpoint).expect("valid"),
        idempotency_key: semel::domain::IdempotencyKey::new(&key.idempotency_key).expect("valid"),
    }
}
