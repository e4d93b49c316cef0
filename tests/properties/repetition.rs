//! Sending a call again is sending it once, however much later, whatever others did in between.

use proptest::test_runner::TestCaseError;
use proptest::{prop_assert, prop_assert_eq};
use semel::domain::{BeginAnswer, Fence, Record, Refusal};

use crate::learned::Learned;
use crate::steps::Call;
use crate::world::{Decision, Sent};

/// What a copy of a call that took effect may come to. A call that was refused, or only told how things stood, had no
/// effect: sent again it is a call like any other.
pub(crate) fn check(earlier: &Sent, copy: &Decision<'_>) -> Result<(), TestCaseError> {
    if !earlier.changed {
        return Ok(());
    }
    let (call, learned) = (&earlier.call, copy.learned);
    let fence = earlier.left.as_ref().map(Record::fence);
    let settles = matches!(call, Call::Complete(_) | Call::Resolve(_) | Call::Forget(_));
    if let Call::Begin(_) = call {
        return begin(fence, earlier, copy);
    }
    prop_assert!(
        !copy.changed || matches!(call, Call::Renew(_)),
        "a copy of {:?} changed something once more",
        call
    );
    match (&earlier.learned, learned) {
        // A copy of a Renew that comes late renews from then on: the lease still never shrinks.
        (Learned::Renewed(earlier), Learned::Renewed(again)) => {
            prop_assert!(again.lease_end >= earlier.lease_end, "a copy shortened the lease");
        }
        (_, Learned::Refused(refusal)) => {
            let known =
                |record: &Record| matches!(record, Record::Forgotten(_)) || record.live(copy.now).is_some();
            let untouched = copy.before == earlier.left.as_ref() && copy.before.is_some_and(known);
            let moved_on = match refusal {
                // What its own attempt did since may forbid what was allowed.
                Refusal::FenceLost { .. } => !settles || !holds(copy, fence),
                Refusal::AlreadyCompleted => !settles && holds(copy, fence),
                Refusal::KeyNotFound => !holds(copy, fence),
                _ => false,
            };
            prop_assert!(moved_on && !untouched, "{:?} took effect; a copy was refused: {:?}", call, refusal);
        }
        (earlier, again) => prop_assert_eq!(earlier, again, "a copy of {:?} was answered otherwise", call),
    }
    Ok(())
}

/// Once the attempt's record is gone or another attempt's, a copy of its Begin counts as a new attempt.
fn begin(fence: Option<Fence>, earlier: &Sent, copy: &Decision<'_>) -> Result<(), TestCaseError> {
    let (Learned::Begin(BeginAnswer::Started(started)), true) = (&earlier.learned, holds(copy, fence)) else {
        return Ok(());
    };
    match copy.learned {
        Learned::Begin(BeginAnswer::Started(again)) => {
            prop_assert_eq!((again.fence, again.attempt), (started.fence, started.attempt));
            prop_assert!(
                again.checkpoints.starts_with(&started.checkpoints),
                "a copy was told of fewer points"
            );
        }
        Learned::Begin(BeginAnswer::Replayed(done)) => prop_assert_eq!(done.fence, started.fence),
        Learned::Refused(Refusal::AttemptEnded) => {}
        other => prop_assert!(false, "a copy of the owner's Begin was told {:?}", other),
    }
    Ok(())
}

/// Whether the record that the copy met is still that of `fence`.
fn holds(copy: &Decision<'_>, fence: Option<Fence>) -> bool {
    copy.before.and_then(|record| record.live(copy.now)).is_some_and(|kept| Some(kept.fence) == fence)
}
