//! What is going to happen, before it does: made from a seed, and made shorter while it still shows a fault.

use std::time::Duration;

use semel::domain::{OnLostLease, Policy};

use crate::dice::Dice;

const MILLI: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_mins(1);

/// The longest lease that any policy of a plan grants.
pub(crate) const LONGEST_LEASE: Duration = Duration::from_secs(8);

/// How far the clocks of the servers, and the store's, go from true time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Clocks {
    /// Less than the skew allowance apart: everything holds.
    Within,
    /// Less than the grace of an hour apart: leases may overlap, fences still rise.
    WithinTheGrace,
    /// Anything: a write still needs the current fence.
    Anyhow,
}

impl Clocks {
    /// The least and the most that a clock is ahead of true time.
    pub(crate) const fn bounds(self) -> (i64, i64) {
        match self {
            Self::Within => (-499_000, 499_000),
            Self::WithinTheGrace => (-1_790_000_000, 1_790_000_000),
            Self::Anyhow => (-200_000_000_000, 200_000_000_000),
        }
    }

    fn offset(self, dice: &mut Dice) -> i64 {
        let (least, most) = self.bounds();
        match dice.below(4) {
            0 => 0,
            1 => least,
            2 => most,
            _ => least + i64::try_from(dice.between(0, least.abs_diff(most))).unwrap(),
        }
    }
}

#[derive(Clone, Debug)]
pub(crate) struct Plan {
    /// Decides how long the store takes, and what goes wrong in it.
    pub(crate) seed: u64,
    pub(crate) clocks: Clocks,
    /// How far the store's own clock, by which rows go, is ahead of true time, in microseconds.
    pub(crate) store_ahead: i64,
    /// How far each server's clock is ahead at first.
    pub(crate) ahead: Vec<i64>,
    pub(crate) polls: bool,
    pub(crate) settle_within: Duration,
    pub(crate) cache_age: Duration,
    pub(crate) max_waiters: usize,
    pub(crate) weather: Weather,
    pub(crate) keys: usize,
    pub(crate) policy: Terms,
    pub(crate) items: Vec<Item>,
}

#[derive(Clone, Debug)]
pub(crate) struct Item {
    pub(crate) at: Duration,
    pub(crate) what: What,
}

#[derive(Clone, Debug)]
pub(crate) enum What {
    Operation(Operation),
    Operator(Operator),
    Jump { server: usize, ahead: i64 },
    Crash { server: usize },
    Storm { lasts: Duration, weather: Weather },
    Policy(Terms),
}

/// How often, in percent, the store does what.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Weather {
    /// Refuses: nothing is written.
    pub(crate) refuses: u32,
    /// Loses a write, and does not say so.
    pub(crate) loses: u32,
    /// Writes, and does not say so.
    pub(crate) unsaid: u32,
    /// Does not answer, and writes later.
    pub(crate) late: u32,
    /// Answers, after seconds.
    pub(crate) slow: u32,
    /// Answers a plain read with something older that nobody was told to be past.
    pub(crate) stale: u32,
}

/// The policy's values that a plan varies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Terms {
    pub(crate) mark_unknown: bool,
    pub(crate) max_attempts: u32,
    pub(crate) lease: Duration,
    pub(crate) retention: Duration,
    pub(crate) unresolved_retention: Duration,
}

impl Terms {
    pub(crate) fn policy(self) -> Policy {
        Policy {
            lease: self.lease,
            max_lease: LONGEST_LEASE,
            retention: self.retention,
            max_retention: 10 * MINUTE,
            unresolved_retention: self.unresolved_retention,
            max_wait: 20 * SECOND,
            max_retry_after: 3 * SECOND,
            max_attempts: self.max_attempts,
            on_lost_lease: if self.mark_unknown { OnLostLease::MarkUnknown } else { OnLostLease::Rerun },
            ..Policy::default()
        }
    }
}

/// One caller's attempt.
#[derive(Clone, Debug)]
pub(crate) struct Operation {
    pub(crate) key: usize,
    /// Names the attempt; unique in the plan.
    pub(crate) attempt: u64,
    /// Which of the requests that the key may stand for; `None` sends no fingerprint.
    pub(crate) request: Option<u8>,
    pub(crate) lease: Option<Duration>,
    pub(crate) retention: Option<Duration>,
    pub(crate) wait: Duration,
    pub(crate) retry: bool,
    pub(crate) first_sent_ago: Option<Duration>,
    pub(crate) sends: Vec<Send>,
    /// What it does as the owner. It crashes after the last of them, if none ended it.
    pub(crate) moves: Vec<Move>,
}

