//! What an operation returned, kept and replayed byte for byte.

use std::fmt;

use bytes::Bytes;

use super::reason::{Reason, Violation};

/// How the operation ended, by its owner's word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It did what it was asked to.
    Success,
    /// It failed for good; replaying the failure is right.
    Failure,
}

/// A header of the stored response.
#[derive(Clone, PartialEq, Eq)]
pub struct Header {
    /// Its name, as the caller wrote it.
    pub name: String,
    /// Its value, as bytes.
    pub value: Bytes,
}

/// The stored result. Its `Debug` form hides what callers put in it.
#[derive(Clone, PartialEq, Eq)]
pub struct OperationResult {
    /// Success, or a final failure.
    pub outcome: Outcome,
    /// The operation's own status.
    pub code: i32,
    /// The payload's media type.
    pub content_type: String,
    /// In the order the owner sent them.
    pub headers: Vec<Header>,
    /// The payload, byte for byte.
    pub payload: Bytes,
    /// The work was done, but its payload was too large to keep.
    pub payload_omitted: bool,
}

impl OperationResult {
    /// What each header costs beside its name and value, in bytes.
    pub const HEADER_OVERHEAD_BYTES: usize = 32;

    /// The size that a policy bounds: payload, content type, header names and values, and 32 bytes for each header.
    pub fn size(&self) -> usize {
        let headers: usize =
            self.headers.iter().map(|h| h.name.len() + h.value.len() + Self::HEADER_OVERHEAD_BYTES).sum();
        self.payload.len() + self.content_type.len() + headers
    }

    /// Refuses a result larger than `max_bytes`.
    pub fn check_size(&self, max_bytes: usize) -> Result<(), Violation> {
        let size = self.size();
        if size > max_bytes {
            return Err(Violation::new(
                Reason::ResultTooLarge,
                format!(
                    "is {size} bytes; the policy allows {max_bytes}. The key stays owned: \
                     send a smaller result, or none of the payload with payload_omitted set"
                ),
            ));
        }
        Ok(())
    }
}

impl fmt::Debug for OperationResult {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OperationResult")
            .field("outcome", &self.outcome)
            .field("code", &self.code)
            .field("size", &self.size())
            .field("payload_omitted", &self.payload_omitted)
            .finish_non_exhaustive()
    }
}
