//! How answers and records are said, so that nothing a caller learns or a store keeps goes unsaid.

use std::cmp::Ordering;
use std::time::Duration;

use semel::domain::{
    BeginAnswer, Checkpoint, Completed, Fence, InProgressAnswer, Kept, Labels, Note, OnLostLease,
    OperationResult, Phase, Previous, Record, Refusal, Renewed, Started, Timestamp, Traceparent,
    UnresolvedAnswer, UnresolvedReason,
};

use crate::states::{NOW, fence_at, id, labels, trace};

/// What a command met, and what it stored.
#[derive(Clone, Copy)]
pub(crate) struct Scene<'a> {
    pub(crate) before: Option<&'a Record>,
    pub(crate) next: Option<&'a Record>,
}

pub(crate) fn refusal(refusal: Refusal) -> String {
    match refusal {
        Refusal::FenceLost { superseded: true } => "FENCE_LOST to a later one".to_owned(),
        other => other.reason().to_string(),
    }
}

pub(crate) fn begin(answer: BeginAnswer, scene: Scene<'_>) -> String {
    match answer {
        BeginAnswer::Started(answer) => {
            let Started { fence, attempt, lease, lease_end, checkpoints, previous } = answer;
            let fence = fence_word(fence, scene.before);
            let mut words =
                vec![format!("Started {attempt}, {fence}, lease {} until {}", seconds(lease), at(lease_end))];
            words.extend((!checkpoints.is_empty()).then(|| points(&checkpoints)));
            words.extend(previous.map(|Previous { lost, traceparent }| {
                let comes = if lost { "taking over after" } else { "after" };
                format!("{comes} {}", trace_word(traceparent))
            }));
            words.join(", ")
        }
        BeginAnswer::Replayed(answer) => {
            let changed = if answer.repeated { "" } else { " AS IF IT HAD CHANGED SOMETHING" };
            format!("Replayed{changed} {}", completion(&answer, scene))
        }
        BeginAnswer::InProgress(answer) => {
            let backing_off = if answer.backing_off() { ", backing off" } else { "" };
            let InProgressAnswer { attempt, retry_after, lease_end, traceparent, changes_at } = answer;
            let lease_end = lease_end.map_or(String::new(), |end| format!(", lease ends {}", at(end)));
            format!(
                "InProgress {attempt}{backing_off}{lease_end}, again in {}, changes {}, {}",
                seconds(retry_after),
                at(changes_at),
                trace_word(traceparent)
            )
        }
        BeginAnswer::Unresolved(answer) => {
            let UnresolvedAnswer { reason, attempt, detail, since, traceparent } = answer;
            let reason = match reason {
                UnresolvedReason::OutcomeUnknown => "OUTCOME_UNKNOWN",
                UnresolvedReason::AttemptsExhausted => "ATTEMPTS_EXHAUSTED",
            };
            let trace = trace_word(traceparent);
            format!("Unresolved {reason} since {}, attempt {attempt}, {trace}{}", at(since), said(&detail))
        }
    }
}

#[allow(clippy::needless_pass_by_value, reason = "it takes an answer, as its siblings do")]
pub(crate) fn complete(answer: Completed, scene: Scene<'_>) -> String {
    format!("OK{}, {}", repeated(answer.repeated), completion(&answer, scene))
}

fn completion(completed: &Completed, scene: Scene<'_>) -> String {
    format!(
        "{} of attempt {}, {}, completed {}, expires {}, {}",
        payload(&completed.result),
        completed.attempt,
        fence_word(completed.fence, scene.before),
        at(completed.completed_at),
        at(completed.expires_at),
        trace_word(completed.traceparent)
    )
}

pub(crate) fn ok(was_repeated: bool) -> String {
    format!("OK{}", repeated(was_repeated))
}

pub(crate) fn renew(answer: Renewed, _: Scene<'_>) -> String {
    format!("OK, lease {} until {}", seconds(answer.lease), at(answer.lease_end))
}

