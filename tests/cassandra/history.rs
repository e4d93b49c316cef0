//! What the callers of one key did and heard, and whether it can be true.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use semel::proto;

/// From before a call was sent until after its answer was there.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Times {
    pub(crate) sent: Instant,
    pub(crate) heard: Instant,
}

/// What one caller did or heard.
#[derive(Clone, Debug)]
pub(crate) enum Event {
    /// `lease` counts from when the call was sent.
    Started {
        attempt_id: u32,
        number: u32,
        fence: i64,
        lease: Duration,
        times: Times,
    },
    InProgress {
        times: Times,
    },
    Replayed {
        replayed: Box<proto::Replayed>,
        times: Times,
    },
    /// The owner's lease was extended.
    Renewed {
        fence: i64,
        lease: Duration,
        times: Times,
    },
    /// The owner is about to give up its key.
    Releasing {
        fence: i64,
        at: Instant,
    },
    /// The owner is about to report this.
    Completing {
        fence: i64,
        result: Box<proto::Result>,
    },
    /// What it reported was acknowledged.
    Completed {
        fence: i64,
        result: Box<proto::Result>,
        times: Times,
    },
    FenceLost,
    /// UNAVAILABLE, for this reason.
    Unavailable {
        reason: String,
    },
}

/// Everything that happened to one key.
#[derive(Debug, Default)]
pub(crate) struct History(Mutex<Vec<Event>>);

/// How often what happened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Figures {
    pub(crate) keys: u64,
    pub(crate) started: u64,
    pub(crate) takeovers: u64,
    pub(crate) in_progress: u64,
    pub(crate) completed: u64,
    pub(crate) replayed: u64,
    pub(crate) fence_lost: u64,
    pub(crate) not_written: u64,
    pub(crate) unknown: u64,
}

/// One owner's time, as it knows it.
#[derive(Clone, Copy, Debug)]
struct Owner {
    attempt_id: u32,
    number: u32,
    /// When it was told.
    heard: Instant,
    /// Until when it may take the key for its own.
    until: Instant,
    /// When it last began to hear that it owns the key.
    last_sent: Instant,
    releasing: Option<Instant>,
}

impl History {
    pub(crate) fn note(&self, event: Event) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(event);
    }

    /// The result that was heard of, and its fence.
    pub(crate) fn result(&self) -> Option<(i64, proto::Result)> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).iter().find_map(|event| match event {
            Event::Replayed { replayed, .. } => Some((replayed.fence, replayed.result.clone()?)),
            _ => None,
        })
    }

    /// What cannot be true, if anything.
    pub(crate) fn check(&self) -> Result<Figures, String> {
        let events = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        check(&events).map_err(|wrong| {
            let events: Vec<_> = events.iter().map(|event| format!("{event:?}")).collect();
            format!("{wrong}\n{}", events.join("\n"))
        })
    }
}

fn check(events: &[Event]) -> Result<Figures, String> {
    let owners = owners(events)?;
    fences_rise(&owners)?;
    stale_owners_are_stopped(events, &owners)?;
    leases_do_not_overlap(&owners)?;
    results_are_one(events, &owners)?;
    let mut figures = Figures { keys: 1, started: owners.len() as u64, ..Figures::default() };
    figures.takeovers = owners.values().filter(|owner| owner.number > 1).count() as u64;
    for event in events {
        match event {
            Event::InProgress { .. } => figures.in_progress += 1,
            Event::Replayed { .. } => figures.replayed += 1,
            Event::Completed { .. } => figures.completed += 1,
            Event::FenceLost => figures.fence_lost += 1,
            Event::Unavailable { reason } => match reason.as_str() {
                "STORE_UNAVAILABLE" => figures.not_written += 1,
                "STORE_OUTCOME_UNKNOWN" => figures.unknown += 1,
                other => return Err(format!("{other} is no reason for UNAVAILABLE")),
            },
            Event::Started { .. }
            | Event::Renewed { .. }
            | Event::Releasing { .. }
            | Event::Completing { .. } => {}
        }
    }
    Ok(figures)
}

