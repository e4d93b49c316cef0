//! The sequential object that a key is held to: the state machine itself, beside rules of our own.
//!
//! A server decides at a moment of its own clock that nobody is told exactly, and by one of the policies that were in
//! force meanwhile. So the object is in a set of states: all that its calls may have led to, one at a time. A call is
//! possible if some state, moment and policy give its answer; the states that do are what is left.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeSet, HashMap};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use semel::domain::{Fence, Kept, Phase, Policy, Record, Timestamp};
use stateright::semantics::SequentialSpec;

use super::calls::{Answer, Call};
use super::history::World;
use super::rules::Rules;

/// More states than this are not told apart by anything that was heard: an order that leads to them is given up.
const MOST_STATES: usize = 512;
/// How long another server may replay what was forgotten (`replay_cache_max_age`), and how much later it may decide.
const CACHED: u64 = 30_000_000 + 5_000_000;

/// A call as the specification sees it.
#[derive(Debug)]
pub(crate) struct Asked {
    /// Its place among the calls of its key.
    pub(crate) place: usize,
    pub(crate) call: Call,
    pub(crate) server: usize,
    pub(crate) sent_at: u64,
    /// What the server's clock may have shown while the call was there.
    pub(crate) clock: (u64, u64),
    pub(crate) policies: Vec<Arc<Policy>>,
    /// Whether it is the first sending of a call that was sent to the store again, and answered then: it may be done or
    /// not.
    pub(crate) is_first_sending: bool,
}

/// Moments that answers told of, at which a call whose own answer tells none may have been decided.
#[derive(Debug, Default)]
pub(crate) struct Moments {
    pub(crate) lease_ends: BTreeSet<u64>,
    pub(crate) fences: BTreeSet<u64>,
    pub(crate) changes: BTreeSet<u64>,
    /// At which attempts began.
    pub(crate) starts: BTreeSet<u64>,
}

/// Some of a key's calls, each by the bit of its place.
pub(crate) type Calls = u128;

/// A key.
#[derive(Clone, Debug)]
pub(crate) struct Object {
    states: Vec<State>,
    /// What has happened.
    done: Calls,
    search: Rc<Search>,
}

/// What every order of a key's calls is tried with.
#[derive(Debug)]
pub(crate) struct Search {
    moments: Moments,
    world: World,
    /// The calls that were answered, and when.
    answered: Vec<(Calls, u64)>,
    /// How many steps may be tried until it is not judged.
    steps_left: Cell<u64>,
    /// Whether some order was given up.
    is_given_up: Cell<bool>,
    /// What was reached by which calls: what follows was tried from there, and was not possible. The checker itself
    /// remembers nothing, and would try it again after each order of the same calls.
    tried: RefCell<HashMap<Calls, Vec<Vec<State>>>>,
}

#[derive(Clone, Debug, Default, PartialEq)]
struct State {
    record: Option<Record>,
    rules: Rules,
    /// Replays of results that are gone, and until when a server's clock may show that it remembers them.
    cached: Vec<(Answer, u64)>,
}

impl Search {
    pub(crate) fn new(
        moments: Moments,
        world: World,
        answered: impl Iterator<Item = (usize, u64)>,
        steps: u64,
    ) -> Rc<Self> {
        let answered = answered.map(|(place, at)| (1 << place, at)).collect();
        let (steps_left, is_given_up, tried) = (Cell::new(steps), Cell::new(false), RefCell::default());
        Rc::new(Self { moments, world, answered, steps_left, is_given_up, tried })
    }

    /// Whether some order was given up: then it is not certain that there is none.
    pub(crate) fn is_given_up(&self) -> bool {
        self.is_given_up.get()
    }

    fn give_up(&self) -> bool {
        self.is_given_up.set(true);
        false
    }

    /// When the first of the answers was heard that are still to come.
    fn next_answer(&self, done: Calls) -> Option<u64> {
        self.answered.iter().filter(|(call, _)| done & call == 0).map(|(_, at)| *at).min()
    }

