//! Where hints stand, and how far a scan has come.

use std::cmp::Ordering;

use crate::domain::{Endpoint, Fence, IdempotencyKey, Key, Tenant, Timestamp};
use crate::storage::Cursor;

const HOUR_MICROS: i64 = 3_600_000_000;

/// A partition of hints: a tenant's, of an hour.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Partition {
    pub(super) tenant: Tenant,
    /// Hours since 1970.
    pub(super) bucket: i64,
}

impl Partition {
    /// The partition that a row or a cursor names; `None` for a name or an hour that no hint of ours has.
    pub(super) fn stored(tenant: &str, bucket: i64) -> Option<Self> {
        let tenant = Tenant::new(tenant).ok()?;
        (bucket >= 0).then_some(Self { tenant, bucket })
    }

    /// The partition of the hour before.
    pub(super) fn before(&self) -> Self {
        Self { tenant: self.tenant.clone(), bucket: self.bucket - 1 }
    }

    /// Where the hint of an attempt with this fence stands.
    pub(super) fn of(tenant: &Tenant, fence: Fence) -> Self {
        Self { tenant: tenant.clone(), bucket: fence.get() / HOUR_MICROS }
    }

    /// The first fence and the last one whose hints stand here.
    pub(super) const fn fences(&self) -> (i64, i64) {
        let first = self.bucket.saturating_mul(HOUR_MICROS);
        (first, first.saturating_add(HOUR_MICROS - 1))
    }

    /// When its hour ends.
    pub(super) const fn end(&self) -> Timestamp {
        Timestamp::from_micros(self.fences().1.unsigned_abs())
    }
}

/// A hint: the fence of an attempt, and the key. Scans go against this order.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Place {
    pub(super) fence: Fence,
    pub(super) key: Key,
}

impl Place {
    /// The hint that a row of `partition` holds; `None` for one that is not ours.
    pub(super) fn stored(partition: &Partition, fence: i64, endpoint: &str, key: &str) -> Option<Self> {
        let key = Key {
            tenant: partition.tenant.clone(),
            endpoint: Endpoint::new(endpoint).ok()?,
            idempotency_key: IdempotencyKey::new(key).ok()?,
        };
        Some(Self { fence: Fence::new(fence).ok()?, key })
    }

    pub(super) fn partition(&self) -> Partition {
        Partition::of(&self.key.tenant, self.fence)
    }
}

impl Ord for Place {
    fn cmp(&self, other: &Self) -> Ordering {
        // The tenant, then the fence, whose hours are in its order too, then the rest of the key.
        (&self.key.tenant, self.fence, &self.key).cmp(&(&other.key.tenant, other.fence, &other.key))
    }
}

impl PartialOrd for Place {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// Where a page of a scan ended, and when the scan began.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Progress {
    pub(super) began: Timestamp,
    pub(super) end: End,
}

/// Where a page of a scan ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// Below this hint.
    Hint(Place),
    /// At the top of this partition.
    Partition(Partition),
}

const BELOW_HINT: u8 = 0;
const TOP_OF_PARTITION: u8 = 1;

impl End {
    /// Whether a scan that ended here has yet to come to `place`.
    pub(super) fn is_before(&self, place: &Place) -> bool {
        match self {
            Self::Hint(last) => place < last,
            Self::Partition(next) => place.partition() <= *next,
        }
    }
}

impl Progress {
    pub(super) fn to_cursor(&self) -> Cursor {
        let mut bytes = self.began.as_micros().to_be_bytes().to_vec();
        match &self.end {
            End::Hint(Place { fence, key }) => {
                bytes.push(BELOW_HINT);
                bytes.extend_from_slice(&fence.get().to_be_bytes());
                bytes.extend_from_slice(&key.to_bytes());
            }
            End::Partition(Partition { tenant, bucket }) => {
                bytes.push(TOP_OF_PARTITION);
                bytes.extend_from_slice(&bucket.to_be_bytes());
                bytes.extend_from_slice(tenant.as_str().as_bytes());
            }
        }
        Cursor(bytes)
    }

