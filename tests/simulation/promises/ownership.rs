//! Promise 1: who believes to own a key, by its own count, does.

use std::time::Duration;

use semel::coordinator::CallError;
use semel::domain::{BeginAnswer, Fence, Record, Refusal};

use super::{Held, Verdict, broken};
use crate::chronicle::{Answer, Call};
use crate::plan::Clocks;

/// What an owner was told of its lease.
#[derive(Clone, Copy, Debug)]
struct Belief {
    fence: Fence,
    told: Duration,
    /// Counted from when the call was sent, and what it was held.
    until: Duration,
}

fn beliefs(held: &Held<'_>, key: usize) -> Vec<Belief> {
    let told = held.chronicle.on(key).filter_map(|(called, delivery)| {
        let (told, sent) = (delivery.heard?, delivery.sent);
        match (delivery.answer.as_ref()?, &called.call) {
            (Answer::Begun(BeginAnswer::Started(started), waited), _) => {
                Some(Belief { fence: started.fence, told, until: sent + *waited + started.lease })
            }
            (Answer::Renewed(renewed), Call::Renew(call)) => {
                Some(Belief { fence: call.fence, told, until: sent + renewed.lease })
            }
            _ => None,
        }
    });
    told.collect()
}

/// When somebody first said that the attempt of `fence` is over, by another call than `but`.
fn said_over(held: &Held<'_>, key: usize, fence: Fence, but: Option<usize>) -> Duration {
    let said = held.chronicle.calls.iter().enumerate().filter(|(number, called)| {
        let ends =
            matches!(called.call, Call::Complete(_) | Call::Abort(_) | Call::Resolve(_) | Call::Forget(_));
        called.key == key && ends && called.call.fence() == Some(fence) && Some(*number) != but
    });
    said.map(|(_, called)| called.first_sent).min().unwrap_or(Duration::MAX)
}

pub(super) fn is_of_one_at_a_time(held: &Held<'_>, key: usize) -> Verdict {
    if held.clocks() != Clocks::Within {
        return Ok(());
    }
    let beliefs = beliefs(held, key);
    let mut known = None;
    for version in &held.chronicle.versions[key] {
        let Some(Record::Kept(kept)) = version.record() else { continue };
        if known.replace(kept.fence) == Some(kept.fence) {
            continue;
        }
        for belief in beliefs.iter().filter(|belief| belief.fence < kept.fence) {
            if version.at < belief.until.min(said_over(held, key, belief.fence, None)) {
                let how =
                    format!("key {key}: {belief:?}, and {:?} was granted at {:?}", kept.fence, version.at);
                return broken("one owner at a time", how);
            }
        }
    }
    Ok(())
}

/// An owner in its time is not told that it lost the key.
pub(super) fn is_not_denied_in_time(held: &Held<'_>, key: usize) -> Verdict {
    if held.clocks() != Clocks::Within {
        return Ok(());
    }
    let beliefs = beliefs(held, key);
    for (called, delivery) in held.chronicle.on(key).filter(|(called, _)| called.call.is_owners()) {
        let Some(Answer::Failed(CallError::Refused(Refusal::FenceLost { .. } | Refusal::KeyNotFound))) =
            delivery.answer
        else {
            continue;
        };
        let Some(fence) = called.call.fence() else { continue };
        // Its own word, sent twice or heard late, may be what it meets. A result of the usual retention is not gone yet.
        let is_first = match &called.call {
            Call::Complete(call) => {
                let copies = held.chronicle.deliveries.iter().filter(|other| other.of == delivery.of).count();
                call.retention.is_none() && copies == 1
            }
            _ => false,
        };
        let but = is_first.then_some(delivery.of);
        let told = beliefs.iter().filter(|belief| belief.fence == fence && belief.told <= delivery.sent);
        let until = told.map(|belief| belief.until).max().unwrap_or_default();
        if delivery.ended < until && delivery.ended < said_over(held, key, fence, but) {
            let how = format!("key {key}: {} was refused at {:?}", called.name, delivery.ended);
            return broken("an owner is not denied in its time", how);
        }
    }
    Ok(())
}

/// Whatever the clocks do: an owner's call has an effect, or had one, only where its fence is the key's.
pub(super) fn ends_with_its_fence(held: &Held<'_>, key: usize) -> Verdict {
    let versions = &held.chronicle.versions[key];
    for (called, delivery) in held.chronicle.on(key) {
        let succeeded = match &delivery.answer {
            Some(Answer::Completed(_) | Answer::Aborted(_) | Answer::Renewed(_) | Answer::Saved(_)) => true,
            Some(Answer::Kept(_)) => matches!(called.call, Call::Resolve(_)),
            _ => false,
        };
        let Some(fence) = called.call.fence().filter(|_| succeeded) else { continue };
        let owned = versions.iter().enumerate().any(|(n, version)| {
            let replaced = versions[n + 1..].iter().filter_map(|later| later.acknowledged).min();
            version.at <= delivery.ended
                && replaced.is_none_or(|at| at >= delivery.arrived)
                && version.record().is_some_and(|record| record.fence() == fence)
        });
        if !owned {
            let how = format!("key {key}: {} succeeded at {:?}", called.name, delivery.ended);
            return broken("a stale owner does nothing", how);
        }
    }
    Ok(())
}
