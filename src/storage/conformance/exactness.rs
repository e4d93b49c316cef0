//! What is stored comes back byte for byte, under the key it was stored under and no other.

use std::sync::Arc;

use super::samples::{Samples, hostile_keys, key};
use super::{Records, after, apply, first, made_by, put, read, read_serial};
use crate::domain::{Policy, Record};
use crate::storage::{Put, Store};

pub(super) async fn every_field_comes_back_exactly(store: Arc<dyn Store>) {
    for (n, record) in Samples::extremes().into_iter().enumerate() {
        let write = first(&key("t", n), record);
        apply(&*store, &write).await;
        assert_eq!(read(&*store, &write.key).await, Some(made_by(&write)));
        assert_eq!(read_serial(&*store, &write.key).await, Some(made_by(&write)));
    }
    // And over one another, on one key.
    let mut write = first(&key("u", 1), Samples::in_progress(1));
    apply(&*store, &write).await;
    for record in Samples::extremes() {
        write = after(&write, record);
        apply(&*store, &write).await;
        assert_eq!(read(&*store, &write.key).await, Some(made_by(&write)));
    }
}

pub(super) async fn hostile_keys_never_meet(store: Arc<dyn Store>) {
    let writes: Vec<_> = (0..).zip(hostile_keys()).map(|(n, key)| first(&key, Samples::any(n))).collect();
    for write in &writes {
        assert_eq!(read(&*store, &write.key).await, None, "nobody else's record: {:?}", write.key);
        apply(&*store, write).await;
    }
    for write in &writes {
        assert_eq!(read(&*store, &write.key).await, Some(made_by(write)));
    }
}

fn largest(seed: u64) -> Record {
    let payload: Vec<u8> = (seed..)
        .flat_map(|n| n.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes())
        .take(Policy::RESULT_BYTES_LIMIT)
        .collect();
    Samples::completed_with(seed, payload)
}

pub(super) async fn a_result_of_three_mebibytes_comes_back_exactly(store: Arc<dyn Store>) {
    let mut write = first(&key("t", 1), largest(0));
    apply(&*store, &write).await;
    for n in 1..4 {
        assert!(read(&*store, &write.key).await == Some(made_by(&write)));
        write = after(&write, largest(n));
        apply(&*store, &write).await;
    }
    assert!(read_serial(&*store, &write.key).await == Some(made_by(&write)));
}

pub(super) async fn conflicts_carry_the_record_exactly(store: Arc<dyn Store>) {
    for (n, record) in Samples::extremes().into_iter().chain([largest(9)]).enumerate() {
        let write = first(&key("t", n), record);
        apply(&*store, &write).await;
        let late = first(&write.key, Samples::forgotten(1));
        assert!(put(&*store, &late).await == Put::Conflict(Some(made_by(&write))));
    }
}

pub(super) async fn fill_for_reopening(store: Arc<dyn Store>) -> Records {
    let extremes = Samples::extremes().into_iter().chain([largest(5)]).enumerate();
    let hostile = (0..).zip(hostile_keys()).map(|(n, key)| first(&key, Samples::any(n)));
    let mut records = Records::new();
    for write in extremes.map(|(n, record)| first(&key("t", n), record)).chain(hostile) {
        apply(&*store, &write).await;
        records.push((write.key.clone(), made_by(&write)));
    }
    records
}
