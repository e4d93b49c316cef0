//! Faults, each planted in a model that has to find it: a check that misses one says nothing about the others.

use crate::sizes::{GRACEFUL, LOST, MARKED, MISMATCHED, PLAIN, RETRIED, TWO_KEYS, UNSAID};
use crate::state::{Promise, Size, Trouble};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    NoFenceCheck,
    AttemptAloneCompared,
    NoSkewAllowance,
    FenceWithoutClock,
    FenceOfClockAlone,
    AttemptsNotCounted,
    RerunWhatIsUnknown,
    RerunWhatIsCompleted,
    OwnAttemptNotKnown,
    LaterResultWins,
    LeaseNeverLost,
    ReclaimedTooEarly,
    UnconditionalWrites,
    UnknownTakenAsFailed,
    RefusalAfterUnknownTakenAtItsWord,
    AcknowledgedBeforeWritten,
    CacheBeforeFingerprint,
    CacheBeforeExpiry,
    CacheForgetsWhoseKey,
}

impl Fault {
    /// Whether it is in the rules that `decide` has too, and not in what is done with them.
    pub(crate) const fn is_of_the_rules(self) -> bool {
        matches!(
            self,
            Self::NoFenceCheck
                | Self::AttemptAloneCompared
                | Self::NoSkewAllowance
                | Self::FenceWithoutClock
                | Self::FenceOfClockAlone
                | Self::AttemptsNotCounted
                | Self::RerunWhatIsUnknown
                | Self::RerunWhatIsCompleted
                | Self::OwnAttemptNotKnown
                | Self::LaterResultWins
                | Self::LeaseNeverLost
        )
    }
}

/// One caller alone.
const ALONE: Size = Size { name: "alone", callers: &[(Some(1), 0)], ticks: 2, ..PLAIN };

/// Each fault, the model it is planted in, and the promise that it breaks there.
pub(crate) const PLANTED: &[(Fault, Size, Promise)] = &[
    (Fault::NoFenceCheck, Size { ticks: 3, ..PLAIN }, Promise::WritesNeedTheFence),
    (Fault::AttemptAloneCompared, Size { renews: true, ..LOST }, Promise::WritesNeedTheFence),
    (Fault::NoSkewAllowance, PLAIN, Promise::OneOwner),
    (Fault::FenceWithoutClock, GRACEFUL, Promise::FencesRise),
    (Fault::FenceOfClockAlone, GRACEFUL, Promise::FencesRise),
    (Fault::AttemptsNotCounted, Size { ticks: 1, ..RETRIED }, Promise::UnknownIsNotRerun),
    (Fault::RerunWhatIsUnknown, MARKED, Promise::UnknownIsNotRerun),
    (Fault::RerunWhatIsCompleted, PLAIN, Promise::ResultsStay),
    (
        Fault::OwnAttemptNotKnown,
        Size { mishaps: 1, trouble: Trouble::Network, ..ALONE },
        Promise::OneAttemptOneFence,
    ),
    (Fault::LaterResultWins, Size { policy: MARKED.policy, operations: 1, ..ALONE }, Promise::ResultsStay),
    (Fault::LeaseNeverLost, PLAIN, Promise::KeysCanBeBegun),
    (Fault::ReclaimedTooEarly, GRACEFUL, Promise::FencesRise),
    (Fault::UnconditionalWrites, PLAIN, Promise::OneOwner),
    (Fault::UnknownTakenAsFailed, UNSAID, Promise::UnwrittenIsTrue),
    (
        Fault::RefusalAfterUnknownTakenAtItsWord,
        Size { mishaps: 2, trouble: Trouble::Store, ticks: 0, ..ALONE },
        Promise::UnwrittenIsTrue,
    ),
    (Fault::AcknowledgedBeforeWritten, UNSAID, Promise::OneOwner),
    (Fault::CacheBeforeFingerprint, MISMATCHED, Promise::NothingCrosses),
    (
        Fault::CacheBeforeExpiry,
        Size { callers: &[(Some(1), 0), (Some(1), 0), (Some(1), 0)], ticks: 1, ..PLAIN },
        Promise::ResultsAreReplayed,
    ),
    (Fault::CacheForgetsWhoseKey, TWO_KEYS, Promise::NothingCrosses),
];
