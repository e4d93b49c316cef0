//! Promises 2 and 5: what is replayed, and for how long.

use std::time::Duration;

use semel::coordinator::CallError;
use semel::domain::{BeginAnswer, Completed, Phase, Record, Refusal};

use super::{Held, Verdict, broken};
use crate::chronicle::{Answer, Call};
use crate::plan::Clocks;

fn is_stored(held: &Held<'_>, key: usize, done: &Completed) -> bool {
    held.chronicle.versions[key].iter().any(|version| {
        let Some(Record::Kept(kept)) = version.record() else { return false };
        let Phase::Completed { result, .. } = &kept.phase else { return false };
        (kept.fence, kept.attempt, kept.changed_at, kept.expires_at)
            == (done.fence, done.attempt, done.completed_at, done.expires_at)
            && *result == done.result
    })
}

/// A replay is of this key and of this request, byte for byte what was completed, and not past its time.
pub(super) fn are_what_was_completed(held: &Held<'_>, key: usize) -> Verdict {
    for (called, delivery) in held.chronicle.on(key) {
        let how = || format!("{} at {:?} was told {:?}", called.name, delivery.ended, delivery.answer);
        let Some(Answer::Completed(done) | Answer::Begun(BeginAnswer::Replayed(done), _)) = &delivery.answer
        else {
            continue;
        };
        if !is_stored(held, key, done) {
            return broken("what is acknowledged or replayed is stored", how());
        }
        let Call::Begin { begin, .. } = &called.call else { continue };
        let payload = String::from_utf8_lossy(&done.result.payload).into_owned();
        let parts: Vec<&str> = payload.split('/').collect();
        if parts[0] != key.to_string() {
            return broken("no answer crosses keys", how());
        }
        let request = parts[1].parse::<u8>().ok().filter(|request| *request > 0);
        let asked = begin.fingerprint.as_ref().map(|fingerprint| fingerprint.as_bytes()[0]);
        if request.zip(asked).is_some_and(|(done, asked)| done != asked) {
            return broken("no answer crosses fingerprints", how());
        }
        if held.earliest(delivery.arrived) >= done.expires_at {
            return broken("nothing is replayed past its time", how());
        }
        // The server that forgot it is told so at once, the others when their caches are.
        let age = |server| if server == delivery.server { Duration::ZERO } else { held.plan.cache_age };
        let forgotten = held.chronicle.on(key).any(|(other, forgetting)| {
            other.call.fence() == Some(done.fence)
                && forgetting.answer == Some(Answer::Forgotten)
                && forgetting.ended + age(forgetting.server) < delivery.arrived
        });
        if forgotten {
            return broken("what was forgotten is not replayed past the cache's age", how());
        }
    }
    Ok(())
}

/// Every Begin after an acknowledged Complete is told of it, until it expires or is forgotten.
pub(super) fn stay(held: &Held<'_>, key: usize) -> Verdict {
    for (_, completing) in held.chronicle.on(key) {
        let Some(Answer::Completed(done)) = &completing.answer else { continue };
        let forgetting = held.chronicle.calls.iter().filter(|called| {
            called.key == key && matches!(called.call, Call::Forget(call) if call.fence == done.fence)
        });
        let forgotten = forgetting.map(|called| called.first_sent).min();
        for (called, later) in held.chronicle.on(key) {
            let applies = later.arrived > completing.ended
                && held.latest(later.ended) < done.expires_at
                && forgotten.is_none_or(|at| later.ended < at);
            let (Call::Begin { begin, .. }, true) = (&called.call, applies) else { continue };
            let holds = match &later.answer {
                Some(Answer::Begun(BeginAnswer::Replayed(told), _)) => {
                    // An earlier result that expired on one clock, or was forgotten on one server, may still be in the
                    // cache of another: the check above says for how long.
                    let was_forgotten = held.chronicle.calls.iter().any(|other| {
                        other.key == key
                            && other.first_sent <= later.ended
                            && matches!(other.call, Call::Forget(call) if call.fence == told.fence)
                    });
                    let is_of_before = told.fence < done.fence
                        && (was_forgotten
                            || held.clocks() == Clocks::Anyhow
                            || held.latest(completing.ended) >= told.expires_at);
                    let as_told = |done: &Completed| Completed { repeated: true, ..done.clone() };
                    is_of_before || as_told(told) == as_told(done)
                }
                Some(Answer::Failed(CallError::Refused(Refusal::FingerprintMismatch { .. }))) => {
                    begin.fingerprint.is_some()
                }
                Some(Answer::Failed(CallError::Refused(_)) | Answer::Begun(..)) => false,
                _ => true,
            };
            if !holds {
                let how =
                    format!("{done:?} was acknowledged, and {} was told {:?}", called.name, later.answer);
                return broken("an acknowledged result is replayed", how);
            }
        }
    }
    Ok(())
}
