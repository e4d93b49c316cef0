//! The domain's values by themselves: what each accepts at its bounds, shows to people, and comes to. What is decided on
//! them is in `state_machine` and `properties`.

mod policies;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use semel::domain::{
    AttemptId, Checkpoint, CheckpointName, Checkpoints, Detail, Endpoint, Fence, Fingerprint, Forgotten,
    GivenUp, Header, IdempotencyKey, Interest, Kept, Key, Labels, Note, OnLostLease, OperationResult,
    Outcome, Phase, Policy, PositiveDuration, Reading, Reason, Record, Refusal, Restored, Tenant, Timestamp,
    Traceparent, UnresolvedReason, Violation,
};
use uuid::Uuid;

const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_hours(1);
const DAY: Duration = Duration::from_hours(24);
const NOW: Timestamp = Timestamp::from_micros(1_800_000_000_000_000);

fn fence(number: i64) -> Fence {
    Fence::new(number).unwrap()
}

fn name(text: &str) -> CheckpointName {
    CheckpointName::new(text).unwrap()
}

fn result(payload: &'static [u8]) -> OperationResult {
    OperationResult {
        outcome: Outcome::Failure,
        code: 7,
        content_type: "text".to_owned(),
        headers: vec![
            Header { name: "a".to_owned(), value: Bytes::from_static(b"123456") },
            Header { name: "bc".to_owned(), value: Bytes::new() },
        ],
        payload: Bytes::from_static(payload),
        payload_omitted: false,
    }
}

fn kept(phase: Phase) -> Kept {
    Kept {
        fence: fence(1_000_000),
        attempt: 1,
        attempt_id: AttemptId::from_uuid(Uuid::from_u128(1)),
        attempts_before_budget: 0,
        fingerprint: None,
        first_seen_at: NOW,
        changed_at: NOW,
        expires_at: NOW.plus(DAY),
        retention: DAY,
        checkpoints: Checkpoints::default(),
        labels: Labels::default(),
        traceparent: None,
        probe: None,
        phase,
    }
}

fn in_progress(on_lost_lease: OnLostLease, given_up: Option<GivenUp>) -> Phase {
    Phase::InProgress { lease_end: NOW.plus(SECOND), lease: SECOND, on_lost_lease, given_up }
}

fn completed() -> Phase {
    Phase::Completed { result: Arc::new(result(b"p")), resolution: None }
}

fn released() -> Phase {
    Phase::Released { pause_until: NOW, detail: Detail::new("why".to_owned()).unwrap(), resolution: None }
}

/// What is said of `value`, where it is refused for `reason`.
#[track_caller]
fn refused<T: std::fmt::Debug>(value: Result<T, Violation>, reason: Reason) -> String {
    let violation = value.expect_err("it is out of bounds");
    assert_eq!(violation.reason, reason);
    assert_eq!(violation.to_string(), violation.problem);
    violation.problem
}

#[test]
fn attempts_are_named_by_the_36_characters_of_a_uuid() {
    let text = "123e4567-e89b-12d3-a456-426614174000";
    assert_eq!(AttemptId::parse(text).unwrap().get().to_string(), text);
    assert_eq!(AttemptId::parse(&text.to_uppercase()), AttemptId::parse(text));
    assert!(
        refused(AttemptId::parse(&text.replace('-', "")), Reason::InvalidAttemptId)
            .starts_with("is 32 bytes long")
    );
    assert!(
        refused(AttemptId::parse(&text.replace('4', "x")), Reason::InvalidAttemptId)
            .starts_with("is not a UUID")
    );
}

