//! What names an attempt and what it says about itself.

use std::collections::BTreeMap;
use std::fmt;

use uuid::Uuid;

use super::reason::{Reason, Violation};
use super::time::Timestamp;

/// The number that orders the owners of a key: strictly increasing over the key's whole life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fence(i64);

impl Fence {
    /// Accepts any positive number.
    pub fn new(value: i64) -> Result<Self, Violation> {
        if value <= 0 {
            return Err(Violation::new(
                Reason::InvalidFence,
                format!("is {value}; send the fence that Begin's Started carried"),
            ));
        }
        Ok(Self(value))
    }

    /// The fence as a number.
    pub const fn get(self) -> i64 {
        self.0
    }

    /// The moment that the fence stands for: the clock when it was granted, or later where one before it was ahead.
    pub const fn moment(self) -> Timestamp {
        Timestamp::from_micros(self.0.unsigned_abs())
    }

    /// The fence of the next owner: above `known`, and never below the clock, so that it rises even after the
    /// row that held the last one was reclaimed.
    pub fn next(known: Option<Self>, now: Timestamp) -> Self {
        let clock = i64::try_from(now.as_micros()).unwrap_or(i64::MAX).max(1);
        Self(known.map_or(clock, |fence| fence.0.saturating_add(1).max(clock)))
    }
}

/// The UUID that a caller makes once for each attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AttemptId(Uuid);

impl AttemptId {
    /// Accepts the 36-character form of a UUID: any version, any case.
    pub fn parse(text: &str) -> Result<Self, Violation> {
        const WANTED: &str =
            "send the 36-character form of a UUID, such as 123e4567-e89b-12d3-a456-426614174000";
        if text.len() != 36 {
            return Err(Violation::new(
                Reason::InvalidAttemptId,
                format!("is {} bytes long; {WANTED}", text.len()),
            ));
        }
        Uuid::try_parse(text)
            .map(Self)
            .map_err(|_| Violation::new(Reason::InvalidAttemptId, format!("is not a UUID; {WANTED}")))
    }

    /// The UUID.
    pub const fn get(self) -> Uuid {
        self.0
    }

    /// Any UUID names an attempt.
    pub const fn from_uuid(uuid: Uuid) -> Self {
        Self(uuid)
    }
}

/// The digest of the canonical request, compared as bytes.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Fingerprint(Box<[u8]>);

impl Fingerprint {
    /// The longest that is accepted, in bytes.
    pub const MAX_BYTES: usize = 64;

    /// Accepts 1 to [`Self::MAX_BYTES`] bytes.
    pub fn new(bytes: &[u8]) -> Result<Self, Violation> {
        if bytes.is_empty() || bytes.len() > Self::MAX_BYTES {
            return Err(Violation::new(
                Reason::InvalidFingerprint,
                format!("is {} bytes long; 1 to {} are allowed", bytes.len(), Self::MAX_BYTES),
            ));
        }
        Ok(Self(bytes.into()))
    }

    /// The digest.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

/// Pairs for people, never part of the identity.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Labels(BTreeMap<String, String>);

impl Labels {
    /// The most pairs.
    pub const MAX_ENTRIES: usize = 16;
    /// The most bytes, names and values together.
    pub const MAX_BYTES: usize = 1024;

    /// Accepts up to [`Self::MAX_ENTRIES`] pairs of [`Self::MAX_BYTES`] in all.
    pub fn new(pairs: impl IntoIterator<Item = (String, String)>) -> Result<Self, Violation> {
        let pairs: BTreeMap<_, _> = pairs.into_iter().collect();
        if pairs.len() > Self::MAX_ENTRIES {
            return Err(Violation::new(
                Reason::InvalidLabels,
                format!("has {} entries; at most {} are allowed", pairs.len(), Self::MAX_ENTRIES),
            ));
        }
        let bytes: usize = pairs.iter().map(|(name, value)| name.len() + value.len()).sum();
        if bytes > Self::MAX_BYTES {
            return Err(Violation::new(
                Reason::InvalidLabels,
                format!("holds {bytes} bytes; at most {} are allowed in all", Self::MAX_BYTES),
            ));
        }
        Ok(Self(pairs))
    }

    /// The pairs, by name.
    pub const fn pairs(&self) -> &BTreeMap<String, String> {
        &self.0
    }
}

macro_rules! remark {
    ($(#[$doc:meta])* $name:ident, $reason:ident) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, Default)]
        pub struct $name(String);

        impl $name {
            /// The longest that is accepted, in bytes of UTF-8.
            pub const MAX_BYTES: usize = 1024;

            /// Accepts up to [`Self::MAX_BYTES`] bytes, none included.
            pub fn new(text: String) -> Result<Self, Violation> {
                if text.len() > Self::MAX_BYTES {
                    return Err(Violation::new(
                        Reason::$reason,
                        format!("is {} bytes long; at most {} are allowed", text.len(), Self::MAX_BYTES),
                    ));
                }
                Ok(Self(text))
            }

            /// The text itself.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }
    };
}

remark!(
    /// What an owner said when it gave a key up.
    Detail, InvalidDetail
);
remark!(
    /// What an operator wrote when resolving a record: who decided, and why.
    Note, InvalidResolution
);

/// A W3C traceparent, version 00 (<https://www.w3.org/TR/trace-context/>).
#[derive(Clone, PartialEq, Eq)]
pub struct Traceparent(Box<str>);

impl Traceparent {
    /// Accepts `00-<32 hex>-<16 hex>-<2 hex>` in lower case with ids that are not all zero.
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split('-');
        let (version, trace, span, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
        let hex = |part: &str, length: usize| {
            part.len() == length && part.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
        };
        let set = |part: &str| part.bytes().any(|b| b != b'0');
        (parts.next().is_none()
            && version == "00"
            && hex(trace, 32)
            && hex(span, 16)
            && hex(flags, 2)
            && set(trace)
            && set(span))
        .then(|| Self(text.into()))
    }

    /// The header's text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Traceparent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
