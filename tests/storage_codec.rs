//! The record format: everything comes back, nothing changes by accident, and no bytes make it panic.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use proptest::collection::{btree_map, vec};
use proptest::option;
use proptest::prelude::*;
use semel::domain::{
    AttemptId, Checkpoint, CheckpointName, Checkpoints, Detail, Fence, Fingerprint, Forgotten, GivenUp,
    Header, Kept, Labels, Note, OnLostLease, OperationResult, Outcome, Phase, Record, Timestamp, Traceparent,
};
use semel::storage::conformance::Samples;
use semel::storage::record_codec::{Codec, DecodeError, FormatVersion, Head};
use semel::storage::sealed::{KeyId, Sealed};
use semel::storage::{Versioned, WriteId};
use uuid::Uuid;

/// What this release writes and reads.
const CODEC: Codec = Codec::LATEST;

/// The same in the format that the first release wrote.
fn first_format() -> Codec {
    CODEC.writing(FormatVersion::FIRST).expect("every release writes it")
}

fn encode(record: &Record) -> Vec<u8> {
    CODEC.encode(&Versioned::new(write_id(), Arc::new(record.clone())))
}

fn write_id() -> WriteId {
    WriteId(Uuid::from_u128(0x0123_4567_89ab_cdef_0011_2233_4455_6677))
}

fn time() -> impl Strategy<Value = Timestamp> {
    any::<u64>().prop_map(Timestamp::from_micros)
}

fn length() -> impl Strategy<Value = Duration> {
    (any::<u64>(), 0..1_000_000_000_u32).prop_map(|(seconds, nanos)| Duration::new(seconds, nanos))
}

fn fence() -> impl Strategy<Value = Fence> {
    (1..=i64::MAX).prop_map(|value| Fence::new(value).expect("positive"))
}

/// Any text of at most `bytes` bytes.
fn text(bytes: usize) -> impl Strategy<Value = String> {
    vec(any::<char>(), 0..=bytes / 4).prop_map(String::from_iter)
}

fn detail() -> impl Strategy<Value = Detail> {
    text(Detail::MAX_BYTES).prop_map(|text| Detail::new(text).expect("within bounds"))
}

fn note() -> impl Strategy<Value = Option<Note>> {
    option::of(text(Note::MAX_BYTES).prop_map(|text| Note::new(text).expect("within bounds")))
}

fn checkpoints() -> impl Strategy<Value = Checkpoints> {
    let point = ("\\PC{1,16}", vec(any::<u8>(), 0..900), fence()).prop_map(|(name, value, fence)| {
        Checkpoint { name: CheckpointName::new(&name).expect("within bounds"), value: value.into(), fence }
    });
    vec(point, 0..8).prop_map(|points| Checkpoints::from_stored(points).expect("within bounds"))
}

fn labels() -> impl Strategy<Value = Labels> {
    btree_map(text(16), text(16), 0..16).prop_map(|pairs| Labels::new(pairs).expect("within bounds"))
}

fn result() -> impl Strategy<Value = OperationResult> {
    let outcome = prop_oneof![Just(Outcome::Success), Just(Outcome::Failure)];
    let header = (text(20), vec(any::<u8>(), 0..40));
    (outcome, any::<i32>(), text(40), vec(header, 0..5), vec(any::<u8>(), 0..3000), any::<bool>()).prop_map(
        |(outcome, code, content_type, headers, payload, payload_omitted)| OperationResult {
            outcome,
            code,
            content_type,
            headers: headers.into_iter().map(|(name, value)| Header { name, value: value.into() }).collect(),
            payload: payload.into(),
            payload_omitted,
        },
    )
}

fn phase() -> impl Strategy<Value = Phase> {
    let given_up =
        (time(), time(), detail()).prop_map(|(at, pause_until, detail)| GivenUp { at, pause_until, detail });
    let on_lost_lease = prop_oneof![Just(OnLostLease::Rerun), Just(OnLostLease::MarkUnknown)];
    prop_oneof![
        (time(), length(), on_lost_lease, option::of(given_up)).prop_map(
            |(lease_end, lease, on_lost_lease, given_up)| Phase::InProgress {
                lease_end,
                lease,
                on_lost_lease,
                given_up
            }
        ),
        (result(), note())
            .prop_map(|(result, resolution)| Phase::Completed { result: Arc::new(result), resolution }),
        (time(), detail(), note()).prop_map(|(pause_until, detail, resolution)| Phase::Released {
            pause_until,
            detail,
            resolution
        }),
    ]
}

