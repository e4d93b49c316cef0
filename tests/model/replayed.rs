//! What ties the model to the code: walks through the model, each decision of which `decide` takes too, on the records
//! that it made itself.

use std::collections::HashMap;
use std::time::Duration;

use rand::RngExt;
use rand::rngs::StdRng;
use semel::domain::{
    Abort, AttemptId, Begin, BeginAnswer, Complete, Detail, Disposition, Fence, Fingerprint, Forget,
    Kept as RealKept, Note, OnLostLease, Phase as RealPhase, Policy as RealPolicy, Record, Refusal, Renew,
    Resolution, Resolve, Timestamp, Transition, UnresolvedReason, decide,
};
use uuid::Uuid;

use crate::fixtures;
use crate::met::Met;
use crate::protocol::{self, Decided};
use crate::rules::{
    ALLOWANCE, Answer, Command, Kept, LEASE, Moment, Phase, Policy, RETENTION, Row, TICK,
    UNRESOLVED_RETENTION,
};
use crate::state::{Size, State};

/// A tick in microseconds: three are the grace of an hour.
const TICK_MICROS: u64 = 20 * 60 * 1_000_000;
const BEGINNING: u64 = 1_800_000_000_000_000;

/// A model's moment or fence in microseconds: whole ticks are long, and what is between them are the next fences.
fn micros(moment: Moment) -> u64 {
    BEGINNING + u64::from(moment / TICK) * TICK_MICROS + u64::from(moment % TICK)
}

fn at(moment: Moment) -> Timestamp {
    Timestamp::from_micros(micros(moment))
}

fn length(moments: Moment) -> Duration {
    Duration::from_micros(u64::from(moments / TICK) * TICK_MICROS)
}

fn fence(fence: Moment) -> Fence {
    Fence::new(i64::try_from(micros(fence)).unwrap()).unwrap()
}

fn id(id: u8) -> AttemptId {
    AttemptId::from_uuid(Uuid::from_u128(u128::from(id) + 1))
}

fn policy(policy: Policy) -> RealPolicy {
    RealPolicy {
        lease: length(LEASE),
        max_lease: length(LEASE),
        retention: length(RETENTION),
        max_retention: length(RETENTION),
        unresolved_retention: length(UNRESOLVED_RETENTION),
        max_attempts: policy.max_attempts.into(),
        on_lost_lease: if policy.mark_unknown { OnLostLease::MarkUnknown } else { OnLostLease::Rerun },
        clock_skew_allowance: length(ALLOWANCE),
        ..RealPolicy::default()
    }
}

/// Back to the model's words.
fn moment(timestamp: Timestamp) -> Moment {
    let since = timestamp.as_micros() - BEGINNING;
    Moment::try_from(since / TICK_MICROS * u64::from(TICK) + since % TICK_MICROS)
        .expect("a moment of the model")
}

fn moments(length: Duration) -> Moment {
    let ticks = length.as_micros() / u128::from(TICK_MICROS);
    Moment::try_from(ticks).expect("a length of the model") * TICK
}

fn number(id: AttemptId) -> u8 {
    u8::try_from(id.get().as_u128() - 1).expect("an attempt of the model")
}

fn result(result: &semel::domain::OperationResult) -> u8 {
    str::from_utf8(&result.payload).unwrap().parse().unwrap()
}

fn row(record: &Record) -> Row {
    match record {
        Record::Forgotten(forgotten) => Row::Forgotten {
            fence: moment(forgotten.fence.moment()),
            reclaim_at: moment(forgotten.reclaim_at),
        },
        Record::Kept(kept) => Row::Kept(Kept {
            fence: moment(kept.fence.moment()),
            attempt: u8::try_from(kept.attempt).unwrap(),
            id: number(kept.attempt_id),
            before_budget: u8::try_from(kept.attempts_before_budget).unwrap(),
            fingerprint: kept.fingerprint.as_ref().map(|fingerprint| fingerprint.as_bytes()[0]),
            changed_at: moment(kept.changed_at),
            expires_at: moment(kept.expires_at),
            phase: phase(kept),
        }),
    }
}

