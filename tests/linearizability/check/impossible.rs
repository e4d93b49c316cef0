//! Histories that no key can have, which the checker must refuse, and honest ones close to them, which it must not.

use std::sync::Arc;
use std::time::Duration;

use semel::domain::{
    Abort, AttemptId, Begin, CheckpointName, Complete, Detail, Disposition, Fence, Forget, OnLostLease,
    Policy, PositiveDuration, Record, Renew, SaveCheckpoint, Timestamp, Traceparent,
};
use uuid::Uuid;

use super::calls::{Answer, Call, trace_of};
use super::checking::check;
use super::history::{Heard, Noted, Timeline, World};
use crate::fixtures;

const START: u64 = 1_800_000_000_000_000;
const MILLI: u64 = 1_000;
const LEASE: u64 = 100 * MILLI;
const ALLOWANCE: u64 = 30 * MILLI;

/// A key that is played by the state machine, and a caller who is told other things now and then.
struct Play {
    policy: Policy,
    /// Whether others write to the store, too.
    is_shared: bool,
    record: Option<Record>,
    now: u64,
    /// How far the server's clock is ahead, and how far it was when.
    ahead: i64,
    clock: Timeline<i64>,
    place: u64,
    noted: Vec<Noted>,
}

impl Play {
    fn new(on_lost_lease: OnLostLease) -> Self {
        let clock_skew_allowance = Duration::from_micros(ALLOWANCE);
        let policy = Policy { on_lost_lease, clock_skew_allowance, ..Policy::default() };
        let clock = Timeline::new(0);
        Self {
            policy,
            is_shared: false,
            record: None,
            now: START,
            ahead: 0,
            clock,
            place: 0,
            noted: Vec::new(),
        }
    }

    /// The server's clock is set.
    fn jump(&mut self, ahead: i64) {
        self.ahead = ahead;
        self.clock.change(self.now, self.now, ahead);
    }

    fn wait(&mut self, micros: u64) {
        self.now += micros;
    }

    fn place(&mut self) -> u64 {
        self.place += 1;
        self.place
    }

    /// What is decided, and stored.
    fn decided(&mut self, call: &Call) -> Answer {
        let now = Timestamp::from_micros(self.now.saturating_add_signed(self.ahead));
        let (answer, next) = call.decide(self.record.as_ref(), &self.policy, now);
        self.record = next.or(self.record.take());
        answer
    }

    /// A call that takes two milliseconds.
    fn ask(&mut self, call: &Call) -> Answer {
        let place = self.sends(call.clone());
        self.wait(MILLI);
        let answer = self.decided(call);
        self.hears(place, answer.clone());
        answer
    }

    fn sends(&mut self, call: Call) -> usize {
        let (sent, sent_at) = (self.place(), self.now);
        self.noted.push(Noted { caller: 0, server: 0, call, sent, sent_at, heard: None });
        self.noted.len() - 1
    }

    fn hears(&mut self, of: usize, answer: Answer) {
        self.wait(MILLI);
        let (place, at) = (self.place(), self.now);
        self.noted[of].heard = Some(Heard { place, at, answer });
    }

    /// A call whose caller is told something else, and which does nothing.
    fn lie(&mut self, call: Call, answer: Answer) {
        let place = self.sends(call);
        self.wait(MILLI);
        self.hears(place, answer);
    }

    fn start(&mut self, attempt: u64) -> Started {
        match self.ask(&begin(attempt)) {
            Answer::Started { fence, lease_end, .. } => Started { attempt, fence, lease_end },
            other => panic!("not started: {other:?}"),
        }
    }

    fn verdict(&self) -> Result<(), String> {
        let world = World {
            policies: Timeline::new(Arc::new(self.policy.clone())),
            clocks: vec![self.clock.clone()],
            is_shared: self.is_shared,
        };
        check("played", &self.noted, &world)
    }
}

#[derive(Clone, Copy)]
struct Started {
    attempt: u64,
    fence: i64,
    lease_end: u64,
}

fn id(attempt: u64) -> AttemptId {
    AttemptId::from_uuid(Uuid::from_u128(attempt.into()))
}

fn lease() -> Option<PositiveDuration> {
    PositiveDuration::new(Duration::from_micros(LEASE)).ok()
}

fn begin(attempt: u64) -> Call {
    let traceparent = Traceparent::parse(&trace_of(attempt));
    Call::Begin(Begin { lease: lease(), traceparent, ..fixtures::begin(attempt.into()) })
}

impl Started {
    fn fence(self) -> Fence {
        Fence::new(self.fence).expect("it is one")
    }

