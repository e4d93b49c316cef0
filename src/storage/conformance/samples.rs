//! Records and keys to try a store with.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use uuid::Uuid;

use crate::domain::{
    AttemptId, Checkpoint, CheckpointName, Checkpoints, Detail, Endpoint, Fence, Fingerprint, Forgotten,
    GivenUp, Header, IdempotencyKey, Kept, Key, Labels, Note, OnLostLease, OperationResult, Outcome, Phase,
    Record, Tenant, Timestamp, Traceparent,
};

/// A key of `tenant` that differs by `n`.
pub fn key(tenant: &str, n: impl std::fmt::Display) -> Key {
    parts(tenant, "POST /charges", &format!("key-{n}"))
}

fn parts(tenant: &str, endpoint: &str, idempotency_key: &str) -> Key {
    Key {
        tenant: Tenant::new(tenant).expect("a valid tenant"),
        endpoint: Endpoint::new(endpoint).expect("a valid endpoint"),
        idempotency_key: IdempotencyKey::new(idempotency_key).expect("a valid key"),
    }
}

/// Keys that a careless encoding would take for one another, and keys at the bounds.
pub fn hostile_keys() -> Vec<Key> {
    let longest = |bytes: usize| "\u{10ffff}".repeat(bytes / 4) + &"x".repeat(bytes % 4);
    let mut keys = vec![
        parts("a", "b", "c"),
        parts("a", "bc", "d"),
        parts("ab", "c", "d"),
        parts("a", "b", "cd"),
        parts("a", "b\0", "c"),
        parts("a\0", "b", "c"),
        parts("a", "b", "c\0"),
        parts("a", "b", "\0c"),
        parts("a", "b", "\0"),
        parts("a\0b", "c", "d"),
        parts("a", "\0b\0c", "d"),
        parts("a/b", "c", "d"),
        parts("a", "b/c", "d"),
        parts("a:b", "c", "d"),
        parts("a", "b:c", "d"),
        parts("\u{1}a", "b", "c"),
        parts("a", "\u{1}\u{0}b", "c"),
        parts("é", "b", "c"),
        parts("e\u{301}", "b", "c"),
        parts("A", "b", "c"),
        parts("a", "b", "C"),
        parts("a", "b", " c"),
        parts("a", "b", "c "),
        parts("аdmin", "b", "c"),
        parts("admin", "b", "c"),
    ];
    for tenant in [&longest(Tenant::MAX_BYTES), "t"] {
        for endpoint in [&longest(Endpoint::MAX_BYTES), "e"] {
            for idempotency_key in [&longest(IdempotencyKey::MAX_BYTES), "k"] {
                keys.push(parts(tenant, endpoint, idempotency_key));
            }
        }
    }
    keys
}

/// Makes records that differ in everything, the same ones for the same number.
#[derive(Clone, Copy, Debug)]
pub struct Samples;

const NOW: u64 = 1_800_000_000_000_000;
const DAY: u64 = 24 * 3_600_000_000;

impl Samples {
    /// What a store that reclaims by TTL takes for the present: so long before the samples' moments that no row goes
    /// while it is looked at.
    pub const CLOCK: Timestamp = Timestamp::from_micros(NOW - DAY);

    fn kept(n: u64, phase: Phase) -> Record {
        Record::Kept(Kept {
            fence: Fence::new(i64::try_from(NOW + n).expect("small")).expect("positive"),
            attempt: 1,
            attempt_id: AttemptId::from_uuid(Uuid::from_u128(u128::from(n))),
            attempts_before_budget: 0,
            fingerprint: Some(Fingerprint::new(&n.to_be_bytes()).expect("8 bytes")),
            first_seen_at: Timestamp::from_micros(NOW),
            changed_at: Timestamp::from_micros(NOW + n),
            expires_at: Timestamp::from_micros(NOW + n + 1_000),
            retention: Duration::from_micros(500),
            checkpoints: Checkpoints::default(),
            labels: Labels::default(),
            traceparent: None,
            probe: None,
            phase,
        })
    }

