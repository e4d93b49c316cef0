//! What people find an attempt by.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::reason::{Reason, Violation};

/// Pairs for people, never part of the identity. A clone shares them.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Labels(Option<Arc<BTreeMap<String, String>>>);

static NONE: BTreeMap<String, String> = BTreeMap::new();

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
        Ok(Self((!pairs.is_empty()).then(|| Arc::new(pairs))))
    }

    /// The pairs, by name.
    pub fn pairs(&self) -> &BTreeMap<String, String> {
        self.0.as_deref().unwrap_or(&NONE)
    }
}
