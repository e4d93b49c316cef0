//! Requests whose every field is at, below or past its bounds, and what is wrong with each by the contract: worked
//! out here, from the contract's words, not by the code under test.

use std::collections::HashMap;

use bytes::Bytes;
use prost::Message;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, RngExt};
use semel::proto;

use crate::server::{START, attempt_id};

pub(crate) const BATCH_BEGIN: &str = "/semel.v1.IdempotencyService/BatchBegin";
pub(crate) const BATCH_COMPLETE: &str = "/semel.v1.IdempotencyService/BatchComplete";

/// The policy's bound on results, of the server that these requests are for.
const MAX_RESULT_BYTES: usize = 256 * 1024;
/// An error names this many fields at most.
const MOST_FIELDS: usize = 12;

/// A field that is wrong.
#[derive(Clone, Debug)]
pub(crate) struct Wrong {
    pub(crate) path: String,
    pub(crate) reason: &'static str,
}

/// A request and what is wrong with it.
#[derive(Debug)]
pub(crate) struct Asked {
    pub(crate) path: &'static str,
    pub(crate) message: Vec<u8>,
    /// In the order of the contract's fields.
    pub(crate) wrong: Vec<Wrong>,
    /// The same for each item of a batch.
    pub(crate) slots: Vec<Vec<Wrong>>,
}

/// A request to any method.
pub(crate) fn any(random: &mut StdRng) -> Asked {
    let mut make = Maker { random, wrong: Vec::new() };
    let mut slots = Vec::new();
    let (path, message) = match make.random.random_range(0..14) {
        0 | 1 => ("/semel.v1.IdempotencyService/Begin", make.begin().encode_to_vec()),
        2 | 3 => ("/semel.v1.IdempotencyService/Complete", make.complete().encode_to_vec()),
        4 => ("/semel.v1.IdempotencyService/Abort", make.abort().encode_to_vec()),
        5 => ("/semel.v1.IdempotencyService/Lookup", {
            let key = make.key();
            proto::LookupRequest { key }.encode_to_vec()
        }),
        6 => ("/semel.v1.IdempotencyService/Renew", make.renew().encode_to_vec()),
        7 => ("/semel.v1.IdempotencyService/SaveCheckpoint", make.save_checkpoint().encode_to_vec()),
        8 => (BATCH_BEGIN, {
            let requests = make.batch(&mut slots, Maker::begin);
            proto::BatchBeginRequest { requests }.encode_to_vec()
        }),
        9 => (BATCH_COMPLETE, {
            let requests = make.batch(&mut slots, Maker::complete);
            proto::BatchCompleteRequest { requests }.encode_to_vec()
        }),
        10 => ("/semel.v1.OperatorService/ListRecords", make.list_records().encode_to_vec()),
        11 => ("/semel.v1.OperatorService/ResolveRecord", make.resolve_record().encode_to_vec()),
        12 => ("/semel.v1.OperatorService/ForgetRecord", {
            let (key, fence) = (make.key(), make.fence());
            proto::ForgetRecordRequest { key, fence, force: make.random.random() }.encode_to_vec()
        }),
        _ => ("/semel.v1.OperatorService/GetPolicy", {
            let tenant = make.text("tenant", "INVALID_KEY", 1, 128);
            let endpoint = make.text("endpoint", "INVALID_KEY", 1, 256);
            proto::GetPolicyRequest { tenant, endpoint }.encode_to_vec()
        }),
    };
    make.wrong.truncate(MOST_FIELDS);
    Asked { path, message, wrong: make.wrong, slots }
}

/// Whether the bytes are a message of the method's request type at all.
pub(crate) fn decodes(path: &str, bytes: &[u8]) -> bool {
    fn is<M: Message + Default>(bytes: &[u8]) -> bool {
        M::decode(bytes).is_ok()
    }
    match path.rsplit('/').next().unwrap() {
        "Begin" => is::<proto::BeginRequest>(bytes),
        "Complete" => is::<proto::CompleteRequest>(bytes),
        "Abort" => is::<proto::AbortRequest>(bytes),
        "Lookup" => is::<proto::LookupRequest>(bytes),
        "Renew" => is::<proto::RenewRequest>(bytes),
        "SaveCheckpoint" => is::<proto::SaveCheckpointRequest>(bytes),
        "BatchBegin" => is::<proto::BatchBeginRequest>(bytes),
        "BatchComplete" => is::<proto::BatchCompleteRequest>(bytes),
        "ListRecords" => is::<proto::ListRecordsRequest>(bytes),
        "ResolveRecord" => is::<proto::ResolveRecordRequest>(bytes),
        "ForgetRecord" => is::<proto::ForgetRecordRequest>(bytes),
        "GetPolicy" => is::<proto::GetPolicyRequest>(bytes),
        other => panic!("{other} is no method"),
    }
}