    /// An attempt under way.
    pub fn in_progress(n: u64) -> Record {
        Self::kept(
            n,
            Phase::InProgress {
                lease_end: Timestamp::from_micros(NOW + 30_000_000),
                lease: Duration::from_secs(30),
                on_lost_lease: OnLostLease::Rerun,
                given_up: None,
            },
        )
    }

    /// An attempt under way that is unresolved when its lease is over.
    pub fn unresolved(n: u64) -> Record {
        Self::kept(
            n,
            Phase::InProgress {
                lease_end: Timestamp::from_micros(NOW + 30_000_000),
                lease: Duration::from_secs(30),
                on_lost_lease: OnLostLease::MarkUnknown,
                given_up: None,
            },
        )
    }

    /// A completed attempt whose payload is `payload`.
    pub fn completed_with(n: u64, payload: impl Into<Bytes>) -> Record {
        let result = OperationResult {
            outcome: Outcome::Success,
            code: 200,
            content_type: "application/json".to_owned(),
            headers: Vec::new(),
            payload: payload.into(),
            payload_omitted: false,
        };
        Self::kept(n, Phase::Completed { result: Arc::new(result), resolution: None })
    }

    /// A completed attempt.
    pub fn completed(n: u64) -> Record {
        Self::completed_with(n, n.to_string())
    }

    /// A bare fence.
    pub fn forgotten(n: u64) -> Record {
        Record::Forgotten(Forgotten {
            fence: Fence::new(i64::try_from(NOW + n).expect("small")).expect("positive"),
            changed_at: Timestamp::from_micros(NOW + n),
            reclaim_at: Timestamp::from_micros(NOW + n + 7),
        })
    }

    /// `record` with another moment of expiry. Its row goes an hour later.
    pub fn expiring(record: Record, expires_at: Timestamp) -> Record {
        match record {
            Record::Kept(kept) => {
                Record::Kept(Kept { expires_at, changed_at: Timestamp::from_micros(0), ..kept })
            }
            Record::Forgotten(forgotten) => {
                Record::Forgotten(Forgotten { reclaim_at: expires_at, ..forgotten })
            }
        }
    }

    /// One of the kinds, by `n`.
    pub fn any(n: u64) -> Record {
        match n % 5 {
            0 => Self::in_progress(n),
            1 => Self::completed(n),
            2 => Self::kept(
                n,
                Phase::Released {
                    pause_until: Timestamp::from_micros(NOW + n),
                    detail: Detail::new(format!("released {n}")).expect("short"),
                    resolution: None,
                },
            ),
            3 => Self::kept(
                n,
                Phase::InProgress {
                    lease_end: Timestamp::from_micros(NOW + n),
                    lease: Duration::from_millis(n),
                    on_lost_lease: OnLostLease::MarkUnknown,
                    given_up: Some(GivenUp {
                        at: Timestamp::from_micros(NOW + n),
                        pause_until: Timestamp::from_micros(NOW + 2 * n),
                        detail: Detail::new("gave up".to_owned()).expect("short"),
                    }),
                },
            ),
            _ => Self::forgotten(n),
        }
    }

