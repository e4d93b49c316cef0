//! When the database may drop a row: the TTL of both its columns.

use crate::domain::Timestamp;

/// The longest TTL that both databases take: 20 years.
const LONGEST: u64 = 20 * 365 * 24 * 3600;
/// In its compatibility mode, which is the default of 5.0, and before 5.0, Cassandra keeps moments of expiry as 32-bit
/// seconds since 1970, and refuses what ends later: in January 2038.
const LAST_MOMENT: u64 = i32::MAX as u64;
/// Less than the database allows, as its clock goes on between two looks at it, and differs from node to node.
const MARGIN: u64 = 24 * 3600;

/// The TTL of a row that may go at `reclaim_at`, in seconds: rounded up, never zero or negative, at most `longest`.
pub(super) fn ttl(reclaim_at: Timestamp, now: Timestamp, longest: i32) -> i32 {
    let left = reclaim_at.since(now).as_micros().div_ceil(1_000_000);
    i32::try_from(left).unwrap_or(i32::MAX).min(longest).max(1)
}

/// The longest TTL that the database takes where its clock says `database_now`.
pub(super) fn longest_ttl(database_now: Timestamp, ends_in_2038: bool) -> i32 {
    let now = database_now.as_micros() / 1_000_000;
    let longest = if ends_in_2038 {
        LAST_MOMENT.saturating_sub(now).saturating_sub(MARGIN).min(LONGEST)
    } else {
        LONGEST
    };
    i32::try_from(longest).unwrap_or(i32::MAX).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000;

    #[test]
    fn a_ttl_is_rounded_up_and_within_bounds() {
        let at = Timestamp::from_micros;
        let now = at(1_000 * SECOND);
        let longest = 500;
        for (reclaim_at, expected) in [
            (0, 1),
            (1_000 * SECOND, 1),
            (1_000 * SECOND + 1, 1),
            (1_001 * SECOND, 1),
            (1_001 * SECOND + 1, 2),
            (1_499 * SECOND + 1, 500),
            (1_500 * SECOND + 1, 500),
            (u64::MAX, 500),
        ] {
            assert_eq!(ttl(at(reclaim_at), now, longest), expected, "{reclaim_at}");
        }
        assert_eq!(ttl(at(u64::MAX), at(0), i32::MAX), i32::MAX);
    }

    #[test]
    fn the_longest_ttl_ends_before_the_database_s_last_moment() {
        let year = 365 * 24 * 3600;
        let at = |seconds: u64| Timestamp::from_micros(seconds * SECOND);
        assert_eq!(longest_ttl(at(56 * year), false), 20 * 365 * 24 * 3600);
        assert_eq!(longest_ttl(at(0), true), 20 * 365 * 24 * 3600);
        let now = 56 * year;
        assert_eq!(
            i64::from(longest_ttl(at(now), true)),
            (1 << 31) - 1 - 86_400 - i64::try_from(now).unwrap()
        );
        assert_eq!(longest_ttl(at(70 * year), true), 1, "the database refuses it, and says why");
    }
}
