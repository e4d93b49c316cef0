//! What may happen: steps of callers, network, servers, store and clocks.

use crate::callers;
use crate::met::Met;
use crate::planted::Fault;
use crate::promises;
use crate::rules::{Answer, Command, Decision, Kept, Moment, Phase, Row};
use crate::state::{
    CACHE_AGE, Cached, Call, Caller, OPERATOR, OPERATORS_RESULT, Request, SERVERS, START, Size, State,
    Stored, Trouble, Write,
};

/// What a caller may say of its attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Word {
    Renew,
    Complete,
    Release,
    GiveUp,
}

/// What an operator may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operation {
    Result,
    Release,
    Forget,
}

/// What the store makes of a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Luck {
    Answered,
    /// Answered, and the caller never hears of it.
    AnswerLost,
    /// Not written, and the store says so.
    Refused,
    /// Written, and the store does not say.
    WrittenUnsaid,
    /// Not written, and the store does not say.
    LostUnsaid,
    /// The store does not say, and it may be written later.
    Late,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    Tick,
    Jump {
        server: u8,
    },
    Begin {
        caller: u8,
    },
    Say {
        caller: u8,
        word: Word,
    },
    /// A copy of the call that the caller waits for.
    Double {
        caller: u8,
    },
    Operate {
        operation: Operation,
        key: u8,
    },
    /// A server takes a call, and reads what may be there.
    Arrive {
        request: usize,
        server: u8,
        stale: bool,
    },
    /// It decides, and writes what changes.
    Decide {
        call: usize,
        luck: Luck,
    },
    /// It answers that it does not know.
    GiveUp {
        call: usize,
    },
    LateWrite {
        write: usize,
    },
    Reclaim {
        key: u8,
        server: u8,
    },
    Crash {
        server: u8,
    },
}

/// A decision, as it was taken.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Decided {
    pub(crate) key: u8,
    pub(crate) row: Option<Row>,
    pub(crate) command: Command,
    pub(crate) now: Moment,
    pub(crate) decision: Decision,
}

pub(crate) fn actions(size: &Size, state: &State, actions: &mut Vec<Action>) {
    if state.broken.is_some() {
        return;
    }
    let trouble = |place| state.mishaps > 0 && size.trouble.is_in(place);
    if state.tick + size.stride <= START + size.ticks {
        actions.push(Action::Tick);
    }
    for (caller, (its, _)) in (0..).zip(&state.callers) {
        match its {
            Caller::Ready { .. } | Caller::Asking { in_flight: false, .. } => {
                actions.push(Action::Begin { caller });
            }
            Caller::Owner { fence, .. } => {
                let renewing =
                    |command: &Command| matches!(command, Command::Renew { fence: its, .. } if its == fence);
                let busy =
                    state.network.iter().any(|request| request.from == caller && renewing(&request.command))
                        || state
                            .calls
                            .iter()
                            .any(|call| call.request.from == caller && renewing(&call.request.command));
                if size.renews && !busy {
                    actions.push(Action::Say { caller, word: Word::Renew });
                }
                let words = [Word::Complete, Word::Release, Word::GiveUp];
                actions.extend(words.map(|word| Action::Say { caller, word }));
            }
            Caller::Ending { in_flight: false, .. } => actions.push(Action::Double { caller }),
            Caller::Asking { .. } | Caller::Ending { .. } if trouble(Trouble::Network) => {
                actions.push(Action::Double { caller });
            }
            Caller::Asking { .. } | Caller::Ending { .. } | Caller::Done => {}
        }
    }
    if state.operations > 0 {
        for key in 0..2 {
            if state.cells[usize::from(key)].now.is_some() {
                let all = [Operation::Result, Operation::Release, Operation::Forget];
                actions.extend(all.map(|operation| Action::Operate { operation, key }));
            }
        }
    }
    for server in 0..SERVERS {
        for (request, its) in state.network.iter().enumerate() {
            if request > 0 && state.network[request - 1] == *its {
                continue;
            }
            actions.push(Action::Arrive { request, server, stale: false });
            if state.cells[usize::from(its.key)].before.is_some() {
                actions.push(Action::Arrive { request, server, stale: true });
            }
        }
        if trouble(Trouble::Servers) {
            actions.push(Action::Jump { server });
            if state.calls.iter().any(|call| call.server == server)
                || !state.caches[usize::from(server)].is_empty()
            {
                actions.push(Action::Crash { server });
            }
        }
        for key in 0..2 {
            if state.cells[usize::from(key)]
                .now
                .is_some_and(|stored| may_go(size, &stored.row, state.now(server)))
            {
                actions.push(Action::Reclaim { key, server });
            }
        }
    }
    for (call, its) in state.calls.iter().enumerate() {
        actions.push(Action::Decide { call, luck: Luck::Answered });
        if its.unsettled.is_some() {
            actions.push(Action::GiveUp { call });
        }
        if trouble(Trouble::Network) {
            actions.push(Action::Decide { call, luck: Luck::AnswerLost });
        }
        // The same in every step that writes nothing.
        if trouble(Trouble::Store)
            && (its.unsettled.is_some() || decide(size, state, its).decision.next.is_some())
        {
            let unlucky = [Luck::Refused, Luck::WrittenUnsaid, Luck::LostUnsaid, Luck::Late];
            actions.extend(unlucky.map(|luck| Action::Decide { call, luck }));
        }
    }
    actions.extend((0..state.late.len()).map(|write| Action::LateWrite { write }));
}