    /// `None` for what [`Self::to_cursor`] did not write.
    pub(super) fn from_cursor(cursor: &Cursor) -> Option<Self> {
        let (began, rest) = cursor.0.split_first_chunk::<8>()?;
        let (kind, rest) = rest.split_first()?;
        let (number, rest) = rest.split_first_chunk::<8>()?;
        let number = i64::from_be_bytes(*number);
        let end = match *kind {
            BELOW_HINT => End::Hint(Place { fence: Fence::new(number).ok()?, key: Key::from_bytes(rest)? }),
            TOP_OF_PARTITION => End::Partition(Partition::stored(str::from_utf8(rest).ok()?, number)?),
            _ => return None,
        };
        Some(Self { began: Timestamp::from_micros(u64::from_be_bytes(*began)), end })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(tenant: &str, fence: i64, endpoint: &str, key: &str) -> Place {
        Place {
            fence: Fence::new(fence).unwrap(),
            key: Key {
                tenant: Tenant::new(tenant).unwrap(),
                endpoint: Endpoint::new(endpoint).unwrap(),
                idempotency_key: IdempotencyKey::new(key).unwrap(),
            },
        }
    }

    #[test]
    fn a_place_is_in_its_partition() {
        for fence in [1, HOUR_MICROS - 1, HOUR_MICROS, 1_800_000_000_000_000, i64::MAX - 1, i64::MAX] {
            let partition = place("t", fence, "e", "k").partition();
            let (first, last) = partition.fences();
            assert!(first <= fence && fence <= last, "{fence}");
        }
    }

    #[test]
    fn an_hour_that_no_fence_has_is_of_no_partition() {
        for bucket in [i64::MIN, -1] {
            assert_eq!(Partition::stored("t", bucket), None, "{bucket}");
            let mut bytes = vec![0; 8];
            bytes.push(TOP_OF_PARTITION);
            bytes.extend_from_slice(&bucket.to_be_bytes());
            bytes.push(b't');
            assert_eq!(Progress::from_cursor(&Cursor(bytes)), None, "{bucket}");
        }
        assert!(Partition::stored("t", 0).is_some_and(|first| first.before() < first));
    }

    #[test]
    fn places_are_in_the_order_of_the_tables() {
        let places = [
            place("a", 5, "e", "k"),
            place("a", 5, "e", "l"),
            place("a", 5, "f", "a"),
            place("a", 6, "a", "a"),
            place("a", HOUR_MICROS, "a", "a"),
            place("b", 1, "a", "a"),
        ];
        assert!(places.is_sorted());
        assert!(places.iter().map(Place::partition).is_sorted());
    }

    #[test]
    fn cursors_come_back_and_others_are_refused() {
        let hint = place("tenant", i64::MAX, "é", "\0k");
        let began = Timestamp::from_micros(u64::MAX);
        for end in [End::Partition(hint.partition()), End::Hint(hint)] {
            let progress = Progress { began, end };
            assert_eq!(Progress::from_cursor(&progress.to_cursor()), Some(progress));
        }
        for bytes in [&[][..], &[0], &[0; 16], &[0; 17], &[1; 17], &[2; 28]] {
            assert_eq!(Progress::from_cursor(&Cursor(bytes.to_vec())), None, "{bytes:?}");
        }
    }

    #[test]
    fn a_scan_goes_downwards() {
        let last = place("b", HOUR_MICROS, "e", "k");
        let end = End::Hint(last.clone());
        assert!(
            end.is_before(&place("b", HOUR_MICROS, "e", "j"))
                && end.is_before(&place("a", i64::MAX, "e", "k"))
        );
        assert!(!end.is_before(&last) && !end.is_before(&place("b", HOUR_MICROS + 1, "a", "a")));
        let end = End::Partition(last.partition());
        assert!(end.is_before(&last) && end.is_before(&place("b", 1, "e", "k")));
        assert!(!end.is_before(&place("b", 2 * HOUR_MICROS, "e", "k")));
    }
}
