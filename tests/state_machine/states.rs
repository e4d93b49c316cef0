//! The records that every command meets.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use semel::domain::{
    AttemptId, Checkpoint, CheckpointName, Checkpoints, Detail, Fence, Fingerprint, Forgotten, GivenUp, Kept,
    Labels, Note, OnLostLease, OperationResult, Outcome, Phase, Record, Timestamp, Traceparent,
};
use uuid::Uuid;

use crate::kinds::kinds;

pub(crate) const SECOND: Duration = Duration::from_secs(1);
pub(crate) const MICROSECOND: Duration = Duration::from_micros(1);
pub(crate) const NOW: Timestamp = Timestamp::from_micros(1_800_000_000_000_000);

pub(crate) fn ago(seconds: u32) -> Timestamp {
    NOW.minus(seconds * SECOND)
}

pub(crate) fn ahead(seconds: u32) -> Timestamp {
    NOW.plus(seconds * SECOND)
}

/// The fence that a clock at `moment` grants.
pub(crate) fn fence_at(moment: Timestamp) -> Fence {
    Fence::next(None, moment)
}

/// Two callers: `a` made the attempt that is stored, `b` is another.
pub(crate) fn id(caller: char) -> AttemptId {
    AttemptId::from_uuid(Uuid::from_u128(u128::from(u32::from(caller))))
}

pub(crate) fn labels(caller: char) -> Labels {
    Labels::new([("by".to_owned(), caller.to_string())]).unwrap()
}

pub(crate) fn trace(caller: char) -> Traceparent {
    Traceparent::parse(&format!("00-{0:032x}-{0:016x}-01", u32::from(caller))).unwrap()
}

pub(crate) fn fingerprint(text: &str) -> Fingerprint {
    Fingerprint::new(text.as_bytes()).unwrap()
}

pub(crate) fn result(payload: &'static str) -> Arc<OperationResult> {
    Arc::new(OperationResult {
        outcome: Outcome::Success,
        code: 0,
        content_type: String::new(),
        headers: Vec::new(),
        payload: Bytes::from_static(payload.as_bytes()),
        payload_omitted: false,
    })
}

pub(crate) fn detail(text: &str) -> Detail {
    Detail::new(text.to_owned()).unwrap()
}

pub(crate) fn note(text: &str) -> Note {
    Note::new(text.to_owned()).unwrap()
}

fn point(name: &str, value: impl Into<Bytes>, saved: Timestamp) -> Checkpoint {
    Checkpoint { name: CheckpointName::new(name).unwrap(), value: value.into(), fence: fence_at(saved) }
}

fn points(points: impl IntoIterator<Item = Checkpoint>) -> Checkpoints {
    Checkpoints::from_stored(points.into_iter().collect()).unwrap()
}

/// By two earlier attempts, and not in the order of their names.
fn two_points() -> Checkpoints {
    points([point("shipped", "1", ago(400)), point("charged", "yes", ago(300))])
}

fn many_points(count: usize) -> Checkpoints {
    points((0..count).map(|n| point(&format!("p{n}"), "v", ago(400))))
}

/// Points that leave room for `bytes` more.
fn room_for(bytes: usize) -> Checkpoints {
    points([point("big", vec![b'x'; Checkpoints::MAX_BYTES - "big".len() - bytes], ago(400))])
}

fn kept(phase: Phase) -> Kept {
    Kept {
        fence: fence_at(ago(60)),
        attempt: 1,
        attempt_id: id('a'),
        attempts_before_budget: 0,
        fingerprint: Some(fingerprint("request")),
        first_seen_at: ago(500),
        changed_at: ago(50),
        expires_at: ahead(800),
        retention: 700 * SECOND,
        probe: None,
        checkpoints: Checkpoints::default(),
        labels: labels('a'),
        traceparent: Some(trace('a')),
        phase,
    }
}

fn lease_until(lease_end: Timestamp) -> Kept {
    kept(in_progress(lease_end, OnLostLease::Rerun, None))
}

fn marked_lease_until(lease_end: Timestamp) -> Kept {
    kept(in_progress(lease_end, OnLostLease::MarkUnknown, None))
}

/// An Abort with an unknown outcome while the lease still ran.
fn given_up(on_lost_lease: OnLostLease, pause_until: Timestamp) -> Kept {
    let given_up = GivenUp { at: ago(50), pause_until, detail: detail("timeout") };
    kept(in_progress(ahead(20), on_lost_lease, Some(given_up)))
}

fn in_progress(lease_end: Timestamp, on_lost_lease: OnLostLease, given_up: Option<GivenUp>) -> Phase {
    Phase::InProgress { lease_end, lease: 40 * SECOND, on_lost_lease, given_up }
}

/// A release takes the fingerprint with it, unless points were saved.
fn released(pause_until: Timestamp, checkpoints: Checkpoints) -> Kept {
    let phase = Phase::Released { pause_until, detail: detail("no stock"), resolution: None };
    let fingerprint = (!checkpoints.is_empty()).then(|| fingerprint("request"));
    Kept { fingerprint, checkpoints, ..kept(phase) }
}

fn released_by_operator() -> Kept {
    let phase = Phase::Released {
        pause_until: ago(50),
        detail: Detail::default(),
        resolution: Some(note("checked with the bank")),
    };
    Kept { attempt: 3, attempts_before_budget: 3, fingerprint: None, ..kept(phase) }
}

fn completed(resolution: Option<Note>) -> Kept {
    kept(Phase::Completed { result: result("done"), resolution })
}

