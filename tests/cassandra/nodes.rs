//! Three nodes, one of which dies and comes back, while writes are chained to one another: none is lost, none happens
//! twice.

use std::sync::Arc;
use std::time::Duration;

use semel::domain::{Clock, Policy};
use semel::storage::conformance::{Samples, key};
use semel::storage::scylla::schema;
use semel::storage::scylla::{ScyllaStore, Settings};
use semel::storage::{Put, Store, StoreError, Versioned};
use tokio::runtime::Runtime;
use uuid::Uuid;

use crate::cluster::Cluster;
use crate::database::{Database, SetClock, made_by, replication, write};
use crate::support;

const WRITERS: u64 = 10;
const STEPS: u64 = 30;

/// How often a send had to be repeated.
#[derive(Clone, Copy, Debug, Default)]
struct Repeats {
    unavailable: u64,
    unknown: u64,
}

/// A chain of writes, each on the one before, each sent until it is known to be there.
async fn chain(store: Arc<ScyllaStore>, writer: u64) -> (Versioned, Repeats) {
    let (policy, key) = (Policy::default(), key("t", writer));
    let mut current: Option<Versioned> = None;
    let mut repeats = Repeats::default();
    for step in 0..STEPS {
        let next = write(&key, current.as_ref(), Samples::any(5 * step + writer % 5), &policy);
        loop {
            match store.compare_and_put(&next).await {
                Ok(Put::Applied) => break,
                Ok(Put::Conflict(found)) => panic!("nobody else writes {writer}, and there is {found:?}"),
                Err(StoreError::Unavailable(_)) => repeats.unavailable += 1,
                Err(StoreError::OutcomeUnknown(_)) => repeats.unknown += 1,
                Err(error @ StoreError::NotListed { .. }) => panic!("{error}"),
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        current = Some(made_by(&next));
    }
    (current.expect("some steps"), repeats)
}

pub(crate) fn chained_writes_survive_the_death_of_a_node(cluster: &mut Cluster, runtime: &Runtime) {
    runtime.block_on(cluster.until_serving());
    let clock = SetClock::at(Samples::CLOCK.as_micros());
    let database = runtime.block_on(Database::new(cluster));
    let store = runtime.block_on(database.store(&clock));
    let writers: Vec<_> =
        (0..WRITERS).map(|writer| runtime.spawn(chain(Arc::clone(&store), writer))).collect();
    // Whenever it hits them: the writers have some hundred steps to go.
    std::thread::sleep(Duration::from_secs(1));
    cluster.kill(1);
    assert!(cluster.directory(1).join("data").is_dir(), "its data stays");
    let ends = runtime.block_on(futures_util::future::join_all(writers));
    cluster.restart(1);
    runtime.block_on(cluster.until_serving());
    runtime.block_on(async {
        let mut repeats = Repeats::default();
        for (writer, end) in (0..).zip(ends) {
            let (last, of_writer) = end.expect("the writer ends well");
            let found = crate::database::read(&*store, &key("t", writer)).await;
            assert_eq!(found, Some(last), "writer {writer}: the last write is there, as it was written");
            repeats.unavailable += of_writer.unavailable;
            repeats.unknown += of_writer.unknown;
        }
        println!("{} writes, sent again for: {repeats:?}", WRITERS * STEPS);
        support::count("cassandra_chained_writes", WRITERS * STEPS);
    });
    support::count("cassandra_nodes_killed", 1);
}

/// It works, and the store says that it should be otherwise.
pub(crate) fn one_replica_among_three_nodes_is_warned_of(cluster: &mut Cluster, runtime: &Runtime) {
    runtime.block_on(async {
        cluster.until_serving().await;
        let keyspace = format!("k{}", Uuid::new_v4().simple());
        let settings = Settings::new(cluster.contact_points(), keyspace);
        let applied = schema::apply(&settings, Some(&replication(1))).await.expect("it is applied");
        let advice = applied.state.advice.join("\n");
        assert!(advice.contains("replication factor 1") && advice.contains("3 nodes"), "{advice}");
        let clock: Arc<dyn Clock> = SetClock::at(Samples::CLOCK.as_micros());
        let store = ScyllaStore::connect(settings, clock).await.expect("the store opens");
        store.ping().await.expect("it works");
    });
}
