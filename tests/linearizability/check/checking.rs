//! Whether a key's calls could have happened one at a time, each between its sending and its answer.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::rc::Rc;
use std::time::Duration;

use stateright::semantics::{ConsistencyTester as _, LinearizabilityTester};

use super::calls::{Answer, Call, number};
use super::history::{Heard, Noted, World};
use super::specification::{Asked, Calls, Moments, Object, Search};

/// How many steps may be tried for a key.
const STEPS: u64 = 400_000;

const ONCE: &str = "each call is sent once and answered once";

/// Each call is a thread of its own to the checker, which tries them in this order: so a good guess of when each
/// happened finds the order at once. It decides nothing else.
type Guess = (u64, usize);

/// Whether one history of a key is linearizable; else what it was, and how far it was.
pub(crate) fn check(key: &str, calls: &[Noted], world: &World) -> Result<(), String> {
    let events = events(calls);
    match linearizable(calls, &events, world) {
        Verdict::Yes => return Ok(()),
        Verdict::NotJudged => {
            let what =
                format!("the history of key {key} could not be judged: too many ways to put it in order");
            return Err(told(&what, calls, &events, None, world));
        }
        Verdict::No => {}
    }
    // Whatever begins a linearizable history is linearizable.
    let (mut yes, mut no) = (0, events.len());
    while no - yes > 1 {
        let middle = yes.midpoint(no);
        if matches!(linearizable(calls, &events[..middle], world), Verdict::Yes) {
            yes = middle;
        } else {
            no = middle;
        }
    }
    Err(told(&format!("the history of key {key} is not linearizable"), calls, &events, Some(yes), world))
}

/// Whether it is certain that a history is not linearizable; else what it was.
pub(crate) fn refuse(key: &str, calls: &[Noted], world: &World) -> Result<(), String> {
    let events = events(calls);
    let what = match linearizable(calls, &events, world) {
        Verdict::No => return Ok(()),
        Verdict::Yes => "is taken",
        Verdict::NotJudged => "could not be judged",
    };
    Err(told(&format!("a corrupted history of key {key} {what}"), calls, &events, None, world))
}

enum Verdict {
    Yes,
    No,
    NotJudged,
}

/// The places in order, of which call each is, and whether it is its sending.
fn events(calls: &[Noted]) -> Vec<(u64, usize, bool)> {
    let mut events: Vec<(u64, usize, bool)> = Vec::new();
    for (of, noted) in calls.iter().enumerate() {
        events.push((noted.sent, of, true));
        events.extend(noted.heard.as_ref().map(|heard| (heard.place, of, false)));
    }
    events.sort_unstable();
    events
}

/// Whether the beginning of a history is linearizable that these events are.
fn linearizable(calls: &[Noted], events: &[(u64, usize, bool)], world: &World) -> Verdict {
    let answers: BTreeMap<usize, &Heard> = events
        .iter()
        .filter(|(_, _, is_call)| !is_call)
        .filter_map(|(_, of, _)| Some((*of, calls[*of].heard.as_ref()?)))
        .collect();
    let mut moments = Moments::default();
    for heard in answers.values() {
        moments.learn(&heard.answer);
    }
    let answered = answers.iter().map(|(of, heard)| (*of, heard.at));
    let search = Search::new(moments, world.clone(), answered, STEPS);
    let end = answers.values().map(|heard| heard.at).max().unwrap_or(0);
    let guesses = guesses(calls);
    let guess = |of: usize| (guesses[of], of);
    let twice = if world.is_shared { sent_twice(calls) } else { Vec::new() };
    assert!(calls.len() + twice.len() <= Calls::BITS as usize, "{} calls of one key", calls.len());
    // Of its two sendings the first has a place after all calls.
    let first_sending = |of: usize| twice.iter().position(|it| *it == of).map(|nth| calls.len() + nth);
    let mut tester = LinearizabilityTester::<Guess, Object>::new(Object::new(search.clone()));
    for (_, of, is_call) in events {
        let noted = &calls[*of];
        let first =
            first_sending(*of).filter(|_| answers.contains_key(of)).map(|place| (noted.sent_at, place));
        if *is_call {
            let until = answers.get(of).map_or(end.max(noted.sent_at), |heard| heard.at);
            let clock = world.clock(noted.server, noted.sent_at, until);
            let policies: Vec<_> = world.policies.during(noted.sent_at, until).cloned().collect();
            let asked = |place, is_first_sending| {
                let (call, policies) = (noted.call.clone(), policies.clone());
                let (server, sent_at) = (noted.server, noted.sent_at);
                Rc::new(Asked { place, call, server, sent_at, clock, policies, is_first_sending })
            };
            if let Some(first) = first {
                tester.on_invoke(first, asked(first.1, true)).expect(ONCE);
            }
            tester.on_invoke(guess(*of), asked(*of, false)).expect(ONCE);
        } else {
            if let Some(first) = first {
                tester.on_return(first, None).expect(ONCE);
            }
            tester.on_return(guess(*of), Some(answers[of].answer.clone())).expect(ONCE);
        }
    }
    // What was not heard of may have happened until the end.
    for (_, of, _) in events.iter().filter(|(_, of, is_call)| *is_call && !answers.contains_key(of)) {
        tester.on_return(guess(*of), None).expect(ONCE);
    }
    match (tester.is_consistent(), search.is_given_up()) {
        (true, _) => Verdict::Yes,
        (false, true) => Verdict::NotJudged,
        (false, false) => Verdict::No,
    }
}

