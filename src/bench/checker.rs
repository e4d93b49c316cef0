//! Holds what the server says against what the contract lets a caller rely on.
//!
//! A caller cannot see when the server decided; it knows only that this was between its sending the call and its
//! getting the answer. Each rule here is therefore one that no right server can break, however the network
//! delays and reorders. All times are the caller's own, monotonic ones.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::Serialize;

use super::pool::Target;
use super::workload::Workload;

/// How many violations of each kind are kept in full; more are only counted.
const KEPT_OF_EACH_KIND: usize = 10;

/// A promise that was broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ViolationKind {
    /// A second attempt was told Started while the first still owned the key: its lease, counted from before its
    /// Begin was sent, was not over, and it had not begun to send Complete or Abort.
    TwoOwners,
    /// Two attempts of a key got the same fence.
    RepeatedFence,
    /// An attempt that began after another was granted got a lower fence than it.
    FallingFence,
    /// A replay is not what Complete acknowledged: result, fence or attempt.
    ReplayDiffers,
    /// A replay of a key that nobody had begun to complete.
    ReplayOfNothing,
    /// A key was Started again after a Complete of it was acknowledged, or that Complete was acknowledged although
    /// the key had been granted to a later attempt meanwhile.
    CompletedRanAgain,
    /// A Begin that was sent after a Complete of its key was acknowledged was told that the key is in progress or
    /// unresolved.
    CompletionForgotten,
    /// Complete, Abort or Renew was acknowledged, though it was sent after a later attempt had been told Started.
    StaleOwnerAccepted,
    /// An answer that this run gave no cause for.
    UnexpectedAnswer,
    /// An error that this run gave no cause for.
    UnexpectedError,
}

/// What was found broken, and how.
#[derive(Clone, Debug, Serialize)]
pub struct Violation {
    /// Which promise.
    pub kind: ViolationKind,
    /// Of which key; the run made it, so it may be shown.
    pub key: String,
    /// What was seen.
    pub details: String,
    /// How far into the run.
    pub after_seconds: f64,
}

/// A completed key, with all that its replays are compared with.
#[derive(Clone, Copy, Debug)]
pub(super) struct Settled {
    pub(super) key: u64,
    /// The attempt whose result it was.
    pub(super) nonce: u64,
    pub(super) fence: i64,
    pub(super) attempt: u32,
    /// Until then the server may not forget it.
    pub(super) kept_until: Instant,
}

/// What Started said, and when.
#[derive(Clone, Copy, Debug)]
pub(super) struct Grant {
    pub(super) nonce: u64,
    pub(super) fence: i64,
    pub(super) attempt: u32,
    pub(super) sent: Instant,
    pub(super) received: Instant,
    /// `sent`, and `waited`, and the lease: what the contract lets the owner count on.
    pub(super) lease_end: Instant,
}

/// What Replayed said, less the result.
#[derive(Clone, Copy, Debug)]
pub(super) struct Replay {
    pub(super) fence: i64,
    pub(super) attempt: u32,
}

/// A call that had an answer: when it was sent, and when the answer came.
#[derive(Clone, Copy, Debug)]
pub(super) struct Span {
    pub(super) sent: Instant,
    pub(super) received: Instant,
}

#[derive(Debug)]
struct Owner {
    grant: Grant,
    /// When it began to send Complete or Abort.
    released: Option<Instant>,
    /// It sent Complete, whatever came of it.
    completing: bool,
    completed: Option<Completion>,
}

#[derive(Clone, Copy, Debug)]
struct Completion {
    acknowledged: Instant,
    kept_until: Instant,
}

#[derive(Debug, Default)]
struct KeyState {
    /// Callers that are at this key.
    callers: usize,
    /// Begins sent so far.
    begins: u64,
    owners: Vec<Owner>,
}

/// What is known of the keys that somebody is at, and what was found.
#[derive(Debug)]
pub(super) struct Checker {
    workload: Arc<Workload>,
    start: Instant,
    keys: HashMap<u64, KeyState>,
    violations: Vec<Violation>,
    found: u64,
    leases_lost: u64,
}

impl Checker {
    pub(super) fn new(workload: Arc<Workload>, start: Instant) -> Self {
        Self { workload, start, keys: HashMap::new(), violations: Vec::new(), found: 0, leases_lost: 0 }
    }

