//! What names an attempt.

use uuid::Uuid;

use super::reason::{Reason, Violation};

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
