//! Answers to many requests, cut to fit one message.

use prost::Message;

use super::answers::{begin_response, complete_response};
use crate::coordinator::Begun;
use crate::domain::Completed;
use crate::proto;
use crate::server::status::Failure;

/// The most items of a batch, by the contract.
const MOST_ITEMS: usize = 1000;

/// Refuses a batch of more items than the contract allows.
pub(in crate::server) fn check_batch(items: usize) -> Result<(), Failure> {
    if items > MOST_ITEMS { Err(Failure::batch_too_large(items, MOST_ITEMS)) } else { Ok(()) }
}

/// The answer, and how many answers of items did not fit it.
pub(in crate::server) fn batch_begin_response(
    slots: Vec<Result<Begun, Failure>>,
    max_bytes: usize,
) -> (proto::BatchBeginResponse, u64) {
    use proto::batch_begin_response::{Item, item::Outcome};

    let error = |failure: Failure| Item { outcome: Some(Outcome::Error(failure.into())) };
    let items = slots.into_iter().map(|slot| match slot {
        Ok(begun) => Item { outcome: Some(Outcome::Response(begin_response(begun))) },
        Err(failure) => error(failure),
    });
    let (items, cut) = fit(items.collect(), &error(Failure::response_too_large()), max_bytes);
    (proto::BatchBeginResponse { items }, cut)
}

/// As [`batch_begin_response`].
pub(in crate::server) fn batch_complete_response(
    slots: Vec<Result<Completed, Failure>>,
    max_bytes: usize,
) -> (proto::BatchCompleteResponse, u64) {
    use proto::batch_complete_response::{Item, item::Outcome};

    let error = |failure: Failure| Item { outcome: Some(Outcome::Error(failure.into())) };
    let items = slots.into_iter().map(|slot| match slot {
        Ok(completed) => Item { outcome: Some(Outcome::Response(complete_response(&completed))) },
        Err(failure) => error(failure),
    });
    let (items, cut) = fit(items.collect(), &error(Failure::response_too_large()), max_bytes);
    (proto::BatchCompleteResponse { items }, cut)
}

/// Keeps items, the first ones first, as long as they and what has to be said of the rest fit `max_bytes`; says
/// `too_large` in the place of the others, and how many those are.
fn fit<I: Message + Clone>(mut items: Vec<I>, too_large: &I, max_bytes: usize) -> (Vec<I>, u64) {
    let sizes: Vec<usize> = items.iter().map(slot_bytes).collect();
    let mut left = max_bytes;
    if sizes.iter().sum::<usize>() <= left {
        return (items, 0);
    }
    let mut cut = 0;
    let least = slot_bytes(too_large);
    let mut rest: usize = sizes.iter().map(|size| least.min(*size)).sum();
    for (item, size) in items.iter_mut().zip(sizes) {
        rest -= least.min(size);
        if size > least && size + rest > left {
            *item = too_large.clone();
            cut += 1;
            left = left.saturating_sub(least);
        } else {
            left = left.saturating_sub(size);
        }
    }
    (items, cut)
}

/// What an item takes of its message: it is field 1, behind its length.
fn slot_bytes(item: &impl Message) -> usize {
    let bytes = item.encoded_len();
    1 + prost::length_delimiter_len(bytes) + bytes
}

#[cfg(test)]
mod tests {
    use prost::Message;

    use super::fit;
    use crate::proto::batch_begin_response::{Item, item::Outcome};
    use crate::proto::{BatchBeginResponse, ItemError};

    fn item(length: usize) -> Item {
        let error = ItemError { code: 1, reason: String::new(), message: "x".repeat(length) };
        Item { outcome: Some(Outcome::Error(error)) }
    }

    /// For every bound from what the errors alone take to what everything takes: the message keeps within it, the
    /// slots keep their order, and no slot is given up that would have fitted.
    #[test]
    fn keeps_within_every_bound_and_wastes_nothing() {
        let items: Vec<Item> = [5, 300, 0, 120, 20_000, 127, 128, 129, 3].map(item).into();
        let too_large = item(100);
        let whole = BatchBeginResponse { items: items.clone() }.encoded_len();
        let least = BatchBeginResponse { items: fit(items.clone(), &too_large, 0).0 }.encoded_len();
        for bound in least..=whole {
            let (fitted, cut) = fit(items.clone(), &too_large, bound);
            let differ = fitted.iter().zip(&items).filter(|(fitted, item)| fitted != item).count();
            assert_eq!(cut, differ as u64);
            assert!(BatchBeginResponse { items: fitted.clone() }.encoded_len() <= bound, "over {bound}");
            for place in 0..items.len() {
                if fitted[place] == items[place] {
                    continue;
                }
                assert_eq!(fitted[place], too_large);
                // With the item itself, everything after it as small as can be, the bound would be passed.
                let mut kept = fitted.clone();
                kept[place] = items[place].clone();
                for later in place + 1..items.len() {
                    if items[later].encoded_len() > too_large.encoded_len() {
                        kept[later] = too_large.clone();
                    }
                }
                assert!(
                    BatchBeginResponse { items: kept }.encoded_len() > bound,
                    "{place} would fit {bound}"
                );
            }
        }
        assert_eq!(fit(items.clone(), &too_large, whole), (items, 0));
    }
}
