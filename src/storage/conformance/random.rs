//! A random history, compared with a map after every step.

use std::collections::BTreeMap;
use std::sync::Arc;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::samples::{Samples, key};
use super::{Kind, Reclaims, Records, at, check_scan, first, made_by, put, read, write_id, write_of};
use crate::domain::Key;
use crate::storage::{Expected, Put, Store, Versioned, Write};

const STEPS: usize = 600;
const SEED: u64 = 0x5e3e_1001;

pub(super) async fn a_random_history_matches_a_map(store: Arc<dyn Store>, kind: Kind) {
    let mut random = StdRng::seed_from_u64(SEED);
    let mut model: BTreeMap<Key, Versioned> = BTreeMap::new();
    let mut sent: Vec<Write> = Vec::new();
    let base = Samples::completed(0).reclaim_at().as_micros();
    for step in 0..STEPS {
        match random.random_range(0..20) {
            0 if kind.reclaims == Reclaims::ByCall => {
                let now = at(base + random.random_range(0..STEPS as u64));
                let limit = random.random_range(0..5);
                let due: Vec<_> = model
                    .iter()
                    .filter(|(_, current)| current.record.reclaim_at() <= now)
                    .map(|(key, _)| key.clone())
                    .collect();
                let reclaimed = store.reclaim(now, limit).await.expect("reclaims");
                assert_eq!(reclaimed, due.len().min(limit), "step {step}");
                let mut gone = 0;
                for key in due {
                    if read(&*store, &key).await.is_none() {
                        model.remove(&key);
                        gone += 1;
                    }
                }
                assert_eq!(gone, reclaimed, "step {step}");
            }
            1 => {
                let limit = random.random_range(1..12);
                let all: Records = model.clone().into_iter().collect();
                for scope in kind.scopes() {
                    check_scan(&*store, scope, None, limit, &all).await;
                }
            }
            2 if !sent.is_empty() => {
                // An old write comes again.
                let write = sent[random.random_range(0..sent.len())].clone();
                send(&*store, &mut model, &write).await;
            }
            _ => {
                let key = key(["a", "b"][random.random_range(0..2)], random.random_range(0..12));
                let expected = match (random.random_range(0..4), model.get(&key)) {
                    (0, _) | (_, None) => Expected::Absent,
                    (1, _) => Expected::Version(write_id()),
                    (_, Some(current)) => Expected::Version(current.write_id),
                };
                let next = Arc::new(Samples::any(random.random_range(0..STEPS as u64)));
                let write = Write { expected, ..write_of(&key, model.get(&key), next) };
                send(&*store, &mut model, &write).await;
                sent.push(write);
            }
        }
    }
}

async fn send(store: &dyn Store, model: &mut BTreeMap<Key, Versioned>, write: &Write) {
    let current = model.get(&write.key);
    let holds = match write.expected {
        Expected::Absent => current.is_none(),
        Expected::Version(version) => current.is_some_and(|current| current.write_id == version),
    };
    let expected = if current.is_some_and(|current| current.write_id == write.write_id) {
        Put::Applied
    } else if holds {
        model.insert(write.key.clone(), made_by(write));
        Put::Applied
    } else {
        Put::Conflict(current.cloned())
    };
    assert_eq!(put(store, write).await, expected);
    assert_eq!(read(store, &write.key).await.as_ref(), model.get(&write.key));
}

pub(super) async fn fill_for_reopening(store: Arc<dyn Store>) -> Records {
    let mut random = StdRng::seed_from_u64(SEED);
    let mut model: BTreeMap<Key, Versioned> = BTreeMap::new();
    send(&*store, &mut model, &first(&key("z", 0), Samples::in_progress(1))).await;
    for _ in 0..STEPS {
        let key = key(["a", "b"][random.random_range(0..2)], random.random_range(0..100));
        let next = Arc::new(Samples::any(random.random_range(0..STEPS as u64)));
        let write = write_of(&key, model.get(&key), next);
        send(&*store, &mut model, &write).await;
    }
    model.into_iter().collect()
}
