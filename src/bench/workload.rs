//! What a run sends: each key, attempt and result follows from the seed and a number.

use bytes::Bytes;
use prost_types::Duration as ProtoDuration;

use super::dice::Dice;
use super::plan::Plan;
use crate::proto;

/// Where the streams of draws of different uses begin, far apart.
mod stream {
    pub(super) const FINGERPRINT: u64 = 1 << 56;
    pub(super) const ATTEMPT: u64 = 2 << 56;
    pub(super) const RESULT: u64 = 3 << 56;
    pub(super) const CHOICE: u64 = 4 << 56;
    pub(super) const POOL: u64 = 5 << 56;
}

/// How an owner goes about its work.
#[derive(Clone, Copy, Debug)]
pub(super) struct Manner {
    /// Gives the key up first and begins it again.
    pub(super) aborts: bool,
    /// Renews its lease once.
    pub(super) renews: bool,
}

/// Makes requests. Attempts are numbered over the whole run: the number is the attempt's `nonce`.
#[derive(Debug)]
pub(super) struct Workload {
    plan: Plan,
    key_stem: String,
}

impl Workload {
    pub(super) fn new(plan: Plan) -> Self {
        let key_stem = format!("{}-{:016x}-", plan.key_prefix, plan.seed);
        Self { plan, key_stem }
    }

    pub(super) const fn plan(&self) -> &Plan {
        &self.plan
    }

    pub(super) fn key_text(&self, key: u64) -> String {
        format!("{}{key}", self.key_stem)
    }

    pub(super) fn key(&self, key: u64) -> proto::Key {
        proto::Key {
            tenant: self.plan.tenant.clone(),
            endpoint: self.plan.endpoint.clone(),
            idempotency_key: self.key_text(key),
        }
    }

    pub(super) fn attempt_id(&self, nonce: u64) -> String {
        let mut dice = self.dice(stream::ATTEMPT, nonce);
        let id = u128::from(dice.draw()) << 64 | u128::from(dice.draw());
        uuid::Builder::from_random_bytes(id.to_be_bytes()).into_uuid().to_string()
    }

    pub(super) fn begin(&self, key: u64, nonce: u64) -> proto::BeginRequest {
        proto::BeginRequest {
            key: Some(self.key(key)),
            attempt_id: self.attempt_id(nonce),
            fingerprint: self.fingerprint(key),
            lease: self.plan.lease.map(to_proto),
            retention: self.plan.retention.map(to_proto),
            wait: self.plan.wait.map(to_proto),
            ..proto::BeginRequest::default()
        }
    }

    pub(super) fn complete(&self, key: u64, nonce: u64, fence: i64) -> proto::CompleteRequest {
        proto::CompleteRequest {
            key: Some(self.key(key)),
            fence,
            attempt_id: self.attempt_id(nonce),
            result: Some(self.result(key, nonce)),
            retention: self.plan.retention.map(to_proto),
        }
    }

    pub(super) fn abort(&self, key: u64, nonce: u64, fence: i64) -> proto::AbortRequest {
        proto::AbortRequest {
            key: Some(self.key(key)),
            fence,
            attempt_id: self.attempt_id(nonce),
            disposition: proto::abort_request::Disposition::Release.into(),
            detail: String::new(),
            retry_after: None,
        }
    }

    pub(super) fn renew(&self, key: u64, nonce: u64, fence: i64) -> proto::RenewRequest {
        proto::RenewRequest {
            key: Some(self.key(key)),
            fence,
            attempt_id: self.attempt_id(nonce),
            lease: self.plan.lease.map(to_proto),
        }
    }

    /// What the attempt completes the key with, and what every later Begin must get.
    pub(super) fn result(&self, key: u64, nonce: u64) -> proto::Result {
        let mut dice = self.dice(stream::RESULT, key.wrapping_mul(0x1_0000_0001).wrapping_add(nonce));
        let failed = dice.chance(0.1);
        let (outcome, code) = if failed {
            (proto::result::Outcome::Failure, 402)
        } else {
            (proto::result::Outcome::Success, 200)
        };
        let size = dice.within(&self.plan.payload_bytes);
        proto::Result {
            outcome: outcome.into(),
            code,
            content_type: "application/octet-stream".to_owned(),
            headers: Vec::new(),
            payload: dice.bytes(size),
            payload_omitted: false,
        }
    }

    pub(super) fn manner(&self, nonce: u64) -> Manner {
        let mut dice = self.dice(stream::CHOICE, nonce);
        Manner { aborts: dice.chance(self.plan.abort_share), renews: dice.chance(self.plan.renew_share) }
    }

    pub(super) const fn pool_dice(&self) -> Dice {
        Dice::new(self.plan.seed, stream::POOL)
    }

    fn fingerprint(&self, key: u64) -> Bytes {
        self.dice(stream::FINGERPRINT, key).bytes(32)
    }

    const fn dice(&self, stream: u64, number: u64) -> Dice {
        Dice::new(self.plan.seed, stream.wrapping_add(number))
    }
}

fn to_proto(length: std::time::Duration) -> ProtoDuration {
    // Only past 292 billion years does this not fit.
    ProtoDuration::try_from(length).unwrap_or(ProtoDuration { seconds: i64::MAX, nanos: 0 })
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    fn workload(seed: u64) -> Workload {
        Workload::new(Plan { seed, payload_bytes: 10..=20, ..Plan::default() })
    }

    #[test]
    fn the_same_seed_makes_the_same_requests() {
        let (one, again, other) = (workload(1), workload(1), workload(2));
        assert_eq!(one.begin(5, 9), again.begin(5, 9));
        assert_eq!(one.complete(5, 9, 1), again.complete(5, 9, 1));
        assert_ne!(one.key(5), other.key(5));
        assert_ne!(one.attempt_id(9), other.attempt_id(9));
        assert_ne!(one.result(5, 9).payload, other.result(5, 9).payload);
    }

    #[test]
    fn attempts_of_a_key_differ_in_name_and_result_and_share_the_fingerprint() {
        let workload = workload(1);
        let (first, second) = (workload.begin(5, 9), workload.begin(5, 10));
        let parsed = |begin: &proto::BeginRequest| Uuid::parse_str(&begin.attempt_id).expect("a UUID");
        assert_ne!(parsed(&first), parsed(&second));
        assert_eq!(first.fingerprint, second.fingerprint);
        assert_ne!(first.fingerprint, workload.begin(6, 9).fingerprint);
        assert_ne!(workload.result(5, 9), workload.result(5, 10));
        assert!((10..=20).contains(&workload.result(5, 9).payload.len()));
    }
}
