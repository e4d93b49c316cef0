//! The messages. A tag that was used is never used for anything else.

use std::collections::BTreeMap;

use bytes::Bytes;

/// The first fields of [`Stored`]; the rest is skipped unread.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Head {
    #[prost(fixed64, tag = "1")]
    pub(super) write_id_high: u64,
    #[prost(fixed64, tag = "2")]
    pub(super) write_id_low: u64,
    #[prost(fixed64, tag = "3")]
    pub(super) reclaim_at: u64,
    #[prost(bool, tag = "4")]
    pub(super) open: bool,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Stored {
    #[prost(fixed64, tag = "1")]
    pub(super) write_id_high: u64,
    #[prost(fixed64, tag = "2")]
    pub(super) write_id_low: u64,
    #[prost(fixed64, tag = "3")]
    pub(super) reclaim_at: u64,
    #[prost(bool, tag = "4")]
    pub(super) open: bool,
    #[prost(oneof = "Record", tags = "5, 6")]
    pub(super) record: Option<Record>,
    /// Since [`FormatVersion::SEALED`](super::FormatVersion::SEALED).
    #[prost(message, optional, tag = "7")]
    pub(super) sealed: Option<Sealed>,
}

/// XChaCha20-Poly1305. Another algorithm would be another field.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Sealed {
    #[prost(string, tag = "1")]
    pub(super) key_id: String,
    #[prost(bytes = "bytes", tag = "2")]
    pub(super) nonce: Bytes,
    #[prost(bytes = "bytes", tag = "3")]
    pub(super) ciphertext: Bytes,
    #[prost(bytes = "bytes", tag = "4")]
    pub(super) write_id: Bytes,
}

#[allow(clippy::large_enum_variant, reason = "it lives only while it is encoded or decoded")]
#[derive(Clone, PartialEq, prost::Oneof)]
pub(super) enum Record {
    #[prost(message, tag = "5")]
    Kept(Kept),
    #[prost(message, tag = "6")]
    Forgotten(Forgotten),
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Forgotten {
    #[prost(int64, tag = "1")]
    pub(super) fence: i64,
    #[prost(uint64, tag = "2")]
    pub(super) changed_at: u64,
    #[prost(uint64, tag = "3")]
    pub(super) reclaim_at: u64,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Kept {
    #[prost(int64, tag = "1")]
    pub(super) fence: i64,
    #[prost(uint32, tag = "2")]
    pub(super) attempt: u32,
    #[prost(fixed64, tag = "3")]
    pub(super) attempt_id_high: u64,
    #[prost(fixed64, tag = "4")]
    pub(super) attempt_id_low: u64,
    #[prost(uint32, tag = "5")]
    pub(super) attempts_before_budget: u32,
    #[prost(bytes = "bytes", optional, tag = "6")]
    pub(super) fingerprint: Option<Bytes>,
    #[prost(uint64, tag = "7")]
    pub(super) first_seen_at: u64,
    #[prost(uint64, tag = "8")]
    pub(super) changed_at: u64,
    #[prost(uint64, tag = "9")]
    pub(super) expires_at: u64,
    #[prost(message, optional, tag = "10")]
    pub(super) retention: Option<Length>,
    #[prost(message, repeated, tag = "11")]
    pub(super) checkpoints: Vec<Checkpoint>,
    #[prost(btree_map = "string, string", tag = "12")]
    pub(super) labels: BTreeMap<String, String>,
    #[prost(string, optional, tag = "13")]
    pub(super) traceparent: Option<String>,
    #[prost(oneof = "Phase", tags = "14, 15, 16")]
    pub(super) phase: Option<Phase>,
    /// Since [`FormatVersion::NEXT`](super::FormatVersion::NEXT). The tag is the project's own tests'.
    #[cfg(feature = "test-support")]
    #[prost(fixed64, optional, tag = "1000")]
    pub(super) probe: Option<u64>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
pub(super) enum Phase {
    #[prost(message, tag = "14")]
    InProgress(InProgress),
    #[prost(message, tag = "15")]
    Completed(Completed),
    #[prost(message, tag = "16")]
    Released(Released),
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct InProgress {
    #[prost(uint64, tag = "1")]
    pub(super) lease_end: u64,
    #[prost(message, optional, tag = "2")]
    pub(super) lease: Option<Length>,
    #[prost(enumeration = "OnLostLease", tag = "3")]
    pub(super) on_lost_lease: i32,
    #[prost(message, optional, tag = "4")]
    pub(super) given_up: Option<GivenUp>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct GivenUp {
    #[prost(uint64, tag = "1")]
    pub(super) at: u64,
    #[prost(uint64, tag = "2")]
    pub(super) pause_until: u64,
    #[prost(string, tag = "3")]
    pub(super) detail: String,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Completed {
    #[prost(enumeration = "Outcome", tag = "1")]
    pub(super) outcome: i32,
    #[prost(sint32, tag = "2")]
    pub(super) code: i32,
    #[prost(string, tag = "3")]
    pub(super) content_type: String,
    #[prost(message, repeated, tag = "4")]
    pub(super) headers: Vec<Header>,
    #[prost(bytes = "bytes", tag = "5")]
    pub(super) payload: Bytes,
    #[prost(bool, tag = "6")]
    pub(super) payload_omitted: bool,
    #[prost(string, optional, tag = "7")]
    pub(super) resolution: Option<String>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Released {
    #[prost(uint64, tag = "1")]
    pub(super) pause_until: u64,
    #[prost(string, tag = "2")]
    pub(super) detail: String,
    #[prost(string, optional, tag = "3")]
    pub(super) resolution: Option<String>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Header {
    #[prost(string, tag = "1")]
    pub(super) name: String,
    #[prost(bytes = "bytes", tag = "2")]
    pub(super) value: Bytes,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Checkpoint {
    #[prost(string, tag = "1")]
    pub(super) name: String,
    #[prost(bytes = "bytes", tag = "2")]
    pub(super) value: Bytes,
    #[prost(int64, tag = "3")]
    pub(super) fence: i64,
}

#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub(super) struct Length {
    #[prost(uint64, tag = "1")]
    pub(super) seconds: u64,
    #[prost(uint32, tag = "2")]
    pub(super) nanos: u32,
}

/// Zero is no value, so that a missing field shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, prost::Enumeration)]
#[repr(i32)]
pub(super) enum OnLostLease {
    Missing = 0,
    Rerun = 1,
    MarkUnknown = 2,
}

/// Zero is no value, so that a missing field shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, prost::Enumeration)]
#[repr(i32)]
pub(super) enum Outcome {
    Missing = 0,
    Success = 1,
    Failure = 2,
}