    /// A caller comes to a key, about to send its first Begin.
    pub(super) fn enter(&mut self, target: &Target) {
        if !matches!(target, Target::Settled(_)) {
            let state = self.keys.entry(target.key()).or_default();
            state.callers += 1;
            state.begins += 1;
        }
    }

    /// The caller is about to send another Begin.
    pub(super) fn again(&mut self, key: u64) {
        if let Some(state) = self.keys.get_mut(&key) {
            state.begins += 1;
        }
    }

    /// A caller is done. True when nobody else is at the key: nothing is kept of it then.
    pub(super) fn leave(&mut self, target: &Target) -> bool {
        if matches!(target, Target::Settled(_)) {
            return false;
        }
        let Some(state) = self.keys.get_mut(&target.key()) else { return false };
        state.callers -= 1;
        let last = state.callers == 0;
        if last {
            self.keys.remove(&target.key());
        }
        last
    }

    /// Begin answered Started.
    pub(super) fn started(&mut self, target: &Target, grant: Grant) {
        let key = target.key();
        if let Target::Settled(settled) = target {
            self.started_settled(settled, &grant);
            return;
        }
        let Some(state) = self.keys.get_mut(&key) else { return };
        let alone = state.begins == 1 && grant.attempt != 1;
        let owner = Owner { grant, released: None, completing: false, completed: None };
        let found: Vec<_> = state.owners.iter().flat_map(|other| conflicts(other, &owner)).collect();
        state.owners.push(owner);
        for (kind, details) in found {
            self.violate(kind, key, details);
        }
        if alone {
            let details = format!(
                "attempt {} was started, though nobody else began this key; was this seed used before?",
                grant.attempt
            );
            self.violate(ViolationKind::UnexpectedAnswer, key, details);
        }
    }

    /// Begin answered Replayed. Gives the attempt whose result it must be, unless that is wrong already.
    pub(super) fn replayed(&mut self, target: &Target, replay: Replay) -> Option<u64> {
        let key = target.key();
        let of = match target {
            Target::Settled(settled) => Some((settled.nonce, settled.fence, settled.attempt)),
            Target::Fresh(_) | Target::Running(_) => {
                let owners = &self.keys.get(&key)?.owners;
                let completed = owners.iter().find(|owner| owner.completed.is_some());
                // Its Complete took effect, and the acknowledgement is still under way.
                let completing =
                    || owners.iter().find(|owner| owner.completing && owner.grant.fence == replay.fence);
                completed
                    .or_else(completing)
                    .map(|owner| (owner.grant.nonce, owner.grant.fence, owner.grant.attempt))
            }
        };
        let Some((nonce, fence, attempt)) = of else {
            let details = format!(
                "fence {} of attempt {} was replayed, which nobody had begun to complete; was this seed used before?",
                replay.fence, replay.attempt
            );
            self.violate(ViolationKind::ReplayOfNothing, key, details);
            return None;
        };
        if (fence, attempt) != (replay.fence, replay.attempt) {
            let details = format!(
                "fence {} of attempt {} was replayed; fence {fence} of attempt {attempt} completed the key",
                replay.fence, replay.attempt
            );
            self.violate(ViolationKind::ReplayDiffers, key, details);
            return None;
        }
        Some(nonce)
    }

    /// The replayed result is not the attempt's.
    pub(super) fn replay_differs(&mut self, key: u64, details: String) {
        self.violate(ViolationKind::ReplayDiffers, key, details);
    }

    /// Begin answered `InProgress`.
    pub(super) fn in_progress(&mut self, target: &Target, span: Span, attempt: u32) {
        let answer = format!("attempt {attempt} in progress");
        if self.forgotten(target, span, &answer) {
            return;
        }
        let key = target.key();
        if self.keys.get(&key).is_some_and(|state| state.begins == 1) {
            let details = format!("{answer}, though nobody else began this key");
            self.violate(ViolationKind::UnexpectedAnswer, key, details);
        }
    }

    /// Begin answered Unresolved: no owner of this run leaves a key so.
    pub(super) fn unresolved(&mut self, target: &Target, span: Span, attempt: u32) {
        let answer = format!("attempt {attempt} unresolved");
        if !self.forgotten(target, span, &answer) {
            let details = format!("{answer}, though no owner said so; was a lease lost under mark_unknown?");
            self.violate(ViolationKind::UnexpectedAnswer, target.key(), details);
        }
    }