#[allow(clippy::too_many_lines, reason = "a table")]
pub(crate) fn states() -> Vec<(&'static str, Option<Record>)> {
    use OnLostLease::{MarkUnknown, Rerun};
    let none = Checkpoints::default;
    let far = fence_at(ahead(2000));
    let rows = [
        ("owned", lease_until(ahead(20))),
        ("owned, mark_unknown", marked_lease_until(ahead(20))),
        (
            "owned, no fingerprint, 2 points",
            Kept { fingerprint: None, checkpoints: two_points(), ..lease_until(ahead(20)) },
        ),
        ("owned, 63 points", Kept { checkpoints: many_points(63), ..lease_until(ahead(20)) }),
        ("owned, 64 points", Kept { checkpoints: many_points(64), ..lease_until(ahead(20)) }),
        ("owned, room for 10 bytes", Kept { checkpoints: room_for(10), ..lease_until(ahead(20)) }),
        ("owned, fence ahead", Kept { fence: far, ..lease_until(ahead(20)) }),
        ("lease ends now", lease_until(NOW)),
        ("lease and skew end now", lease_until(ago(1))),
        ("lease over by 1 µs", lease_until(ago(1).minus(MICROSECOND))),
        ("lease over", lease_until(ago(2))),
        ("lease over, 2 points", Kept { checkpoints: two_points(), ..lease_until(ago(2)) }),
        ("lease over, used up", Kept { attempt: 3, ..lease_until(ago(2)) }),
        (
            "lease over, attempt 3, new budget",
            Kept { attempt: 3, attempts_before_budget: 2, ..lease_until(ago(2)) },
        ),
        ("lease over, mark_unknown", marked_lease_until(ago(2))),
        ("lease over, mark_unknown, used up", Kept { attempt: 3, ..marked_lease_until(ago(2)) }),
        ("lease over, fence ahead", Kept { fence: far, ..lease_until(ago(2)) }),
        ("given up", given_up(Rerun, ago(50))),
        ("given up, pausing", given_up(Rerun, ahead(10))),
        ("given up, pause ends now", given_up(Rerun, NOW)),
        ("given up, used up", Kept { attempt: 3, ..given_up(Rerun, ago(50)) }),
        ("given up, used up, pausing", Kept { attempt: 3, ..given_up(Rerun, ahead(10)) }),
        ("given up, mark_unknown", given_up(MarkUnknown, ago(50))),
        ("given up, mark_unknown, pausing", given_up(MarkUnknown, ahead(10))),
        ("completed", completed(None)),
        ("completed by an operator", completed(Some(note("checked with the bank")))),
        ("completed, expires in 100 s", Kept { expires_at: ahead(100), ..completed(None) }),
        ("completed, expires in 1 µs", Kept { expires_at: NOW.plus(MICROSECOND), ..completed(None) }),
        ("released", released(ago(50), none())),
        ("released, pausing", released(ahead(10), none())),
        ("released, pause ends now", released(NOW, none())),
        ("released, used up", Kept { attempt: 3, ..released(ago(50), none()) }),
        ("released, used up, pausing", Kept { attempt: 3, ..released(ahead(10), none()) }),
        ("released, 2 points", released(ago(50), two_points())),
        ("released by an operator", released_by_operator()),
        ("expired, lease over", Kept { expires_at: ago(10), ..lease_until(ago(40)) }),
        ("expired, lease over, mark_unknown", Kept { expires_at: ago(10), ..marked_lease_until(ago(40)) }),
        ("expired, given up", Kept { expires_at: ago(10), ..given_up(Rerun, ago(50)) }),
        ("expired, completed", Kept { expires_at: ago(10), ..completed(None) }),
        ("expires now, completed", Kept { expires_at: NOW, ..completed(None) }),
        ("expired, completed, fence ahead", Kept { expires_at: ago(10), fence: far, ..completed(None) }),
        ("expired, released", Kept { expires_at: ago(10), ..released(ago(50), none()) }),
        ("expired, released, 2 points", Kept { expires_at: ago(10), ..released(ago(50), two_points()) }),
    ];
    let forgotten =
        |fence| Some(Record::Forgotten(Forgotten { fence, changed_at: ago(50), reclaim_at: ahead(3000) }));
    let mut states = vec![("nothing", None)];
    states.extend(rows.map(|(name, kept)| (name, Some(Record::Kept(kept)))));
    states.push(("forgotten", forgotten(fence_at(ago(60)))));
    states.push(("forgotten, fence ahead", forgotten(far)));
    states
}

kinds! {
    /// What a stored record can be.
    record_kind(Option<&Record>) in RECORD_KINDS {
        None => "nothing",
        Some(Record::Forgotten(_)) => "forgotten",
        Some(Record::Kept(Kept {
            phase: Phase::InProgress { given_up: None, on_lost_lease: OnLostLease::Rerun, .. },
            ..
        })) => "in progress, rerun",
        Some(Record::Kept(Kept {
            phase: Phase::InProgress { given_up: None, on_lost_lease: OnLostLease::MarkUnknown, .. },
            ..
        })) => "in progress, mark_unknown",
        Some(Record::Kept(Kept {
            phase: Phase::InProgress { given_up: Some(_), on_lost_lease: OnLostLease::Rerun, .. },
            ..
        })) => "given up, rerun",
        Some(Record::Kept(Kept {
            phase: Phase::InProgress { given_up: Some(_), on_lost_lease: OnLostLease::MarkUnknown, .. },
            ..
        })) => "given up, mark_unknown",
        Some(Record::Kept(Kept { phase: Phase::Completed { resolution: None, .. }, .. })) => "completed",
        Some(Record::Kept(Kept { phase: Phase::Completed { resolution: Some(_), .. }, .. })) => "completed by an operator",
        Some(Record::Kept(Kept { phase: Phase::Released { resolution: None, .. }, .. })) => "released",
        Some(Record::Kept(Kept { phase: Phase::Released { resolution: Some(_), .. }, .. })) => "released by an operator",
    }
}
