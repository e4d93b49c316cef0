//! Attempts on their way to another process.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::error::{Error, refused};
use crate::key::Key;
use crate::proto;

/// An attempt on its way to another process, which says [`resume`](crate::Client::resume) or
/// [`complete_handoff`](crate::Client::complete_handoff).
///
/// [`to_text`](Self::to_text) writes what every language reads. That text holds the idempotency key: keep it where keys are
/// kept. The `Debug` form does not show it.
#[derive(Clone, PartialEq, Eq)]
pub struct Handoff {
    pub(crate) tenant: String,
    pub(crate) endpoint: String,
    pub(crate) key: Key,
    pub(crate) fence: i64,
    pub(crate) attempt: u32,
    pub(crate) attempt_id: String,
    pub(crate) lease: Duration,
}

/// The serialised form: every member is there, and none beside them.
#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Written {
    attempt: u32,
    attempt_id: String,
    endpoint: String,
    fence: i64,
    key: String,
    lease_ms: u64,
    tenant: String,
    v: u32,
}

const VERSION: u32 = 1;

impl Handoff {
    /// The form that every language reads.
    pub fn to_text(&self) -> String {
        let written = Written {
            attempt: self.attempt,
            attempt_id: self.attempt_id.clone(),
            endpoint: self.endpoint.clone(),
            fence: self.fence,
            key: self.key.as_str().to_owned(),
            lease_ms: u64::try_from(self.lease.as_millis()).unwrap_or(u64::MAX),
            tenant: self.tenant.clone(),
            v: VERSION,
        };
        // Texts and integers can always be written.
        serde_jcs::to_string(&written).unwrap_or_default()
    }

    /// Of which endpoint the attempt is.
    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// The fence that the attempt holds.
    pub fn fence(&self) -> i64 {
        self.fence
    }

    /// The number of the attempt.
    pub fn attempt(&self) -> u32 {
        self.attempt
    }

    pub(crate) fn proto_key(&self) -> proto::Key {
        proto::Key {
            tenant: self.tenant.clone(),
            endpoint: self.endpoint.clone(),
            idempotency_key: self.key.as_str().to_owned(),
        }
    }
}

impl FromStr for Handoff {
    type Err = Error;

    /// Reads what any language wrote; [`Invalid`](crate::ErrorKind::Invalid) `bad_handoff` otherwise.
    fn from_str(text: &str) -> Result<Self, Error> {
        let bad =
            || refused("bad_handoff", "this is no handed-off attempt of a version that this library reads");
        let read: Written = serde_json::from_str(text).map_err(|_| bad())?;
        if read.v != VERSION || read.fence < 1 || read.attempt < 1 {
            return Err(bad());
        }
        Ok(Self {
            tenant: read.tenant,
            endpoint: read.endpoint,
            key: read.key.into(),
            fence: read.fence,
            attempt: read.attempt,
            attempt_id: read.attempt_id,
            lease: Duration::from_millis(read.lease_ms),
        })
    }
}

impl fmt::Debug for Handoff {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Handoff(attempt {} of {})", self.attempt, self.endpoint)
    }
}