    /// An answer whose form the contract does not allow.
    pub(super) fn malformed(&mut self, key: u64, details: String) {
        self.violate(ViolationKind::UnexpectedAnswer, key, details);
    }

    /// The owner is about to send Complete, or Abort: from `now` on its ownership may end at any moment.
    pub(super) fn releasing(&mut self, key: u64, nonce: u64, completing: bool, now: Instant) {
        if let Some(owner) = self.owner(key, nonce) {
            owner.released = Some(now);
            owner.completing |= completing;
        }
    }

    /// Complete was acknowledged, and its outcome is kept for `kept`.
    pub(super) fn completed(&mut self, key: u64, nonce: u64, span: Span, kept: Duration) -> Option<Settled> {
        let kept_until = span.sent + kept;
        let owner = self.owner(key, nonce)?;
        owner.completed = Some(Completion { acknowledged: span.received, kept_until });
        let grant = owner.grant;
        self.accepted("Complete", key, grant, span);
        let later = self.later_grants(key, &grant);
        for other in later.into_iter().filter(|other| other.received >= span.sent) {
            let details = format!(
                "Complete was acknowledged for {}, though {} was granted meanwhile",
                describe(&grant),
                describe(&other)
            );
            self.violate(ViolationKind::CompletedRanAgain, key, details);
        }
        Some(Settled { key, nonce, fence: grant.fence, attempt: grant.attempt, kept_until })
    }

    /// Abort was acknowledged.
    pub(super) fn aborted(&mut self, key: u64, nonce: u64, span: Span) {
        if let Some(grant) = self.owner(key, nonce).map(|owner| owner.grant) {
            self.accepted("Abort", key, grant, span);
        }
    }

    /// Renew was acknowledged, and granted `lease`.
    pub(super) fn renewed(&mut self, key: u64, nonce: u64, span: Span, lease: Duration) {
        let Some(owner) = self.owner(key, nonce) else { return };
        owner.grant.lease_end = owner.grant.lease_end.max(span.sent + lease);
        let grant = owner.grant;
        self.accepted("Renew", key, grant, span);
        for other in self.later_grants(key, &grant) {
            if other.received >= span.sent && other.received < grant.lease_end {
                self.violate(ViolationKind::TwoOwners, key, two_owners(&grant, &other));
            }
        }
    }

    /// An owner's call was refused with `FENCE_LOST`: right only when its lease was over.
    pub(super) fn fence_lost(&mut self, call: &str, key: u64, nonce: u64, span: Span) {
        let lease_end = self.owner(key, nonce).map(|owner| owner.grant.lease_end);
        match lease_end {
            Some(end) if span.received < end => {
                let left = end.duration_since(span.received);
                let details = format!("{call} was refused with FENCE_LOST, with {left:?} of its lease left");
                self.violate(ViolationKind::UnexpectedError, key, details);
            }
            _ => self.leases_lost += 1,
        }
    }

    /// A call ended with an error that nothing explains.
    pub(super) fn failed(&mut self, call: &str, key: u64, error: &str) {
        self.violate(ViolationKind::UnexpectedError, key, format!("{call}: {error}"));
    }

    /// How many violations were found.
    pub(super) const fn found(&self) -> u64 {
        self.found
    }

    /// How many owners lost their key because their lease was over.
    pub(super) const fn leases_lost(&self) -> u64 {
        self.leases_lost
    }

    /// The first violations of each kind, in the order they were found.
    pub(super) fn violations(&self) -> &[Violation] {
        &self.violations
    }

    fn started_settled(&mut self, settled: &Settled, grant: &Grant) {
        if grant.fence <= settled.fence {
            let kind = if grant.fence == settled.fence {
                ViolationKind::RepeatedFence
            } else {
                ViolationKind::FallingFence
            };
            let details = format!("{} was granted after fence {}", describe(grant), settled.fence);
            self.violate(kind, settled.key, details);
        }
        if grant.received < settled.kept_until {
            let details = format!(
                "{} was granted, though Complete was acknowledged for fence {} of attempt {}",
                describe(grant),
                settled.fence,
                settled.attempt
            );
            self.violate(ViolationKind::CompletedRanAgain, settled.key, details);
        }
    }