/// Every owner by its fence: one attempt for each.
fn owners(events: &[Event]) -> Result<BTreeMap<i64, Owner>, String> {
    let mut owners: BTreeMap<i64, Owner> = BTreeMap::new();
    for event in events {
        let Event::Started { attempt_id, number, fence, lease, times } = event else { continue };
        let owner = owners.entry(*fence).or_insert(Owner {
            attempt_id: *attempt_id,
            number: *number,
            heard: times.heard,
            until: times.sent,
            last_sent: times.sent,
            releasing: None,
        });
        if (owner.attempt_id, owner.number) != (*attempt_id, *number) {
            return Err(format!("fence {fence} was granted to two attempts"));
        }
        owner.heard = owner.heard.min(times.heard);
        owner.until = owner.until.max(times.sent + *lease);
        owner.last_sent = owner.last_sent.max(times.sent);
    }
    for event in events {
        match event {
            Event::Renewed { fence, lease, times } => {
                if let Some(owner) = owners.get_mut(fence) {
                    owner.until = owner.until.max(times.sent + *lease);
                }
            }
            Event::Releasing { fence, at } => {
                if let Some(owner) = owners.get_mut(fence) {
                    owner.releasing = Some(owner.releasing.map_or(*at, |before| before.min(*at)));
                }
            }
            _ => {}
        }
    }
    Ok(owners)
}

fn pairs(owners: &BTreeMap<i64, Owner>) -> impl Iterator<Item = ((&i64, &Owner), (&i64, &Owner))> {
    owners.iter().flat_map(|earlier| owners.range(earlier.0 + 1..).map(move |later| (earlier, later)))
}

fn fences_rise(owners: &BTreeMap<i64, Owner>) -> Result<(), String> {
    for ((low, earlier), (high, later)) in pairs(owners) {
        // Whoever was told of the higher fence before the lower one was even asked for.
        if later.heard < earlier.last_sent {
            return Err(format!("fence {low} was granted after fence {high}"));
        }
        if earlier.number >= later.number {
            return Err(format!(
                "fences {low} and {high} are of attempts {} and {}",
                earlier.number, later.number
            ));
        }
    }
    Ok(())
}

/// Each owner measures its lease from when it sent its call, so even clocks that differ by what is allowed leave none
/// two owners at once.
fn leases_do_not_overlap(owners: &BTreeMap<i64, Owner>) -> Result<(), String> {
    for ((low, earlier), (high, later)) in pairs(owners) {
        let until = earlier.releasing.map_or(earlier.until, |releasing| earlier.until.min(releasing));
        if later.heard < until {
            let early = until - later.heard;
            return Err(format!(
                "fence {high} was granted {early:?} before the lease of fence {low} was over"
            ));
        }
    }
    Ok(())
}

/// One result, that of the last owner, reported by it; once it was heard of, nothing else is.
fn results_are_one(events: &[Event], owners: &BTreeMap<i64, Owner>) -> Result<(), String> {
    let mut known: Option<(i64, &proto::Result)> = None;
    let mut replay: Option<&proto::Replayed> = None;
    let mut known_at: Option<Instant> = None;
    for event in events {
        let (fence, result, times) = match event {
            Event::Completed { fence, result, times } => (*fence, &**result, times),
            Event::Replayed { replayed, times } => {
                if replay.is_some_and(|before| *before != **replayed) {
                    return Err("two replays differ".to_owned());
                }
                replay = Some(replayed);
                (replayed.fence, replayed.result.as_ref().ok_or("a replay without a result")?, times)
            }
            _ => continue,
        };
        if known.is_some_and(|before| before != (fence, result)) {
            return Err(format!("fence {fence} has a result, and there is another"));
        }
        known = Some((fence, result));
        known_at = Some(known_at.map_or(times.heard, |before| before.min(times.heard)));
    }
    let (Some((fence, result)), Some(known_at)) = (known, known_at) else { return Ok(()) };
    let reported = |event: &Event| matches!(event, Event::Completing { fence: by, result: of } if *by == fence && **of == *result);
    if !events.iter().any(reported) {
        return Err(format!("nobody reported the result of fence {fence}"));
    }
    if let Some(high) = owners.range(fence + 1..).next() {
        return Err(format!("fence {} was granted, and fence {fence} has a result", high.0));
    }
    for event in events {
        let (Event::Started { times, .. } | Event::InProgress { times }) = event else { continue };
        if times.sent > known_at {
            return Err(format!("the result was known, and then there was {event:?}"));
        }
    }
    Ok(())
}

fn stale_owners_are_stopped(events: &[Event], owners: &BTreeMap<i64, Owner>) -> Result<(), String> {
    for event in events {
        let (Event::Completed { fence, times, .. } | Event::Renewed { fence, times, .. }) = event else {
            continue;
        };
        if let Some((high, _)) = owners.range(fence + 1..).find(|(_, later)| later.heard < times.sent) {
            return Err(format!("fence {high} was granted, and then fence {fence} wrote"));
        }
    }
    Ok(())
}

