//! What may happen in a history: random commands, callers that repeat and delay their calls, servers whose clocks differ,
//! policies that change, rows that are reclaimed.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use proptest::prelude::*;
use semel::domain::{
    Abort, Begin, Complete, Forget, OnLostLease, OperationResult, Outcome, Policy, Renew, Resolve,
    SaveCheckpoint,
};

pub(crate) const SECOND: Duration = Duration::from_secs(1);

/// One step. `of` picks an attempt that was granted before, by its place, counted back from the last; so calls for stale
/// fences come up all the time. Lengths of time are in seconds.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    Begin {
        caller: u8,
        request: u8,
        lease: u32,
        retention: Option<u32>,
        first_sent_ago: Option<u32>,
    },
    Complete {
        of: usize,
        payload: u8,
        retention: Option<u32>,
    },
    Abort {
        of: usize,
        release: bool,
        pause: u32,
    },
    Renew {
        of: usize,
        lease: Option<u32>,
    },
    Save {
        of: usize,
        name: u8,
        value: u8,
    },
    Resolve {
        of: usize,
        payload: Option<u8>,
        force: bool,
    },
    Forget {
        of: usize,
        force: bool,
    },
    /// The last `of`-th command arrives once more.
    Again {
        of: usize,
    },
    /// From now on another policy is in force.
    Policy {
        mark_unknown: bool,
        max_attempts: u32,
    },
    /// Rows whose time has come are dropped.
    Reclaim,
}

/// A step, the seconds that pass before it, and by how many milliseconds the deciding server's clock is off.
pub(crate) type Timed = (Step, u32, i32);

#[derive(Clone, Debug)]
pub(crate) enum Call {
    Begin(Begin),
    Complete(Complete),
    Abort(Abort),
    Renew(Renew),
    Save(SaveCheckpoint),
    Resolve(Resolve),
    Forget(Forget),
}

pub(crate) fn steps() -> impl Strategy<Value = Vec<Timed>> {
    // Some outlast the hour that a row is kept past its use.
    let retention = || proptest::option::of(prop_oneof![3 => 1_u32..500, 1 => 4_000_u32..10_000]);
    let first_sent_ago = prop_oneof![3 => 0_u32..300, 1 => 0_u32..12_000];
    // Mostly the last attempt reports.
    let of = || prop_oneof![3 => Just(0_usize), 1 => 0_usize..3];
    let step = prop_oneof![
        12 => (0_u8..4, 0_u8..3, 1_u32..40, retention(), proptest::option::of(first_sent_ago)).prop_map(
            |(caller, request, lease, retention, first_sent_ago)| {
                Step::Begin { caller, request, lease, retention, first_sent_ago }
            }
        ),
        4 => (of(), 0_u8..3, retention())
            .prop_map(|(of, payload, retention)| Step::Complete { of, payload, retention }),
        6 => (of(), any::<bool>(), 0_u32..20)
            .prop_map(|(of, release, pause)| Step::Abort { of, release, pause }),
        4 => (of(), proptest::option::of(1_u32..40)).prop_map(|(of, lease)| Step::Renew { of, lease }),
        6 => (of(), 0_u8..2, 0_u8..2).prop_map(|(of, name, value)| Step::Save { of, name, value }),
        2 => (of(), proptest::option::of(0_u8..3), any::<bool>())
            .prop_map(|(of, payload, force)| Step::Resolve { of, payload, force }),
        1 => (of(), any::<bool>()).prop_map(|(of, force)| Step::Forget { of, force }),
        6 => (0_usize..6).prop_map(|of| Step::Again { of }),
        1 => (any::<bool>(), 0_u32..4)
            .prop_map(|(mark_unknown, max_attempts)| Step::Policy { mark_unknown, max_attempts }),
        2 => Just(Step::Reclaim),
    ];
    // Mostly little time passes.
    let pause = prop_oneof![10 => 0_u32..5, 5 => 0_u32..60, 1 => 0_u32..20_000];
    proptest::collection::vec((step, pause, -500_i32..=500), 1..60)
}

pub(crate) fn policies() -> impl Strategy<Value = Policy> {
    (any::<bool>(), 0_u32..4).prop_map(|(mark_unknown, max_attempts)| Policy {
        lease: 10 * SECOND,
        max_lease: 30 * SECOND,
        retention: 200 * SECOND,
        max_retention: 8_000 * SECOND,
        unresolved_retention: 600 * SECOND,
        max_retry_after: 15 * SECOND,
        max_attempts,
        on_lost_lease: on_lost_lease(mark_unknown),
        clock_skew_allowance: SECOND,
        ..Policy::default()
    })
}

pub(crate) fn on_lost_lease(mark_unknown: bool) -> OnLostLease {
    if mark_unknown { OnLostLease::MarkUnknown } else { OnLostLease::Rerun }
}

pub(crate) fn result(payload: u8) -> Arc<OperationResult> {
    Arc::new(OperationResult {
        outcome: Outcome::Success,
        code: 0,
        content_type: String::new(),
        headers: Vec::new(),
        payload: Bytes::copy_from_slice(&[payload]),
        payload_omitted: false,
    })
}
