//! What the store came to hold, one version after the other.

use std::collections::BTreeMap;

use semel::domain::{Kept, OnLostLease, Phase, Record};

use super::{Held, Verdict, broken};
use crate::chronicle::{Call, describe};
use crate::plan::Clocks;
use crate::store::Version;

/// Promises 1, 2 and 4: an unexpired record changes by its owner, an operator, or a takeover that policy allows.
pub(super) fn change_only_as_they_may(held: &Held<'_>, key: usize) -> Verdict {
    for pair in held.chronicle.versions[key].windows(2) {
        if let Err(why) = change(held, key, &pair[0], &pair[1]) {
            let (before, after) = (describe(pair[0].record()), describe(pair[1].record()));
            return broken(why, format!("at {:?} key {key} went from [{before}] to [{after}]", pair[1].at));
        }
    }
    Ok(())
}

fn change(held: &Held<'_>, key: usize, before: &Version, after: &Version) -> Result<(), &'static str> {
    let kept = match before.record() {
        None => return Ok(()),
        Some(Record::Forgotten(forgotten)) => {
            let same = after.record().is_some_and(|record| record.fence() == forgotten.fence);
            return if same { Err("what was forgotten stays so") } else { Ok(()) };
        }
        Some(Record::Kept(kept)) => kept,
    };
    if held.latest(after.at) >= kept.expires_at {
        return Ok(());
    }
    match after.record() {
        None if held.clocks() == Clocks::Anyhow => Ok(()),
        None => Err("a row is kept as long as its record"),
        Some(Record::Forgotten(_)) => Ok(()),
        Some(Record::Kept(next)) if next.fence == kept.fence => same_attempt(kept, next),
        Some(Record::Kept(next)) => next_attempt(held, key, kept, next, after),
    }
}

fn same_attempt(before: &Kept, after: &Kept) -> Result<(), &'static str> {
    if (before.attempt, before.attempt_id) != (after.attempt, after.attempt_id) {
        return Err("a fence is one attempt's");
    }
    if !after.checkpoints.as_slice().starts_with(before.checkpoints.as_slice()) {
        return Err("checkpoints stay");
    }
    match (&before.phase, &after.phase) {
        (Phase::Completed { .. }, _) => Err("a result stays"),
        // An operator may settle a release whose attempts are used up.
        (
            Phase::Released { .. },
            Phase::Completed { resolution: Some(_), .. } | Phase::Released { resolution: Some(_), .. },
        ) => Ok(()),
        (Phase::Released { .. }, _) => Err("a released attempt has ended"),
        (Phase::InProgress { given_up: Some(_), .. }, Phase::InProgress { .. }) => {
            Err("who gave up does not own again")
        }
        (Phase::InProgress { lease_end: before, .. }, Phase::InProgress { lease_end: after, .. })
            if after < before =>
        {
            Err("a lease is never shortened")
        }
        _ => Ok(()),
    }
}

fn next_attempt(
    held: &Held<'_>,
    key: usize,
    before: &Kept,
    next: &Kept,
    after: &Version,
) -> Result<(), &'static str> {
    if next.attempt_id == before.attempt_id {
        return Err("a repeated Begin is not a second attempt");
    }
    if next.attempt != before.attempt + 1 {
        return Err("attempts are counted");
    }
    if next.checkpoints != before.checkpoints {
        return Err("checkpoints are handed over");
    }
    match &before.phase {
        Phase::Completed { .. } => return Err("a result stays"),
        Phase::InProgress { on_lost_lease: OnLostLease::MarkUnknown, .. } => {
            return Err("an unknown outcome is not run again against its policy");
        }
        Phase::InProgress { lease_end, given_up: None, .. } => {
            let allowance = semel::domain::Policy::default().clock_skew_allowance;
            if held.latest(after.at) <= lease_end.plus(allowance) {
                return Err("a lease is waited for, and the skew of clocks");
            }
        }
        Phase::InProgress { given_up: Some(_), .. } | Phase::Released { .. } => {}
    }
    let spent = before.attempt - before.attempts_before_budget;
    let asked = held.chronicle.on(key).filter(|(called, delivery)| {
        matches!(&called.call, Call::Begin { begin, .. } if begin.attempt_id == next.attempt_id)
            && delivery.arrived <= after.at
    });
    let mut bounds = asked.map(|(_, delivery)| delivery.policy.max_attempts);
    if bounds.all(|most| most > 0 && spent >= most) {
        return Err("no attempt runs that policy does not leave");
    }
    Ok(())
}

/// Promise 1: fences rise over the key's whole life, and each is of one attempt.
pub(super) fn have_rising_fences(held: &Held<'_>, key: usize) -> Verdict {
    let (mut highest, mut owners) = (0, BTreeMap::new());
    for version in &held.chronicle.versions[key] {
        let Some(record) = version.record() else {
            if held.clocks() == Clocks::Anyhow {
                (highest, owners) = (0, BTreeMap::new());
            }
            continue;
        };
        let fence = record.fence().get();
        if fence < highest {
            return broken("fences rise", format!("key {key}: {fence} came after {highest}"));
        }
        highest = fence;
        if let Record::Kept(kept) = record {
            let owner = (kept.attempt_id, kept.attempt);
            if *owners.entry(fence).or_insert(owner) != owner {
                return broken("a fence is one attempt's", format!("key {key}: {fence} was granted twice"));
            }
        }
    }
    Ok(())
}