#[test]
fn texts_and_digests_are_taken_up_to_their_bounds() {
    let long = |bytes: usize| "x".repeat(bytes);
    assert_eq!(Tenant::new(&long(128)).unwrap().as_str(), long(128));
    assert_eq!(Endpoint::new(&long(256)).unwrap().as_str(), long(256));
    assert_eq!(IdempotencyKey::new(&long(255)).unwrap().as_str(), long(255));
    assert_eq!(name(&long(64)).as_str(), long(64));
    assert_eq!(Fingerprint::new(&[7; 64]).unwrap().as_bytes(), [7; 64]);
    assert_eq!(Detail::new(long(1024)).unwrap().as_str(), long(1024));
    assert_eq!(Note::new(long(1024)).unwrap().as_str(), long(1024));
    for (said, bounds) in [
        (refused(Tenant::new(&long(129)), Reason::InvalidKey), "is 129 bytes long; at most 128"),
        (refused(Endpoint::new(&long(257)), Reason::InvalidKey), "is 257 bytes long; at most 256"),
        (refused(IdempotencyKey::new(&long(256)), Reason::InvalidKey), "is 256 bytes long; at most 255"),
        (refused(CheckpointName::new(&long(65)), Reason::InvalidCheckpoint), "is 65 bytes long; 1 to 64"),
        (refused(Fingerprint::new(&[7; 65]), Reason::InvalidFingerprint), "is 65 bytes long; 1 to 64"),
        (refused(Detail::new(long(1025)), Reason::InvalidDetail), "is 1025 bytes long; at most 1024"),
        (refused(Note::new(long(1025)), Reason::InvalidResolution), "is 1025 bytes long; at most 1024"),
        (refused(Tenant::new(""), Reason::InvalidKey), "is empty; send the tenant's name"),
        (refused(Endpoint::new(""), Reason::InvalidKey), "is empty; send the operation's name"),
        (refused(IdempotencyKey::new(""), Reason::InvalidKey), "is empty; send a key"),
        (refused(CheckpointName::new(""), Reason::InvalidCheckpoint), "is 0 bytes long; 1 to 64"),
        (refused(Fingerprint::new(&[]), Reason::InvalidFingerprint), "is 0 bytes long; 1 to 64"),
        (refused(Fence::new(0), Reason::InvalidFence), "is 0; send the fence"),
        (refused(Fence::new(-1), Reason::InvalidFence), "is -1; send the fence"),
    ] {
        assert!(said.starts_with(bounds), "{said}");
    }
}

#[test]
fn labels_are_taken_up_to_their_bounds() {
    let pairs = |count: usize| (0..count).map(|n| (format!("n{n:02}"), "v".to_owned()));
    assert_eq!(Labels::new(pairs(16)).unwrap().pairs().len(), 16);
    assert!(refused(Labels::new(pairs(17)), Reason::InvalidLabels).starts_with("has 17 entries; at most 16"));
    let large = |bytes: usize| [("name".to_owned(), "v".repeat(bytes - 4))];
    assert_eq!(Labels::new(large(1024)).unwrap().pairs()["name"].len(), 1020);
    assert!(
        refused(Labels::new(large(1025)), Reason::InvalidLabels)
            .starts_with("holds 1025 bytes; at most 1024")
    );
    assert_eq!(Labels::new([]).unwrap(), Labels::default());
    assert!(Labels::default().pairs().is_empty());
}

#[test]
fn checkpoints_are_found_by_name_and_taken_up_to_their_bounds() {
    let point = |text: &str, bytes: usize| Checkpoint {
        name: name(text),
        value: vec![1; bytes].into(),
        fence: fence(1),
    };
    let points = |count: usize| {
        (0..count).map(|n| point(&format!("{n:02}"), (64 * 1024) / 64 - 2)).collect::<Vec<_>>()
    };
    let full = Checkpoints::from_stored(points(64)).unwrap();
    assert_eq!((full.as_slice().len(), full.is_empty()), (64, false));
    assert_eq!(full.find(&name("63")), full.as_slice().last());
    assert_eq!(full.find(&name("64")), None);
    assert_eq!(full.with(point("x", 0)), None);
    let almost = Checkpoints::from_stored(points(63)).unwrap();
    assert_eq!(almost.with(point("63", 1022)), Some(full));
    assert_eq!(almost.with(point("63", 1023)), None);
    let small = (0..65).map(|n| point(&format!("{n}"), 0)).collect::<Vec<_>>();
    assert_eq!(
        Checkpoints::from_stored(small[..64].to_vec()).map(|points| points.as_slice().len()),
        Some(64)
    );
    assert_eq!(Checkpoints::from_stored(small), None);
    assert!(Checkpoints::default().is_empty());
}

