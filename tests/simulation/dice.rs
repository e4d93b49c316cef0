//! Chance that a seed decides.

use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

#[derive(Debug)]
pub(crate) struct Dice(StdRng);

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        Self(StdRng::seed_from_u64(seed))
    }

    /// Dice of their own for one of many: what happens to one does not depend on how many others there are.
    pub(crate) fn of(seed: u64, place: &[u64]) -> Self {
        // FNV-1a: the same on every machine and in every release of a library.
        let mut hash = seed ^ 0xcbf2_9ce4_8422_2325;
        for byte in place.iter().flat_map(|number| number.to_le_bytes()) {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
        Self::new(hash)
    }

    pub(crate) fn chance(&mut self, percent: u32) -> bool {
        self.0.random_range(0..100) < percent
    }

    /// At least `least`, below `end`.
    pub(crate) fn between(&mut self, least: u64, end: u64) -> u64 {
        self.0.random_range(least..end)
    }

    pub(crate) fn below(&mut self, end: usize) -> usize {
        self.0.random_range(0..end)
    }

    pub(crate) fn millis(&mut self, least: u64, end: u64) -> Duration {
        Duration::from_millis(self.between(least, end))
    }

    pub(crate) fn seed(&mut self) -> u64 {
        self.0.random()
    }

    pub(crate) fn maybe<T>(&mut self, percent: u32, make: impl FnOnce(&mut Self) -> T) -> Option<T> {
        self.chance(percent).then(|| make(self))
    }

    pub(crate) fn one_of<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len())]
    }
}
