//! The state machine as DESIGN's tables have it, in the model's own few words: `replayed.rs` holds it against `decide`.

use crate::planted::Fault;

/// A sixteenth of a tick: as many fences fit between two moments that clocks show.
pub(crate) type Moment = u16;
pub(crate) type Fence = u16;
/// Names an attempt: the caller's number times four, and the number of its attempt.
pub(crate) type AttemptId = u8;

/// The step of all clocks: twenty minutes, so that the grace of an hour is three of them.
pub(crate) const TICK: Moment = 16;
pub(crate) const LEASE: Moment = TICK;
pub(crate) const ALLOWANCE: Moment = TICK;
pub(crate) const RETENTION: Moment = 2 * TICK;
pub(crate) const UNRESOLVED_RETENTION: Moment = 3 * TICK;
pub(crate) const GRACE: Moment = 3 * TICK;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Policy {
    pub(crate) mark_unknown: bool,
    pub(crate) max_attempts: u8,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Row {
    Kept(Kept),
    Forgotten { fence: Fence, reclaim_at: Moment },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Kept {
    pub(crate) fence: Fence,
    pub(crate) attempt: u8,
    pub(crate) id: AttemptId,
    pub(crate) before_budget: u8,
    pub(crate) fingerprint: Option<u8>,
    pub(crate) changed_at: Moment,
    pub(crate) expires_at: Moment,
    pub(crate) phase: Phase,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Phase {
    /// `given_up`: until when the next Begin is told to wait.
    InProgress {
        lease_end: Moment,
        mark_unknown: bool,
        given_up: Option<Moment>,
    },
    Completed {
        result: u8,
        by_operator: bool,
    },
    Released {
        pause_until: Moment,
        by_operator: bool,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Command {
    Begin { id: AttemptId, fingerprint: Option<u8>, first_sent: Option<Moment> },
    Complete { fence: Fence, id: AttemptId, result: u8 },
    Release { fence: Fence, id: AttemptId, pause: Moment },
    GiveUp { fence: Fence, id: AttemptId },
    Renew { fence: Fence, id: AttemptId },
    ResolveResult { fence: Fence, result: u8 },
    ResolveRelease { fence: Fence },
    Forget { fence: Fence },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Answer {
    Started {
        fence: Fence,
        attempt: u8,
        remaining: Moment,
    },
    Replayed {
        fence: Fence,
        result: u8,
    },
    InProgress {
        backing_off: bool,
    },
    Unresolved {
        exhausted: bool,
    },
    Renewed {
        remaining: Moment,
    },
    Done {
        repeated: bool,
    },
    FingerprintMismatch,
    KeyExpired,
    AttemptEnded,
    FenceLost,
    AlreadyCompleted,
    ResultConflict,
    StateConflict,
    NotFound,
    /// Nothing was written.
    Unavailable,
    /// Nobody knows whether anything was.
    Unknown,
}

/// What a decision comes to: the answer, and the whole row from then on where it changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Decision {
    pub(crate) answer: Answer,
    pub(crate) next: Option<Row>,
}

const fn say(answer: Answer) -> Decision {
    Decision { answer, next: None }
}

const fn change(next: Kept, answer: Answer) -> Decision {
    Decision { answer, next: Some(Row::Kept(next)) }
}

const DONE: Answer = Answer::Done { repeated: false };
const REPEATED: Answer = Answer::Done { repeated: true };

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reading {
    InProgress,
    Completed,
    Released,
    Unresolved { exhausted: bool },
    LeaseLost,
}

impl Row {
    pub(crate) const fn fence(&self) -> Fence {
        match self {
            Self::Kept(kept) => kept.fence,
            Self::Forgotten { fence, .. } => *fence,
        }
    }

    pub(crate) const fn live(&self, now: Moment) -> Option<&Kept> {
        match self {
            Self::Kept(kept) if now < kept.expires_at => Some(kept),
            Self::Kept(_) | Self::Forgotten { .. } => None,
        }
    }

    /// From then on the row may go.
    pub(crate) fn reclaim_at(&self) -> Moment {
        match self {
            Self::Kept(kept) => kept.expires_at.max(kept.changed_at + RETENTION).max(kept.fence) + GRACE,
            Self::Forgotten { reclaim_at, .. } => *reclaim_at,
        }
    }
}

impl Kept {
    pub(crate) const fn used_up(&self, policy: Policy) -> bool {
        policy.max_attempts > 0 && self.attempt - self.before_budget >= policy.max_attempts
    }

    fn read(&self, rules: Rules, now: Moment) -> Reading {
        let allowance = if rules.fault == Some(Fault::NoSkewAllowance) { 0 } else { ALLOWANCE };
        match self.phase {
            Phase::Completed { .. } => Reading::Completed,
            Phase::Released { .. } if self.used_up(rules.policy) => Reading::Unresolved { exhausted: true },
            Phase::Released { .. } => Reading::Released,
            Phase::InProgress { lease_end, given_up: None, .. } if now <= lease_end + allowance => {
                Reading::InProgress
            }
            Phase::InProgress { mark_unknown: true, .. }
                if rules.fault != Some(Fault::RerunWhatIsUnknown) =>
            {
                Reading::Unresolved { exhausted: false }
            }
            Phase::InProgress { .. } if self.used_up(rules.policy) => Reading::Unresolved { exhausted: true },
            Phase::InProgress { .. } if rules.fault == Some(Fault::LeaseNeverLost) => Reading::InProgress,
            Phase::InProgress { .. } => Reading::LeaseLost,
        }
    }

    const fn pause_until(&self) -> Moment {
        match self.phase {
            Phase::Released { pause_until, .. } | Phase::InProgress { given_up: Some(pause_until), .. } => {
                pause_until
            }
            Phase::InProgress { .. } | Phase::Completed { .. } => 0,
        }
    }
}

/// The rules of one model: a policy, and the fault that is planted in them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rules {
    pub(crate) policy: Policy,
    pub(crate) fault: Option<Fault>,
}

impl Rules {
    pub(crate) fn decide(self, row: Option<&Row>, command: Command, now: Moment) -> Decision {
        match command {
            Command::Begin { id, fingerprint, first_sent } => {
                self.begin(row, (id, fingerprint, first_sent), now)
            }
            Command::Complete { fence, id, .. }
            | Command::Release { fence, id, .. }
            | Command::GiveUp { fence, id }
            | Command::Renew { fence, id } => match self.owned(row, fence, id, now) {
                Ok(kept) => self.owner(*kept, command, now),
                Err(refusal) => say(refusal),
            },
            Command::ResolveResult { fence, .. } | Command::ResolveRelease { fence } => {
                match row.and_then(|row| row.live(now)) {
                    None => say(Answer::NotFound),
                    Some(kept) if kept.fence != fence => say(Answer::FenceLost),
                    Some(kept) => self.resolve(*kept, command, now),
                }
            }
            Command::Forget { fence } => self.forget(row, fence, now),
        }
    }

    fn begin(
        self,
        row: Option<&Row>,
        (id, fingerprint, first_sent): (AttemptId, Option<u8>, Option<Moment>),
        now: Moment,
    ) -> Decision {
        let Some(kept) = row.and_then(|row| row.live(now)) else {
            let known_before = |sent| matches!(row, Some(Row::Kept(Kept { phase: Phase::Completed { .. } | Phase::InProgress { .. }, expires_at, .. })) if sent < *expires_at);
            return match first_sent {
                Some(sent) if sent < now.saturating_sub(RETENTION) || known_before(sent) => {
                    say(Answer::KeyExpired)
                }
                _ => self.start(row.map(Row::fence), None, (id, fingerprint), now),
            };
        };
        if let (Some(sent), Some(stored)) = (fingerprint, kept.fingerprint)
            && sent != stored
        {
            return say(Answer::FingerprintMismatch);
        }
        if let Phase::Completed { result, .. } = kept.phase
            && self.fault != Some(Fault::RerunWhatIsCompleted)
        {
            return say(Answer::Replayed { fence: kept.fence, result });
        }
        if kept.id == id && self.fault != Some(Fault::OwnAttemptNotKnown) {
            return Self::own_attempt(*kept, now);
        }
        match kept.read(self, now) {
            Reading::InProgress => say(Answer::InProgress { backing_off: false }),
            Reading::Unresolved { exhausted } => say(Answer::Unresolved { exhausted }),
            Reading::LeaseLost | Reading::Released if now < kept.pause_until() => {
                say(Answer::InProgress { backing_off: true })
            }
            Reading::LeaseLost | Reading::Released | Reading::Completed => {
                self.start(Some(kept.fence), Some(kept), (id, fingerprint), now)
            }
        }
    }

    const fn own_attempt(kept: Kept, now: Moment) -> Decision {
        let Phase::InProgress { lease_end, mark_unknown, given_up: None } = kept.phase else {
            return say(Answer::AttemptEnded);
        };
        if now < lease_end {
            return say(Answer::Started {
                fence: kept.fence,
                attempt: kept.attempt,
                remaining: lease_end - now,
            });
        }
        let lease_end = now + LEASE;
        let next = Kept {
            changed_at: now,
            expires_at: lease_end + UNRESOLVED_RETENTION,
            phase: Phase::InProgress { lease_end, mark_unknown, given_up: None },
            ..kept
        };
        change(next, Answer::Started { fence: kept.fence, attempt: kept.attempt, remaining: LEASE })
    }

    fn start(
        self,
        known: Option<Fence>,
        previous: Option<&Kept>,
        (id, fingerprint): (AttemptId, Option<u8>),
        now: Moment,
    ) -> Decision {
        let fence = match (self.fault, known) {
            (Some(Fault::FenceWithoutClock), known) => known.unwrap_or(0) + 1,
            (Some(Fault::FenceOfClockAlone), _) => now,
            (_, known) => known.map_or(now, |known| (known + 1).max(now)),
        };
        let attempt = match self.fault {
            Some(Fault::AttemptsNotCounted) => 1,
            _ => previous.map_or(1, |previous| previous.attempt + 1),
        };
        let lease_end = now + LEASE;
        let next = Kept {
            fence,
            attempt,
            id,
            before_budget: previous.map_or(0, |previous| previous.before_budget),
            fingerprint: fingerprint.or_else(|| previous.and_then(|previous| previous.fingerprint)),
            changed_at: now,
            expires_at: lease_end + UNRESOLVED_RETENTION,
            phase: Phase::InProgress { lease_end, mark_unknown: self.policy.mark_unknown, given_up: None },
        };
        change(next, Answer::Started { fence, attempt, remaining: LEASE })
    }

    fn owned(self, row: Option<&Row>, fence: Fence, id: AttemptId, now: Moment) -> Result<&Kept, Answer> {
        let row = row.ok_or(Answer::NotFound)?;
        if let Row::Forgotten { .. } = row {
            return Err(Answer::FenceLost);
        }
        let kept = row.live(now).ok_or(Answer::NotFound)?;
        let owns = match self.fault {
            Some(Fault::NoFenceCheck) => true,
            Some(Fault::AttemptAloneCompared) => kept.id == id,
            _ => kept.fence == fence && kept.id == id,
        };
        if owns { Ok(kept) } else { Err(Answer::FenceLost) }
    }

    fn owner(self, kept: Kept, command: Command, now: Moment) -> Decision {
        match (command, kept.phase) {
            (Command::Complete { result, .. }, Phase::InProgress { .. }) => {
                change(completed(kept, result, false, now), DONE)
            }
            (Command::Complete { result, .. }, Phase::Completed { result: stored, .. }) => {
                if result == stored {
                    say(REPEATED)
                } else if self.fault == Some(Fault::LaterResultWins) {
                    change(completed(kept, result, false, now), DONE)
                } else {
                    say(Answer::ResultConflict)
                }
            }
            (_, Phase::Completed { .. }) => say(Answer::AlreadyCompleted),
            (Command::Release { pause, .. }, Phase::InProgress { .. }) => {
                change(released(kept, now + pause, false, now), DONE)
            }
            (Command::Release { .. }, Phase::Released { .. })
            | (Command::GiveUp { .. }, Phase::InProgress { given_up: Some(_), .. }) => say(REPEATED),
            (Command::GiveUp { .. }, Phase::InProgress { lease_end, mark_unknown, given_up: None }) => {
                let phase = Phase::InProgress { lease_end, mark_unknown, given_up: Some(now) };
                change(Kept { changed_at: now, expires_at: now + UNRESOLVED_RETENTION, phase, ..kept }, DONE)
            }
            (Command::Renew { .. }, Phase::InProgress { lease_end, mark_unknown, given_up: None }) => {
                let renewed = now + LEASE;
                if renewed <= lease_end {
                    return say(Answer::Renewed { remaining: lease_end.saturating_sub(now) });
                }
                let phase = Phase::InProgress { lease_end: renewed, mark_unknown, given_up: None };
                let expires_at = renewed + UNRESOLVED_RETENTION;
                change(
                    Kept { changed_at: now, expires_at, phase, ..kept },
                    Answer::Renewed { remaining: LEASE },
                )
            }
            _ => say(Answer::FenceLost),
        }
    }

    fn resolve(self, kept: Kept, command: Command, now: Moment) -> Decision {
        match (command, kept.phase) {
            (
                Command::ResolveResult { result, .. },
                Phase::Completed { result: stored, by_operator: true },
            ) if result == stored => {
                return say(REPEATED);
            }
            (Command::ResolveRelease { .. }, Phase::Released { by_operator: true, .. }) => {
                return say(REPEATED);
            }
            _ => {}
        }
        if !matches!(kept.read(self, now), Reading::Unresolved { .. } | Reading::LeaseLost) {
            return say(Answer::StateConflict);
        }
        let next = match command {
            Command::ResolveResult { result, .. } => completed(kept, result, true, now),
            _ => Kept { before_budget: kept.attempt, ..released(kept, now, true, now) },
        };
        change(next, DONE)
    }

    fn forget(self, row: Option<&Row>, fence: Fence, now: Moment) -> Decision {
        let Some(row) = row else { return say(Answer::NotFound) };
        if row.fence() != fence {
            return say(Answer::FenceLost);
        }
        if let Row::Forgotten { .. } = row {
            return say(REPEATED);
        }
        if row.live(now).is_some_and(|kept| kept.read(self, now) == Reading::InProgress) {
            return say(Answer::StateConflict);
        }
        let reclaim_at = (now + RETENTION).max(fence) + GRACE;
        Decision { answer: DONE, next: Some(Row::Forgotten { fence, reclaim_at }) }
    }
}

const fn completed(kept: Kept, result: u8, by_operator: bool, now: Moment) -> Kept {
    let phase = Phase::Completed { result, by_operator };
    Kept { changed_at: now, expires_at: now + RETENTION, phase, ..kept }
}

const fn released(kept: Kept, pause_until: Moment, by_operator: bool, now: Moment) -> Kept {
    let phase = Phase::Released { pause_until, by_operator };
    Kept { changed_at: now, expires_at: pause_until + RETENTION, fingerprint: None, phase, ..kept }
}