    /// Whether the key was completed, for all to see, before this Begin was sent.
    fn forgotten(&mut self, target: &Target, span: Span, answer: &str) -> bool {
        let key = target.key();
        let kept_until = match target {
            Target::Settled(settled) => Some(settled.kept_until),
            Target::Fresh(_) | Target::Running(_) => self.keys.get(&key).and_then(|state| {
                let completed = state.owners.iter().filter_map(|owner| owner.completed);
                completed
                    .filter(|completion| completion.acknowledged < span.sent)
                    .map(|completion| completion.kept_until)
                    .next()
            }),
        };
        let forgotten = kept_until.is_some_and(|kept_until| span.received < kept_until);
        if forgotten {
            let details =
                format!("{answer}, though its Complete was acknowledged before this Begin was sent");
            self.violate(ViolationKind::CompletionForgotten, key, details);
        }
        forgotten
    }

    /// An owner's call was acknowledged: no later attempt may have been granted, for all to see, before it was sent.
    fn accepted(&mut self, call: &str, key: u64, grant: Grant, span: Span) {
        for other in self.later_grants(key, &grant) {
            if other.received < span.sent {
                let details = format!(
                    "{call} was acknowledged for {}, sent {:?} after {} was granted",
                    describe(&grant),
                    span.sent.duration_since(other.received),
                    describe(&other)
                );
                self.violate(ViolationKind::StaleOwnerAccepted, key, details);
            }
        }
    }

    fn later_grants(&self, key: u64, grant: &Grant) -> Vec<Grant> {
        let owners = self.keys.get(&key).map_or(&[][..], |state| &state.owners);
        owners
            .iter()
            .map(|owner| owner.grant)
            .filter(|other| other.nonce != grant.nonce && comes_first(grant, other))
            .collect()
    }

    fn owner(&mut self, key: u64, nonce: u64) -> Option<&mut Owner> {
        self.keys.get_mut(&key)?.owners.iter_mut().find(|owner| owner.grant.nonce == nonce)
    }

    fn violate(&mut self, kind: ViolationKind, key: u64, details: String) {
        self.found += 1;
        if self.violations.iter().filter(|violation| violation.kind == kind).count() < KEPT_OF_EACH_KIND {
            self.violations.push(Violation {
                kind,
                key: self.workload.key_text(key),
                details,
                after_seconds: self.start.elapsed().as_secs_f64(),
            });
        }
    }
}

impl Owner {
    /// Until when it owned the key for certain.
    fn end(&self) -> Instant {
        self.released.map_or(self.grant.lease_end, |released| released.min(self.grant.lease_end))
    }
}

/// What two grants of one key tell about each other.
fn conflicts(one: &Owner, two: &Owner) -> Vec<(ViolationKind, String)> {
    let (first, second) = if comes_first(&one.grant, &two.grant) { (one, two) } else { (two, one) };
    let mut found = Vec::new();
    let fences = || format!("{} was granted after {}", describe(&second.grant), describe(&first.grant));
    if second.grant.fence == first.grant.fence {
        found.push((ViolationKind::RepeatedFence, fences()));
    } else if second.grant.fence < first.grant.fence {
        found.push((ViolationKind::FallingFence, fences()));
    }
    if second.grant.received < first.end() {
        found.push((ViolationKind::TwoOwners, two_owners(&first.grant, &second.grant)));
    }
    if first.completed.is_some_and(|completion| second.grant.received < completion.kept_until) {
        let details = format!(
            "{} was granted, though Complete was acknowledged for {}",
            describe(&second.grant),
            describe(&first.grant)
        );
        found.push((ViolationKind::CompletedRanAgain, details));
    }
    found
}

/// Which of two grants was made first: by the clock where their calls did not overlap, else by what the fences say.
fn comes_first(one: &Grant, two: &Grant) -> bool {
    if one.received <= two.sent {
        true
    } else if two.received <= one.sent {
        false
    } else {
        one.fence <= two.fence
    }
}

fn two_owners(first: &Grant, second: &Grant) -> String {
    format!(
        "{} was granted, with {:?} left of the lease of {}, whose owner had not yet sent Complete or Abort",
        describe(second),
        first.lease_end.saturating_duration_since(second.received),
        describe(first)
    )
}

fn describe(grant: &Grant) -> String {
    format!("fence {} of attempt {}", grant.fence, grant.attempt)
}

#[cfg(test)]
mod tests;