/// Calls that may have been done when they were first sent to the store, although their answer is not that of it: it was
/// decided when they were sent again, and others had written meanwhile.
fn sent_twice(calls: &[Noted]) -> Vec<usize> {
    let told: BTreeSet<u64> = calls
        .iter()
        .filter_map(|noted| match &noted.heard.as_ref()?.answer {
            Answer::InProgress { by, .. } | Answer::Unresolved { by, .. } => Some(*by),
            Answer::Record(shown) => Some(shown.by),
            _ => None,
        })
        .collect();
    let is_begun_after = |attempt: u64, sent: u64| {
        calls.iter().any(|noted| {
            let is_it = matches!(&noted.call, Call::Begin(begin) if number(begin.attempt_id) == attempt);
            is_it && noted.heard.as_ref().is_none_or(|heard| heard.place > sent)
        })
    };
    // Whether another attempt than this began while the call was there, or may have.
    let is_taken_meanwhile = |own: u64, noted: &Noted, until: u64| {
        calls.iter().any(|other| {
            let is_another = matches!(&other.call, Call::Begin(begin) if number(begin.attempt_id) != own);
            let is_granted = other.heard.as_ref().is_none_or(|heard| {
                heard.place > noted.sent && matches!(heard.answer, Answer::Started { .. })
            });
            is_another && other.sent < until && is_granted
        })
    };
    // Whether somebody was told of this attempt by another fence or number.
    let is_told_of_otherwise = |own: u64, own_fence: i64, own_number: u32| {
        calls.iter().filter_map(|noted| Some(&noted.heard.as_ref()?.answer)).any(|answer| match answer {
            Answer::Record(shown) => shown.by == own && shown.fence != own_fence,
            Answer::InProgress { by, attempt, .. } | Answer::Unresolved { by, attempt, .. } => {
                *by == own && *attempt != own_number
            }
            _ => false,
        })
    };
    let is_one = |noted: &Noted| match (&noted.call, noted.heard.as_ref().map(|heard| &heard.answer)) {
        (Call::Lookup, _) | (_, None) => false,
        (Call::Begin(begin), Some(answer)) => {
            let own = number(begin.attempt_id);
            match answer {
                Answer::InProgress { by, attempt, .. }
                | Answer::Unresolved { by, attempt, .. }
                | Answer::Replayed { by, attempt, .. } => {
                    // Nobody need have seen it, where another took over from it meanwhile.
                    *by != own && (told.contains(&own) || (*attempt > 1 && is_begun_after(*by, noted.sent)))
                }
                Answer::Refused(_) => told.contains(&own),
                // A copy that comes after a later attempt ended begins the key again.
                Answer::Started { fence, attempt, .. } => {
                    let until = noted.heard.as_ref().map_or(0, |heard| heard.place);
                    is_told_of_otherwise(own, *fence, *attempt)
                        || (*attempt > 2 && is_taken_meanwhile(own, noted, until))
                }
                _ => false,
            }
        }
        (_, Some(answer)) => matches!(answer, Answer::Refused(_)),
    };
    (0..calls.len()).filter(|of| is_one(&calls[*of])).collect()
}

