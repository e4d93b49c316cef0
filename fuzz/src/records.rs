//! The record format: what can be read is written and read again as the same, and everything can be decided on it.

use std::sync::Arc;
use std::time::Duration;

use semel::domain::{
    Abort, AttemptId, Begin, Complete, Detail, Disposition, Forget, Labels, Lookup, Note, OperationResult,
    Outcome, Policy, Record, Renew, Resolution, Resolve, Restored, Timestamp, decide,
};
use semel::storage::conformance::Samples;
use semel::storage::record_codec::{Codec, Head};
use semel::storage::{Versioned, WriteId};
use uuid::Uuid;

use super::input::Input;

/// Eight bytes of the present moment, then a record as a store keeps it.
pub fn run(data: &[u8]) {
    let mut input = Input(data);
    let now = Timestamp::from_micros(u64::from_le_bytes(input.array()));
    let _ = (Codec::LATEST.decode(input.0), Codec::LATEST.decode_head(input.0));
    // The tests' own later format has a field that is not dropped.
    let codec = Codec::NEXT;
    let head = codec.decode_head(input.0);
    let Ok(current) = codec.decode(input.0) else { return };
    assert!(head.is_ok(), "a record that can be read has no head");
    let bytes = codec.encode(&current);
    assert_eq!(codec.decode(&bytes).as_ref(), Ok(&current), "it was written as something else");
    assert_eq!(codec.decode_head(&bytes), Ok(Head::of(current.write_id, &current.record)));
    everything_is_decided(&current.record, now);
}

/// No record that a store may hold makes a decision panic, and no fence goes down.
fn everything_is_decided(record: &Record, now: Timestamp) {
    let policy = Policy { max_attempts: 3, ..Policy::default() };
    let (fence, attempt_id) = match record {
        Record::Kept(kept) => (kept.fence, kept.attempt_id),
        Record::Forgotten(forgotten) => (forgotten.fence, AttemptId::from_uuid(Uuid::nil())),
    };
    let begin = Begin {
        attempt_id: AttemptId::from_uuid(Uuid::max()),
        fingerprint: None,
        lease: None,
        retention: None,
        first_sent: Some(now),
        labels: Labels::default(),
        traceparent: None,
        may_open: true,
    };
    let result = Arc::new(OperationResult {
        outcome: Outcome::Success,
        code: 0,
        content_type: String::new(),
        headers: Vec::new(),
        payload: bytes::Bytes::new(),
        payload_omitted: true,
    });
    let detail = Detail::default();
    let abort = |disposition| Abort {
        fence,
        attempt_id,
        disposition,
        detail: detail.clone(),
        retry_after: Duration::MAX,
    };
    let resolve = |resolution| Resolve { fence, resolution, note: Note::default(), force: true };
    let next = [
        stored(decide(Some(record), &Begin { attempt_id, ..begin.clone() }, &policy, now)),
        stored(decide(Some(record), &begin, &policy, now)),
        stored(decide(
            Some(record),
            &Complete { fence, attempt_id, result: result.clone(), retention: None },
            &policy,
            now,
        )),
        stored(decide(Some(record), &abort(Disposition::Release), &policy, now)),
        stored(decide(Some(record), &abort(Disposition::OutcomeUnknown), &policy, now)),
        stored(decide(Some(record), &Renew { fence, attempt_id, lease: None }, &policy, now)),
        stored(decide(Some(record), &resolve(Resolution::Result(result)), &policy, now)),
        stored(decide(Some(record), &resolve(Resolution::Release), &policy, now)),
        stored(decide(Some(record), &Forget { fence, force: true }, &policy, now)),
        stored(decide(Some(record), &Lookup, &policy, now)),
        Some(Restored::new(now, now, Duration::MAX).record(record.clone())),
    ];
    for next in next.into_iter().flatten() {
        assert!(next.fence() >= record.fence(), "a fence went down");
        let current = Versioned::new(WriteId(Uuid::max()), Arc::new(next));
        assert_eq!(
            Codec::NEXT.decode(&Codec::NEXT.encode(&current)),
            Ok(current),
            "what was decided cannot be stored"
        );
    }
}

fn stored<A>(transition: semel::domain::Transition<A>) -> Option<Record> {
    match transition {
        semel::domain::Transition::Unchanged(_) => None,
        semel::domain::Transition::Change { next, .. } => Some(next),
    }
}

/// A record of each kind.
pub(crate) fn samples() -> Vec<Record> {
    let now = Samples::CLOCK;
    let mut records = vec![
        Samples::in_progress(1),
        Samples::unresolved(2),
        Samples::completed(3),
        Samples::completed_with(4, vec![7; 300]),
        Samples::forgotten(5),
    ];
    let decided: Vec<Record> = records
        .iter()
        .filter_map(|record| match record {
            Record::Kept(kept) => {
                let detail = Detail::new("why".to_owned()).ok()?;
                let (fence, attempt_id) = (kept.fence, kept.attempt_id);
                let retry_after = Duration::from_secs(1);
                let abort = Abort {
                    fence,
                    attempt_id,
                    disposition: Disposition::OutcomeUnknown,
                    detail,
                    retry_after,
                };
                stored(decide(Some(record), &abort, &Policy::default(), now))
            }
            Record::Forgotten(_) => None,
        })
        .collect();
    records.extend(decided);
    records
}

/// What stores keep of each kind of record, in both formats.
pub fn seeds() -> Vec<Vec<u8>> {
    let clock = Samples::CLOCK.as_micros().to_le_bytes();
    let mut seeds = Vec::new();
    for record in samples() {
        let current = Versioned::new(WriteId(Uuid::from_u128(7)), Arc::new(record));
        for codec in [Codec::LATEST, Codec::NEXT] {
            seeds.push([&clock[..], &codec.encode(&current)].concat());
        }
    }
    seeds
}
