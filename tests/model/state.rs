//! What there is at one moment: the clocks, the store, what servers and callers know, and what is on the network.

use crate::planted::Fault;
use crate::rules::{AttemptId, Command, Fence, Moment, Policy, Row, Rules, TICK};

pub(crate) const SERVERS: u8 = 2;
pub(crate) const OPERATOR: u8 = u8::MAX;
/// The result that an operator settles a record with.
pub(crate) const OPERATORS_RESULT: u8 = 200;
/// For how many ticks a server replays from its cache.
pub(crate) const CACHE_AGE: u8 = 2;
/// The moment at which all begins: no retention reaches back behind it.
pub(crate) const START: u8 = 4;

/// How far servers' clocks differ and jump.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Clocks {
    /// By the skew allowance.
    Allowance,
    /// By more than that, and less than the grace.
    Grace,
    /// By more than the grace.
    Anyhow,
}

impl Clocks {
    /// The most ticks that a clock is ahead.
    pub(crate) const fn ahead(self) -> u8 {
        match self {
            Self::Allowance => 1,
            Self::Grace => 2,
            Self::Anyhow => 5,
        }
    }
}

/// Where things go wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Trouble {
    /// Calls are doubled, and answers lost.
    Network,
    /// The store refuses, does not say what became of a write, and writes late.
    Store,
    /// Servers crash, and clocks jump.
    Servers,
    Anywhere,
}

impl Trouble {
    pub(crate) fn is_in(self, place: Self) -> bool {
        self == Self::Anywhere || self == place
    }
}

/// A model: how large it is, what may happen in it, and what is planted in it.
#[derive(Clone, Debug)]
pub(crate) struct Size {
    pub(crate) name: &'static str,
    /// The digest that each caller sends, and the key it is about.
    pub(crate) callers: &'static [(Option<u8>, u8)],
    /// How many attempts each caller makes.
    pub(crate) attempts: u8,
    /// How many ticks pass, and how many of them at once.
    pub(crate) ticks: u8,
    pub(crate) stride: u8,
    /// How many things go wrong in a history, and where.
    pub(crate) mishaps: u8,
    pub(crate) trouble: Trouble,
    pub(crate) clocks: Clocks,
    pub(crate) policy: Policy,
    /// How many calls an operator makes.
    pub(crate) operations: u8,
    /// Whether owners renew.
    pub(crate) renews: bool,
    /// Whether callers say when they first sent.
    pub(crate) first_sent: bool,
    pub(crate) fault: Option<Fault>,
}

impl Size {
    pub(crate) const fn rules(&self) -> Rules {
        Rules { policy: self.policy, fault: self.fault }
    }

    pub(crate) fn has(&self, fault: Fault) -> bool {
        self.fault == Some(fault)
    }

    /// Whether windows of time are promised.
    pub(crate) fn within_allowance(&self) -> bool {
        self.clocks == Clocks::Allowance
    }

    pub(crate) fn within_grace(&self) -> bool {
        self.clocks != Clocks::Anyhow
    }
}

/// Names a write among those that anybody still knows of.
pub(crate) type Version = u8;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Stored {
    pub(crate) version: Version,
    pub(crate) row: Row,
}

/// A key in the store, and what was promised of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub(crate) struct Cell {
    pub(crate) now: Option<Stored>,
    /// What was there before a write that nobody was told of: a plain read may still find it.
    #[allow(clippy::option_option, reason = "what may be found is a row, or that there is none")]
    pub(crate) before: Option<Option<Stored>>,
    /// The highest fence that was granted, and the attempt it was granted to last.
    pub(crate) granted: Fence,
    pub(crate) granted_to: Option<AttemptId>,
    /// How many attempts were granted in the present budget.
    pub(crate) attempts: u8,
    /// A completion that was acknowledged and neither forgotten nor followed by another attempt.
    pub(crate) acknowledged: Option<Acknowledged>,
    /// The fence that was forgotten, and when.
    pub(crate) forgotten: Option<(Fence, u8)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Acknowledged {
    pub(crate) fence: Fence,
    pub(crate) result: u8,
    pub(crate) expires_at: Moment,
}

/// A completed row in a server's replay cache, the key it is of, and since when.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Cached {
    pub(crate) key: u8,
    pub(crate) row: Row,
    pub(crate) since: u8,
}

/// A call on the network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Request {
    pub(crate) from: u8,
    pub(crate) key: u8,
    /// A caller counts its lease from then; 0 where nothing hangs on it.
    pub(crate) sent: u8,
    pub(crate) command: Command,
}

