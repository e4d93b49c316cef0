//! What holds in every history, whatever its callers and its store did.

use std::collections::BTreeMap;
use std::time::Duration;

/// One thing that a caller did or was told. Times are those of the caller, since the start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Event {
    pub(crate) sent: Duration,
    pub(crate) answered: Duration,
    pub(crate) key: String,
    pub(crate) attempt: u128,
    pub(crate) fact: Fact,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Fact {
    Started {
        fence: i64,
        /// By the caller's own count.
        owned_until: Duration,
        checkpoints: Vec<String>,
    },
    Replayed {
        fence: i64,
        payload: String,
    },
    /// Another attempt runs, or nobody may.
    NotStarted,
    /// No answer: the call failed, or its caller left.
    Nothing(String),
    Renewed {
        fence: i64,
        owned_until: Duration,
    },
    Saved {
        point: String,
    },
    /// The owner is about to say that it is done.
    Ending {
        fence: i64,
    },
    Completed {
        fence: i64,
    },
    Released,
    /// The owner was told to stop.
    Refused {
        what: &'static str,
        owned_until: Duration,
        why: String,
    },
    Forgetting,
    Forgotten(bool),
}

/// How often what makes a history interesting was met.
#[derive(Debug, Default)]
pub(crate) struct Met {
    started: usize,
    taken_over: usize,
    replayed: usize,
    unknown: usize,
    left: usize,
    refused: usize,
    forgotten: usize,
    checkpoints: usize,
}

impl Met {
    pub(crate) fn enough(&self) {
        let Self { started, taken_over, replayed, unknown, left, refused, forgotten, checkpoints } = self;
        for (what, met, least) in [
            ("Started", started, 500),
            ("taken over", taken_over, 100),
            ("Replayed", replayed, 500),
            ("unknown", unknown, 20),
            ("left", left, 20),
            ("refused", refused, 20),
            ("forgotten", forgotten, 50),
            ("checkpoints handed over", checkpoints, 50),
        ] {
            assert!(*met >= least, "{what}: met {met} times, wanted {least}: {self:?}");
        }
    }
}

/// When an attempt owned its key, by its caller's own count.
#[derive(Debug)]
struct Ownership {
    attempt: u128,
    fence: i64,
    asked: Duration,
    from: Duration,
    until: Duration,
}

/// Checks every promise on `events`, which are in the order in which they were told.
pub(crate) fn hold(seed: u64, events: &[Event], met: &mut Met) {
    let mut keys: BTreeMap<&str, Vec<&Event>> = BTreeMap::new();
    for event in events {
        keys.entry(&event.key).or_default().push(event);
        match &event.fact {
            Fact::Started { checkpoints, .. } => {
                met.started += 1;
                met.checkpoints += checkpoints.len();
            }
            Fact::Replayed { .. } => met.replayed += 1,
            Fact::Nothing(why) if why.contains("StoreOutcomeUnknown") => met.unknown += 1,
            Fact::Nothing(why) if why.contains("Left") => met.left += 1,
            Fact::Refused { .. } => met.refused += 1,
            Fact::Forgotten(true) => met.forgotten += 1,
            _ => {}
        }
    }
    for (key, events) in keys {
        let place = format!("seed {seed}, {key}");
        let owners = ownerships(&events);
        met.taken_over += owners.len().saturating_sub(1);
        one_owner_at_a_time(&place, &owners);
        nobody_is_stopped_in_time(&place, &events);
        replays_are_what_was_completed(&place, &events, &owners);
        what_was_acknowledged_stays(&place, &events);
    }
}

fn ownerships(events: &[&Event]) -> Vec<Ownership> {
    let mut owners: Vec<Ownership> = Vec::new();
    for event in events {
        match event.fact {
            Fact::Started { fence, owned_until, .. } => owners.push(Ownership {
                attempt: event.attempt,
                fence,
                asked: event.sent,
                from: event.answered,
                until: owned_until,
            }),
            Fact::Renewed { fence, owned_until } => {
                if let Some(owner) = owners.iter_mut().find(|owner| owner.fence == fence) {
                    // Renewed after its end it would not be one stretch of time.
                    if event.answered < owner.until {
                        owner.until = owner.until.max(owned_until);
                    }
                }
            }
            Fact::Ending { fence } => {
                if let Some(owner) = owners.iter_mut().find(|owner| owner.fence == fence) {
                    owner.until = owner.until.min(event.answered);
                }
            }
            _ => {}
        }
    }
    owners
}

/// Promise 1: a fence belongs to one attempt, later ones are higher, and no two own the key at a time.
fn one_owner_at_a_time(place: &str, owners: &[Ownership]) {
    for (n, one) in owners.iter().enumerate() {
        for other in &owners[n + 1..] {
            assert_ne!(one.fence, other.fence, "{place}: attempts {one:?} and {other:?} share a fence");
            if one.from <= other.asked {
                assert!(one.fence < other.fence, "{place}: the fence fell from {one:?} to {other:?}");
            }
            let apart = one.until <= other.from || other.until <= one.from;
            let empty = one.until <= one.from || other.until <= other.from;
            assert!(apart || empty, "{place}: {one:?} and {other:?} own it at once");
            assert_ne!(one.attempt, other.attempt, "{place}: an attempt was granted twice");
        }
    }
}

/// Promise 1 again: an owner whose answer comes while it owns the key is not told that it lost it.
fn nobody_is_stopped_in_time(place: &str, events: &[&Event]) {
    for event in events {
        // A Complete whose first answer was lost may have been forgotten.
        if event.fact == Fact::Forgetting {
            return;
        }
        if let Fact::Refused { what, owned_until, why } = &event.fact {
            assert!(event.answered > *owned_until, "{place}: {what} of {}: {why}", event.attempt);
        }
    }
}

/// Promise 2: a replay is byte for byte what the attempt with that fence reported.
fn replays_are_what_was_completed(place: &str, events: &[&Event], owners: &[Ownership]) {
    for event in events {
        let Fact::Replayed { fence, payload } = &event.fact else { continue };
        let owner = owners.iter().find(|owner| owner.fence == *fence);
        let owner = owner.unwrap_or_else(|| panic!("{place}: nobody was granted {fence}"));
        assert_eq!(*payload, owner.attempt.to_string(), "{place}: what another attempt reported is replayed");
    }
}

/// Promise 2: what was acknowledged is there for every call that is sent later, until it is forgotten.
fn what_was_acknowledged_stays(place: &str, events: &[&Event]) {
    let forgetting = events.iter().find(|event| event.fact == Fact::Forgetting);
    let untouched = forgetting.map_or(Duration::MAX, |event| event.sent);
    for done in events.iter().filter(|event| event.answered <= untouched) {
        for later in events.iter().filter(|e| e.sent >= done.answered && e.answered <= untouched) {
            match (&done.fact, &later.fact) {
                (Fact::Completed { fence }, Fact::Replayed { fence: replayed, .. }) => {
                    assert_eq!(fence, replayed, "{place}: another completion than {done:?} is replayed");
                }
                (Fact::Completed { .. }, Fact::Started { .. } | Fact::NotStarted) => {
                    panic!("{place}: after {done:?} came {later:?}");
                }
                (Fact::Saved { point }, Fact::Started { checkpoints, .. }) => {
                    assert!(checkpoints.contains(point), "{place}: {later:?} was not handed {point}");
                }
                _ => {}
            }
        }
    }
}