impl std::ops::AddAssign for Figures {
    fn add_assign(&mut self, other: Self) {
        self.keys += other.keys;
        self.started += other.started;
        self.takeovers += other.takeovers;
        self.in_progress += other.in_progress;
        self.completed += other.completed;
        self.replayed += other.replayed;
        self.fence_lost += other.fence_lost;
        self.not_written += other.not_written;
        self.unknown += other.unknown;
    }
}

pub(crate) fn the_checker_finds_what_cannot_be(_: &mut crate::Cluster, _: &tokio::runtime::Runtime) {
    let began = Instant::now();
    let at = |second: u64| began + Duration::from_secs(second);
    let times = |sent, heard| Times { sent: at(sent), heard: at(heard) };
    let started = |attempt_id, number, fence, sent, heard| Event::Started {
        attempt_id,
        number,
        fence,
        lease: Duration::from_secs(10),
        times: times(sent, heard),
    };
    let result = |text: &str| proto::Result { payload: text.to_owned().into(), ..proto::Result::default() };
    let completing = |fence, text| Event::Completing { fence, result: Box::new(result(text)) };
    let completed = |fence, text, sent, heard| Event::Completed {
        fence,
        result: Box::new(result(text)),
        times: times(sent, heard),
    };
    let replayed = |fence, attempt, text, sent, heard| Event::Replayed {
        replayed: Box::new(proto::Replayed {
            fence,
            attempt,
            result: Some(result(text)),
            ..proto::Replayed::default()
        }),
        times: times(sent, heard),
    };
    let in_progress = |sent, heard| Event::InProgress { times: times(sent, heard) };
    let renewed = |fence, sent, heard| Event::Renewed {
        fence,
        lease: Duration::from_secs(10),
        times: times(sent, heard),
    };
    let releasing = |fence, second| Event::Releasing { fence, at: at(second) };

    let possible = [
        vec![],
        vec![started(1, 1, 5, 0, 1), started(1, 1, 5, 2, 3), started(2, 2, 6, 0, 13)],
        vec![started(1, 1, 5, 0, 1), releasing(5, 2), started(2, 2, 6, 1, 3)],
        vec![started(1, 1, 5, 0, 1), completing(5, "a"), completed(5, "a", 1, 3), in_progress(2, 4)],
        vec![
            started(1, 1, 5, 0, 1),
            completing(5, "a"),
            replayed(5, 1, "a", 1, 2),
            replayed(5, 1, "a", 9, 9),
        ],
        vec![started(1, 1, 5, 0, 1), completing(5, "a"), Event::FenceLost, started(2, 2, 6, 0, 13)],
    ];
    for events in &possible {
        assert!(check(events).is_ok(), "{:?}", check(events));
    }
    let result_of_5 = [started(1, 1, 5, 0, 1), completing(5, "a"), completed(5, "a", 1, 2)];
    let and = |event: Event| result_of_5.iter().cloned().chain([event]).collect::<Vec<_>>();
    let impossible = [
        ("two attempts", vec![started(1, 1, 5, 0, 1), started(2, 1, 5, 0, 1)]),
        ("after fence", vec![started(1, 2, 6, 0, 1), started(2, 1, 5, 2, 3)]),
        ("are of attempts", vec![started(1, 1, 5, 0, 1), started(2, 1, 6, 0, 20)]),
        ("before the lease", vec![started(1, 1, 5, 0, 1), started(2, 2, 6, 0, 9)]),
        ("before the lease", vec![started(1, 1, 5, 0, 1), renewed(5, 8, 9), started(2, 2, 6, 0, 13)]),
        ("before the lease", vec![started(1, 1, 5, 0, 1), releasing(5, 4), started(2, 2, 6, 0, 3)]),
        ("there is another", and(replayed(5, 1, "b", 3, 4))),
        ("there is another", and(replayed(4, 1, "a", 3, 4))),
        ("nobody reported", vec![started(1, 1, 5, 0, 1), replayed(5, 1, "a", 1, 2)]),
        ("replays differ", vec![completing(5, "a"), replayed(5, 1, "a", 1, 2), replayed(5, 2, "a", 1, 2)]),
        ("has a result", and(started(2, 2, 6, 0, 20))),
        ("and then there was", and(in_progress(3, 4))),
        ("and then there was", and(started(1, 1, 5, 3, 4))),
        ("then fence 5 wrote", vec![started(1, 1, 5, 0, 1), started(2, 2, 6, 0, 13), renewed(5, 14, 15)]),
        ("no reason", vec![Event::Unavailable { reason: "INTERNAL".to_owned() }]),
    ];
    for (wrong, events) in &impossible {
        let said = check(events).expect_err(wrong);
        assert!(said.contains(wrong), "{wrong} is due, not {said}");
    }
    crate::support::count("cassandra_planted_faults", impossible.len() as u64);
}