fn kept() -> impl Strategy<Value = Kept> {
    let fingerprint = option::of(
        vec(any::<u8>(), 1..=64).prop_map(|bytes| Fingerprint::new(&bytes).expect("within bounds")),
    );
    let traceparent = option::of(
        "00-[0-9a-f]{31}1-[0-9a-f]{15}1-[0-9a-f]{2}"
            .prop_map(|text| Traceparent::parse(&text).expect("well formed")),
    );
    let numbers = (fence(), any::<u32>(), any::<u128>(), any::<u32>());
    let times = (time(), time(), time(), length());
    (numbers, times, fingerprint, checkpoints(), labels(), traceparent, phase()).prop_map(
        |(
            (fence, attempt, attempt_id, attempts_before_budget),
            (first_seen_at, changed_at, expires_at, retention),
            fingerprint,
            checkpoints,
            labels,
            traceparent,
            phase,
        )| Kept {
            fence,
            attempt,
            attempt_id: AttemptId::from_uuid(Uuid::from_u128(attempt_id)),
            attempts_before_budget,
            fingerprint,
            first_seen_at,
            changed_at,
            expires_at,
            retention,
            checkpoints,
            labels,
            traceparent,
            probe: None,
            phase,
        },
    )
}

fn record() -> impl Strategy<Value = Record> {
    let forgotten = (fence(), time(), time()).prop_map(|(fence, changed_at, reclaim_at)| Forgotten {
        fence,
        changed_at,
        reclaim_at,
    });
    prop_oneof![8 => kept().prop_map(Record::Kept), 1 => forgotten.prop_map(Record::Forgotten)]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn any_record_comes_back(id in any::<u128>(), record in record()) {
        let write_id = WriteId(Uuid::from_u128(id));
        let current = Versioned::new(write_id, Arc::new(record.clone()));
        let bytes = CODEC.encode(&current);
        prop_assert_eq!(bytes[0], FormatVersion::LATEST.get());
        let head = Head { write_id, reclaim_at: record.reclaim_at(), open: record.is_open() };
        prop_assert_eq!(CODEC.decode_head(&bytes), Ok(head));
        prop_assert_eq!(CODEC.decode(&bytes), Ok(current));
    }

    #[test]
    fn damaged_records_never_panic(record in record(), at in any::<prop::sample::Index>(), bit in 0..8_u32,
                                   cut in any::<prop::sample::Index>()) {
        let bytes = encode(&record);
        let mut flipped = bytes.clone();
        flipped[at.index(bytes.len())] ^= 1 << bit;
        drop((CODEC.decode(&flipped), CODEC.decode_head(&flipped)));
        let cut = &bytes[..cut.index(bytes.len())];
        drop((CODEC.decode(cut), CODEC.decode_head(cut)));
    }

    #[test]
    fn noise_never_panics(mut bytes in vec(any::<u8>(), 0..300)) {
        drop((CODEC.decode(&bytes), CODEC.decode_head(&bytes)));
        if let Some(first) = bytes.first_mut() {
            *first = FormatVersion::LATEST.get();
        }
        drop((CODEC.decode(&bytes), CODEC.decode_head(&bytes)));
    }
}

#[test]
fn extremes_come_back() {
    let Record::Kept(plain) = Samples::completed(1) else { panic!("a completed attempt") };
    let long_over = Record::Kept(Kept { expires_at: Timestamp::default(), ..plain });
    for record in Samples::extremes().into_iter().chain([long_over]) {
        let bytes = encode(&record);
        assert_eq!(CODEC.decode(&bytes), Ok(Versioned::new(write_id(), Arc::new(record))));
    }
}

#[test]
fn a_later_format_is_refused_with_both_versions() {
    let mut bytes = encode(&Samples::completed(1));
    bytes[0] = FormatVersion::NEXT.get();
    let error = CODEC.decode(&bytes).expect_err("a later format");
    assert_eq!(error, DecodeError::LaterFormat { found: FormatVersion::NEXT, latest: FormatVersion::LATEST });
    assert_eq!(CODEC.decode_head(&bytes), Err(error.clone()));
    assert_eq!(
        error.to_string(),
        "the record has format version 3, and this semel reads versions 1 to 2: run the semel that wrote it, or a \
         later one"
    );
}

#[test]
fn what_is_no_record_is_an_error() {
    let empty_message = vec![FormatVersion::LATEST.get()];
    for bytes in [vec![], vec![0, 1, 2], empty_message, vec![FormatVersion::LATEST.get(), 0xff, 0xff]] {
        assert!(matches!(CODEC.decode(&bytes), Err(DecodeError::Damaged(_))), "{bytes:?}");
    }
}