/// Pieces of text that have been mistaken for something.
const HOSTILE: [&str; 16] = [
    "\0",
    "/",
    ":",
    "|",
    "*",
    "..",
    "\r\n",
    "'; DROP TABLE record; --",
    "%00",
    "{}",
    "\u{430}",
    "\u{ff41}",
    "e\u{301}",
    "\u{202e}",
    "\u{200b}",
    "\u{1f600}",
];

/// Makes fields, and notes what is wrong with them.
struct Maker<'a> {
    random: &'a mut StdRng,
    wrong: Vec<Wrong>,
}

impl Maker<'_> {
    fn note(&mut self, path: impl Into<String>, reason: &'static str) {
        self.wrong.push(Wrong { path: path.into(), reason });
    }

    fn pick<T: Clone>(&mut self, choices: &[T]) -> T {
        choices.choose(self.random).expect("there are choices").clone()
    }

    /// Nine times in ten: fields that are always as likely wrong as right would make no valid request.
    fn usually(&mut self) -> bool {
        self.random.random_ratio(9, 10)
    }

    /// A text of exactly `bytes` bytes, hostile where there is room.
    fn text_of(&mut self, bytes: usize) -> String {
        let mut text = String::new();
        while self.random.random_ratio(2, 3) {
            let piece = self.pick(&HOSTILE);
            if text.len() + piece.len() > bytes {
                break;
            }
            text.push_str(piece);
        }
        text.push_str(&"x".repeat(bytes - text.len()));
        text
    }

    /// A text whose length is around its bounds.
    fn text(&mut self, path: &str, reason: &'static str, least: usize, most: usize) -> String {
        let bytes = if self.usually() {
            self.pick(&[least, least + 1, most - 1, most])
        } else {
            self.pick(&[0, most + 1, most * 10])
        };
        if bytes < least || bytes > most {
            self.note(path, reason);
        }
        self.text_of(bytes)
    }

    fn key(&mut self) -> Option<proto::Key> {
        if self.random.random_ratio(1, 50) {
            self.note("key", "INVALID_KEY");
            return None;
        }
        // Some keys come again and again, so that requests meet records in every state.
        if self.random.random_ratio(1, 2) {
            let idempotency_key = format!("k{}", self.random.random_range(0..20));
            return Some(proto::Key { tenant: "t".into(), endpoint: "e".into(), idempotency_key });
        }
        Some(proto::Key {
            tenant: self.text("key.tenant", "INVALID_KEY", 1, 128),
            endpoint: self.text("key.endpoint", "INVALID_KEY", 1, 256),
            idempotency_key: self.text("key.idempotency_key", "INVALID_KEY", 1, 255),
        })
    }

    /// Whether tenant and endpoint are right, so that the policy for them is known.
    fn policy_is_known(&self) -> bool {
        !self.wrong.iter().any(|wrong| ["key", "key.tenant", "key.endpoint"].contains(&&*wrong.path))
    }

    fn attempt_id(&mut self) -> String {
        if self.usually() {
            let usual = attempt_id(self.random.random_range(0..5));
            return self.pick(&[
                usual,
                "00000000-0000-0000-0000-000000000000".into(),
                "FFFFFFFF-FFFF-FFFF-FFFF-FFFFFFFFFFFF".into(),
                "0aBcDeF1-0000-1000-9000-00000000000f".into(),
            ]);
        }
        self.note("attempt_id", "INVALID_ATTEMPT_ID");
        self.pick(&[
            "",
            "x",
            "00000000000040008000000000000001",
            "{00000000-0000-4000-8000-000000000001}",
            "urn:uuid:00000000-0000-4000-8000-000000000001",
            "00000000-0000-4000-8000-00000000000",
            "00000000-0000-4000-8000-0000000000011",
            "0000000-00000-4000-8000-0000000000001",
            "00000000-0000-4000-8000-00000000000g",
            "00000000-0000-4000-8000-00000000000\0",
            "\u{ff10}\u{ff10}\u{ff10}00-0000-4000-8000-000000000001",
            "\u{ff10}\u{ff10}\u{ff10}\u{ff10}\u{ff10}\u{ff10}\u{ff10}\u{ff10}\u{ff10}\u{ff10}\u{ff10}\u{ff10}",
            "------------------------------------",
            " 0000000-0000-4000-8000-00000000001 ",
        ])
        .to_owned()
    }

    fn fence(&mut self) -> i64 {
        if self.usually() {
            return self.pick(&[1, 2, START.cast_signed(), START.cast_signed() + 1, i64::MAX]);
        }
        self.note("fence", "INVALID_FENCE");
        self.pick(&[0, -1, i64::MIN])
    }

    fn fingerprint(&mut self) -> Bytes {
        let bytes = if self.usually() { self.pick(&[0, 0, 1, 63, 64]) } else { self.pick(&[65, 66, 4096]) };
        if bytes > 64 {
            self.note("fingerprint", "INVALID_FINGERPRINT");
        }
        let mut fingerprint = vec![0; bytes];
        // Few different ones, so that some match.
        fingerprint.fill(self.random.random_range(0..2));
        fingerprint.into()
    }

    /// A duration that has to be above zero, or may be zero.
    fn length(&mut self, path: &str, zero: bool) -> Option<prost_types::Duration> {
        let right = [
            (0, 1),
            (0, 999_999_999),
            (1, 0),
            (3600, 500),
            (3601, 0),
            (315_576_000_000, 0),
            (i64::MAX, 999_999_999),
        ];
        let wrong = [
            (0, -1),
            (-1, 0),
            (-1, -1),
            (i64::MIN, 0),
            (0, 1_000_000_000),
            (0, i32::MAX),
            (0, i32::MIN),
            (1, -1),
            (-1, 1),
        ];
        let (seconds, nanos) = match self.random.random_range(0..20) {
            0..9 => return None,
            9..18 => self.pick(&right),
            18 => (0, 0),
            _ => self.pick(&wrong),
        };
        let nothing = seconds == 0 && nanos == 0;
        if wrong.contains(&(seconds, nanos)) || (nothing && !zero) {
            self.note(path, "INVALID_DURATION");
        }
        Some(prost_types::Duration { seconds, nanos })
    }

    fn first_sent(&mut self) -> Option<prost_types::Timestamp> {
        let now = i64::try_from(START / 1_000_000).unwrap();
        let right = [
            (now, 0),
            (now, 999_999_999),
            (now - 86_400, 0),
            (now + 5, 0),
            (0, 0),
            (-1, 999_999_999),
            (-62_135_596_800, 0),
            (253_402_300_799, 999_999_999),
        ];
        let wrong = [
            (now, -1),
            (now, 1_000_000_000),
            (now, i32::MIN),
            (-62_135_596_801, 999_999_999),
            (253_402_300_800, 0),
            (i64::MAX, 0),
            (i64::MIN, 0),
        ];
        let (seconds, nanos) = match self.random.random_range(0..20) {
            0..12 => return None,
            12..19 => self.pick(&right),
            _ => {
                self.note("first_sent", "INVALID_DURATION");
                self.pick(&wrong)
            }
        };
        Some(prost_types::Timestamp { seconds, nanos })
    }

    fn labels(&mut self) -> HashMap<String, String> {
        let (entries, bytes) = if self.usually() {
            self.pick(&[(0, 0), (1, 0), (1, 1024), (16, 1023), (16, 1024), (2, 0)])
        } else {
            self.note("labels", "INVALID_LABELS");
            self.pick(&[(1, 1025), (16, 1025), (17, 34), (17, 1024), (200, 100_000)])
        };
        // Names of three bytes, except that a lone one may be empty; what is left goes into one value.
        let mut labels: HashMap<String, String> =
            (0..entries).map(|number| (format!("{number:03}"), String::new())).collect();
        let names: usize = labels.keys().map(String::len).sum();
        if bytes > names && entries > 0 {
            let value = self.text_of(bytes - names);
            labels.insert("000".into(), value);
        }
        labels
    }

    fn result(&mut self) -> Option<proto::Result> {
        if self.random.random_ratio(1, 40) {
            self.note("result", "INVALID_RESULT");
            return None;
        }
        Some(self.some_result())
    }

    fn some_result(&mut self) -> proto::Result {
        let outcome =
            if self.usually() { self.pick(&[1, 2]) } else { self.pick(&[0, 3, -1, i32::MAX, i32::MIN]) };
        if outcome != 1 && outcome != 2 {
            self.note("result.outcome", "INVALID_RESULT");
        }
        let mut headers = Vec::new();
        for place in 0..self.pick(&[0, 0, 1, 2, 20]) {
            let bytes = if self.random.random_ratio(1, 60) { 0 } else { self.random.random_range(1..9) };
            if bytes == 0 {
                self.note(format!("result.headers[{place}].name"), "INVALID_RESULT");
            }
            let name = self.text_of(bytes);
            let mut value = vec![0; self.random.random_range(0..20)];
            self.random.fill_bytes(&mut value);
            headers.push(proto::Header { name, value: value.into() });
        }
        let content_type = {
            let bytes = self.pick(&[0, 1, 30]);
            self.text_of(bytes)
        };
        let rest: usize =
            headers.iter().map(|header| header.name.len() + header.value.len() + 32).sum::<usize>()
                + content_type.len();
        let room = MAX_RESULT_BYTES - rest;
        // The large ones seldom: they cost most of the time and find least.
        let payload = match self.random.random_range(0..40) {
            0 => room,
            1 => room + 1,
            2 => room - 1,
            _ => self.pick(&[0, 1, 100]),
        };
        if payload > room && self.policy_is_known() {
            self.note("result", "RESULT_TOO_LARGE");
        }
        proto::Result {
            outcome,
            code: self.pick(&[0, 200, -1, i32::MAX, i32::MIN]),
            content_type,
            headers,
            payload: vec![0xff; payload].into(),
            payload_omitted: self.random.random(),
        }
    }

    fn begin(&mut self) -> proto::BeginRequest {
        proto::BeginRequest {
            key: self.key(),
            attempt_id: self.attempt_id(),
            fingerprint: self.fingerprint(),
            lease: self.length("lease", false),
            retention: self.length("retention", false),
            wait: self.length("wait", true),
            first_sent: self.first_sent(),
            retry: self.random.random(),
            labels: self.labels(),
        }
    }

    fn complete(&mut self) -> proto::CompleteRequest {
        proto::CompleteRequest {
            key: self.key(),
            fence: self.fence(),
            attempt_id: self.attempt_id(),
            result: self.result(),
            retention: self.length("retention", false),
        }
    }

    fn abort(&mut self) -> proto::AbortRequest {
        proto::AbortRequest {
            key: self.key(),
            fence: self.fence(),
            attempt_id: self.attempt_id(),
            disposition: {
                let disposition =
                    if self.usually() { self.pick(&[1, 2]) } else { self.pick(&[0, 3, -1, i32::MAX]) };
                if disposition != 1 && disposition != 2 {
                    self.note("disposition", "INVALID_DISPOSITION");
                }
                disposition
            },
            detail: self.text("detail", "INVALID_DETAIL", 0, 1024),
            retry_after: self.length("retry_after", true),
        }
    }

    fn renew(&mut self) -> proto::RenewRequest {
        proto::RenewRequest {
            key: self.key(),
            fence: self.fence(),
            attempt_id: self.attempt_id(),
            lease: self.length("lease", false),
        }
    }

    fn save_checkpoint(&mut self) -> proto::SaveCheckpointRequest {
        proto::SaveCheckpointRequest {
            key: self.key(),
            fence: self.fence(),
            attempt_id: self.attempt_id(),
            name: self.text("name", "INVALID_CHECKPOINT", 1, 64),
            value: vec![7; self.pick(&[0, 1, 100, 65_536, 65_537])].into(),
        }
    }

    fn batch<R>(&mut self, slots: &mut Vec<Vec<Wrong>>, one: fn(&mut Self) -> R) -> Vec<R> {
        let items = self.random.random_range(0..6);
        let mut requests = Vec::new();
        for _ in 0..items {
            requests.push(one(self));
            slots.push(std::mem::take(&mut self.wrong));
        }
        requests
    }

    fn list_records(&mut self) -> proto::ListRecordsRequest {
        let request = proto::ListRecordsRequest {
            tenant: self.text("tenant", "INVALID_KEY", 1, 128),
            endpoint: self.text("endpoint", "INVALID_KEY", 0, 256),
            state: {
                let state = if self.usually() {
                    self.random.random_range(0..=5)
                } else {
                    self.pick(&[6, -1, i32::MAX])
                };
                if !(0..=5).contains(&state) {
                    self.note("state", "INVALID_PAGE");
                }
                state
            },
            page_size: 0,
            page_token: String::new(),
        };
        let filter_is_right = self.wrong.is_empty();
        let page_size = if self.usually() {
            self.pick(&[0, 1, 999, 1000, 1001, i32::MAX])
        } else {
            self.pick(&[-1, i32::MIN])
        };
        if page_size < 0 {
            self.note("page_size", "INVALID_PAGE");
        }
        let page_token =
            if self.usually() { "" } else { self.pick(&["x", "AQ", "AQAAAAAAAAAAAA", "\0", "====", "Ag"]) };
        // A token is judged with its filter.
        if !page_token.is_empty() && filter_is_right {
            self.note("page_token", "INVALID_PAGE");
        }
        proto::ListRecordsRequest { page_size, page_token: page_token.into(), ..request }
    }

    fn resolve_record(&mut self) -> proto::ResolveRecordRequest {
        use proto::resolve_record_request::Resolution;

        proto::ResolveRecordRequest {
            key: self.key(),
            fence: self.fence(),
            resolution: match self.random.random_range(0..20) {
                0 => {
                    self.note("resolution", "INVALID_RESOLUTION");
                    None
                }
                1 => {
                    self.note("release", "INVALID_RESOLUTION");
                    Some(Resolution::Release(false))
                }
                2..10 => Some(Resolution::Release(true)),
                _ => Some(Resolution::Result(self.some_result())),
            },
            note: self.text("note", "INVALID_RESOLUTION", 0, 1024),
            force: self.random.random(),
        }
    }
}
