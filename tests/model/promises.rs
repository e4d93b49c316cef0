//! DESIGN's promises. They are held against what was granted, said and written before, and not by the rules that decide.

use crate::met::Met;
use crate::protocol::Decided;
use crate::rules::{ALLOWANCE, Answer, Command, Kept, Moment, Phase, Row};
use crate::state::{Acknowledged, CACHE_AGE, Call, Caller, Promise, SERVERS, Size, State, Stored, Write};

/// The promises that a state breaks by itself.
pub(crate) fn hold(size: &Size, state: &mut State) {
    let now = state.true_time();
    if size.within_allowance() {
        let owns = |caller: &Caller| matches!(caller, Caller::Owner { until, .. } if now <= *until);
        for key in 0..2 {
            let callers = state.callers.iter().zip(size.callers);
            let owners = callers.filter(|((caller, _), (_, its))| *its == key && owns(caller)).count();
            if owners > 1 {
                state.breaks(Promise::OneOwner);
            }
        }
    }
    if state.broken.is_none() {
        keys_can_be_begun(size, state);
    }
}

/// Whoever comes to a key that is absent, released or lost gets it, in calls that nothing disturbs: at this moment, and
/// once all that is stored has run out.
fn keys_can_be_begun(size: &Size, state: &mut State) {
    for cell in state.cells {
        let row = cell.now.map(|stored| stored.row);
        for server in 0..SERVERS {
            let now = state.now(server);
            let expired = row.map_or(now, |row| row.reclaim_at().max(now));
            let moments = [(now, can_be_begun(size, row, now)), (expired, true)];
            for (now, due) in moments {
                let command = Command::Begin { id: u8::MAX, fingerprint: None, first_sent: None };
                let decision = size.rules().decide(row.as_ref(), command, now);
                if due && !matches!(decision.answer, Answer::Started { .. }) {
                    state.breaks(Promise::KeysCanBeBegun);
                }
            }
        }
    }
}

/// By what is stored and by DESIGN's table, whether a new attempt may begin.
fn can_be_begun(size: &Size, row: Option<Row>, now: Moment) -> bool {
    let Some(Row::Kept(kept)) = row else { return true };
    if now >= kept.expires_at {
        return true;
    }
    let left = !kept.used_up(size.policy);
    match kept.phase {
        Phase::Completed { .. } | Phase::InProgress { mark_unknown: true, .. } => false,
        Phase::Released { pause_until, .. } | Phase::InProgress { given_up: Some(pause_until), .. } => {
            left && now >= pause_until
        }
        Phase::InProgress { lease_end, given_up: None, .. } => left && now > lease_end + ALLOWANCE,
    }
}

/// A write happens.
pub(crate) fn written(size: &Size, state: &mut State, write: &Write, met: &Met) {
    let (grace, now) = (size.within_grace(), write.now);
    let cell = *state.cell(write.key);
    let before = cell.now.map(|stored| stored.row);
    let stays = |acknowledged: Acknowledged| match write.row {
        Row::Kept(Kept { fence, phase: Phase::Completed { result, .. }, .. }) => {
            (fence, result) == (acknowledged.fence, acknowledged.result)
        }
        Row::Kept(_) => false,
        Row::Forgotten { .. } => true,
    };
    if let Some(acknowledged) = cell.acknowledged
        && now < acknowledged.expires_at
        && grace
        && !stays(acknowledged)
    {
        state.breaks(Promise::ResultsStay);
    }
    match write.command {
        Command::Begin { id, .. }
            if before.is_none_or(|row| row.fence() != write.row.fence()) || cell.granted_to != Some(id) =>
        {
            if grace && write.row.fence() <= cell.granted {
                state.breaks(Promise::FencesRise);
            }
            if let Some(kept) = before.as_ref().and_then(|row| row.live(now)) {
                met.after(kept);
                let running = matches!(kept.phase, Phase::InProgress { given_up: None, .. });
                if running && kept.id == id {
                    state.breaks(Promise::OneAttemptOneFence);
                }
                let unknown = matches!(kept.phase, Phase::InProgress { mark_unknown: true, .. });
                if unknown || kept.used_up(size.policy) {
                    state.breaks(Promise::UnknownIsNotRerun);
                }
            }
            let follows = before.as_ref().and_then(|row| row.live(now));
            let budget_goes_on =
                follows.is_some_and(|kept| !matches!(kept.phase, Phase::Released { by_operator: true, .. }));
            let cell = state.cell(write.key);
            cell.attempts = if budget_goes_on { cell.attempts + 1 } else { 1 };
            let too_many = size.policy.max_attempts > 0 && cell.attempts > size.policy.max_attempts;
            cell.granted = write.row.fence();
            cell.granted_to = Some(id);
            (cell.acknowledged, cell.forgotten) = (None, None);
            if too_many {
                state.breaks(Promise::UnknownIsNotRerun);
            }
            met.owner();
        }
        Command::Complete { fence, id, .. }
        | Command::Release { fence, id, .. }
        | Command::GiveUp { fence, id }
        | Command::Renew { fence, id } => {
            if cell.granted != fence || cell.granted_to != Some(id) {
                state.breaks(Promise::WritesNeedTheFence);
            }
        }
        Command::Forget { fence } => {
            if cell.granted != fence || write.row.fence() != fence {
                state.breaks(Promise::WritesNeedTheFence);
            }
            let tick = state.tick;
            let cell = state.cell(write.key);
            (cell.acknowledged, cell.forgotten) = (None, Some((fence, tick)));
        }
        Command::Begin { .. } => {}
        Command::ResolveResult { fence, .. } | Command::ResolveRelease { fence } => {
            if cell.granted != fence {
                state.breaks(Promise::WritesNeedTheFence);
            }
        }
    }
}

