//! Plays a plan, in one thread and in virtual time.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::chronicle::{Call, Chronicle};
use crate::fixtures;
use crate::network::World;
use crate::plan::{Clocks, Plan, Send, What};

/// The attempts that ask at the end have numbers from here.
const LAST_ASKED: u64 = 1_000;
/// After that, every lease, pause and late write of a plan is over, whose clocks are within the allowance.
const SETTLED_AFTER: Duration = Duration::from_secs(90);

pub(crate) fn run(plan: &Plan) -> Chronicle {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.enable_time().start_paused(true).build().unwrap();
    runtime.block_on(play(plan))
}

async fn play(plan: &Plan) -> Chronicle {
    let world = World::new(plan);
    let mut playing = JoinSet::new();
    for item in plan.items.clone() {
        let world = world.clone();
        playing.spawn(async move {
            sleep(item.at).await;
            match item.what {
                What::Operation(operation) => operation.play(&world).await,
                What::Operator(operator) => operator.play(&world).await,
                What::Jump { server, ahead } => world.jump(server, ahead),
                What::Crash { server } => world.crash(server),
                What::Storm { lasts, weather } => world.store.storm(item.at + lasts, weather),
                What::Policy(terms) => world.put_in_force(terms.policy()),
            }
        });
    }
    playing.join_all().await;
    world.store.clear_up();
    sleep(SETTLED_AFTER).await;
    world.chronicle().quiet_from = world.start.elapsed();
    if plan.clocks == Clocks::Within {
        ask_at_the_end(&world, plan).await;
    }
    let mut chronicle = std::mem::take(&mut *world.chronicle());
    chronicle.versions = world.keys.iter().map(|key| world.store.versions(key)).collect();
    chronicle.store = world.store.met();
    // A copy may still be on its way.
    let now = world.start.elapsed();
    for delivery in &mut chronicle.deliveries {
        delivery.ended = delivery.ended.min(now);
    }
    chronicle
}

/// Whoever looks now finds the same everywhere; and what may be begun can be begun.
async fn ask_at_the_end(world: &Arc<World>, plan: &Plan) {
    for key in 0..plan.keys {
        for server in 0..plan.ahead.len() {
            let of = world.call(key, Call::Lookup, "Lookup at the end".to_owned());
            world.send(of, &Send::plain(server)).await;
        }
        let begin = fixtures::begin(u128::from(LAST_ASKED + key as u64));
        let call = Call::Begin { begin, wait: Duration::ZERO, retry: false };
        let of = world.call(key, call, "Begin at the end".to_owned());
        world.send(of, &Send::plain(0)).await;
    }
}
