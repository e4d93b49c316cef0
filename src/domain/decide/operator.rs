//! What an operator may do: DESIGN's table of operator calls.

use super::owner::{completed, released};
use super::{Refusal, Transition, change, refuse, unchanged};
use crate::domain::command::{Command, Forget, Resolution, Resolve};
use crate::domain::policy::Policy;
use crate::domain::record::{Forgotten, Kept, Phase, Reading, Record};
use crate::domain::remark::Detail;
use crate::domain::time::Timestamp;

impl Command for Resolve {
    type Answer = Kept;

    const REFUSAL_STOPS_OWNER: bool = false;

    fn decide(&self, record: Option<&Record>, policy: &Policy, now: Timestamp) -> Transition<Kept> {
        let Some(record) = record else { return refuse(Refusal::KeyNotFound) };
        let Some(kept) = record.live(now) else { return refuse(Refusal::KeyNotFound) };
        if kept.fence != self.fence {
            return refuse(Refusal::FenceLost { superseded: kept.fence > self.fence });
        }
        if self.already_applied(kept) {
            return unchanged(kept.clone());
        }
        let allowed = match kept.read(policy, now) {
            Reading::Unresolved { .. } | Reading::LeaseLost => true,
            Reading::InProgress => self.force,
            Reading::Completed | Reading::Released => false,
        };
        if !allowed {
            return refuse(Refusal::StateConflict);
        }
        let next = match &self.resolution {
            Resolution::Result(result) => {
                completed(kept, result.clone(), Some(self.note.clone()), kept.retention, now)
            }
            Resolution::Release => {
                let phase = Phase::Released {
                    pause_until: now,
                    detail: Detail::default(),
                    resolution: Some(self.note.clone()),
                };
                Kept { attempts_before_budget: kept.attempt, ..released(kept, phase, policy, now) }
            }
        };
        change(next.clone(), next)
    }
}

impl Resolve {
    /// Whether the record is what this very call made of it.
    fn already_applied(&self, kept: &Kept) -> bool {
        match (&kept.phase, &self.resolution) {
            (Phase::Completed { result, resolution: Some(note) }, Resolution::Result(asked)) => {
                note == &self.note && result == asked
            }
            (Phase::Released { resolution: Some(note), .. }, Resolution::Release) => note == &self.note,
            _ => false,
        }
    }
}

impl Command for Forget {
    type Answer = ();

    const REFUSAL_STOPS_OWNER: bool = false;

    const READS_CONTENT: bool = false;

    fn decide(&self, record: Option<&Record>, policy: &Policy, now: Timestamp) -> Transition<()> {
        let Some(record) = record else { return refuse(Refusal::KeyNotFound) };
        if record.fence() != self.fence {
            return refuse(Refusal::FenceLost { superseded: record.fence() > self.fence });
        }
        if let Record::Forgotten(_) = record {
            return unchanged(());
        }
        let owned = record.live(now).is_some_and(|kept| kept.read(policy, now) == Reading::InProgress);
        if owned && !self.force {
            return refuse(Refusal::StateConflict);
        }
        Transition::Change { next: Record::Forgotten(Forgotten::of(record, now)), answer: () }
    }
}
