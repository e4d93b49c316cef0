//! What may happen to a server, by its name in the counts.

/// Every count of what happened to servers; `histories` beside them.
pub(crate) const NAMES: [&str; 9] = [
    "histories",
    "kills",
    "stops",
    "pauses",
    "policy_reloads",
    "lost_answers",
    "clock_jumps",
    "slow_writes",
    "unsaid_writes",
];