/// A server answers a call.
pub(crate) fn answered(size: &Size, state: &mut State, call: &Call, answer: Answer, met: &Met) {
    met.answered(answer);
    let (command, now, true_time) = (call.request.command, state.now(call.server), state.true_time());
    if answer == Answer::Unavailable && call.wrote {
        state.breaks(Promise::UnwrittenIsTrue);
    }
    if let Answer::Replayed { fence, result } = answer {
        replayed(size, state, call, (fence, result));
    }
    if let (
        Command::Complete { fence, result, .. } | Command::ResolveResult { fence, result },
        Answer::Done { .. },
    ) = (command, answer)
    {
        acknowledged(size, state, call, (fence, result));
    }
    if let (Command::Begin { .. }, Some(promised)) = (command, call.promised)
        && state.cell(call.request.key).acknowledged == Some(promised)
        && now < promised.expires_at
        && size.within_grace()
        && matches!(answer, Answer::Started { .. } | Answer::InProgress { .. } | Answer::Unresolved { .. })
    {
        state.breaks(Promise::ResultsAreReplayed);
    }
    let (Command::Complete { fence, .. } | Command::Renew { fence, .. }) = command else { return };
    let in_time = match state.callers.get(usize::from(call.request.from)).map(|(caller, _)| *caller) {
        Some(Caller::Owner { fence: owned, until, .. }) => owned == fence && true_time <= until,
        _ => false,
    };
    if in_time && answer == Answer::FenceLost && size.within_allowance() {
        state.breaks(Promise::OwnersAreNotDenied);
    }
}

/// The owner was told that its result is kept: it is there.
fn acknowledged(size: &Size, state: &mut State, call: &Call, (fence, result): (u16, u8)) {
    let stored = state.cell(call.request.key).now;
    match stored {
        Some(Stored { row: Row::Kept(kept), .. })
            if kept.fence == fence
                && matches!(kept.phase, Phase::Completed { result: its, .. } if its == result) =>
        {
            let acknowledged = Acknowledged { fence, result, expires_at: kept.expires_at };
            state.cell(call.request.key).acknowledged = Some(acknowledged);
        }
        // It was seen, and changed since: forgotten, or expired and begun anew.
        Some(_) | None if call.seen.is_some() || !size.within_grace() => {}
        Some(_) | None => state.breaks(Promise::ResultsStay),
    }
}

/// A result is told: it is that of the asker's key and digest.
fn replayed(size: &Size, state: &mut State, call: &Call, (_, result): (u16, u8)) {
    let Command::Begin { fingerprint, .. } = call.request.command else { return };
    let Some((digest, key)) = size.callers.get(usize::from(result / 4)) else { return };
    let differs = fingerprint.is_some() && digest.is_some() && fingerprint != *digest;
    if differs || *key != call.request.key {
        state.breaks(Promise::NothingCrosses);
    }
}

/// A server replays what it remembers: in its time, and not long after it was forgotten.
pub(crate) fn cached_replay(state: &mut State, call: &Call, decided: &Decided) {
    let now = state.now(call.server);
    if decided.row.is_none_or(|row| row.live(now).is_none()) {
        state.breaks(Promise::ResultsAreReplayed);
    }
    let Answer::Replayed { fence, .. } = decided.decision.answer else { return };
    if let Some((forgotten, at)) = state.cell(call.request.key).forgotten
        && fence <= forgotten
        && state.tick >= at + CACHE_AGE
    {
        state.breaks(Promise::ForgottenIsForgotten);
    }
}

/// What a broken promise is called.
pub(crate) const PROMISES: [(&str, Promise); 12] = [
    ("one owner at a time", Promise::OneOwner),
    ("fences rise", Promise::FencesRise),
    ("a write needs the current fence", Promise::WritesNeedTheFence),
    ("an owner in its time is not told that it lost the key", Promise::OwnersAreNotDenied),
    ("an acknowledged result stays", Promise::ResultsStay),
    ("an acknowledged result is replayed, in its time", Promise::ResultsAreReplayed),
    ("an attempt has one fence while its record lives", Promise::OneAttemptOneFence),
    ("what is unknown or used up is not rerun", Promise::UnknownIsNotRerun),
    ("nothing is called unwritten that may be written", Promise::UnwrittenIsTrue),
    ("no answer crosses key or fingerprint", Promise::NothingCrosses),
    ("what is forgotten is not replayed past the cache's age", Promise::ForgottenIsForgotten),
    ("a key that is absent, released or lost can be begun", Promise::KeysCanBeBegun),
];