/// A write as it was decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Write {
    pub(crate) key: u8,
    pub(crate) version: Version,
    pub(crate) expected: Option<Version>,
    pub(crate) row: Row,
    pub(crate) command: Command,
    pub(crate) answer: crate::rules::Answer,
    /// The deciding server's clock.
    pub(crate) now: Moment,
}

/// A call at a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Call {
    pub(crate) server: u8,
    pub(crate) request: Request,
    pub(crate) seen: Option<Stored>,
    /// Whether what was seen is from a serial read, or a refused write.
    pub(crate) serial: bool,
    /// When the store call that found it began: the age of what the cache keeps.
    pub(crate) since: u8,
    /// A write of which the store did not say what became.
    pub(crate) unsettled: Option<Write>,
    /// Whether the server knows of a write of this call that it does not know the end of.
    pub(crate) unsure: bool,
    /// Whether a write of this call in truth happened, or still may.
    pub(crate) wrote: bool,
    /// What had been acknowledged when the call arrived.
    pub(crate) promised: Option<Acknowledged>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Caller {
    /// It may begin its attempt `n`.
    Ready {
        n: u8,
    },
    /// It waits for the answer; `in_flight`: it has not heard that the call failed.
    Asking {
        n: u8,
        in_flight: bool,
    },
    /// By its own count it owns the key until then.
    Owner {
        n: u8,
        fence: Fence,
        until: Moment,
    },
    /// It said how its attempt ended, with this command.
    Ending {
        n: u8,
        command: Command,
        until: Moment,
        in_flight: bool,
    },
    Done,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct State {
    pub(crate) tick: u8,
    /// How many ticks each server's clock is ahead.
    pub(crate) ahead: [u8; SERVERS as usize],
    pub(crate) mishaps: u8,
    pub(crate) operations: u8,
    pub(crate) cells: [Cell; 2],
    pub(crate) caches: [Vec<Cached>; SERVERS as usize],
    pub(crate) network: Vec<Request>,
    pub(crate) calls: Vec<Call>,
    /// Writes that the store does not answer and that may still happen.
    pub(crate) late: Vec<Write>,
    pub(crate) callers: Vec<(Caller, Option<Moment>)>,
    pub(crate) broken: Option<Promise>,
}

/// DESIGN's promises, as they may be broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Promise {
    OneOwner,
    FencesRise,
    WritesNeedTheFence,
    OwnersAreNotDenied,
    ResultsStay,
    ResultsAreReplayed,
    OneAttemptOneFence,
    UnknownIsNotRerun,
    UnwrittenIsTrue,
    NothingCrosses,
    ForgottenIsForgotten,
    KeysCanBeBegun,
}

impl State {
    pub(crate) fn new(size: &Size) -> Self {
        Self {
            tick: START,
            ahead: [0, size.clocks.ahead()],
            mishaps: size.mishaps,
            operations: size.operations,
            cells: Default::default(),
            caches: Default::default(),
            network: Vec::new(),
            calls: Vec::new(),
            late: Vec::new(),
            callers: vec![(Caller::Ready { n: 0 }, None); size.callers.len()],
            broken: None,
        }
    }

    /// What a server's clock shows.
    pub(crate) fn now(&self, server: u8) -> Moment {
        Moment::from(self.tick + self.ahead[usize::from(server)]) * TICK
    }

    /// The true time, by which callers count.
    pub(crate) fn true_time(&self) -> Moment {
        Moment::from(self.tick) * TICK
    }

    pub(crate) fn cell(&mut self, key: u8) -> &mut Cell {
        &mut self.cells[usize::from(key)]
    }

    pub(crate) fn breaks(&mut self, promise: Promise) {
        self.broken.get_or_insert(promise);
    }

    /// A version that nobody knows: names are used again, so that equal states are equal.
    pub(crate) fn unused_version(&self) -> Version {
        let in_cells = self.cells.iter().flat_map(|cell| [cell.now, cell.before.flatten()]);
        let in_calls = self.calls.iter().map(|call| call.seen);
        let stored = in_cells.chain(in_calls).flatten().map(|stored| stored.version);
        let writes = self.calls.iter().filter_map(|call| call.unsettled).chain(self.late.iter().copied());
        let written = writes.flat_map(|write| [Some(write.version), write.expected]).flatten();
        let used = stored.chain(written).fold(0_u64, |used, version| used | 1 << version);
        u8::try_from(used.trailing_ones()).expect("a number of bits is small")
    }

    /// Equal sets are equal states.
    pub(crate) fn in_order(mut self) -> Self {
        self.network.sort_unstable();
        self.calls.sort_unstable();
        self.late.sort_unstable();
        for cache in &mut self.caches {
            cache.sort_unstable_by_key(|cached| cached.key);
        }
        self
    }
}
