//! Callers on three servers race for the same keys: one owner each, one result for everybody.

use futures_util::{StreamExt, stream};
use tokio::runtime::Runtime;

use crate::callers::{Manners, race};
use crate::cluster::Cluster;
use crate::database::Database;
use crate::history::Figures;
use crate::servers::{Semel, three};
use crate::support;

const KEYS_AT_ONCE: usize = 8;

pub(crate) fn callers_on_three_servers_race(cluster: &mut Cluster, runtime: &Runtime) {
    let keys = support::size("SEMEL_RACED_KEYS", 200);
    let callers = u32::try_from(support::size("SEMEL_RACING_CALLERS", 30)).expect("not so many");
    runtime.block_on(async {
        cluster.until_serving().await;
        let database = Database::new(cluster).await;
        let servers = three(&database.settings).await;
        let began = std::time::Instant::now();
        let mut figures = Figures::default();
        let races = (0..keys).map(|n| race(&servers, format!("raced {n}"), callers, Manners::GOOD));
        let mut races = stream::iter(races).buffer_unordered(KEYS_AT_ONCE);
        while let Some(raced) = races.next().await {
            assert_eq!(raced.figures.started, 1, "{}: one owner", raced.name);
            figures += raced.figures;
        }
        let transactions: u64 = servers.iter().map(Semel::transactions).sum();
        println!("{figures:?}, {transactions} conditional writes, {} s", began.elapsed().as_secs());
        assert_eq!((figures.keys, figures.started, figures.takeovers), (keys, keys, 0));
        assert!(figures.completed >= keys && figures.replayed >= keys * u64::from(callers), "{figures:?}");
        support::count("cassandra_raced_keys", figures.keys);
        support::count("cassandra_race_replays", figures.replayed);
    });
}