#[test]
fn what_callers_wrote_is_hidden_where_values_are_shown() {
    let tenant = Tenant::new("acme").unwrap();
    let endpoint = Endpoint::new("POST /charges").unwrap();
    let key = IdempotencyKey::new("secret").unwrap();
    assert_eq!(format!("{tenant:?} {endpoint:?}"), r#""acme" "POST /charges""#);
    assert_eq!(format!("{key:?}"), "IdempotencyKey(6 bytes, hidden)");
    assert_eq!(format!("{:?}", name("secret")), "CheckpointName(6 bytes, hidden)");
    let point = Checkpoint { name: name("secret"), value: Bytes::from_static(b"123"), fence: fence(5) };
    assert_eq!(format!("{point:?}"), "Checkpoint { bytes: 9, fence: Fence(5), .. }");
    assert_eq!(
        format!("{:?}", result(b"secret")),
        "OperationResult { outcome: Failure, code: 7, size: 83, payload_omitted: false, .. }"
    );
}

#[test]
fn keys_are_bytes_and_back() {
    let key = |tenant: &str, endpoint: &str, key: &str| Key {
        tenant: Tenant::new(tenant).unwrap(),
        endpoint: Endpoint::new(endpoint).unwrap(),
        idempotency_key: IdempotencyKey::new(key).unwrap(),
    };
    assert_eq!(key("ab", "c", "de").to_bytes(), b"\x02ab\x00\x01cde");
    let longest = key(&"t".repeat(128), &"e".repeat(256), &"k".repeat(255));
    assert_eq!(longest.to_bytes()[..1], [128]);
    assert_eq!(longest.to_bytes()[129..131], [1, 0]);
    for key in [key("ab", "c", "de"), key("é", "\0", "\u{10ffff}"), longest] {
        assert_eq!(Key::from_bytes(&key.to_bytes()), Some(key));
    }
    for bytes in [
        &b""[..],
        b"\x02ab",
        b"\x02ab\x00",
        b"\x02ab\x00\x01c",
        b"\x02ab\x00\x02c",
        b"\x00\x00\x01cde",
        b"\x02ab\x00\x00de",
        b"\x02\xff\xff\x00\x01cde",
        b"\x02ab\x00\x01\xffde",
        b"\x02ab\x00\x01c\xff",
    ] {
        assert_eq!(Key::from_bytes(bytes), None, "{bytes:?}");
    }
}

#[test]
fn fences_follow_the_clock_and_the_known_one() {
    let clock = |micros| Timestamp::from_micros(micros);
    assert_eq!(Fence::next(None, clock(0)), fence(1));
    assert_eq!(Fence::next(None, clock(9)), fence(9));
    assert_eq!(Fence::next(Some(fence(9)), clock(9)), fence(10));
    assert_eq!(Fence::next(Some(fence(9)), clock(11)), fence(11));
    assert_eq!(Fence::next(Some(fence(i64::MAX)), clock(u64::MAX)), fence(i64::MAX));
    assert_eq!((fence(9).get(), fence(9).moment()), (9, clock(9)));
}

#[test]
fn moments_stay_within_time() {
    let at = Timestamp::from_micros;
    assert_eq!(
        (at(5).as_micros(), at(5).plus(Duration::from_micros(2)), at(5).minus(Duration::from_micros(2))),
        (5, at(7), at(3))
    );
    assert_eq!((at(5).plus(Duration::MAX), at(5).minus(Duration::MAX)), (at(u64::MAX), at(0)));
    assert_eq!((at(5).since(at(3)), at(3).since(at(5))), (Duration::from_micros(2), Duration::ZERO));
}

#[test]
fn positive_lengths_are_whole_microseconds() {
    let length = |nanos| PositiveDuration::new(Duration::from_nanos(nanos)).map(PositiveDuration::get);
    assert!(refused(length(0), Reason::InvalidDuration).starts_with("is zero"));
    for (nanos, micros) in [(1, 1), (1_000, 1), (1_001, 2), (2_000, 2)] {
        assert_eq!(length(nanos), Ok(Duration::from_micros(micros)), "{nanos}");
    }
    assert_eq!(
        PositiveDuration::new(Duration::MAX).map(PositiveDuration::get),
        Ok(Duration::from_micros(u64::MAX))
    );
}

#[test]
fn a_result_weighs_all_that_its_owner_sent() {
    // Payload, content type, and for each of the two headers 32 bytes beside its name and value.
    let size = 3 + 4 + (1 + 6 + 32) + (2 + 32);
    let result = result(b"abc");
    assert_eq!(result.size(), size);
    assert_eq!(result.check_size(size), Ok(()));
    assert_eq!(result.check_size(size + 1), Ok(()));
    let said = refused(result.check_size(size - 1), Reason::ResultTooLarge);
    assert!(said.starts_with("is 80 bytes; the policy allows 79."), "{said}");
}

#[test]
fn a_sampled_trace_has_both_its_ids() {
    let trace = 0x0102_0304_0506_0708_090a_0b0c_0d0e_0f10_u128;
    let of = |trace: u128, span: u64| Traceparent::of_sampled(trace.to_be_bytes(), span.to_be_bytes());
    let made = of(trace, 0x1112).unwrap();
    assert_eq!((made.trace(), made.span(), made.is_sampled()), (trace, 0x1112, true));
    assert_eq!(made.to_string(), "00-0102030405060708090a0b0c0d0e0f10-0000000000001112-01");
    assert_eq!(format!("{made:?}"), made.to_string());
    assert_eq!(made.trace_id(), "0102030405060708090a0b0c0d0e0f10");
    assert_eq!(Traceparent::from_bytes(made.to_string().as_bytes()), Some(made));
    // Half an id is one.
    assert_eq!(of(1, 1).map(Traceparent::trace), Some(1));
    assert_eq!(of(1 << 64, 1).map(Traceparent::trace), Some(1 << 64));
    assert_eq!((of(0, 1), of(1, 0)), (None, None));
}

#[test]
fn reasons_have_the_names_of_the_contract() {
    assert_eq!(Reason::ALL.len(), 36);
    assert_eq!(
        (Reason::InvalidKey.to_string(), Reason::Internal.as_str()),
        ("INVALID_KEY".into(), "INTERNAL")
    );
    let names: std::collections::BTreeSet<_> = Reason::ALL.iter().map(|reason| reason.as_str()).collect();
    assert_eq!(names.len(), 36);
}

#[test]
fn refusals_have_their_reasons() {
    for (refusal, reason) in [
        (Refusal::FingerprintMismatch { original: None }, Reason::FingerprintMismatch),
        (Refusal::KeyExpired, Reason::KeyExpired),
        (Refusal::TooManyOpenKeys, Reason::QuotaExceeded),
        (Refusal::AttemptEnded, Reason::AttemptEnded),
        (Refusal::FenceLost { superseded: true }, Reason::FenceLost),
        (Refusal::AlreadyCompleted, Reason::AlreadyCompleted),
        (Refusal::ResultConflict, Reason::ResultConflict),
        (Refusal::CheckpointConflict, Reason::CheckpointConflict),
        (Refusal::CheckpointLimit, Reason::CheckpointLimit),
        (Refusal::StateConflict, Reason::StateConflict),
        (Refusal::KeyNotFound, Reason::KeyNotFound),
    ] {
        assert_eq!(refusal.reason(), reason);
    }
    let limit = Refusal::CheckpointLimit.to_string();
    assert_eq!(limit, "a key keeps at most 64 checkpoints and 64 KiB of their names and values");
}

#[test]
fn a_record_is_open_until_it_is_settled() {
    let forgotten =
        Record::Forgotten(Forgotten { fence: fence(7), changed_at: NOW, reclaim_at: NOW.plus(SECOND) });
    let policy = Policy::default();
    let bounded = Policy { max_attempts: 1, ..Policy::default() };
    let open = |phase: Phase| Record::Kept(kept(phase));
    for (record, is_open, interest, interest_where_used_up) in [
        (open(in_progress(OnLostLease::Rerun, None)), true, Interest::Open, Interest::MayEndUnresolved),
        (
            open(in_progress(OnLostLease::MarkUnknown, None)),
            true,
            Interest::MayEndUnresolved,
            Interest::MayEndUnresolved,
        ),
        (open(released()), true, Interest::Open, Interest::MayEndUnresolved),
        (open(completed()), false, Interest::Settled, Interest::Settled),
        (forgotten.clone(), false, Interest::Settled, Interest::Settled),
    ] {
        assert_eq!(record.is_open(), is_open, "{record:?}");
        assert_eq!(record.interest(&policy), interest, "{record:?}");
        assert_eq!(record.interest(&bounded), interest_where_used_up, "{record:?}");
    }
    assert_eq!((forgotten.fence(), forgotten.changed_at()), (fence(7), NOW));
    assert_eq!((forgotten.reclaim_at(), forgotten.live(NOW)), (NOW.plus(SECOND), None));
}

#[test]
fn a_row_is_kept_an_hour_past_its_last_use() {
    let reclaimed = |kept: Kept| Record::Kept(kept).reclaim_at();
    let usual = || kept(completed());
    assert_eq!(reclaimed(Kept { retention: SECOND, ..usual() }), NOW.plus(DAY).plus(HOUR));
    assert_eq!(reclaimed(Kept { retention: 2 * DAY, ..usual() }), NOW.plus(2 * DAY).plus(HOUR));
    let ahead = NOW.plus(3 * DAY);
    assert_eq!(reclaimed(Kept { fence: Fence::next(None, ahead), ..usual() }), ahead.plus(HOUR));
}

#[test]
fn a_record_reads_as_it_stands() {
    let policy = Policy { max_attempts: 2, ..Policy::default() };
    let given_up = || {
        let detail = Detail::new("gone".to_owned()).unwrap();
        Some(GivenUp { at: NOW, pause_until: NOW.plus(SECOND), detail })
    };
    let unresolved = |reason, since| Reading::Unresolved { reason, since };
    let (unknown, exhausted) = (UnresolvedReason::OutcomeUnknown, UnresolvedReason::AttemptsExhausted);
    let lease_end = NOW.plus(SECOND);
    let over = lease_end.plus(policy.clock_skew_allowance).plus(Duration::from_micros(1));
    let rerun = || in_progress(OnLostLease::Rerun, None);
    for (phase, attempt, at, reading) in [
        (rerun(), 1, over.minus(Duration::from_micros(1)), Reading::InProgress),
        (rerun(), 1, over, Reading::LeaseLost),
        (rerun(), 2, over, unresolved(exhausted, lease_end)),
        (in_progress(OnLostLease::MarkUnknown, None), 1, over, unresolved(unknown, lease_end)),
        (in_progress(OnLostLease::MarkUnknown, given_up()), 1, NOW, unresolved(unknown, NOW)),
        (in_progress(OnLostLease::Rerun, given_up()), 2, NOW, unresolved(exhausted, NOW)),
        (released(), 1, NOW, Reading::Released),
        (released(), 2, NOW, unresolved(exhausted, NOW)),
        (completed(), 9, NOW, Reading::Completed),
    ] {
        let record = Kept { attempt, ..kept(phase) };
        assert_eq!(record.read(&policy, at), reading, "{record:?} at {at:?}");
    }
    let with = |phase: Phase| kept(phase);
    assert_eq!(with(released()).pause_until(), Some(NOW));
    assert_eq!(with(in_progress(OnLostLease::Rerun, given_up())).pause_until(), Some(NOW.plus(SECOND)));
    assert_eq!((with(rerun()).pause_until(), with(completed()).pause_until()), (None, None));
    assert_eq!(
        (with(released()).detail(), with(rerun()).detail(), with(completed()).detail()),
        ("why", "", "")
    );
    assert_eq!(with(in_progress(OnLostLease::Rerun, given_up())).detail(), "gone");
}

#[test]
fn a_restored_store_is_marked_for_as_long_as_it_may_miss_something() {
    let mark = Restored::new(NOW, NOW.minus(HOUR), 2 * HOUR);
    assert_eq!((mark.at, mark.backup_at, mark.until), (NOW, NOW.minus(HOUR), NOW.plus(2 * HOUR)));
    // Under this policy a row is kept for three seconds and an hour.
    let brief = Policy {
        max_lease: SECOND,
        max_retry_after: SECOND,
        unresolved_retention: 2 * SECOND,
        max_retention: SECOND,
        ..Policy::default()
    };
    let micro = Duration::from_micros(1);
    assert!(mark.in_force(&brief, mark.until.minus(micro)) && !mark.in_force(&brief, mark.until));
    let longer = Policy { unresolved_retention: 2 * HOUR, ..brief };
    let until = NOW.plus(3 * HOUR + SECOND);
    assert!(mark.in_force(&longer, until.minus(micro)) && !mark.in_force(&longer, until));
}