/// An answer that is the record itself.
#[allow(clippy::needless_pass_by_value, reason = "it takes an answer, as its siblings do")]
pub(crate) fn whole(answer: Kept, scene: Scene<'_>) -> String {
    let stored = scene.next.or(scene.before);
    if stored == Some(&Record::Kept(answer.clone())) {
        "OK, the record".to_owned()
    } else {
        format!("ANOTHER RECORD: {}", kept(&answer, None, None, NOW))
    }
}

/// What is stored: all of it where nothing was readable before, else what changed. Every change carries its moment, so
/// only another one is worth a word.
pub(crate) fn stored(scene: Scene<'_>) -> Option<String> {
    let next = scene.next?;
    let words = match next {
        Record::Forgotten(next) => {
            let changed = if next.changed_at == NOW { "" } else { "; NOT CHANGED NOW" };
            format!("forgotten; {}{changed}", fence_word(next.fence, scene.before))
        }
        Record::Kept(next) => kept(next, scene.before.and_then(|record| record.live(NOW)), scene.before, NOW),
    };
    Some(format!("{words}; row until {}", at(next.reclaim_at())))
}

/// A record that commands meet: all of it, or what tells it from `usual`.
pub(crate) fn record(record: &Record, usual: Option<&Kept>) -> String {
    let words = match record {
        Record::Forgotten(forgotten) => {
            let (changed, fence) = (at(forgotten.changed_at), fence_word(forgotten.fence, None));
            format!("forgotten; {fence}; changed {changed}")
        }
        Record::Kept(whole) => kept(whole, usual, None, usual.map_or(NOW, |usual| usual.changed_at)),
    };
    format!("{words}; row until {}", at(record.reclaim_at()))
}

/// The record where it differs from `before`. `met` is what the fence counts on from.
fn kept(next: &Kept, before: Option<&Kept>, met: Option<&Record>, usual_change: Timestamp) -> String {
    let Kept {
        fence,
        attempt,
        attempt_id,
        attempts_before_budget,
        fingerprint,
        first_seen_at,
        changed_at,
        expires_at,
        retention,
        checkpoints,
        labels,
        traceparent,
        phase,
        probe: _,
    } = next;
    let mut words = Vec::new();
    let mut say = |differs: bool, word: String| words.extend(differs.then_some(word));
    say(before.is_none_or(|b| b.phase != *phase), phase_word(phase));
    say(before.is_none_or(|b| b.attempt != *attempt), format!("attempt {attempt}"));
    let caller = |caller: char| {
        (
            caller_of(attempt_id, id),
            caller_of(labels, self::labels),
            caller_of(traceparent, |c| Some(trace(c))),
        ) == (caller, caller, caller)
    };
    let by = match ['a', 'b'].into_iter().find(|c| caller(*c)) {
        Some(one) => format!("by {one}"),
        None => {
            format!("by {}, {}, {}", caller_of(attempt_id, id), labels_word(labels), trace_word(*traceparent))
        }
    };
    say(
        before
            .is_none_or(|b| (&b.attempt_id, &b.labels, &b.traceparent) != (attempt_id, labels, traceparent)),
        by,
    );
    say(before.is_none_or(|b| b.fence != *fence), fence_word(*fence, met));
    say(
        before.map_or(0, |b| b.attempts_before_budget) != *attempts_before_budget,
        format!("{attempts_before_budget} before the budget"),
    );
    let print = fingerprint.as_ref().map_or_else(
        || "no fingerprint".to_owned(),
        |print| format!("for «{}»", str::from_utf8(print.as_bytes()).unwrap()),
    );
    say(before.is_none_or(|b| b.fingerprint != *fingerprint), print);
    say(
        before.is_none_or(|b| b.first_seen_at != *first_seen_at),
        format!("first seen {}", at(*first_seen_at)),
    );
    say(*changed_at != usual_change, format!("changed {}", at(*changed_at)));
    say(before.is_none_or(|b| b.retention != *retention), format!("retention {}", seconds(*retention)));
    say(
        before.map_or(!checkpoints.is_empty(), |b| b.checkpoints != *checkpoints),
        points(checkpoints.as_slice()),
    );
    say(before.is_none_or(|b| b.expires_at != *expires_at), format!("expires {}", at(*expires_at)));
    words.join("; ")
}

