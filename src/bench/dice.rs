//! Chance that can be repeated: the same seed and stream give the same draws, in whatever order tasks run.

use std::ops::RangeInclusive;

use bytes::Bytes;

/// A stream of draws (the splitmix64 generator).
#[derive(Debug)]
pub(super) struct Dice(u64);

const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

impl Dice {
    pub(super) const fn new(seed: u64, stream: u64) -> Self {
        // The stream is mixed before it is joined to the seed: neighbours must not share a tail of draws.
        Self(mix(seed.wrapping_add(GOLDEN)) ^ mix(stream.wrapping_mul(GOLDEN)))
    }

    pub(super) const fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(GOLDEN);
        mix(self.0)
    }

    /// A number from 0 up to, and without, 1.
    #[allow(clippy::cast_precision_loss, reason = "53 bits are exactly what an f64 holds")]
    fn unit(&mut self) -> f64 {
        (self.draw() >> 11) as f64 / (1_u64 << 53) as f64
    }

    pub(super) fn chance(&mut self, share: f64) -> bool {
        self.unit() < share
    }

    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "a size in bytes is far below 2^53, and the product below the range's length"
    )]
    pub(super) fn within(&mut self, range: &RangeInclusive<usize>) -> usize {
        let length = range.end() - range.start() + 1;
        range.start() + ((self.unit() * length as f64) as usize).min(length - 1)
    }

    /// One of `n` places, place `k` about as often as `1 / (k + 1)^skew`; a skew of 0 makes all alike.
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "places are far below 2^53, and the result is cut to them"
    )]
    pub(super) fn rank(&mut self, n: usize, skew: f64) -> usize {
        // The inverse of the continuous distribution with density x^-skew over [1, n + 1): unlike a table, it
        // costs nothing when n changes at every draw.
        let end = n as f64 + 1.0;
        let power = 1.0 - skew;
        let x = if power.abs() < 1e-9 {
            end.powf(self.unit())
        } else {
            (self.unit() * (end.powf(power) - 1.0) + 1.0).powf(power.recip())
        };
        (x as usize).saturating_sub(1).min(n.saturating_sub(1))
    }

    pub(super) fn bytes(&mut self, length: usize) -> Bytes {
        let mut bytes = Vec::with_capacity(length.next_multiple_of(8));
        while bytes.len() < length {
            bytes.extend_from_slice(&self.draw().to_le_bytes());
        }
        bytes.truncate(length);
        bytes.into()
    }
}

const fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_seeds_and_streams_give_equal_draws_and_others_do_not() {
        let draws = |seed, stream| Dice::new(seed, stream).bytes(64);
        assert_eq!(draws(1, 2), draws(1, 2));
        assert_ne!(draws(1, 2), draws(2, 1));
        assert_ne!(draws(1, 2), draws(1, 3));
        // A neighbour's draws are not this stream's, one later.
        assert_ne!(draws(1, 2)[8..], draws(1, 3)[..56]);
    }

    #[test]
    fn a_skew_of_one_meets_the_first_place_twice_as_often_as_the_second_and_none_meets_all_alike() {
        let shares = |skew: f64| {
            let mut dice = Dice::new(7, 0);
            let mut met = [0_u32; 100];
            for _ in 0..100_000 {
                met[dice.rank(100, skew)] += 1;
            }
            met
        };
        let even = shares(0.0);
        assert!(even.iter().all(|met| (850..1150).contains(met)), "{even:?}");
        let skewed = shares(1.0);
        // ln 2 / ln 101 of the draws, and ln 1.5 / ln 101.
        assert!((14_500..15_500).contains(&skewed[0]), "{skewed:?}");
        assert!((8_300..9_300).contains(&skewed[1]), "{skewed:?}");
        assert!(skewed[99] > 0 && skewed[99] < 500, "{skewed:?}");
    }

    #[test]
    fn sizes_cover_their_whole_range() {
        let mut dice = Dice::new(1, 1);
        let met: std::collections::BTreeSet<_> = (0..1000).map(|_| dice.within(&(3..=7))).collect();
        assert_eq!(met, (3..=7).collect());
        assert_eq!(dice.within(&(5..=5)), 5);
        assert_eq!(dice.bytes(13).len(), 13);
    }
}
