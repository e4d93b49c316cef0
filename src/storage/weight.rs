//! What a record costs in memory: caches are bounded by it.

use super::Versioned;
use crate::domain::{Kept, Phase, Record};

/// The entry of a small text and its value: its place in a table, and two allocations.
const ENTRY: usize = 96;
/// The allocations behind a record, and its place in a cache.
const RECORD: usize = 128;
/// The same of a result.
const RESULT: usize = 160;

impl Versioned {
    /// About how many bytes it takes, allocations included.
    pub(crate) fn weight(&self) -> usize {
        let fixed = size_of::<Self>() + size_of::<Record>() + RECORD;
        fixed + if let Record::Kept(kept) = &*self.record { behind(kept) } else { 0 }
    }
}

fn behind(kept: &Kept) -> usize {
    let point = |name: usize, value: usize| ENTRY + name + value;
    let points = kept.checkpoints.as_slice().iter();
    let checkpoints: usize = points.map(|at| point(at.name.as_str().len(), at.value.len())).sum();
    let labels: usize = kept.labels.pairs().iter().map(|(name, value)| point(name.len(), value.len())).sum();
    let phase = match &kept.phase {
        Phase::Completed { result, .. } => RESULT + result.size(),
        Phase::InProgress { .. } | Phase::Released { .. } => kept.detail().len(),
    };
    checkpoints + labels + phase
}