fn phase_word(phase: &Phase) -> String {
    match phase {
        Phase::InProgress { lease_end, lease, on_lost_lease, given_up } => {
            let policy = match on_lost_lease {
                OnLostLease::Rerun => "rerun",
                OnLostLease::MarkUnknown => "mark_unknown",
            };
            let lease = format!("lease {} until {}, {policy}", seconds(*lease), at(*lease_end));
            match given_up {
                None => lease,
                Some(given_up) => format!(
                    "given up {}{}, pause until {}, {lease}",
                    at(given_up.at),
                    said(given_up.detail.as_str()),
                    at(given_up.pause_until)
                ),
            }
        }
        Phase::Completed { result, resolution } => {
            format!("completed {}{}", payload(result), by_operator(resolution.as_ref()))
        }
        Phase::Released { pause_until, detail, resolution } => format!(
            "released{}{}, pause until {}",
            said(detail.as_str()),
            by_operator(resolution.as_ref()),
            at(*pause_until)
        ),
    }
}

fn by_operator(resolution: Option<&Note>) -> String {
    resolution.map_or_else(String::new, |note| format!(" by an operator{}", said(note.as_str())))
}

fn said(remark: &str) -> String {
    if remark.is_empty() { String::new() } else { format!(" «{remark}»") }
}

const fn repeated(repeated: bool) -> &'static str {
    if repeated { ", repeated" } else { "" }
}

fn payload(result: &OperationResult) -> String {
    format!("«{}»", str::from_utf8(&result.payload).unwrap())
}

/// Whose `thing` this is: the caller's for whom `make` makes it.
fn caller_of<T: PartialEq>(thing: &T, make: impl Fn(char) -> T) -> char {
    ['a', 'b'].into_iter().find(|caller| make(*caller) == *thing).unwrap_or('?')
}

fn labels_word(labels: &Labels) -> String {
    if labels.pairs().is_empty() {
        "no labels".to_owned()
    } else {
        format!("labels of {}", caller_of(labels, self::labels))
    }
}

fn trace_word(traceparent: Option<Traceparent>) -> String {
    traceparent.map_or("no trace".to_owned(), |found| format!("trace of {}", caller_of(&found, trace)))
}

/// A fence, as it follows from the one that was known and from the clock.
fn fence_word(fence: Fence, met: Option<&Record>) -> String {
    match met.map(|record| record.fence().get()) {
        Some(known) if fence.get() == known => "same fence".to_owned(),
        Some(known) if fence.get() == known + 1 => "fence + 1".to_owned(),
        _ if fence == fence_at(NOW) => "fence of now".to_owned(),
        _ => format!("fence of {}", at(fence.moment())),
    }
}

/// A few points one by one, of many only how many and which are the first and the last.
fn points(points: &[Checkpoint]) -> String {
    let one = |point: &Checkpoint| {
        let value = match point.value.len() {
            0..=8 => String::from_utf8_lossy(&point.value).into_owned(),
            n => format!("{n} bytes"),
        };
        format!("{}={value} ({})", point.name.as_str(), fence_word(point.fence, None))
    };
    match points {
        [first, _, _, .., last] => format!("{} points, {} … {}", points.len(), one(first), one(last)),
        few => format!("points {}", few.iter().map(one).collect::<Vec<_>>().join(" ")),
    }
}

/// A moment as seconds from now.
fn at(moment: Timestamp) -> String {
    match moment.cmp(&NOW) {
        Ordering::Equal => "now".to_owned(),
        Ordering::Greater => format!("+{}", seconds(moment.since(NOW))),
        Ordering::Less => format!("-{}", seconds(NOW.since(moment))),
    }
}

fn seconds(length: Duration) -> String {
    format!("{}s", length.as_secs_f64())
}