#[test]
fn errors_say_nothing_of_the_content() {
    let secret = "s3cr3t-payload";
    let mut bytes = encode(&Samples::completed_with(1, secret));
    bytes.truncate(bytes.len() - 1);
    let error = CODEC.decode(&bytes).expect_err("cut short").to_string();
    assert!(!error.contains(secret), "{error}");
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").expect("a String takes everything");
        text
    })
}

/// Bytes that are on disks. They must be read for ever; should [`encode`] come to write something else, that is a
/// new format, with new lines here.
#[test]
fn golden_records_are_read_and_written() {
    let golden = include_str!("storage_codec_golden.txt");
    let records = golden_records();
    let lines: Vec<_> = golden.lines().filter(|line| !line.starts_with('#')).collect();
    assert_eq!(lines.len(), records.len(), "one line for each");
    for (line, (name, record)) in lines.iter().zip(records) {
        let (line_name, bytes) = line.split_once(' ').expect("a name and bytes");
        assert_eq!(line_name, name);
        let current = Versioned::new(write_id(), Arc::new(record));
        let written = first_format().encode(&current);
        assert_eq!(hex(&written), bytes, "{name} is written as ever");
        // The second format has one more field, which these do not use.
        let second = CODEC.encode(&current);
        assert_eq!((second[0], &second[1..]), (2, &written[1..]), "{name}");
        assert_eq!(CODEC.decode(&written), Ok(current), "{name} is read");
    }
}

fn golden_records() -> Vec<(&'static str, Record)> {
    let Record::Kept(plain) = Samples::any(3) else { panic!("an attempt that was given up") };
    let everything = Kept {
        attempt: 3,
        attempts_before_budget: 1,
        retention: Duration::new(86_400, 5),
        checkpoints: Checkpoints::from_stored(vec![Checkpoint {
            name: CheckpointName::new("charged").expect("valid"),
            value: b"ch_1\0\xff"[..].into(),
            fence: Fence::new(41).expect("positive"),
        }])
        .expect("within bounds"),
        labels: Labels::new([("team".to_owned(), "payments".to_owned())]).expect("within bounds"),
        traceparent: Traceparent::parse("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"),
        ..plain.clone()
    };
    let completed = Phase::Completed {
        result: Arc::new(OperationResult {
            outcome: Outcome::Failure,
            code: -402,
            content_type: "text/plain".to_owned(),
            headers: vec![Header { name: "x-id".to_owned(), value: b"\x00\x01"[..].into() }],
            payload: b"declined"[..].into(),
            payload_omitted: true,
        }),
        resolution: Note::new("ops: seen at the bank".to_owned()).ok(),
    };
    vec![
        ("in_progress", Samples::in_progress(1)),
        ("given_up_with_everything", Record::Kept(everything)),
        ("completed", Samples::completed(2)),
        ("completed_with_everything", Record::Kept(Kept { phase: completed, ..plain })),
        ("released", Samples::any(2)),
        ("forgotten", Samples::forgotten(4)),
    ]
}

/// What is encrypted comes back as it was, and no semel that does not know of it takes the record for an empty one.
#[test]
fn a_sealed_record_is_of_the_second_format_whichever_is_to_be_written() {
    let sealed = Sealed {
        key_id: KeyId::new("2026-11").expect("valid"),
        write_id: write_id(),
        nonce: std::array::from_fn(|n| u8::try_from(n).expect("24 are few")),
        ciphertext: b"encrypted"[..].into(),
    };
    let plain = Versioned::new(write_id(), Arc::new(Samples::completed_with(1, "")));
    let current = Versioned { sealed: Some(Arc::new(sealed)), ..plain };
    let bytes = first_format().encode(&current);
    assert_eq!(bytes, CODEC.encode(&current));
    assert_eq!(bytes[0], FormatVersion::SEALED.get());
    assert_eq!(CODEC.decode(&bytes).as_ref(), Ok(&current));
    let head = Head::of(current.write_id, &current.record);
    assert_eq!(CODEC.decode_head(&bytes), Ok(head));
    assert!(hex(&bytes).ends_with(GOLDEN_SEALED), "{}", hex(&bytes));
    assert!(!format!("{current:?}").contains("encrypted"), "{current:?}");
}

/// The field that holds it: a key's id, a nonce, a ciphertext. On disks, as the golden records are.
const GOLDEN_SEALED: &str = "3a400a07323032362d31311218000102030405060708090a0b0c0d0e0f10111213141516171a09656e6372797074656422100123456789abcdef0011223344556677";
