//! Each answer is what the state machine says of a state that the key had while the call was at its server: the history
//! is linearizable. The state machine itself is held to its tables elsewhere, and to the other promises here.

use std::time::Duration;

use semel::coordinator::CallError;
use semel::domain::{BeginAnswer, Command, Completed, Phase, Policy, Record, Timestamp, Transition, decide};

use super::{Held, Verdict, broken};
use crate::chronicle::{Answer, Call, Delivery};
use crate::store::Version;

pub(super) fn follow_from_a_state_of_their_time(held: &Held<'_>, key: usize) -> Verdict {
    let versions = &held.chronicle.versions[key];
    for (called, delivery) in held.chronicle.on(key) {
        let Some(answer) = &delivery.answer else { continue };
        let is_unsaid = matches!(answer, Answer::Failed(error) if !matches!(error, CallError::Refused(_)));
        if !is_unsaid && !is_explained(held, versions, &called.call, delivery, answer) {
            let how = format!("{} at {:?} was told {answer}", called.name, delivery.ended);
            return broken("an answer follows from a state of its time", how);
        }
    }
    Ok(())
}

fn is_explained(
    held: &Held<'_>,
    versions: &[Version],
    call: &Call,
    delivery: &Delivery,
    answer: &Answer,
) -> bool {
    // A result may be replayed that was seen so long ago.
    let from_cache = matches!(answer, Answer::Begun(BeginAnswer::Replayed(_), _));
    let age = if from_cache { held.plan.cache_age } else { Duration::ZERO };
    // An owner is refused on a serial read alone.
    let serial = call.is_owners() && matches!(answer, Answer::Failed(_));
    versions.iter().enumerate().filter(|(_, version)| version.at <= delivery.ended).any(|(n, version)| {
        let later = &versions[n + 1..];
        let replaced = if serial {
            later.first().map(|next| next.at)
        } else {
            later.iter().filter_map(|next| next.acknowledged).min()
        };
        if replaced.is_some_and(|at| at + age < delivery.arrived) {
            return false;
        }
        let next = later.first().filter(|next| (delivery.arrived..=delivery.ended).contains(&next.at));
        moments(held, version, delivery).into_iter().any(|now| {
            match said_of(call, version.record(), &delivery.policy, now) {
                Said::Unchanged(told) => is_same(&told, answer),
                Said::Changed(told, written) => {
                    next.and_then(Version::record).is_some_and(|next| is_what(next, &written))
                        && is_same_but_for_time(&told, answer)
                }
            }
        })
    })
}

/// The moments that may matter, of those that the server's clock may have shown.
fn moments(held: &Held<'_>, version: &Version, delivery: &Delivery) -> Vec<Timestamp> {
    let (first, last) = (held.earliest(delivery.arrived), held.latest(delivery.ended));
    let tick = Duration::from_micros(1);
    let mut moments = vec![first, last];
    if let Some(Record::Kept(kept)) = version.record() {
        let mut turning = vec![kept.expires_at];
        if let Phase::InProgress { lease_end, lease, .. } = kept.phase {
            turning.extend([
                lease_end,
                lease_end.plus(delivery.policy.clock_skew_allowance),
                lease_end.minus(lease),
            ]);
        }
        turning.extend(kept.pause_until());
        for moment in turning {
            moments.extend([moment.minus(tick), moment, moment.plus(tick)]);
        }
    }
    moments.retain(|moment| (first..=last).contains(moment));
    moments
}

#[allow(clippy::large_enum_variant, reason = "taken apart at once by the one who asked; never kept")]
enum Said {
    Unchanged(Answer),
    Changed(Answer, Record),
}

fn said_of(call: &Call, record: Option<&Record>, policy: &Policy, now: Timestamp) -> Said {
    fn say<C: Command>(
        command: &C,
        record: Option<&Record>,
        policy: &Policy,
        now: Timestamp,
        tell: impl Fn(C::Answer) -> Answer,
    ) -> Said {
        match decide(record, command, policy, now) {
            Transition::Unchanged(Ok(answer)) => Said::Unchanged(tell(answer)),
            Transition::Unchanged(Err(refusal)) => {
                Said::Unchanged(Answer::Failed(CallError::Refused(refusal)))
            }
            Transition::Change { next, answer } => Said::Changed(tell(answer), next),
        }
    }
    match call {
        Call::Begin { begin, .. } => {
            say(begin, record, policy, now, |answer| Answer::Begun(answer, Duration::ZERO))
        }
        Call::Complete(call) => say(call, record, policy, now, Answer::Completed),
        Call::Abort(call) => say(call, record, policy, now, Answer::Aborted),
        Call::Renew(call) => say(call, record, policy, now, Answer::Renewed),
        Call::Save(call) => say(call, record, policy, now, Answer::Saved),
        Call::Resolve(call) => say(call, record, policy, now, |kept| Answer::Kept(Box::new(kept))),
        Call::Forget(call) => say(call, record, policy, now, |()| Answer::Forgotten),
        Call::Lookup => say(&semel::domain::Lookup, record, policy, now, |kept| Answer::Kept(Box::new(kept))),
    }
}

/// Whether `stored` is what was to be `written`, but for the moment.
fn is_what(stored: &Record, written: &Record) -> bool {
    match (stored, written) {
        (Record::Forgotten(_), Record::Forgotten(_)) => true,
        (Record::Kept(stored), Record::Kept(written)) => {
            let phases = match (&stored.phase, &written.phase) {
                (Phase::Completed { result, .. }, Phase::Completed { result: written, .. }) => {
                    result == written
                }
                (one, other) => std::mem::discriminant(one) == std::mem::discriminant(other),
            };
            phases
                && (stored.attempt, stored.attempt_id) == (written.attempt, written.attempt_id)
                && stored.fingerprint == written.fingerprint
                && stored.checkpoints == written.checkpoints
        }
        _ => false,
    }
}

/// What does not depend on the moment within the call.
fn is_same(told: &Answer, answer: &Answer) -> bool {
    match (told, answer) {
        (Answer::Begun(BeginAnswer::Started(one), _), Answer::Begun(BeginAnswer::Started(other), _)) => {
            (one.fence, one.attempt, &one.checkpoints) == (other.fence, other.attempt, &other.checkpoints)
        }
        (Answer::Renewed(one), Answer::Renewed(other)) => one.lease_end == other.lease_end,
        (
            Answer::Begun(BeginAnswer::InProgress(one), _),
            Answer::Begun(BeginAnswer::InProgress(other), _),
        ) => (one.attempt, one.changes_at) == (other.attempt, other.changes_at),
        (Answer::Begun(one, _), Answer::Begun(other, _)) => one == other,
        (one, other) => one == other,
    }
}

/// The same of what was written at a moment that is not known.
fn is_same_but_for_time(told: &Answer, answer: &Answer) -> bool {
    match (told, answer) {
        (Answer::Begun(BeginAnswer::Started(one), _), Answer::Begun(BeginAnswer::Started(other), _)) => {
            one.attempt == other.attempt && one.checkpoints == other.checkpoints
        }
        (Answer::Completed(one), Answer::Completed(other)) => {
            let but_for_time = |done: &Completed| (done.fence, done.result.clone(), done.repeated);
            but_for_time(one) == but_for_time(other)
        }
        (Answer::Renewed(_), Answer::Renewed(_)) => true,
        (Answer::Kept(one), Answer::Kept(other)) => one.fence == other.fence,
        (one, other) => one == other,
    }
}