#[derive(Clone, Debug)]
pub(crate) struct Move {
    pub(crate) after: Duration,
    pub(crate) act: Act,
    pub(crate) sends: Vec<Send>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Act {
    Renew { lease: Option<Duration> },
    Save { point: u8, value: u8 },
    Complete { version: u8, retention: Option<Duration> },
    Release { pause: Duration },
    GiveUp { pause: Duration },
}

/// A person, or a script of one.
#[derive(Clone, Debug)]
pub(crate) struct Operator {
    pub(crate) key: usize,
    pub(crate) number: u64,
    pub(crate) act: Settle,
    pub(crate) force: bool,
    /// How long it looks at the record before it acts.
    pub(crate) thinks: Duration,
    pub(crate) sends: Vec<Send>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Settle {
    Done,
    Release,
    Forget,
}

/// One try of a call. The next one is made where this brings no answer.
#[derive(Clone, Debug)]
pub(crate) struct Send {
    pub(crate) after: Duration,
    pub(crate) server: usize,
    /// How long the request travels, and the answer.
    pub(crate) there: Duration,
    pub(crate) back: Duration,
    pub(crate) loses: Loses,
    /// The network delivers it once more, so long after the first.
    pub(crate) copy: Option<Duration>,
    /// How long the caller listens.
    pub(crate) patience: Duration,
    /// Whether the server hears of its leaving.
    pub(crate) cancels: bool,
    pub(crate) has_deadline: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Loses {
    Nothing,
    TheRequest,
    TheAnswer,
}

impl Send {
    /// One that nothing happens to.
    pub(crate) const fn plain(server: usize) -> Self {
        Self {
            after: Duration::ZERO,
            server,
            there: MILLI,
            back: MILLI,
            loses: Loses::Nothing,
            copy: None,
            patience: MINUTE,
            cancels: true,
            has_deadline: false,
        }
    }
}

impl Plan {
    pub(crate) fn new(seed: u64) -> Self {
        let dice = &mut Dice::new(seed);
        let clocks = match seed % 8 {
            6 => Clocks::WithinTheGrace,
            7 => Clocks::Anyhow,
            _ => Clocks::Within,
        };
        let servers = dice.one_of(&[1, 2, 2, 3]);
        let calm = dice.chance(30);
        let keys = dice.one_of(&[1, 1, 2, 3]);
        let mut plan = Self {
            seed: dice.seed(),
            clocks,
            store_ahead: clocks.offset(dice),
            ahead: (0..servers).map(|_| clocks.offset(dice)).collect(),
            polls: servers > 1 || dice.chance(30),
            settle_within: dice.one_of(&[20 * MILLI, 200 * MILLI, 2 * SECOND]),
            cache_age: dice.one_of(&[Duration::ZERO, 3 * SECOND, 30 * SECOND]),
            max_waiters: dice.one_of(&[2, 100, 100]),
            weather: if calm { Weather { stale: 60, ..Weather::default() } } else { weather(dice, 4) },
            keys,
            policy: terms(dice),
            items: Vec::new(),
        };
        let length = dice.one_of(&[3_000, 15_000, 40_000]);
        // Now and then rows go in between.
        let gap = dice.maybe(35, |dice| (dice.between(0, length), dice.millis(3_500_000, 6_000_000)));
        for number in 1..=dice.between(5, 22) {
            let at = dice.between(0, length);
            let pause = gap.filter(|(from, _)| at >= *from).map_or(Duration::ZERO, |(_, pause)| pause);
            let what = plan.what(dice, number, calm);
            plan.items.push(Item { at: MILLI * u32::try_from(at).unwrap() + pause, what });
        }
        plan.items.sort_by_key(|item| item.at);
        plan
    }

    fn what(&self, dice: &mut Dice, number: u64, calm: bool) -> What {
        let server = dice.below(self.ahead.len());
        match dice.below(100) {
            0..5 => What::Jump { server, ahead: self.clocks.offset(dice) },
            5..9 => What::Crash { server },
            9..14 if !calm => What::Storm { lasts: dice.millis(50, 6_000), weather: weather(dice, 40) },
            14..20 => What::Policy(terms(dice)),
            20..30 => What::Operator(self.operator(dice, number)),
            _ => What::Operation(self.operation(dice, number)),
        }
    }