    fn complete(self, payload: &str) -> Call {
        let result = fixtures::result(payload);
        Call::Complete(Complete {
            fence: self.fence(),
            attempt_id: id(self.attempt),
            result,
            retention: None,
        })
    }

    fn abort(self, disposition: Disposition) -> Call {
        let (detail, retry_after) = (Detail::default(), Duration::ZERO);
        Call::Abort(Abort {
            fence: self.fence(),
            attempt_id: id(self.attempt),
            disposition,
            detail,
            retry_after,
        })
    }

    fn renew(self) -> Call {
        Call::Renew(Renew { fence: self.fence(), attempt_id: id(self.attempt), lease: lease() })
    }

    fn save(self, name: &str) -> Call {
        let (name, value) = (CheckpointName::new(name).expect("short"), b"1"[..].into());
        Call::Save(SaveCheckpoint { fence: self.fence(), attempt_id: id(self.attempt), name, value })
    }
}

/// What a second owner would be told.
fn granted(play: &Play, fence: i64, attempt: u32) -> Answer {
    let lease_end = play.now + MILLI + LEASE;
    Answer::Started { fence, attempt, lease: LEASE, lease_end, points: Vec::new() }
}

fn refused(reason: &str) -> Answer {
    Answer::Refused(reason.to_owned())
}

/// An Abort that happens, and whose caller is refused, for another attempt began meanwhile.
fn abort_and_be_refused(play: &mut Play) {
    let one = play.start(1);
    let abort = one.abort(Disposition::Release);
    let place = play.sends(abort.clone());
    play.wait(MILLI);
    play.decided(&abort);
    play.start(2);
    play.hears(place, refused("FENCE_LOST"));
}

/// A Begin that happens unseen, and once more when the attempt that took over from it has ended.
fn begin_twice(play: &mut Play) {
    let place = play.sends(begin(1));
    play.wait(MILLI);
    play.decided(&begin(1));
    play.wait(LEASE + ALLOWANCE + MILLI);
    let two = play.start(2);
    play.ask(&two.abort(Disposition::Release));
    play.wait(MILLI);
    let told = play.decided(&begin(1));
    assert!(matches!(told, Answer::Started { attempt: 3, .. }), "{told:?}");
    play.hears(place, told);
}