    /// Whether all of these states were reached by the same calls before; what is new is noted.
    fn was_tried(&self, done: Calls, states: &[State]) -> bool {
        let mut tried = self.tried.borrow_mut();
        let tried = tried.entry(done).or_default();
        let is_known = tried.iter().any(|known| states.iter().all(|state| known.contains(state)));
        if !is_known {
            tried.push(states.to_vec());
        }
        is_known
    }
}

impl Object {
    pub(crate) fn new(search: Rc<Search>) -> Self {
        Self { states: vec![State::default()], done: 0, search }
    }

    /// Every state that `asked` may lead to, with `answer` where there was one.
    fn step(&mut self, asked: &Asked, answer: Option<&Answer>) -> bool {
        let search = self.search.clone();
        let Some(left) = search.steps_left.get().checked_sub(1) else { return search.give_up() };
        search.steps_left.set(left);
        // Who changes a key reads the clock before the change, and it was there when the calls to come were answered.
        let next_answer = search.next_answer(self.done);
        let last_change =
            next_answer.map_or(asked.clock.1, |at| search.world.clock(asked.server, asked.sent_at, at).1);
        let mut next: Vec<State> = Vec::new();
        for state in &self.states {
            for policy in &asked.policies {
                for now in self.clocks(state, asked, policy, answer) {
                    let Some(after) = self.after(state, asked, policy, now, answer) else { continue };
                    let is_change = after.record != state.record;
                    // A call without an answer that changes nothing may as well come later, or not at all.
                    let is_idle = answer.is_none() && !is_change;
                    let is_too_late = is_change && now.as_micros() > last_change;
                    if !is_idle && !is_too_late && !next.contains(&after) {
                        next.push(after);
                    }
                }
            }
        }
        if asked.is_first_sending {
            next.extend(
                self.states.iter().filter(|state| !next.contains(state)).cloned().collect::<Vec<_>>(),
            );
        }
        if next.is_empty() && answer.is_none() && next_answer.is_none() {
            next.clone_from(&self.states);
        }
        if next.len() > MOST_STATES {
            return search.give_up();
        }
        self.states = next;
        self.done |= 1 << asked.place;
        !self.states.is_empty() && !search.was_tried(self.done, &self.states)
    }

    fn after(
        &self,
        state: &State,
        asked: &Asked,
        policy: &Policy,
        now: Timestamp,
        heard: Option<&Answer>,
    ) -> Option<State> {
        let is_cached = |(replay, until): &(Answer, u64)| Some(replay) == heard && now.as_micros() < *until;
        if matches!(asked.call, Call::Begin(_)) && state.cached.iter().any(is_cached) {
            return Some(state.clone());
        }
        let (answer, record) = asked.call.decide(state.record.as_ref(), policy, now);
        if heard.is_some_and(|heard| *heard != answer) {
            return None;
        }
        let mut after = state.clone();
        if !after.rules.allow(&asked.call, &answer, policy, now) {
            return None;
        }
        if self.search.world.is_shared && record.is_some() {
            // Forgotten, or expired by this clock and not yet by another that is behind by more than the allowance.
            after.cached.extend(replay(state.record.as_ref()).map(|(replay, expires_at)| {
                let until = expires_at.minus(policy.clock_skew_allowance).as_micros();
                (replay, until.min(now.as_micros() + CACHED))
            }));
        }
        after.record = record.or(after.record);
        Some(after)
    }