    fn operator(&self, dice: &mut Dice, number: u64) -> Operator {
        Operator {
            key: dice.below(self.keys),
            number,
            act: dice.one_of(&[Settle::Done, Settle::Release, Settle::Forget]),
            force: dice.chance(25),
            thinks: dice.one_of(&[Duration::ZERO, MILLI, 50 * MILLI, 2 * SECOND]),
            sends: self.sends(dice),
        }
    }

    fn operation(&self, dice: &mut Dice, attempt: u64) -> Operation {
        Operation {
            key: dice.below(self.keys),
            attempt,
            request: dice.one_of(&[None, Some(1), Some(1), Some(1), Some(2)]),
            lease: dice.maybe(60, |dice| dice.millis(20, 9_000)),
            retention: dice.maybe(20, |dice| dice.millis(100, 30_000)),
            wait: dice.one_of(&[Duration::ZERO, Duration::ZERO, 500 * MILLI, 12 * SECOND]),
            retry: dice.chance(20),
            first_sent_ago: dice.maybe(20, |dice| dice.millis(0, 60_000)),
            sends: self.sends(dice),
            moves: (0..dice.below(5)).map(|_| self.step(dice)).collect(),
        }
    }

    fn step(&self, dice: &mut Dice) -> Move {
        let pause = dice.one_of(&[Duration::ZERO, Duration::ZERO, 300 * MILLI, 2 * SECOND]);
        let act = match dice.below(10) {
            0..2 => Act::Renew { lease: dice.maybe(50, |dice| dice.millis(20, 9_000)) },
            2..4 => Act::Save { point: u8::from(dice.chance(50)), value: u8::from(dice.chance(20)) },
            4 => Act::Release { pause },
            5 => Act::GiveUp { pause },
            _ => {
                let retention = dice.maybe(20, |dice| dice.millis(100, 30_000));
                Act::Complete { version: u8::from(dice.chance(10)), retention }
            }
        };
        // Some come back when their lease is over.
        let after = if dice.chance(20) { dice.millis(1_000, 14_000) } else { dice.millis(0, 400) };
        Move { after, act, sends: self.sends(dice) }
    }

    fn sends(&self, dice: &mut Dice) -> Vec<Send> {
        let tries = dice.one_of(&[1, 3, 5]);
        (0..tries).map(|again| self.send(dice, again > 0)).collect()
    }

    fn send(&self, dice: &mut Dice, again: bool) -> Send {
        let after = match (again, dice.below(10)) {
            (false, _) => Duration::ZERO,
            (true, 0) => dice.millis(1_000, 12_000),
            (true, _) => dice.millis(0, 60),
        };
        let way = |dice: &mut Dice| if dice.chance(8) { dice.millis(5, 9_000) } else { dice.millis(0, 4) };
        Send {
            after,
            server: dice.below(self.ahead.len()),
            there: way(dice),
            back: way(dice),
            loses: match dice.below(100) {
                0..5 => Loses::TheRequest,
                5..15 => Loses::TheAnswer,
                _ => Loses::Nothing,
            },
            copy: dice.maybe(
                10,
                |dice| {
                    if dice.chance(50) { dice.millis(0, 10) } else { dice.millis(10, 20_000) }
                },
            ),
            patience: if dice.chance(25) { dice.millis(1, 40) } else { dice.millis(2_000, 30_000) },
            cancels: dice.chance(60),
            has_deadline: dice.chance(70),
        }
    }
}

fn terms(dice: &mut Dice) -> Terms {
    let retention = dice.one_of(&[2 * SECOND, 30 * SECOND, 5 * MINUTE]);
    Terms {
        mark_unknown: dice.chance(35),
        max_attempts: dice.one_of(&[0, 0, 2, 3]),
        lease: dice.one_of(&[200 * MILLI, SECOND, 3 * SECOND]),
        retention,
        unresolved_retention: retention.max(LONGEST_LEASE) * dice.one_of(&[1, 4]),
    }
}

fn weather(dice: &mut Dice, most: u64) -> Weather {
    let part =
        |dice: &mut Dice| u32::try_from(dice.between(0, most + 1)).unwrap() * u32::from(dice.chance(60));
    Weather {
        refuses: part(dice),
        loses: part(dice),
        unsaid: part(dice),
        late: part(dice),
        slow: part(dice) / 4,
        stale: dice.one_of(&[0, 50, 90]),
    }
}
