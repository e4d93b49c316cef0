//! What happened: every copy of a call that reached a server, what it was told, and all that the store held.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use semel::coordinator::CallError;
use semel::domain::{
    Abort, Aborted, Begin, BeginAnswer, Complete, Completed, Fence, Forget, Kept, Phase, Policy, Record,
    Renew, Renewed, Resolve, SaveCheckpoint, SavedCheckpoint,
};

use crate::plan::Plan;
use crate::store::{StoreMet, Version};

/// A call as its caller means it, however often it is sent.
#[derive(Clone, Debug)]
pub(crate) enum Call {
    Begin { begin: Begin, wait: Duration, retry: bool },
    Complete(Complete),
    Abort(Abort),
    Renew(Renew),
    Save(SaveCheckpoint),
    Resolve(Resolve),
    Forget(Forget),
    Lookup,
}

impl Call {
    /// The fence that an owner's or an operator's call names.
    pub(crate) fn fence(&self) -> Option<Fence> {
        match self {
            Self::Begin { .. } | Self::Lookup => None,
            Self::Complete(call) => Some(call.fence),
            Self::Abort(call) => Some(call.fence),
            Self::Renew(call) => Some(call.fence),
            Self::Save(call) => Some(call.fence),
            Self::Resolve(call) => Some(call.fence),
            Self::Forget(call) => Some(call.fence),
        }
    }

    /// Whether it is the word of the attempt's own caller.
    pub(crate) const fn is_owners(&self) -> bool {
        matches!(self, Self::Complete(_) | Self::Abort(_) | Self::Renew(_) | Self::Save(_))
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    Begun(BeginAnswer, Duration),
    Completed(Completed),
    Aborted(Aborted),
    Renewed(Renewed),
    Saved(SavedCheckpoint),
    Kept(Box<Kept>),
    Forgotten,
    Failed(CallError),
}

#[derive(Clone, Debug)]
pub(crate) struct Called {
    pub(crate) key: usize,
    pub(crate) call: Call,
    pub(crate) first_sent: Duration,
    /// Who asks what, for a person.
    pub(crate) name: String,
}

/// One copy of a call, at a server.
#[derive(Clone, Debug)]
pub(crate) struct Delivery {
    /// Which call.
    pub(crate) of: usize,
    pub(crate) server: usize,
    /// When its caller sent it.
    pub(crate) sent: Duration,
    pub(crate) arrived: Duration,
    pub(crate) ended: Duration,
    pub(crate) policy: Arc<Policy>,
    /// `None` where the server crashed, or heard that nobody listens any more.
    pub(crate) answer: Option<Answer>,
    /// When its caller took the answer.
    pub(crate) heard: Option<Duration>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Mishaps {
    pub(crate) crashed_servers: u64,
    pub(crate) crashed_callers: u64,
    pub(crate) retries: u64,
    pub(crate) copies: u64,
    pub(crate) jumps: u64,
    pub(crate) policies: u64,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Chronicle {
    pub(crate) calls: Vec<Called>,
    pub(crate) deliveries: Vec<Delivery>,
    /// Of each key.
    pub(crate) versions: Vec<Vec<Version>>,
    pub(crate) mishaps: Mishaps,
    pub(crate) store: StoreMet,
    /// From then on nothing went wrong any more.
    pub(crate) quiet_from: Duration,
}

impl Chronicle {
    /// The copies of calls on `key`, in the order of their arrival.
    pub(crate) fn on(&self, key: usize) -> impl Iterator<Item = (&Called, &Delivery)> {
        let called = self.deliveries.iter().map(|delivery| (&self.calls[delivery.of], delivery));
        called.filter(move |(called, _)| called.key == key)
    }

    /// The history, for a person: what was asked and told, and between it what the store came to hold.
    pub(crate) fn tell(&self, plan: &Plan) -> String {
        let mut lines = Vec::new();
        for delivery in &self.deliveries {
            let called = &self.calls[delivery.of];
            let heard = if delivery.heard.is_some() { "" } else { " (not heard)" };
            let answer = delivery.answer.as_ref().map_or_else(|| "cut off".to_owned(), ToString::to_string);
            lines.push((
                delivery.ended,
                format!(
                    "key {} server {}: {} sent {:?} arrived {:?} -> {answer}{heard}",
                    called.key, delivery.server, called.name, delivery.sent, delivery.arrived
                ),
            ));
        }
        for (key, versions) in self.versions.iter().enumerate() {
            for version in versions {
                lines.push((version.at, format!("key {key} store: {}", describe(version.record()))));
            }
        }
        lines.sort_by_key(|(at, _)| *at);
        let history: Vec<String> =
            lines.into_iter().map(|(at, line)| format!("  {at:>12?}  {line}")).collect();
        let planned = plan.items.iter().map(|item| format!("  at {:?}: {:?}", item.at, item.what));
        let planned = planned.collect::<Vec<_>>().join("\n");
        let settings = Plan { items: Vec::new(), ..plan.clone() };
        format!("{settings:?}\nplanned:\n{planned}\nhappened:\n{}\n", history.join("\n"))
    }
}

pub(crate) fn describe(record: Option<&Record>) -> String {
    match record {
        None => "absent".to_owned(),
        Some(Record::Forgotten(forgotten)) => format!("forgotten, fence {}", forgotten.fence.get()),
        Some(Record::Kept(kept)) => {
            let (fence, attempt, points) =
                (kept.fence.get(), kept.attempt, kept.checkpoints.as_slice().len());
            let phase = match &kept.phase {
                Phase::InProgress { lease_end, on_lost_lease, given_up, .. } => format!(
                    "in progress until {}, {on_lost_lease:?}, given up: {}",
                    lease_end.as_micros(),
                    given_up.is_some()
                ),
                Phase::Completed { result, .. } => {
                    format!("completed with {}", String::from_utf8_lossy(&result.payload))
                }
                Phase::Released { .. } => "released".to_owned(),
            };
            let id = kept.attempt_id.get().as_u128();
            format!(
                "fence {fence} attempt {attempt} of caller {id}, {points} points, {phase}, expires {}",
                kept.expires_at.as_micros()
            )
        }
    }
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Begun(BeginAnswer::Started(started), waited) => write!(
                f,
                "Started fence {} attempt {} lease {:?} waited {waited:?}",
                started.fence.get(),
                started.attempt,
                started.lease
            ),
            Self::Begun(BeginAnswer::Replayed(done), _) => write!(
                f,
                "Replayed fence {} {}",
                done.fence.get(),
                String::from_utf8_lossy(&done.result.payload)
            ),
            Self::Kept(kept) => write!(f, "{}", describe(Some(&Record::Kept((**kept).clone())))),
            other => write!(f, "{other:?}"),
        }
    }
}