    /// The moments that stand for all at which the call may have been decided: between two of them nothing would be
    /// decided otherwise, and nobody was told of what would be stored otherwise.
    fn clocks(
        &self,
        state: &State,
        asked: &Asked,
        policy: &Policy,
        heard: Option<&Answer>,
    ) -> Vec<Timestamp> {
        let (from, until) = asked.clock;
        let within = |at: &u64| (from..=until).contains(at);
        if let Some(at) = heard.and_then(Answer::clock) {
            return Some(at).filter(within).map(Timestamp::from_micros).into_iter().collect();
        }
        let mut clocks = BTreeSet::from([from]);
        if heard.is_some() {
            clocks.insert(until);
        }
        if let Some(Record::Kept(kept)) = &state.record {
            clocks.extend(thresholds(kept, policy));
        }
        let moments = &self.search.moments;
        match &asked.call {
            Call::Begin(begin) => {
                let lease =
                    micros(begin.lease.map_or(policy.lease, |lease| lease.get().min(policy.max_lease)));
                clocks.extend(moments.lease_ends.iter().map(|end| end - lease));
                clocks.extend(&moments.fences);
            }
            Call::Renew(renew) => {
                let lease = renew.lease.map_or(policy.lease, |lease| lease.get().min(policy.max_lease));
                clocks.extend(moments.lease_ends.iter().map(|end| end - micros(lease)));
            }
            Call::Abort(abort) => {
                clocks.extend(&moments.changes);
                // Whoever begins had no pause to wait for, though a clock that was behind may have shown one.
                clocks.extend(moments.starts.iter().map(|start| start - micros(abort.retry_after)));
            }
            Call::Resolve(_) => clocks.extend(moments.changes.union(&moments.starts)),
            Call::Complete(_) | Call::Save(_) => clocks.extend(&moments.changes),
            Call::Lookup | Call::Forget(_) => {}
        }
        clocks.into_iter().filter(within).map(Timestamp::from_micros).collect()
    }
}

/// From when on time alone makes another decision.
fn thresholds(kept: &Kept, policy: &Policy) -> Vec<u64> {
    let mut moments = vec![kept.expires_at];
    if let Phase::InProgress { lease_end, .. } = kept.phase {
        moments.push(lease_end);
        moments.push(lease_end.plus(policy.clock_skew_allowance).plus(Duration::from_micros(1)));
    }
    moments.extend(kept.pause_until());
    moments.into_iter().map(Timestamp::as_micros).collect()
}

/// What a result is replayed as, and when it expires.
fn replay(record: Option<&Record>) -> Option<(Answer, Timestamp)> {
    let Some(Record::Kept(kept)) = record else { return None };
    let Phase::Completed { result, .. } = &kept.phase else { return None };
    let replay = Answer::Replayed {
        by: kept.traceparent.map_or(0, semel::domain::Traceparent::span),
        fence: kept.fence.get(),
        attempt: kept.attempt,
        payload: String::from_utf8_lossy(&result.payload).into_owned(),
        completed_at: kept.changed_at.as_micros(),
        expires_at: kept.expires_at.as_micros(),
    };
    Some((replay, kept.expires_at))
}

fn micros(length: Duration) -> u64 {
    u64::try_from(length.as_micros()).expect("it is short")
}

impl Moments {
    /// Learns from an answer.
    pub(crate) fn learn(&mut self, answer: &Answer) {
        let mut fence = |fence: i64| {
            let moment = Fence::new(fence).map_or(0, |fence| fence.moment().as_micros());
            self.fences.insert(moment);
        };
        match answer {
            Answer::Replayed { fence: of, completed_at, .. } => {
                fence(*of);
                self.changes.insert(*completed_at);
            }
            Answer::InProgress { lease_end: Some(end), .. } => drop(self.lease_ends.insert(*end)),
            // The end of a lease, or an Abort.
            Answer::Unresolved { since, .. } => {
                self.lease_ends.insert(*since);
                self.changes.insert(*since);
            }
            Answer::Started { lease_end, fence: of, .. } => {
                fence(*of);
                self.lease_ends.insert(*lease_end);
                self.starts.extend(answer.clock());
            }
            Answer::Completed { at, .. } => drop(self.changes.insert(*at)),
            Answer::Renewed { lease_end, .. } => drop(self.lease_ends.insert(*lease_end)),
            Answer::Record(shown) => {
                fence(shown.fence);
                self.changes.insert(shown.changed_at);
                self.lease_ends.extend(shown.lease_end);
            }
            _ => {}
        }
    }
}

impl SequentialSpec for Object {
    type Op = Rc<Asked>;
    type Ret = Option<Answer>;

    /// Every call is given an answer to the checker, `None` where its caller heard none.
    fn invoke(&mut self, _: &Self::Op) -> Self::Ret {
        unreachable!("no call is left in flight")
    }

    fn is_valid_step(&mut self, asked: &Self::Op, answer: &Self::Ret) -> bool {
        self.step(asked, answer.as_ref())
    }
}
