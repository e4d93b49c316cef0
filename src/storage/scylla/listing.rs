//! Scans: from hint to hint, each checked against its record.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{StreamExt, TryStreamExt, stream};

use super::Shared;
use super::errors::of_read;
use super::hints::Noted;
use super::place::{End, Partition, Place};
use crate::domain::{Key, Record, Tenant};
use crate::storage::{Freshness, Page, Scan, StoreError, Versioned};

/// How many records are read at once.
const READ_AT_ONCE: usize = 16;
/// How many partitions one page looks into: where they are empty, the page is short, and the call too.
const PARTITIONS_IN_A_PAGE: usize = 200;
/// How old a hint must be before it is dropped for want of a record that bears it out: a hint is written before its
/// record, and that write may be on its way.
const YOUNG: Duration = Duration::from_mins(10);

/// A page of the records that hints point to.
pub(super) async fn page(shared: &Arc<Shared>, scan: &Scan) -> Result<Page, StoreError> {
    let after = scan.after.as_ref().map(End::from_cursor);
    let after =
        after.map(|end| end.ok_or_else(|| StoreError::Unavailable("the cursor is not ours".to_owned())));
    let (places, end) = collect(shared, scan.tenant.as_ref(), after.transpose()?, scan.limit).await?;
    let records = verified(shared, &places, end.as_ref()).await?;
    Ok(Page { records, next: end.map(|end| end.to_cursor()) })
}

/// Up to `limit` hints after `after`, in order, and where that ended; `None` at the end of all.
async fn collect(
    shared: &Arc<Shared>,
    tenant: Option<&Tenant>,
    after: Option<End>,
    limit: usize,
) -> Result<(Vec<Place>, Option<End>), StoreError> {
    let mut places = Vec::new();
    let mut looked_into = 0;
    let (mut resume, mut from) = match after {
        None => (None, None),
        Some(End::Hint(place)) => (Some(place.clone()), Some(place.partition())),
        Some(End::Partition(partition)) => (None, Some(partition)),
    };
    loop {
        let start = from.as_ref().map_or(("", 0), |from| (from.tenant.as_str(), from.bucket));
        let noted = shared.hints.partitions(&shared.session, tenant, start).await?;
        let Some(last) = noted.last() else { return Ok((places, None)) };
        from = Some(Partition { bucket: last.partition.bucket + 1, ..last.partition.clone() });
        for noted in noted {
            if places.len() == limit || looked_into == PARTITIONS_IN_A_PAGE {
                return Ok((places, Some(End::Partition(noted.partition))));
            }
            looked_into += 1;
            let within = resume.take().filter(|place| place.partition() == noted.partition);
            let (found, all) = shared
                .hints
                .read(&shared.session, &noted.partition, within.as_ref(), limit - places.len())
                .await?;
            if found.is_empty() && all && within.is_none() {
                strike_off(shared, noted);
            }
            let last = found.last().cloned();
            places.extend(found);
            if let Some(last) = last.filter(|_| !all) {
                return Ok((places, Some(End::Hint(last))));
            }
        }
    }
}

/// The records of these hints. A hint that its record does not bear out is dropped behind the call.
async fn verified(
    shared: &Arc<Shared>,
    places: &[Place],
    end: Option<&End>,
) -> Result<Vec<(Key, Versioned)>, StoreError> {
    let here: HashSet<&Place> = places.iter().collect();
    // The futures are made first: as a stream of borrowing closures they could not be sent between threads.
    let reads: Vec<_> = places.iter().map(|place| verify(shared, place, &here, end)).collect();
    stream::iter(reads).buffered(READ_AT_ONCE).try_filter_map(async |found| Ok(found)).try_collect().await
}

async fn verify(
    shared: &Arc<Shared>,
    place: &Place,
    here: &HashSet<&Place>,
    end: Option<&End>,
) -> Result<Option<(Key, Versioned)>, StoreError> {
    let current = shared.read(&place.key, Freshness::Acknowledged).await?;
    let Some(current) = current.filter(|current| current.record.is_open()) else {
        drop_if_stale(shared, place);
        return Ok(None);
    };
    if current.record.fence() == place.fence {
        return Ok(Some((place.key.clone(), current)));
    }
    drop_if_stale(shared, place);
    // An attempt that began while we looked has its hint further on, unless we are past that place already.
    let place = Place { fence: current.record.fence(), key: place.key.clone() };
    let comes_by_itself = here.contains(&place) || end.is_some_and(|end| is_beyond(&place, end));
    Ok((!comes_by_itself).then_some((place.key, current)))
}

/// Whether a scan that ended at `end` has yet to come to `place`.
fn is_beyond(place: &Place, end: &End) -> bool {
    match end {
        End::Hint(last) => place > last,
        End::Partition(next) => place.partition() >= *next,
    }
}

/// Drops a hint, if a read that settles what is under way finds that its attempt will never need it.
fn drop_if_stale(shared: &Arc<Shared>, place: &Place) {
    if place.fence.moment().plus(YOUNG) >= shared.clock.now() {
        return;
    }
    let place = place.clone();
    shared.in_the_background(async move |shared: Arc<Shared>| {
        let current = shared.read(&place.key, Freshness::Serial).await?;
        let needed = |record: &Record| record.is_open() && record.fence() == place.fence;
        if current.is_some_and(|current| needed(&current.record)) {
            return Ok(());
        }
        shared.hints.drop(&shared.session, &place).await.map_err(|error| of_read(&error))
    });
}

/// Strikes off a partition that was found empty, once no attempt of its hour can begin any more.
fn strike_off(shared: &Arc<Shared>, noted: Noted) {
    if !noted.is_over(shared.clock.now()) {
        return;
    }
    shared.in_the_background(async move |shared: Arc<Shared>| {
        shared.hints.drop_partition(&shared.session, &noted).await.map_err(|error| of_read(&error))
    });
}
