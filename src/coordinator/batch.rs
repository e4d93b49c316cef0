//! Many calls at once: items of one key in order, different keys side by side.

use std::collections::HashMap;
use std::hash::Hash;

use futures_util::stream::{self, StreamExt};

/// How many keys of a batch are worked on at a time.
const KEYS_AT_A_TIME: usize = 64;

/// Runs `work` on every item and returns the answers in the items' order. Items with equal keys run one after
/// the other, in order; items without a key stand alone.
pub async fn in_key_order<I, K, A, F>(
    items: impl IntoIterator<Item = (Option<K>, I)>,
    work: impl Fn(I) -> F,
) -> Vec<A>
where
    K: Eq + Hash + Clone,
    F: Future<Output = A>,
{
    let mut lanes: Vec<Vec<(usize, I)>> = Vec::new();
    let mut lane_of: HashMap<K, usize> = HashMap::new();
    for (place, (key, item)) in items.into_iter().enumerate() {
        let fresh = lanes.len();
        let lane = key.map_or(fresh, |key| *lane_of.entry(key).or_insert(fresh));
        if lane == fresh {
            lanes.push(Vec::new());
        }
        lanes[lane].push((place, item));
    }
    let work = &work;
    let mut answers: Vec<(usize, A)> = stream::iter(lanes)
        .map(|lane| async move {
            let mut answers = Vec::with_capacity(lane.len());
            for (place, item) in lane {
                answers.push((place, work(item).await));
            }
            answers
        })
        .buffer_unordered(KEYS_AT_A_TIME)
        .flat_map(stream::iter)
        .collect()
        .await;
    answers.sort_unstable_by_key(|(place, _)| *place);
    answers.into_iter().map(|(_, answer)| answer).collect()
}
