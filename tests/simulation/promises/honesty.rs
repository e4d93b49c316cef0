//! Promise 4: a call that was told that nothing was written wrote nothing.

use semel::coordinator::CallError;
use semel::domain::{BeginAnswer, Disposition, Kept, Phase, Record};

use super::{Held, Verdict, broken};
use crate::chronicle::{Answer, Call, Called};

/// Whether `kept` has what `call` would have put there.
fn has_its_mark(call: &Call, kept: &Kept) -> bool {
    match call {
        Call::Begin { begin, .. } => kept.attempt_id == begin.attempt_id,
        Call::Complete(call) => {
            kept.fence == call.fence
                && matches!(&kept.phase, Phase::Completed { result, resolution: None } if *result == call.result)
        }
        Call::Abort(call) if call.disposition == Disposition::Release => {
            kept.fence == call.fence && matches!(kept.phase, Phase::Released { resolution: None, .. })
        }
        Call::Abort(call) => {
            kept.fence == call.fence && matches!(kept.phase, Phase::InProgress { given_up: Some(_), .. })
        }
        Call::Save(call) => kept
            .checkpoints
            .find(&call.name)
            .is_some_and(|point| point.fence == call.fence && point.value == call.value),
        Call::Renew(_) | Call::Resolve(_) | Call::Forget(_) | Call::Lookup => false,
    }
}

/// Whether the two would leave the same mark.
fn same_mark(one: &Called, other: &Called) -> bool {
    match (&one.call, &other.call) {
        (Call::Begin { begin, .. }, Call::Begin { begin: other, .. }) => begin.attempt_id == other.attempt_id,
        (Call::Complete(one), Call::Complete(other)) => {
            one.fence == other.fence && one.result == other.result
        }
        (Call::Abort(one), Call::Abort(other)) => {
            one.fence == other.fence && one.disposition == other.disposition
        }
        (Call::Save(one), Call::Save(other)) => one.name == other.name && one.value == other.value,
        _ => false,
    }
}

const fn wrote_nothing(answer: Option<&Answer>) -> bool {
    matches!(
        answer,
        Some(
            Answer::Failed(CallError::StoreUnavailable | CallError::Refused(_) | CallError::TooManyWaiters)
                | Answer::Begun(
                    BeginAnswer::InProgress(_) | BeginAnswer::Unresolved(_) | BeginAnswer::Replayed(_),
                    _
                )
        )
    )
}

pub(super) fn refused_is_not_written(held: &Held<'_>, key: usize) -> Verdict {
    for (called, delivery) in held.chronicle.on(key) {
        if delivery.answer != Some(Answer::Failed(CallError::StoreUnavailable)) {
            continue;
        }
        let mut others = held.chronicle.on(key).filter(|(other, _)| same_mark(called, other));
        if !others.all(|(_, other)| wrote_nothing(other.answer.as_ref())) {
            continue;
        }
        let written = held.chronicle.versions[key].iter().find(|version| {
            matches!(version.record(), Some(Record::Kept(kept)) if has_its_mark(&called.call, kept))
        });
        if let Some(version) = written {
            let how =
                format!("{} was told that nothing was written; it was at {:?}", called.name, version.at);
            return broken("what is unknown is not reported as if nothing had happened", how);
        }
    }
    Ok(())
}
