//! The models: small enough to be searched to the end, and each with room for something that the others leave out.

use crate::rules::Policy;
use crate::state::{Clocks, Size, Trouble};

const RERUN: Policy = Policy { mark_unknown: false, max_attempts: 0 };

/// Two callers of one operation on one key, clocks that differ within the allowance.
pub(crate) const PLAIN: Size = Size {
    name: "plain",
    callers: &[(Some(1), 0), (Some(1), 0)],
    attempts: 1,
    ticks: 2,
    stride: 1,
    mishaps: 0,
    trouble: Trouble::Anywhere,
    clocks: Clocks::Allowance,
    policy: RERUN,
    operations: 0,
    renews: false,
    first_sent: false,
    fault: None,
};

/// Owners renew.
pub(crate) const RENEWED: Size = Size { name: "renewed", renews: true, ticks: 0, ..PLAIN };

/// A call is doubled, or an answer lost.
pub(crate) const LOST: Size = Size { name: "lost", mishaps: 1, trouble: Trouble::Network, ticks: 0, ..PLAIN };

/// The store does not say what became of a write, refuses it, or makes it late.
pub(crate) const UNSAID: Size = Size { name: "unsaid", trouble: Trouble::Store, ..LOST };

/// A server dies, or its clock jumps.
pub(crate) const CRASHED: Size = Size { name: "crashed", trouble: Trouble::Servers, ticks: 1, ..LOST };

/// What is lost is unknown, and an operator settles or forgets it.
pub(crate) const MARKED: Size = Size {
    name: "marked",
    policy: Policy { mark_unknown: true, max_attempts: 0 },
    operations: 1,
    ticks: 1,
    ..PLAIN
};

/// Callers begin again, and no more often than they may.
pub(crate) const RETRIED: Size = Size {
    name: "retried",
    policy: Policy { mark_unknown: false, max_attempts: 2 },
    attempts: 2,
    ticks: 0,
    ..PLAIN
};

/// Callers with different requests, who say when they first sent them.
pub(crate) const MISMATCHED: Size = Size {
    name: "mismatched",
    callers: &[(Some(1), 0), (Some(2), 0), (None, 0)],
    first_sent: true,
    ticks: 0,
    ..PLAIN
};

/// Two keys on servers that remember results.
pub(crate) const TWO_KEYS: Size =
    Size { name: "two keys", callers: &[(Some(1), 0), (Some(1), 0), (Some(1), 1)], ticks: 0, ..PLAIN };

/// Clocks that differ by more than the allowance, and time enough for rows to go.
pub(crate) const GRACEFUL: Size =
    Size { name: "graceful", clocks: Clocks::Grace, ticks: 6, stride: 3, ..PLAIN };

/// Clocks that differ by more than the grace.
pub(crate) const ANYHOW: Size = Size { name: "anyhow", clocks: Clocks::Anyhow, ticks: 3, ..GRACEFUL };

pub(crate) const ALL: [Size; 11] =
    [PLAIN, RENEWED, LOST, UNSAID, CRASHED, MARKED, RETRIED, MISMATCHED, TWO_KEYS, GRACEFUL, ANYHOW];
