//! The course of a history: its callers call, and in the end each of its keys is judged.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use rand::SeedableRng as _;
use rand::rngs::StdRng;
use tokio::runtime::Runtime;
use tokio::task::JoinSet;

use super::callers::{Caller, Scene};
use super::checking;
use super::corrupted::corrupted;
use super::history::World;
use super::met::Met;

/// A history whose callers are at work.
pub(crate) struct Course {
    scene: Arc<Scene>,
    seed: u64,
    callers: JoinSet<()>,
}

impl Course {
    pub(crate) fn begin(runtime: &Runtime, scene: &Arc<Scene>, seed: u64, callers: u32) -> Self {
        let mut running = JoinSet::new();
        for number in 0..callers {
            let caller = {
                let _runtime = runtime.enter();
                Caller::new(scene, seed, number)
            };
            running.spawn_on(caller.run(), runtime.handle());
        }
        Self { scene: scene.clone(), seed, callers: running }
    }

    /// Lets the callers end, and judges each key.
    pub(crate) fn end(self, runtime: &Runtime, world: &World) -> Result<Met, String> {
        self.scene.over.store(true, Ordering::Relaxed);
        runtime.block_on(self.callers.join_all());
        let mut met = Met::default();
        let keys = self.scene.recorder.take();
        for (key, calls) in &keys {
            met.learn(calls);
            checking::check(key, calls, world)?;
        }
        // The same eyes have to see what is wrong.
        let mut random = StdRng::seed_from_u64(self.seed);
        let corrupted = keys.iter().find_map(|(key, calls)| Some((key, corrupted(calls, &mut random)?)));
        if let Some((key, calls)) = corrupted {
            checking::refuse(key, &calls, world)?;
            met.add("corrupted", 1);
        }
        met.add("told_unknown", self.scene.told_unknown.load(Ordering::Relaxed));
        Ok(met)
    }
}
