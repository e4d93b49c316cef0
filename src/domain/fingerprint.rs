//! What tells one request from another under the same key.

use super::reason::{Reason, Violation};

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
