//! What a caller learns from an answer, made comparable.

use semel::domain::{
    BeginAnswer, Command, Completed, Kept, Policy, Record, Refusal, Renewed, Started, Timestamp, Transition,
    decide,
};

use crate::steps::Call;

/// Without whether the call was a repetition, and without the trace that only the span of a takeover is linked to: a
/// repetition is told these two otherwise, and nothing else.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Learned {
    Refused(Refusal),
    Begin(BeginAnswer),
    Completed(Completed),
    Aborted,
    Renewed(Renewed),
    Saved,
    Resolved(Box<Kept>),
    Forgotten,
}

/// Decides `call` on `record` and stores what is to be stored; whether anything was.
pub(crate) fn perform(
    record: &mut Option<Record>,
    call: &Call,
    policy: &Policy,
    now: Timestamp,
) -> (Learned, bool) {
    let mut apply = Apply { record, policy, now };
    match call {
        Call::Begin(begin) => apply.call(begin, |answer| {
            Learned::Begin(match answer {
                BeginAnswer::Started(started) => BeginAnswer::Started(Started { previous: None, ..started }),
                other => other,
            })
        }),
        Call::Complete(complete) => {
            apply.call(complete, |answer| Learned::Completed(Completed { repeated: true, ..answer }))
        }
        Call::Abort(abort) => apply.call(abort, |_| Learned::Aborted),
        Call::Renew(renew) => apply.call(renew, Learned::Renewed),
        Call::Save(save) => apply.call(save, |_| Learned::Saved),
        Call::Resolve(resolve) => apply.call(resolve, |kept| Learned::Resolved(Box::new(kept))),
        Call::Forget(forget) => apply.call(forget, |()| Learned::Forgotten),
    }
}

struct Apply<'a> {
    record: &'a mut Option<Record>,
    policy: &'a Policy,
    now: Timestamp,
}

impl Apply<'_> {
    fn call<C: Command>(&mut self, command: &C, learn: impl Fn(C::Answer) -> Learned) -> (Learned, bool) {
        match decide(self.record.as_ref(), command, self.policy, self.now) {
            Transition::Unchanged(Ok(answer)) => (learn(answer), false),
            Transition::Unchanged(Err(refusal)) => (Learned::Refused(refusal), false),
            Transition::Change { next, answer } => {
                *self.record = Some(next);
                (learn(answer), true)
            }
        }
    }
}