fn may_go(size: &Size, row: &Row, now: Moment) -> bool {
    match row {
        Row::Kept(kept) if size.has(Fault::ReclaimedTooEarly) => now >= kept.changed_at,
        row => now >= row.reclaim_at(),
    }
}

fn decide(size: &Size, state: &State, call: &Call) -> Decided {
    let row = call.seen.map(|stored| stored.row);
    let (command, now) = (call.request.command, state.now(call.server));
    let decision = size.rules().decide(row.as_ref(), command, now);
    Decided { key: call.request.key, row, command, now, decision }
}

/// The state after `action`, and the decision that was taken in it.
pub(crate) fn step(size: &Size, state: &State, action: Action, met: &Met) -> (State, Option<Decided>) {
    let mut next = state.clone();
    let mut decided = None;
    match action {
        Action::Tick => {
            next.tick += size.stride;
            // What is too old to be replayed is nothing.
            let tick = next.tick;
            for cache in &mut next.caches {
                cache.retain(|cached| tick - cached.since < CACHE_AGE);
            }
        }
        Action::Jump { server } => {
            next.mishaps -= 1;
            let ahead = &mut next.ahead[usize::from(server)];
            *ahead = if *ahead == 0 { size.clocks.ahead() } else { 0 };
        }
        Action::Begin { caller } => callers::begin(size, &mut next, caller),
        Action::Say { caller, word } => callers::say(&mut next, size, caller, word),
        Action::Double { caller } => callers::double(size, &mut next, caller),
        Action::Operate { operation, key } => {
            next.operations -= 1;
            let fence = next.cell(key).now.map_or(0, |stored| stored.row.fence());
            let command = match operation {
                Operation::Result => Command::ResolveResult { fence, result: OPERATORS_RESULT },
                Operation::Release => Command::ResolveRelease { fence },
                Operation::Forget => Command::Forget { fence },
            };
            next.network.push(Request { from: OPERATOR, key, sent: 0, command });
        }
        Action::Arrive { request, server, stale } => {
            let request = next.network.remove(request);
            decided = arrive(size, &mut next, request, server, stale, met);
        }
        Action::Decide { call, luck } => {
            let call = next.calls.remove(call);
            if luck != Luck::Answered {
                next.mishaps -= 1;
            }
            if let Some(write) = call.unsettled {
                put(size, &mut next, call, write, luck, met);
            } else {
                decided = Some(decide(size, &next, &call));
                act(size, &mut next, call, luck, met);
            }
        }
        Action::GiveUp { call } => {
            let call = next.calls.remove(call);
            met.unknown();
            let answer =
                if size.has(Fault::UnknownTakenAsFailed) { Answer::Unavailable } else { Answer::Unknown };
            reply(size, &mut next, &call, answer, true, met);
        }
        Action::LateWrite { write } => {
            let write = next.late.remove(write);
            if holds(size, &next, &write) {
                met.late();
                apply(size, &mut next, &write, true, met);
            }
        }
        Action::Reclaim { key, .. } => {
            met.reclaimed();
            let cell = next.cell(key);
            (cell.now, cell.before) = (None, None);
        }
        Action::Crash { server } => {
            next.mishaps -= 1;
            met.crash();
            next.caches[usize::from(server)].clear();
            let (gone, left): (Vec<_>, Vec<_>) = next.calls.iter().partition(|call| call.server == server);
            next.calls = left;
            for call in gone {
                callers::hear(size, &mut next, &call.request, Answer::Unknown);
            }
        }
    }
    promises::hold(size, &mut next);
    (next.in_order(), decided)
}

fn arrive(
    size: &Size,
    next: &mut State,
    request: Request,
    server: u8,
    stale: bool,
    met: &Met,
) -> Option<Decided> {
    let mut call = Call {
        server,
        request,
        seen: None,
        serial: false,
        since: next.tick,
        unsettled: None,
        unsure: false,
        wrote: false,
        promised: next.cell(request.key).acknowledged,
    };
    if let Command::Begin { .. } = request.command
        && let Some(decided) = replay(size, next, &call)
    {
        met.replayed_from_cache();
        promises::cached_replay(next, &call, &decided);
        reply(size, next, &call, decided.decision.answer, true, met);
        return Some(decided);
    }
    let cell = next.cell(request.key);
    call.seen = match cell.before {
        Some(before) if stale => {
            met.stale();
            before
        }
        _ => {
            cell.before = None;
            cell.now
        }
    };
    remember(next, &call);
    next.calls.push(call);
    None
}

