//! What callers send, and what they make of the answers.

use crate::protocol::Word;
use crate::rules::{Answer, Command, Moment, TICK};
use crate::state::{Caller, OPERATOR, Request, Size, State};

pub(crate) fn begin(size: &Size, next: &mut State, caller: u8) {
    let (tick, now) = (next.tick, next.true_time());
    let (fingerprint, key) = size.callers[usize::from(caller)];
    let (its, first_sent) = &mut next.callers[usize::from(caller)];
    let (Caller::Ready { n } | Caller::Asking { n, .. }) = *its else { return };
    let first = *first_sent.get_or_insert(now);
    *its = Caller::Asking { n, in_flight: true };
    let first_sent = size.first_sent.then_some(first);
    let command = Command::Begin { id: caller * 4 + n, fingerprint, first_sent };
    next.network.push(Request { from: caller, key, sent: tick, command });
}

pub(crate) fn say(next: &mut State, size: &Size, caller: u8, word: Word) {
    let key = size.callers[usize::from(caller)].1;
    let tick = next.tick;
    let its = &mut next.callers[usize::from(caller)].0;
    let Caller::Owner { n, fence, until } = *its else { return };
    let id = caller * 4 + n;
    let command = match word {
        Word::Renew => Command::Renew { fence, id },
        Word::Complete => Command::Complete { fence, id, result: id },
        // The pause that one caller asks for, and the other does not.
        Word::Release => Command::Release { fence, id, pause: Moment::from(caller % 2) * TICK },
        Word::GiveUp => Command::GiveUp { fence, id },
    };
    if word != Word::Renew {
        *its = Caller::Ending { n, command, until, in_flight: true };
    }
    let sent = if word == Word::Renew { tick } else { 0 };
    next.network.push(Request { from: caller, key, sent, command });
}

pub(crate) fn double(size: &Size, next: &mut State, caller: u8) {
    let key = size.callers[usize::from(caller)].1;
    match next.callers[usize::from(caller)].0 {
        Caller::Asking { .. } => {
            next.mishaps -= 1;
            begin(size, next, caller);
        }
        Caller::Ending { n, command, until, in_flight } => {
            // To send again what failed is no mishap.
            next.mishaps -= u8::from(in_flight);
            next.callers[usize::from(caller)].0 = Caller::Ending { n, command, until, in_flight: true };
            next.network.push(Request { from: caller, key, sent: 0, command });
        }
        _ => {}
    }
}

/// What a caller makes of an answer.
pub(crate) fn hear(size: &Size, next: &mut State, request: &Request, answer: Answer) {
    if request.from == OPERATOR {
        return;
    }
    let its = &mut next.callers[usize::from(request.from)].0;
    let again = |n: u8| if n + 1 < size.attempts { Caller::Ready { n: n + 1 } } else { Caller::Done };
    let counted = |remaining: Moment| Moment::from(request.sent) * TICK + remaining;
    match (request.command, *its) {
        (Command::Begin { id, .. }, Caller::Asking { n, .. }) if id == request.from * 4 + n => {
            *its = match answer {
                Answer::Started { fence, remaining, .. } => {
                    Caller::Owner { n, fence, until: counted(remaining) }
                }
                Answer::InProgress { .. } => Caller::Ready { n },
                Answer::AttemptEnded => again(n),
                Answer::Unavailable | Answer::Unknown => Caller::Asking { n, in_flight: false },
                _ => Caller::Done,
            };
        }
        (Command::Renew { fence, .. }, Caller::Owner { n, fence: owned, until }) if fence == owned => {
            match answer {
                Answer::Renewed { remaining } => {
                    *its = Caller::Owner { n, fence, until: until.max(counted(remaining)) };
                }
                Answer::Unavailable | Answer::Unknown => {}
                _ => *its = Caller::Done,
            }
        }
        (said, Caller::Ending { n, command, until, .. }) if said == command => {
            *its = match answer {
                Answer::Unavailable | Answer::Unknown => {
                    Caller::Ending { n, command, until, in_flight: false }
                }
                // Whoever said that nothing is done tries again; all others are done.
                Answer::Done { .. } if !matches!(command, Command::Complete { .. }) => again(n),
                _ => Caller::Done,
            };
        }
        _ => {}
    }
}