fn phase(kept: &RealKept) -> Phase {
    match &kept.phase {
        RealPhase::InProgress { lease_end, on_lost_lease, given_up, .. } => Phase::InProgress {
            lease_end: moment(*lease_end),
            mark_unknown: *on_lost_lease == OnLostLease::MarkUnknown,
            given_up: given_up.as_ref().map(|given_up| moment(given_up.pause_until)),
        },
        RealPhase::Completed { result: its, resolution } => {
            Phase::Completed { result: result(its), by_operator: resolution.is_some() }
        }
        RealPhase::Released { pause_until, resolution, .. } => {
            Phase::Released { pause_until: moment(*pause_until), by_operator: resolution.is_some() }
        }
    }
}

fn refused(refusal: Refusal) -> Answer {
    match refusal {
        Refusal::FingerprintMismatch { .. } => Answer::FingerprintMismatch,
        Refusal::KeyExpired => Answer::KeyExpired,
        Refusal::AttemptEnded => Answer::AttemptEnded,
        Refusal::FenceLost { .. } => Answer::FenceLost,
        Refusal::AlreadyCompleted => Answer::AlreadyCompleted,
        Refusal::ResultConflict => Answer::ResultConflict,
        Refusal::StateConflict => Answer::StateConflict,
        Refusal::KeyNotFound => Answer::NotFound,
        Refusal::TooManyOpenKeys | Refusal::CheckpointConflict | Refusal::CheckpointLimit => {
            panic!("the model asks for nothing that is refused with {refusal}")
        }
    }
}

fn begun(answer: BeginAnswer) -> Answer {
    match answer {
        BeginAnswer::Started(started) => Answer::Started {
            fence: moment(started.fence.moment()),
            attempt: u8::try_from(started.attempt).unwrap(),
            remaining: moments(started.lease),
        },
        BeginAnswer::Replayed(done) => {
            Answer::Replayed { fence: moment(done.fence.moment()), result: result(&done.result) }
        }
        BeginAnswer::InProgress(running) => Answer::InProgress { backing_off: running.backing_off() },
        BeginAnswer::Unresolved(unresolved) => {
            Answer::Unresolved { exhausted: unresolved.reason == UnresolvedReason::AttemptsExhausted }
        }
    }
}

/// What `decide` comes to, in the model's words, and the record that it makes.
struct Real {
    answer: Answer,
    next: Option<Record>,
}

fn real<C: semel::domain::Command>(
    (record, policy, now): (Option<&Record>, &RealPolicy, Timestamp),
    command: &C,
    answer: impl FnOnce(C::Answer, bool) -> Answer,
) -> Real {
    match decide(record, command, policy, now) {
        Transition::Unchanged(Ok(said)) => Real { answer: answer(said, true), next: None },
        Transition::Unchanged(Err(refusal)) => Real { answer: refused(refusal), next: None },
        Transition::Change { next, answer: said } => Real { answer: answer(said, false), next: Some(next) },
    }
}

