//! Three servers in this process: their clocks differ and jump, and the next release takes their places one by one, and
//! raises the format of records, while callers are at work.

use std::sync::Arc;
use std::time::Duration;

use rand::RngExt as _;
use rand::rngs::StdRng;
use rand::seq::SliceRandom as _;
use semel::domain::{Policy, PolicyRules};
use semel::storage::record_codec::{Codec, FormatVersion};
use semel::storage::scylla::{Settings, schema};
use tokio::runtime::Runtime;

use super::troubles::{Nodes, Partition};
use super::{ALLOWANCE, CALLERS, SERVERS, SETTLE_WITHIN, manners, pause};
use crate::callers::PATIENCE;
use crate::check::callers::Scene;
use crate::check::clock::Jumping;
use crate::check::course::Course;
use crate::check::history::{Timeline, World, wall};
use crate::check::met::Met;
use crate::check::policies::drawn;
use crate::cluster::Cluster;
use crate::database::Database;
use crate::servers::{Semel, Start};

#[derive(Clone, Copy, Debug)]
enum Nemesis {
    Clocks,
    Reload,
    Upgrade,
    KillNode,
    PauseNode,
    Part(Partition),
}

const NEMESES: [Nemesis; 9] = [
    Nemesis::Clocks,
    Nemesis::Clocks,
    Nemesis::Reload,
    Nemesis::Upgrade,
    Nemesis::KillNode,
    Nemesis::PauseNode,
    Nemesis::Part(Partition::LosesAnswers),
    Nemesis::Part(Partition::LosesAll),
    Nemesis::Part(Partition::DelaysAll),
];

/// How far a clock is ahead. Now and then it is by more than the allowance: then owners may meet, and are fenced.
fn ahead(random: &mut StdRng) -> i64 {
    let half = i64::try_from(ALLOWANCE.as_micros()).expect("short") / 2;
    let most = if random.random_range(0..4) == 0 { 15 * half } else { half };
    random.random_range(-most..=most)
}

/// What the servers are started with.
struct Servers<'a> {
    runtime: &'a Runtime,
    database: &'a Database,
    contact_points: Vec<Vec<String>>,
    clocks: Vec<Arc<Jumping>>,
}

impl Servers<'_> {
    fn start(&self, number: usize, codec: Codec, policy: &Policy, listen: &str, seed: u64) -> Semel {
        let settings = Settings {
            nodes: self.contact_points[number].clone(),
            codec,
            schema_look_every: Duration::from_secs(2),
            ..self.database.settings.clone()
        };
        let start = Start {
            clock: self.clocks[number].clone(),
            policy: policy.clone(),
            settle_within: SETTLE_WITHIN,
            listen: listen.to_owned(),
            ..Start::on(&settings, seed)
        };
        self.runtime.block_on(start.serve())
    }

    /// The next release takes the place of each, and raises the format; from then on it is written.
    fn upgrade(&self, servers: &mut Vec<Semel>, policy: &Policy, random: &mut StdRng, met: &mut Met) {
        for number in 0..SERVERS {
            let before = servers.remove(number);
            met.add("unknown_outcomes", before.unknown_outcomes());
            let address = before.address.clone();
            self.runtime.block_on(before.end());
            servers.insert(number, self.start(number, Codec::NEXT, policy, &address, random.random()));
        }
        let next = Settings { codec: Codec::NEXT, ..self.database.settings.clone() };
        self.runtime.block_on(async {
            let raised = async {
                while let Err(error) = schema::apply(&next, None).await {
                    assert!(error.may_pass(), "{error}");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
                while !is_written(self.database).await {
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            };
            tokio::time::timeout(PATIENCE, raised).await.expect("records of the next format are written");
        });
        met.add("schema_upgrades", 1);
    }
}

/// Whether there is a record of the next format, as far as the nodes say.
async fn is_written(database: &Database) -> bool {
    let rows = database.try_ask::<(Vec<u8>,)>("SELECT record FROM KS.record").await.unwrap_or_default();
    rows.iter().any(|(record,)| record.first() == Some(&FormatVersion::NEXT.get()))
}

/// Each nemesis at least once, in an order and against whom its seed says.
pub(super) fn history(
    cluster: &mut Cluster,
    runtime: &Runtime,
    seed: u64,
    random: &mut StdRng,
) -> Result<Met, String> {
    let database = runtime.block_on(Database::new(cluster));
    let mut nodes = Nodes::new(cluster, runtime);
    let (_, mut policy) = drawn(random, ALLOWANCE);
    let first: Vec<_> = (0..SERVERS).map(|_| ahead(random)).collect();
    let start = Servers {
        runtime,
        database: &database,
        contact_points: (0..SERVERS).map(|server| nodes.contact_points(server)).collect(),
        clocks: first.iter().map(|ahead| Arc::new(Jumping::ahead(*ahead))).collect(),
    };
    let mut servers: Vec<_> = (0..SERVERS)
        .map(|number| start.start(number, Codec::LATEST, &policy, "127.0.0.1:0", random.random()))
        .collect();
    let mut policies = Timeline::new(Arc::new(policy.clone()));
    let mut clocks: Vec<_> = first.into_iter().map(Timeline::new).collect();
    let urls = servers.iter().map(|server| format!("http://{}", server.address)).collect();
    let course = Course::begin(runtime, &Scene::new(manners(), urls), seed, CALLERS);
    let mut met = Met::default();
    let mut order = NEMESES;
    order.shuffle(random);
    for nemesis in order {
        pause(random, 200..800);
        match nemesis {
            Nemesis::Clocks => {
                for (clock, told) in start.clocks.iter().zip(&mut clocks) {
                    let (from, ahead) = (wall(), ahead(random));
                    clock.jump_to(ahead);
                    told.change(from, wall(), ahead);
                    met.add("clock_jumps", 1);
                }
                pause(random, 500..1_500);
            }
            Nemesis::Reload => {
                // One after the other: meanwhile both are in force.
                let from = wall();
                (_, policy) = drawn(random, ALLOWANCE);
                for server in &servers {
                    server.policies.replace(PolicyRules::new(policy.clone(), Vec::new()));
                    pause(random, 10..400);
                }
                policies.change(from, wall(), Arc::new(policy.clone()));
                met.add("policy_reloads", 1);
            }
            Nemesis::Upgrade => start.upgrade(&mut servers, &policy, random, &mut met),
            // Not the first: this test itself asks it.
            Nemesis::KillNode => {
                let node = random.random_range(1..SERVERS);
                nodes.kill(node, random, &mut met);
            }
            Nemesis::PauseNode => nodes.stand_still(random, &mut met),
            Nemesis::Part(partition) => {
                let unknown = |server: usize| servers[server].unknown_outcomes();
                nodes.part(partition, random, &mut met, unknown);
            }
        }
    }
    pause(random, 200..800);
    let world = World { policies, clocks, is_shared: true };
    met.join(&course.end(runtime, &world)?);
    met.add("unknown_outcomes", servers.iter().map(Semel::unknown_outcomes).sum());
    Ok(met)
}
