//! Servers of one release beside those of the next, on one database, before and after the format of records is raised.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use futures_util::{StreamExt, stream};
use semel::domain::Record;
use semel::proto;
use semel::storage::record_codec::{Codec, FormatVersion};
use semel::storage::scylla::{Settings, schema};
use semel::storage::{Put, Store, StoreError, Write};
use tokio::runtime::Runtime;

use crate::between::{Between, Writes};
use crate::callers::{Manners, PATIENCE, answered, race};
use crate::calls::{begin, complete, reason, started};
use crate::cluster::Cluster;
use crate::database::Database;
use crate::history::Figures;
use crate::servers::{Semel, Start};
use crate::support;

const CALLERS: u32 = 9;
const KEYS_AT_ONCE: usize = 8;

/// What the release after this one does: in records of its format that do not have the new field yet, it fills it in.
#[derive(Debug)]
struct UsesTheNewField {
    inner: Arc<dyn Store>,
    /// The keys that have it.
    filled_in: Arc<Mutex<HashSet<String>>>,
}

#[async_trait]
impl Writes for UsesTheNewField {
    fn store(&self) -> &dyn Store {
        &*self.inner
    }

    async fn compare_and_put(&self, write: &Write) -> Result<Put, StoreError> {
        let mut write = write.clone();
        let key = write.key.idempotency_key.as_str().to_owned();
        if let Record::Kept(mut kept) = (*write.next).clone() {
            kept.probe = Some(value_for(&key));
            write.next = Arc::new(Record::Kept(kept));
        }
        let put = self.inner.compare_and_put(&write).await?;
        if put == Put::Applied {
            self.filled_in.lock().expect("nobody panics").insert(key);
        }
        Ok(put)
    }
}

/// A value of the new field for each key.
fn value_for(key: &str) -> u64 {
    key.bytes().fold(7, |sum: u64, byte| sum.wrapping_mul(31).wrapping_add(u64::from(byte)))
}

async fn load(servers: &[Semel], what: &str, keys: u64) {
    let races = (0..keys).map(|n| race(servers, format!("{what} {n}"), CALLERS, Manners::MIXED));
    let mut figures = Figures::default();
    let mut races = stream::iter(races).buffer_unordered(KEYS_AT_ONCE);
    while let Some(raced) = races.next().await {
        figures += raced.figures;
    }
    println!("{what}: {figures:?}");
}

/// A record's format, and the value of the new field.
type Stored = (u8, Option<u64>);

async fn stored(database: &Database) -> HashMap<String, Stored> {
    let rows = database.ask::<(String, Vec<u8>)>("SELECT key, record FROM KS.record").await;
    let read = |(key, bytes): (String, Vec<u8>)| {
        let found = Codec::NEXT.decode(&bytes).expect("it is a record");
        let Record::Kept(kept) = &*found.record else { panic!("nothing was forgotten") };
        (key, (bytes[0], kept.probe))
    };
    rows.into_iter().map(read).collect()
}

pub(crate) fn two_releases_share_a_database(cluster: &mut Cluster, runtime: &Runtime) {
    let keys = support::size("SEMEL_FORMAT_KEYS", 20);
    runtime.block_on(async {
        cluster.until_serving().await;
        let database = Database::new(cluster).await;
        // So that a server that does not know yet serves for a while, and not for long.
        let this = Settings { schema_look_every: Duration::from_secs(8), ..database.settings.clone() };
        let next = Settings { codec: Codec::NEXT, ..this.clone() };
        let left_behind = Start::on(&this, 1).serve().await;
        let early = Start::on(&next, 3).serve().await;
        let mixed = [left_behind, Start::on(&this, 2).serve().await, early];
        load(&mixed, "before", keys).await;
        for (key, (format, value)) in stored(&database).await {
            assert_eq!((format, value), (FormatVersion::LATEST.get(), None), "{key}: every server reads it");
        }

        // Every server is upgraded, but for one that somebody forgot; then the format is raised. Of those that run, one
        // does not know yet, and only the one in the middle fills the new field in.
        let [left_behind, _, early] = mixed;
        schema::apply(&next, None).await.expect("the format is raised");
        let filled_in = Arc::new(Mutex::default());
        let fills_in = {
            let filled_in = Arc::clone(&filled_in);
            |inner| -> Arc<dyn Store> { Arc::new(Between(UsesTheNewField { inner, filled_in })) }
        };
        let filling = Start::on(&next, 4).serve_through(fills_in).await;
        let upgraded = [early, filling, Start::on(&next, 5).serve().await];
        load(&upgraded, "after", keys).await;
        for n in 0..keys {
            let name = format!("rewritten {n}");
            let begun = begun(&upgraded[1], &name).await;
            completed(&upgraded[0], &name, begun.fence).await;
        }
        let found = stored(&database).await;
        let filled_in = filled_in.lock().expect("nobody panics").clone();
        for key in &filled_in {
            assert_eq!(
                found[key],
                (FormatVersion::NEXT.get(), Some(value_for(key))),
                "{key}: nothing was dropped"
            );
        }
        assert!(filled_in.len() as u64 >= keys, "{filled_in:?}");

        // The one that was left behind refuses what it would drop a field of, and says so.
        let request = proto::BeginRequest { retry: true, ..begin("rewritten 0", 9) };
        let refused = left_behind.client().begin(request).await.expect_err("it cannot read that");
        assert_eq!(reason(&refused), "STORE_UNAVAILABLE");
        let refused = left_behind.client().begin(begin("rewritten 1", 9)).await.expect_err("nor that");
        assert_eq!(reason(&refused), "STORE_UNAVAILABLE");
        assert_eq!(stored(&database).await, found, "nothing was written");
        follows(&upgraded[0], &database).await;
        support::count("cassandra_mixed_release_keys", 2 * keys);
        support::count("cassandra_kept_fields", filled_in.len() as u64);
    });
}

async fn begun(server: &Semel, name: &str) -> proto::Started {
    started(answered(async || server.client().begin(begin(name, 1)).await).await.expect("begun"))
}

async fn completed(server: &Semel, name: &str, fence: i64) {
    let request = complete(name, 1, fence, "done");
    answered(async || server.client().complete(request.clone()).await).await.expect("completed");
}

/// A server that runs hears of the raise.
async fn follows(server: &Semel, database: &Database) {
    let waited = Instant::now();
    for n in 0.. {
        let name = format!("follows {n}");
        begun(server, &name).await;
        if stored(database).await[&name].0 == FormatVersion::NEXT.get() {
            println!("a running server follows the raise {} s later", waited.elapsed().as_secs());
            return;
        }
        assert!(waited.elapsed() < PATIENCE, "it never hears of the raise");
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}