fn decided_by_the_code(record: Option<&Record>, decided: &Decided, its: Policy) -> Real {
    let policy = policy(its);
    let scene = (record, &policy, at(decided.now));
    match decided.command {
        Command::Begin { id: its, fingerprint, first_sent } => {
            let fingerprint = fingerprint.map(|digest| Fingerprint::new(&[digest]).unwrap());
            let begin = Begin {
                fingerprint,
                first_sent: first_sent.map(at),
                attempt_id: id(its),
                ..fixtures::begin(0)
            };
            real(scene, &begin, |answer, _| begun(answer))
        }
        Command::Complete { fence: its, id: owner, result } => {
            let result = fixtures::result(&result.to_string());
            let complete = Complete { fence: fence(its), attempt_id: id(owner), result, retention: None };
            real(scene, &complete, |done, _| Answer::Done { repeated: done.repeated })
        }
        Command::Release { fence: its, id: owner, pause } => {
            let abort = abort(its, owner, Disposition::Release, length(pause));
            real(scene, &abort, |done, _| Answer::Done { repeated: done.repeated })
        }
        Command::GiveUp { fence: its, id: owner } => {
            let abort = abort(its, owner, Disposition::OutcomeUnknown, Duration::ZERO);
            real(scene, &abort, |done, _| Answer::Done { repeated: done.repeated })
        }
        Command::Renew { fence: its, id: owner } => {
            let renew = Renew { fence: fence(its), attempt_id: id(owner), lease: None };
            real(scene, &renew, |renewed, _| Answer::Renewed { remaining: moments(renewed.lease) })
        }
        Command::ResolveResult { fence: its, result } => {
            let resolution = Resolution::Result(fixtures::result(&result.to_string()));
            real(scene, &resolve(its, resolution), |_, repeated| Answer::Done { repeated })
        }
        Command::ResolveRelease { fence: its } => {
            real(scene, &resolve(its, Resolution::Release), |_, repeated| Answer::Done { repeated })
        }
        Command::Forget { fence: its } => {
            let forget = Forget { fence: fence(its), force: false };
            real(scene, &forget, |(), repeated| Answer::Done { repeated })
        }
    }
}

fn abort(its: Moment, owner: u8, disposition: Disposition, retry_after: Duration) -> Abort {
    Abort { fence: fence(its), attempt_id: id(owner), disposition, detail: Detail::default(), retry_after }
}

fn resolve(its: Moment, resolution: Resolution) -> Resolve {
    Resolve { fence: fence(its), resolution, note: Note::new("seen".to_owned()).unwrap(), force: false }
}

/// How many decisions a walk compared, and how many of them changed something.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Compared {
    pub(crate) decisions: u64,
    pub(crate) changes: u64,
}

/// Walks through a model, anyhow; `Err` says where `decide` comes to something else.
pub(crate) fn walk(size: &Size, dice: &mut StdRng, compared: &mut Compared) -> Result<(), String> {
    let met = Met::default();
    let mut state = State::new(size);
    // The records that `decide` made, by what the model takes them for.
    let mut records: HashMap<(u8, Row), Record> = HashMap::new();
    let mut told = Vec::new();
    loop {
        let mut actions = Vec::new();
        protocol::actions(size, &state, &mut actions);
        // Time stands still while something else can happen, mostly: else walks are of waiting.
        if actions.len() > 1 && dice.random_range(0..4) > 0 {
            actions.retain(|action| *action != protocol::Action::Tick);
        }
        if actions.is_empty() || told.len() > 200 {
            return Ok(());
        }
        let action = actions[dice.random_range(0..actions.len())];
        told.push(action);
        let (next, decided) = protocol::step(size, &state, action, &met);
        state = next;
        let Some(decided) = decided else { continue };
        let before = decided.row.map(|row| &records[&(decided.key, row)]);
        let code = decided_by_the_code(before, &decided, size.policy);
        let made = code.next.as_ref().map(row);
        let reclaims = |row: Option<&Record>| row.map(|record| moment(record.reclaim_at()));
        let agrees = code.answer == decided.decision.answer
            && made == decided.decision.next
            && reclaims(code.next.as_ref()) == decided.decision.next.map(|row| row.reclaim_at());
        if !agrees {
            return Err(format!(
                "after {told:?}\nthe model decides {decided:?}\nthe code answers {:?} and stores {made:?}",
                code.answer
            ));
        }
        compared.decisions += 1;
        if let (Some(record), Some(row)) = (code.next, made) {
            compared.changes += 1;
            records.insert((decided.key, row), record);
        }
    }
}
