//! Recovery points that one attempt leaves to the next.

use std::fmt;

use bytes::Bytes;

use super::fence::Fence;
use super::reason::{Reason, Violation};

/// The name of a recovery point.
#[derive(Clone, PartialEq, Eq)]
pub struct CheckpointName(Box<str>);

impl CheckpointName {
    /// The longest that is accepted, in bytes of UTF-8.
    pub const MAX_BYTES: usize = 64;

    /// Accepts 1 to [`Self::MAX_BYTES`] bytes of any UTF-8.
    pub fn new(text: &str) -> Result<Self, Violation> {
        if text.is_empty() || text.len() > Self::MAX_BYTES {
            return Err(Violation::new(
                Reason::InvalidCheckpoint,
                format!("is {} bytes long; 1 to {} are allowed", text.len(), Self::MAX_BYTES),
            ));
        }
        Ok(Self(text.into()))
    }

    /// The text itself.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for CheckpointName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CheckpointName({} bytes, hidden)", self.0.len())
    }
}

/// One recovery point. Its `Debug` form hides name and value.
#[derive(Clone, PartialEq, Eq)]
pub struct Checkpoint {
    /// What the caller calls it.
    pub name: CheckpointName,
    /// What the caller keeps in it.
    pub value: Bytes,
    /// The fence under which it was saved.
    pub fence: Fence,
}

impl fmt::Debug for Checkpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Checkpoint")
            .field("bytes", &(self.name.as_str().len() + self.value.len()))
            .field("fence", &self.fence)
            .finish_non_exhaustive()
    }
}

/// All recovery points of a key, oldest first, within bounds.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Checkpoints(Vec<Checkpoint>);

impl Checkpoints {
    /// The most points.
    pub const MAX_POINTS: usize = 64;
    /// The most bytes, names and values together.
    pub const MAX_BYTES: usize = 64 * 1024;

    /// Takes points as they were stored; `None` when they exceed the bounds.
    pub fn from_stored(points: Vec<Checkpoint>) -> Option<Self> {
        let points = Self(points);
        (points.0.len() <= Self::MAX_POINTS && points.bytes() <= Self::MAX_BYTES).then_some(points)
    }

    /// The points, oldest first.
    pub fn as_slice(&self) -> &[Checkpoint] {
        &self.0
    }

    /// Whether nothing was saved.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The point of that name.
    pub fn find(&self, name: &CheckpointName) -> Option<&Checkpoint> {
        self.0.iter().find(|point| point.name == *name)
    }

    /// These points and `point` after them; `None` when that exceeds the bounds.
    pub fn with(&self, point: Checkpoint) -> Option<Self> {
        let mut points = self.0.clone();
        points.push(point);
        Self::from_stored(points)
    }

    fn bytes(&self) -> usize {
        self.0.iter().map(|point| point.name.as_str().len() + point.value.len()).sum()
    }
}
