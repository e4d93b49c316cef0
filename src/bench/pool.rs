//! Who comes next, and which key it begins.

use std::collections::{BTreeSet, VecDeque};

use super::checker::Settled;
use super::dice::Dice;

/// How many completed keys can still be drawn: bounds the memory of a long run.
const REMEMBERED: usize = 1 << 20;

/// The key that a caller begins.
#[derive(Clone, Copy, Debug)]
pub(super) enum Target {
    /// One that nobody began before.
    Fresh(u64),
    /// One that another caller is at.
    Running(u64),
    /// One whose Complete was acknowledged, and with what.
    Settled(Settled),
}

impl Target {
    pub(super) const fn key(&self) -> u64 {
        match self {
            Self::Fresh(key) | Self::Running(key) => *key,
            Self::Settled(settled) => settled.key,
        }
    }
}

/// What was drawn so far.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Drawn {
    pub(super) fresh: u64,
    pub(super) concurrent: u64,
    pub(super) sequential: u64,
}

impl Drawn {
    pub(super) const fn duplicates(&self) -> u64 {
        self.concurrent + self.sequential
    }

    pub(super) const fn callers(&self) -> u64 {
        self.fresh + self.duplicates()
    }
}

/// The keys in play. Shares are kept by counting what is owed, so that a run meets them, however short it is.
#[derive(Debug)]
pub(super) struct Pool {
    duplicates: f64,
    concurrent: f64,
    skew: f64,
    most_fresh: Option<u64>,
    drawn: Drawn,
    running: BTreeSet<u64>,
    settled: VecDeque<Settled>,
    dice: Dice,
}

impl Pool {
    /// Keys are numbered from 0; `most_fresh` bounds how many there are.
    pub(super) fn new(
        duplicates: f64,
        concurrent: f64,
        skew: f64,
        most_fresh: Option<u64>,
        dice: Dice,
    ) -> Self {
        Self {
            duplicates,
            concurrent,
            skew,
            most_fresh,
            drawn: Drawn::default(),
            running: BTreeSet::new(),
            settled: VecDeque::new(),
            dice,
        }
    }

    /// The next caller's key; `None` when all were begun and no duplicate is owed.
    pub(super) fn draw(&mut self) -> Option<Target> {
        let drawn = self.drawn;
        let owed = owes(drawn.duplicates(), drawn.callers(), self.duplicates);
        let concurrent = owes(drawn.concurrent, drawn.duplicates(), self.concurrent);
        let fresh_left = self.most_fresh.is_none_or(|most| drawn.fresh < most);
        if owed {
            let wanted = if concurrent { self.draw_running() } else { self.draw_settled() };
            if wanted.is_some() {
                return wanted;
            }
            if !fresh_left {
                return if concurrent { self.draw_settled() } else { self.draw_running() };
            }
        }
        fresh_left.then(|| {
            let key = drawn.fresh;
            self.drawn.fresh += 1;
            self.running.insert(key);
            Target::Fresh(key)
        })
    }

    /// The key was completed: it can be drawn as such from now on.
    pub(super) fn settle(&mut self, settled: Settled) {
        self.running.remove(&settled.key);
        if self.settled.len() == REMEMBERED {
            self.settled.pop_front();
        }
        self.settled.push_back(settled);
    }

    /// Nobody is at the key any more.
    pub(super) fn abandon(&mut self, key: u64) {
        self.running.remove(&key);
    }

    pub(super) const fn drawn(&self) -> Drawn {
        self.drawn
    }

    fn draw_running(&mut self) -> Option<Target> {
        let rank = self.dice.rank(self.running.len(), self.skew);
        let key = *self.running.iter().rev().nth(rank)?;
        self.drawn.concurrent += 1;
        Some(Target::Running(key))
    }

    fn draw_settled(&mut self) -> Option<Target> {
        let rank = self.dice.rank(self.settled.len(), self.skew);
        let settled = *self.settled.get(self.settled.len().checked_sub(rank + 1)?)?;
        self.drawn.sequential += 1;
        Some(Target::Settled(settled))
    }
}

/// Whether one more of `all` may be of the kind of which there are `some`, for it to have its share.
#[allow(clippy::cast_precision_loss, reason = "a run has fewer than 2^53 callers")]
fn owes(some: u64, all: u64, share: f64) -> bool {
    (some + 1) as f64 <= share * (all + 1) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settled(key: u64) -> Settled {
        Settled { key, nonce: key, fence: 1, attempt: 1, kept_until: std::time::Instant::now() }
    }

    /// Draws until the pool is empty, settling each fresh key `lag` draws after it was drawn.
    fn exhaust(pool: &mut Pool, lag: usize) -> Vec<Target> {
        let mut under_way = VecDeque::new();
        let mut targets = Vec::new();
        while let Some(target) = pool.draw() {
            if let Target::Fresh(key) = target {
                under_way.push_back(key);
            }
            targets.push(target);
            while under_way.len() > lag {
                pool.settle(settled(under_way.pop_front().expect("longer than the lag")));
            }
        }
        targets
    }

    #[test]
    #[allow(clippy::cast_precision_loss, reason = "counts of a few thousand")]
    fn shares_are_met_to_the_caller() {
        for (duplicates, concurrent, lag) in [(0.3, 0.5, 8), (0.9, 0.1, 3), (0.5, 1.0, 1), (0.5, 0.0, 0)] {
            let mut pool = Pool::new(duplicates, concurrent, 1.0, Some(1000), Dice::new(1, 0));
            let targets = exhaust(&mut pool, lag);
            let drawn = pool.drawn();
            assert_eq!(drawn.fresh, 1000);
            assert_eq!(drawn.callers(), targets.len() as u64);
            let wanted = 1000.0 * duplicates / (1.0 - duplicates);
            assert!((drawn.duplicates() as f64 - wanted).abs() <= 2.0, "{drawn:?}, not {wanted}");
            let wanted = wanted * concurrent;
            assert!((drawn.concurrent as f64 - wanted).abs() <= 12.0, "{drawn:?}, not {wanted}");
        }
    }

    #[test]
    fn a_duplicate_is_of_a_key_that_is_running_or_settled_as_it_says() {
        let mut pool = Pool::new(0.6, 0.5, 1.0, Some(200), Dice::new(3, 0));
        let mut begun = 0;
        for target in exhaust(&mut pool, 4) {
            match target {
                Target::Fresh(key) => {
                    assert_eq!(key, begun);
                    begun += 1;
                }
                Target::Running(key) => assert!(key < begun && key + 5 >= begun, "{key} of {begun}"),
                Target::Settled(settled) => assert!(settled.key + 4 < begun, "{settled:?} of {begun}"),
            }
        }
    }

    #[test]
    fn an_abandoned_key_is_not_drawn() {
        let mut pool = Pool::new(0.9, 1.0, 0.0, Some(2), Dice::new(1, 0));
        assert!(matches!(pool.draw(), Some(Target::Fresh(0))));
        pool.abandon(0);
        assert!(matches!(pool.draw(), Some(Target::Fresh(1))));
        pool.abandon(1);
        assert!(pool.draw().is_none());
    }
}