/// About when each call happened; the end of time for one that nobody was told of.
fn guesses(calls: &[Noted]) -> Vec<u64> {
    // What was told of first when: attempts, results, ends of leases, points.
    let mut attempts: BTreeMap<u64, u64> = BTreeMap::new();
    let mut results: BTreeMap<&str, u64> = BTreeMap::new();
    let mut leases: BTreeMap<u64, u64> = BTreeMap::new();
    let mut saved: BTreeMap<&str, u64> = BTreeMap::new();
    let mut guesses = Vec::new();
    for noted in calls {
        let Some(heard) = &noted.heard else {
            guesses.push(u64::MAX);
            continue;
        };
        let middle = noted.sent_at.midpoint(heard.at);
        let mut guess = heard.answer.clock().unwrap_or(middle);
        let mut told = |by: u64, at: u64| {
            attempts.entry(by).and_modify(|first| *first = at.min(*first)).or_insert(at);
        };
        match &heard.answer {
            Answer::Replayed { by, payload, completed_at, .. } => {
                guess = guess.max(*completed_at);
                told(*by, *completed_at - 1);
                results.insert(payload, *completed_at);
            }
            Answer::InProgress { by, lease_end, .. } => {
                told(*by, guess - 1);
                leases.extend(lease_end.map(|end| (end, guess - 1)));
            }
            Answer::Unresolved { by, .. } => told(*by, guess - 1),
            Answer::Record(shown) => {
                told(shown.by, guess - 1);
                if let Some(payload) = &shown.payload {
                    results.insert(payload, shown.changed_at);
                }
                leases.extend(shown.lease_end.map(|end| (end, guess - 1)));
            }
            _ => {}
        }
        if let Answer::Started { points, .. } | Answer::Record(super::calls::Shown { points, .. }) =
            &heard.answer
        {
            for (point, _) in points {
                let first = saved.entry(point).or_insert(guess - 1);
                *first = (*first).min(guess - 1);
            }
        }
        guesses.push(guess);
    }
    for (guess, noted) in guesses.iter_mut().zip(calls).filter(|(_, noted)| noted.heard.is_none()) {
        let seen = match &noted.call {
            Call::Begin(begin) => attempts.get(&number(begin.attempt_id)),
            Call::Complete(complete) => {
                std::str::from_utf8(&complete.result.payload).ok().and_then(|payload| results.get(payload))
            }
            Call::Save(save) => saved.get(save.name.as_str()),
            _ => None,
        };
        *guess = seen.map_or(u64::MAX, |seen| (*seen).max(noted.sent_at));
    }
    guesses
}

/// A history for people: its calls and answers in order, with a mark after the longest part of it that is possible, and
/// what it depends on.
fn told(
    what: &str,
    calls: &[Noted],
    events: &[(u64, usize, bool)],
    possible: Option<usize>,
    world: &World,
) -> String {
    let start = calls.iter().map(|noted| noted.sent_at).min().unwrap_or(0);
    let mut text = format!("{what}. Times are in milliseconds from {start} us:\n");
    for (n, (_, of, is_call)) in events.iter().enumerate() {
        if possible == Some(n) {
            text.push_str("---- up to here it is possible, and with the next line it is not ----\n");
        }
        let noted = &calls[*of];
        let (at, line) = match &noted.heard {
            Some(heard) if !is_call => (heard.at, format!("  {:?}", heard.answer)),
            Some(_) => (noted.sent_at, noted.call.to_string()),
            None => (noted.sent_at, format!("{}  (no answer)", noted.call)),
        };
        let millis = Duration::from_micros(at.saturating_sub(start)).as_secs_f64() * 1000.0;
        let (caller, server) = (noted.caller, noted.server);
        writeln!(text, "{millis:9.3} #{of:<3} caller {caller} server {server}: {line}").expect("a text");
    }
    writeln!(text, "Values, each in force from some moment between two: {world:?}").expect("a text");
    text
}