    /// Every kind, with every field set, at its bounds, and left out.
    pub fn extremes() -> Vec<Record> {
        let longest = "\u{10ffff}".repeat(256);
        let note = || Note::new(longest.clone()).ok();
        let detail = || Detail::new(longest.clone()).expect("1024 bytes");
        let all_bytes: Vec<u8> = (0..=u8::MAX).collect();
        let last = Timestamp::from_micros(u64::MAX);
        let phases = [
            Phase::InProgress {
                lease_end: last,
                lease: Duration::new(u64::MAX, 999_999_999),
                on_lost_lease: OnLostLease::MarkUnknown,
                given_up: Some(GivenUp { at: last, pause_until: last, detail: detail() }),
            },
            Phase::InProgress {
                lease_end: Timestamp::default(),
                lease: Duration::ZERO,
                on_lost_lease: OnLostLease::Rerun,
                given_up: Some(GivenUp {
                    at: Timestamp::default(),
                    pause_until: Timestamp::default(),
                    detail: Detail::default(),
                }),
            },
            Phase::Released { pause_until: last, detail: detail(), resolution: note() },
            Phase::Released {
                pause_until: Timestamp::default(),
                detail: Detail::default(),
                resolution: Some(Note::default()),
            },
            Phase::Completed {
                result: Arc::new(OperationResult {
                    outcome: Outcome::Failure,
                    code: i32::MIN,
                    content_type: longest.clone(),
                    headers: vec![
                        Header { name: "x-a".to_owned(), value: all_bytes.clone().into() },
                        Header { name: String::new(), value: Bytes::new() },
                        Header { name: "x-a".to_owned(), value: Bytes::from_static(b"again, in order") },
                    ],
                    payload: all_bytes.into(),
                    payload_omitted: false,
                }),
                resolution: note(),
            },
            Phase::Completed {
                result: Arc::new(OperationResult {
                    outcome: Outcome::Success,
                    code: i32::MAX,
                    content_type: String::new(),
                    headers: Vec::new(),
                    payload: Bytes::new(),
                    payload_omitted: true,
                }),
                resolution: Some(Note::default()),
            },
        ];
        let mut records: Vec<_> = (0..5).map(Self::any).collect();
        for phase in phases {
            for full in [true, false] {
                let Record::Kept(plain) = Self::kept(1, phase.clone()) else { continue };
                records.push(Record::Kept(if full { Self::full(plain) } else { Self::bare(plain) }));
            }
        }
        let fence = Fence::new(i64::MAX).expect("positive");
        records.push(Record::Forgotten(Forgotten { fence, changed_at: last, reclaim_at: last }));
        records
    }

    fn full(kept: Kept) -> Kept {
        let points = (0..Checkpoints::MAX_POINTS).map(|n| Checkpoint {
            name: CheckpointName::new(&format!("{n:064}")).expect("64 bytes"),
            value: Bytes::from(vec![u8::try_from(n).expect("small"); 960]),
            fence: Fence::new(1 + i64::try_from(n).expect("small")).expect("positive"),
        });
        let labels = (0..16).map(|n| (format!("n{n}\0"), "\u{1f980}".repeat(15)));
        Kept {
            fence: Fence::new(i64::MAX).expect("positive"),
            attempt: u32::MAX,
            attempt_id: AttemptId::from_uuid(Uuid::max()),
            attempts_before_budget: u32::MAX,
            fingerprint: Some(Fingerprint::new(&[0xff; 64]).expect("64 bytes")),
            first_seen_at: Timestamp::from_micros(u64::MAX),
            changed_at: Timestamp::from_micros(u64::MAX),
            expires_at: Timestamp::from_micros(u64::MAX),
            retention: Duration::new(u64::MAX, 999_999_999),
            checkpoints: Checkpoints::from_stored(points.collect()).expect("within bounds"),
            labels: Labels::new(labels).expect("within bounds"),
            traceparent: Traceparent::parse("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"),
            ..kept
        }
    }

    fn bare(kept: Kept) -> Kept {
        Kept {
            fence: Fence::new(1).expect("positive"),
            attempt: 0,
            attempt_id: AttemptId::from_uuid(Uuid::nil()),
            fingerprint: None,
            first_seen_at: Timestamp::default(),
            changed_at: Timestamp::default(),
            // Alone it says when the row may go, which must not be at once.
            expires_at: Timestamp::from_micros(NOW + DAY),
            retention: Duration::ZERO,
            ..kept
        }
    }
}
