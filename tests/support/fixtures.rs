//! A key, a Begin, a result and a clock for tests that are about something else.
#![allow(dead_code, reason = "each test that includes this file uses a part of it")]

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use semel::domain::{
    AttemptId, Begin, Clock, Endpoint, IdempotencyKey, Key, Labels, OperationResult, Outcome, Tenant,
    Timestamp,
};
use tokio::time::Instant;
use uuid::Uuid;

/// Follows tokio's time, so that standing still and moving on happen to leases too; `ahead` of it.
#[derive(Debug)]
pub(crate) struct TestClock {
    start: Instant,
    ahead: Duration,
}

impl TestClock {
    pub(crate) fn new(ahead: Duration) -> Arc<Self> {
        Arc::new(Self { start: Instant::now(), ahead })
    }
}

impl Clock for TestClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_micros(1_800_000_000_000_000).plus(self.ahead).plus(self.start.elapsed())
    }
}

pub(crate) fn key(name: &str) -> Key {
    Key {
        tenant: Tenant::new("acme").unwrap(),
        endpoint: Endpoint::new("charge").unwrap(),
        idempotency_key: IdempotencyKey::new(name).unwrap(),
    }
}

pub(crate) fn begin(attempt: u128) -> Begin {
    Begin {
        attempt_id: AttemptId::from_uuid(Uuid::from_u128(attempt)),
        fingerprint: None,
        lease: None,
        retention: None,
        first_sent: None,
        labels: Labels::default(),
        traceparent: None,
        may_open: true,
    }
}

pub(crate) fn result(payload: &str) -> Arc<OperationResult> {
    Arc::new(OperationResult {
        outcome: Outcome::Success,
        code: 0,
        content_type: String::new(),
        headers: Vec::new(),
        payload: Bytes::copy_from_slice(payload.as_bytes()),
        payload_omitted: false,
    })
}