/// What the replay cache answers.
fn replay(size: &Size, next: &State, call: &Call) -> Option<Decided> {
    let Command::Begin { id, fingerprint, first_sent } = call.request.command else { return None };
    let any_key = size.has(Fault::CacheForgetsWhoseKey);
    let cached = next.caches[usize::from(call.server)]
        .iter()
        .find(|cached| any_key || cached.key == call.request.key)?;
    let mut now = next.now(call.server);
    let mut asked = fingerprint;
    if size.has(Fault::CacheBeforeFingerprint) {
        asked = None;
    }
    if size.has(Fault::CacheBeforeExpiry)
        && let Row::Kept(kept) = cached.row
    {
        now = now.min(kept.expires_at - 1);
    }
    let command = Command::Begin { id, fingerprint: asked, first_sent };
    let decision = size.rules().decide(Some(&cached.row), command, now);
    matches!(decision.answer, Answer::Replayed { .. }).then_some(Decided {
        key: call.request.key,
        row: Some(cached.row),
        command,
        now,
        decision,
    })
}

/// Keeps what a store call found, where it is completed.
fn remember(next: &mut State, call: &Call) {
    let (key, since) = (call.request.key, call.since);
    let cache = &mut next.caches[usize::from(call.server)];
    if let Some(Stored { row: row @ Row::Kept(Kept { phase: Phase::Completed { .. }, .. }), .. }) = call.seen
    {
        if next.tick - since < CACHE_AGE {
            cache.retain(|cached| cached.key != key);
            cache.push(Cached { key, row, since });
        }
    } else {
        cache.retain(|cached| cached.key != key);
    }
}

fn act(size: &Size, next: &mut State, mut call: Call, luck: Luck, met: &Met) {
    let Decided { decision, now, command, .. } = decide(size, next, &call);
    let Some(row) = decision.next else {
        let stops_owner = !matches!(command, Command::Begin { .. } | Command::Forget { .. })
            && !matches!(command, Command::ResolveResult { .. } | Command::ResolveRelease { .. })
            && !matches!(decision.answer, Answer::Done { .. } | Answer::Renewed { .. });
        if stops_owner && !call.serial {
            let cell = next.cell(call.request.key);
            cell.before = None;
            (call.seen, call.serial, call.since) = (cell.now, true, next.tick);
            remember(next, &call);
            next.calls.push(call);
            return;
        }
        return reply(size, next, &call, decision.answer, luck == Luck::Answered, met);
    };
    let write = Write {
        key: call.request.key,
        version: next.unused_version(),
        expected: call.seen.map(|stored| stored.version),
        row,
        command,
        answer: decision.answer,
        now,
    };
    if let Row::Forgotten { .. } = row {
        let key = write.key;
        next.caches[usize::from(call.server)].retain(|cached| cached.key != key);
    }
    call.since = next.tick;
    if size.has(Fault::AcknowledgedBeforeWritten) && luck != Luck::Answered {
        return reply(size, next, &call, decision.answer, true, met);
    }
    put(size, next, call, write, luck, met);
}

/// Whether the condition of a write holds.
fn holds(size: &Size, next: &State, write: &Write) -> bool {
    let now = next.cells[usize::from(write.key)].now.map(|stored| stored.version);
    now == write.expected || size.has(Fault::UnconditionalWrites)
}

fn put(size: &Size, next: &mut State, mut call: Call, write: Write, luck: Luck, met: &Met) {
    let current = next.cell(write.key).now;
    let own = current.is_some_and(|stored| stored.version == write.version);
    match luck {
        Luck::Refused => {
            let answer = if call.unsure && !size.has(Fault::RefusalAfterUnknownTakenAtItsWord) {
                Answer::Unknown
            } else {
                Answer::Unavailable
            };
            reply(size, next, &call, answer, true, met);
        }
        Luck::WrittenUnsaid | Luck::LostUnsaid | Luck::Late => {
            met.unsaid();
            call.unsure = true;
            if luck == Luck::WrittenUnsaid && !own && holds(size, next, &write) {
                call.wrote = true;
                apply(size, next, &write, true, met);
            }
            if luck == Luck::Late && !own && !next.late.contains(&write) {
                call.wrote = true;
                next.late.push(write);
            }
            call.unsettled = Some(write);
            next.calls.push(call);
        }
        Luck::Answered | Luck::AnswerLost => {
            let applied = own || holds(size, next, &write);
            if applied && !own {
                apply(size, next, &write, false, met);
            }
            let cell = next.cell(write.key);
            cell.before = None;
            (call.seen, call.serial) = (cell.now, true);
            remember(next, &call);
            if applied {
                reply(size, next, &call, write.answer, luck == Luck::Answered, met);
            } else {
                met.conflict();
                call.unsettled = None;
                next.calls.push(call);
            }
        }
    }
}

fn apply(size: &Size, next: &mut State, write: &Write, unsaid: bool, met: &Met) {
    promises::written(size, next, write, met);
    let cell = next.cell(write.key);
    cell.before = unsaid.then_some(cell.now);
    cell.now = Some(Stored { version: write.version, row: write.row });
}

fn reply(size: &Size, next: &mut State, call: &Call, answer: Answer, heard: bool, met: &Met) {
    promises::answered(size, next, call, answer, met);
    let answer = if heard { answer } else { Answer::Unknown };
    callers::hear(size, next, &call.request, answer);
}