type Case = (&'static str, fn(&mut Play));

const IMPOSSIBLE: &[Case] = &[
    ("two owners of one fence", |play| {
        let one = play.start(1);
        play.lie(begin(2), granted(play, one.fence, 1));
    }),
    ("a second owner in the first one's time", |play| {
        let one = play.start(1);
        play.lie(begin(2), granted(play, one.fence + 1_000_000, 2));
    }),
    ("a takeover within the allowance", |play| {
        let one = play.start(1);
        play.now = one.lease_end + ALLOWANCE - 2 * MILLI;
        let fence = i64::try_from(play.now + MILLI).expect("small");
        play.lie(begin(2), granted(play, fence, 2));
    }),
    ("a fence that falls", |play| {
        let one = play.start(1);
        play.ask(&one.abort(Disposition::Release));
        play.lie(begin(2), granted(play, one.fence - 1, 2));
    }),
    ("a fence that is granted again", |play| {
        let one = play.start(1);
        play.ask(&one.abort(Disposition::Release));
        play.lie(begin(2), granted(play, one.fence, 2));
    }),
    ("an attempt that is not counted", |play| {
        let one = play.start(1);
        play.ask(&one.abort(Disposition::Release));
        let fence = i64::try_from(play.now + MILLI).expect("small");
        play.lie(begin(2), granted(play, fence, 1));
    }),
    ("a Complete under a lost fence", |play| {
        let one = play.start(1);
        play.wait(LEASE + ALLOWANCE + MILLI);
        play.start(2);
        let at = play.now + MILLI;
        let kept = u64::try_from(play.policy.retention.as_micros()).expect("small");
        play.lie(one.complete("late"), Answer::Completed { at, expires_at: at + kept, repeated: false });
    }),
    ("a Renew under a lost fence", |play| {
        let one = play.start(1);
        play.wait(LEASE + ALLOWANCE + MILLI);
        play.start(2);
        let lease_end = play.now + MILLI + LEASE;
        play.lie(one.renew(), Answer::Renewed { lease: LEASE, lease_end });
    }),
    ("an owner in its time that is told to stop", |play| {
        let one = play.start(1);
        play.lie(one.complete("done"), refused("FENCE_LOST"));
    }),
    ("a result that is lost after its acknowledgement", |play| {
        let one = play.start(1);
        play.ask(&one.complete("done"));
        let fence = i64::try_from(play.now + MILLI).expect("small");
        play.lie(begin(2), granted(play, fence, 2));
    }),
    ("a result that is unknown after its acknowledgement", |play| {
        let one = play.start(1);
        play.ask(&one.complete("done"));
        play.lie(Call::Lookup, refused("KEY_NOT_FOUND"));
    }),
    ("a replay of another result", |play| {
        let one = play.start(1);
        play.ask(&one.complete("done"));
        if let Answer::Replayed { by, fence, attempt, completed_at, expires_at, .. } = play.decided(&begin(2))
        {
            let payload = "another".to_owned();
            play.lie(begin(2), Answer::Replayed { by, fence, attempt, payload, completed_at, expires_at });
        }
    }),
    ("a second result", |play| {
        let one = play.start(1);
        play.ask(&one.complete("done"));
        let at = play.now + MILLI;
        let kept = u64::try_from(play.policy.retention.as_micros()).expect("small");
        play.lie(one.complete("again"), Answer::Completed { at, expires_at: at + kept, repeated: false });
    }),
    ("a result that nobody sent, or whose sender was told that nothing was done", |play| {
        let one = play.start(1);
        let at = play.now;
        let (by, fence, payload) = (1, one.fence, "done".to_owned());
        let replayed =
            Answer::Replayed { by, fence, attempt: 1, payload, completed_at: at, expires_at: at + LEASE };
        play.lie(begin(2), replayed);
    }),
    ("a result without an answer, which shows and is gone", |play| {
        let one = play.start(1);
        let before = play.record.clone();
        let complete = one.complete("done");
        play.sends(complete.clone());
        play.wait(MILLI);
        play.decided(&complete);
        play.ask(&begin(2));
        let now = Timestamp::from_micros(play.now + MILLI);
        let (running, _) = begin(3).decide(before.as_ref(), &play.policy, now);
        play.lie(begin(3), running);
    }),
    ("a rerun of what is unknown", |play| {
        play.policy.on_lost_lease = OnLostLease::MarkUnknown;
        play.start(1);
        play.wait(LEASE + ALLOWANCE + MILLI);
        let fence = i64::try_from(play.now + MILLI).expect("small");
        play.lie(begin(2), granted(play, fence, 2));
    }),
    ("a checkpoint that the next owner does not get", |play| {
        let one = play.start(1);
        play.ask(&one.save("charged"));
        play.ask(&one.abort(Disposition::OutcomeUnknown));
        let fence = i64::try_from(play.now + MILLI).expect("small");
        play.lie(begin(2), granted(play, fence, 2));
    }),
    ("a lease that is shortened", |play| {
        let one = play.start(1);
        let (now, lease_end) = (play.now + MILLI, one.lease_end - MILLI);
        play.lie(one.renew(), Answer::Renewed { lease: lease_end - now, lease_end });
    }),
    ("a decision at a moment at which the call was not there", |play| {
        let place = play.sends(begin(1));
        play.now += 10 * MILLI;
        let answer = play.decided(&begin(1));
        play.now -= 5 * MILLI;
        play.hears(place, answer);
    }),
    ("a Begin without an answer that shows before the moment at which it began", |play| {
        play.sends(begin(1));
        let looking = play.sends(Call::Lookup);
        play.now += 50 * MILLI;
        play.decided(&begin(1));
        let shown = play.decided(&Call::Lookup);
        play.now -= 40 * MILLI;
        play.hears(looking, shown);
        // It was there still when that moment came.
        play.wait(80 * MILLI);
        play.ask(&begin(2));
    }),
    ("an Abort that happened, and is refused by the one server that there is", abort_and_be_refused),
    ("a Begin that happens twice on the one server that there is", begin_twice),
    ("an owner in its time that one of several servers tells to stop", |play| {
        play.is_shared = true;
        let one = play.start(1);
        play.lie(one.complete("done"), refused("FENCE_LOST"));
    }),
    ("a fence that falls after Forget", |play| {
        let one = play.start(1);
        play.ask(&one.complete("done"));
        play.ask(&Call::Forget(Forget { fence: one.fence(), force: false }));
        play.lie(begin(2), granted(play, one.fence, 1));
    }),
];

const POSSIBLE: &[Case] = &[
    ("a life of a key", |play| {
        let one = play.start(1);
        play.ask(&begin(1));
        play.ask(&begin(2));
        play.ask(&one.save("charged"));
        play.ask(&one.renew());
        play.ask(&Call::Lookup);
        play.ask(&one.abort(Disposition::OutcomeUnknown));
        let three = play.start(3);
        play.ask(&one.complete("late"));
        play.ask(&three.abort(Disposition::Release));
        let four = play.start(4);
        play.ask(&four.complete("done"));
        play.ask(&four.complete("done"));
        play.ask(&four.complete("again"));
        play.ask(&begin(5));
        play.ask(&Call::Lookup);
        play.ask(&Call::Forget(Forget { fence: four.fence(), force: false }));
        play.start(6);
    }),
    ("a result without an answer, which shows later", |play| {
        let one = play.start(1);
        let complete = one.complete("done");
        play.sends(complete.clone());
        play.ask(&begin(2));
        play.wait(20 * MILLI);
        play.decided(&complete);
        play.ask(&begin(3));
        play.ask(&Call::Lookup);
    }),
    ("calls without an answer, which never happen", |play| {
        play.sends(begin(1));
        let two = play.start(2);
        play.sends(two.complete("done"));
        play.sends(two.abort(Disposition::Release));
        play.ask(&begin(3));
        play.wait(LEASE + ALLOWANCE);
        play.start(4);
    }),
    ("Begins without an answer, each of which may have begun the key at many moments", |play| {
        play.sends(begin(1));
        play.wait(MILLI);
        play.decided(&begin(1));
        for attempt in [2, 1, 1, 1, 3] {
            play.sends(begin(attempt));
            play.wait(5 * MILLI);
        }
        play.ask(&begin(4));
        play.wait(LEASE + ALLOWANCE);
        for attempt in 5..35 {
            let owner = play.start(attempt);
            play.wait(10 * MILLI);
            play.ask(&owner.abort(Disposition::Release));
        }
        play.ask(&Call::Lookup);
    }),
    ("an owner who never heard that it is one", |play| {
        play.sends(begin(1));
        play.wait(3 * MILLI);
        play.decided(&begin(1));
        play.wait(3 * MILLI);
        play.ask(&begin(2));
        play.ask(&Call::Lookup);
        play.wait(LEASE + ALLOWANCE);
        play.start(3);
    }),
    ("an Abort without an answer, which happened", |play| {
        let one = play.start(1);
        let abort = one.abort(Disposition::Release);
        play.sends(abort.clone());
        play.wait(MILLI);
        play.decided(&abort);
        play.start(2);
    }),
    ("a pause that shows only to a clock that went back", |play| {
        let one = play.start(1);
        let abort = one.abort(Disposition::Release);
        let aborting = play.sends(abort.clone());
        play.wait(5 * MILLI);
        let aborted = play.decided(&abort);
        play.hears(aborting, aborted);
        play.jump(-4_000);
        let paused = play.ask(&begin(2));
        assert!(matches!(paused, Answer::InProgress { lease_end: None, .. }), "{paused:?}");
        play.start(3);
    }),
    ("an Abort that happened, and is refused when one of several servers sends it again", |play| {
        play.is_shared = true;
        abort_and_be_refused(play);
    }),
    ("a Begin that happened unseen, and is told of who took over when a server sends it again", |play| {
        play.is_shared = true;
        let place = play.sends(begin(1));
        play.wait(MILLI);
        play.decided(&begin(1));
        play.wait(LEASE + ALLOWANCE + MILLI);
        play.start(2);
        let told = play.decided(&begin(1));
        play.hears(place, told);
    }),
    ("a Begin that happens again when one of several servers sends it again", |play| {
        play.is_shared = true;
        begin_twice(play);
    }),
    ("calls at the same time", |play| {
        let one = play.start(1);
        let complete = one.complete("done");
        let before = play.sends(begin(2));
        let after = play.sends(begin(3));
        let completing = play.sends(complete.clone());
        play.wait(MILLI);
        let running = play.decided(&begin(2));
        let completed = play.decided(&complete);
        let replayed = play.decided(&begin(3));
        play.hears(completing, completed);
        play.hears(after, replayed);
        play.hears(before, running);
    }),
];

/// How many impossible histories were refused; every honest one is accepted.
pub(crate) fn refused_histories() -> u64 {
    for (name, case) in POSSIBLE {
        let mut play = Play::new(OnLostLease::Rerun);
        case(&mut play);
        if let Err(problem) = play.verdict() {
            panic!("{name}: an honest history is refused: {problem}");
        }
    }
    for (name, case) in IMPOSSIBLE {
        let mut play = Play::new(OnLostLease::Rerun);
        case(&mut play);
        let problem = play.verdict().expect_err(name);
        assert!(problem.contains("is not linearizable"), "{name}: {problem}");
        assert!(problem.contains("---- up to here"), "{name}: {problem}");
    }
    IMPOSSIBLE.len() as u64
}
