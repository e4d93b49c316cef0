//! A server in this process on the embedded store, with a clock that jumps, and a disk that is slow or does not say what
//! became of a write.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use rand::RngExt as _;
use rand::rngs::StdRng;
use semel::audit::Audit;
use semel::coordinator::{Coordinator, Settings};
use semel::domain::{Clock, PolicyRules};
use semel::policies::Policies;
use semel::quotas::Quotas;
use semel::server::{Limits, Listeners, Security, Server};
use semel::storage::embedded::{self, EmbeddedStore};
use semel::storage::{Put, Store, StoreError, Write};
use semel::telemetry::{KeyHash, Telemetry};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio_util::task::AbortOnDropHandle;

use crate::between::{Between, Writes};
use crate::check::callers::Scene;
use crate::check::clock::Jumping;
use crate::check::course::Course;
use crate::check::cuts::Cuts;
use crate::check::history::{Timeline, World, wall};
use crate::check::met::Met;
use crate::check::policies::drawn;
use crate::processes::ALLOWANCE;
use crate::{CALLERS, manners, pause};

/// A disk whose writes take long, and do not always say that they are done.
#[derive(Debug)]
struct SlowDisk {
    store: EmbeddedStore,
    millis: AtomicU32,
    /// How many of the next writes are done and not told, or told unknown and not done.
    unsaid: AtomicU32,
    slow_writes: AtomicU64,
    unsaid_writes: AtomicU64,
}

#[async_trait]
impl Writes for SlowDisk {
    fn store(&self) -> &dyn Store {
        &self.store
    }

    async fn compare_and_put(&self, write: &Write) -> Result<Put, StoreError> {
        let millis = self.millis.load(Ordering::Relaxed);
        if millis > 0 {
            self.slow_writes.fetch_add(1, Ordering::Relaxed);
            tokio::time::sleep(Duration::from_millis(millis.into())).await;
        }
        let take = |left: u32| left.checked_sub(1);
        match self.unsaid.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take) {
            Err(_) => self.store.compare_and_put(write).await,
            Ok(left) => {
                self.unsaid_writes.fetch_add(1, Ordering::Relaxed);
                if left.is_multiple_of(2) {
                    self.store.compare_and_put(write).await?;
                }
                Err(StoreError::OutcomeUnknown("left unsaid by the test".to_owned()))
            }
        }
    }
}

/// Its address; it ends when the handle is dropped.
async fn serve(
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    policies: Arc<Policies>,
    seed: u64,
) -> (String, AbortOnDropHandle<()>) {
    let settings = Settings { settle_within: Duration::from_millis(300), ..Settings::default() };
    let coordinator = Arc::new(Coordinator::new(store, clock.clone(), seed, settings));
    let listen = || TcpListener::bind("127.0.0.1:0");
    let listeners = Listeners { grpc: listen().await.unwrap(), operations: listen().await.unwrap() };
    let address = listeners.grpc.local_addr().unwrap().to_string();
    let server = Server {
        coordinator,
        policies: policies.clone(),
        quotas: Arc::new(Quotas::new(policies)),
        limits: Limits::default(),
        audit: Arc::new(Audit::to_log(clock, KeyHash::new(b"test"))),
        telemetry: Arc::new(Telemetry::off()),
        configuration: "".into(),
        security: Security::default(),
    };
    let running = tokio::spawn(async move {
        server.run(listeners, std::future::pending::<()>()).await.expect("the server serves");
    });
    (address, AbortOnDropHandle::new(running))
}

pub(crate) fn history(runtime: &Runtime, seed: u64, random: &mut StdRng) -> Result<Met, String> {
    let directory = TempDir::new().unwrap();
    let settings =
        embedded::Settings { free_space_reserve_bytes: 0, ..embedded::Settings::new(directory.path()) };
    let disk = Arc::new(Between(SlowDisk {
        store: EmbeddedStore::open(settings).unwrap(),
        millis: AtomicU32::new(0),
        unsaid: AtomicU32::new(0),
        slow_writes: AtomicU64::new(0),
        unsaid_writes: AtomicU64::new(0),
    }));
    let clock = Arc::new(Jumping::default());
    let (_, first) = drawn(random, ALLOWANCE);
    let policies = Arc::new(Policies::new(PolicyRules::new(first.clone(), Vec::new())));
    let serving = serve(disk.clone(), clock.clone(), policies.clone(), random.random());
    let (address, mut server) = runtime.block_on(serving);
    let cuts = runtime.block_on(Cuts::before(&address));
    let scene = Scene::new(manners(), vec![format!("http://{}", cuts.address)]);
    let (mut in_force, mut ahead) = (Timeline::new(Arc::new(first)), Timeline::new(0));
    let course = Course::begin(runtime, &scene, seed, CALLERS);
    let mut met = Met::default();
    for _ in 0..random.random_range(4..8) {
        pause(random, 300);
        match random.random_range(0..10) {
            0..4 => {
                // Back and forth, now and then by more than the allowance: then owners may meet, and are fenced.
                let most = if random.random_range(0..4) == 0 { 500_000 } else { 25_000 };
                let jump = random.random_range(-most..=most);
                let from = wall();
                clock.jump_to(jump);
                ahead.change(from, wall(), jump);
                met.add("clock_jumps", 1);
            }
            4..6 => {
                disk.0.millis.store(random.random_range(5..60), Ordering::Relaxed);
                pause(random, 300);
                disk.0.millis.store(0, Ordering::Relaxed);
            }
            6..8 => disk.0.unsaid.store(random.random_range(1..12), Ordering::Relaxed),
            8 => {
                let (_, next) = drawn(random, ALLOWANCE);
                let from = wall();
                policies.replace(PolicyRules::new(next.clone(), Vec::new()));
                in_force.change(from, wall(), Arc::new(next));
                met.add("policy_reloads", 1);
            }
            _ => {
                // Another server on the store: it has nothing in memory of what was there before, and makes other write ids.
                drop(server);
                let serving = serve(disk.clone(), clock.clone(), policies.clone(), random.random());
                let (address, next) = runtime.block_on(serving);
                server = next;
                cuts.lead_to(&address);
                met.add("stops", 1);
            }
        }
    }
    pause(random, 300);
    met.add("slow_writes", disk.0.slow_writes.load(Ordering::Relaxed));
    met.add("unsaid_writes", disk.0.unsaid_writes.load(Ordering::Relaxed));
    let world = World { policies: in_force, clocks: vec![ahead], is_shared: false };
    let met_by_callers = course.end(runtime, &world)?;
    drop(server);
    met.join(&met_by_callers);
    Ok(met)
}
