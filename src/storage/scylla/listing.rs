//! Scans: from hint to hint, each checked against its record.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{StreamExt, TryStreamExt, stream};

use super::Shared;
use super::errors::of_read;
use super::hints::Noted;
use super::place::{End, Place, Progress};
use crate::domain::{Fence, Key, Record, Tenant, Timestamp};
use crate::storage::{Freshness, Page, Scan, StoreError, Versioned};

/// How many records are read at once.
const READ_AT_ONCE: usize = 16;
/// How many partitions one page looks into: where they are empty, the page is short, and the call too.
const PARTITIONS_IN_A_PAGE: usize = 200;
/// How old a hint must be before it is dropped for want of a record that bears it out: a hint is written before its
/// record, and that write may be on its way. And how long the hint before it stays once another attempt has the key: longer
/// than a scan takes, which may be past the new one.
const YOUNG: Duration = Duration::from_mins(10);
/// How long after its fence was granted an attempt's hint may be written, and by how much servers' clocks may differ.
const NOTED_WITHIN: Duration = Duration::from_mins(1);

/// A page of the records that hints point to.
pub(super) async fn page(shared: &Arc<Shared>, scan: &Scan) -> Result<Page, StoreError> {
    let not_ours = || StoreError::Unavailable("the cursor is not one of this store's".to_owned());
    let (began, after) = match &scan.after {
        None => (shared.clock.now(), None),
        Some(cursor) => {
            let Progress { began, end } = Progress::from_cursor(cursor).ok_or_else(not_ours)?;
            (began, Some(end))
        }
    };
    let (places, end) = collect(shared, scan.tenant.as_ref(), after, scan.limit).await?;
    let here: HashSet<&Place> = places.iter().collect();
    // The futures are made first: as a stream of borrowing closures they could not be sent between threads.
    let reads: Vec<_> =
        places.iter().map(|place| verified(shared, place, &here, end.as_ref(), began)).collect();
    let records = stream::iter(reads)
        .buffered(READ_AT_ONCE)
        .try_filter_map(async |found| Ok(found))
        .try_collect()
        .await?;
    Ok(Page { records, next: end.map(|end| Progress { began, end }.to_cursor()) })
}

/// Up to `limit` hints from `after` downwards, and where that ended; `None` at the end of all.
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
        let noted = shared.hints.partitions(&shared.session, tenant, from.as_ref()).await?;
        let Some(last) = noted.last() else { return Ok((places, None)) };
        from = Some(last.partition.before());
        for noted in noted {
            if places.len() == limit || looked_into == PARTITIONS_IN_A_PAGE {
                return Ok((places, Some(End::Partition(noted.partition))));
            }
            looked_into += 1;
            let below = resume.take().filter(|place| place.partition() == noted.partition);
            let (found, all) = shared
                .hints
                .read(&shared.session, &noted.partition, below.as_ref(), limit - places.len())
                .await?;
            if found.is_empty() && all && below.is_none() {
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

/// The record that a hint points to. A hint that it does not bear out is dropped behind the call.
async fn verified(
    shared: &Arc<Shared>,
    place: &Place,
    here: &HashSet<&Place>,
    end: Option<&End>,
    began: Timestamp,
) -> Result<Option<(Key, Versioned)>, StoreError> {
    let current = shared.read(&place.key, Freshness::Acknowledged).await?;
    let Some(current) = current.filter(|current| current.record.is_open()) else {
        drop_if_stale(shared, place);
        return Ok(None);
    };
    let attempt = current.record.fence();
    if attempt == place.fence {
        return Ok(Some((place.key.clone(), current)));
    }
    drop_if_stale(shared, place);
    // Another attempt has the key, with a hint of its own: on this page, further on, or where the scan has been. There
    // it was met if it stood there when the scan began.
    let place = Place { fence: attempt, key: place.key.clone() };
    let is_met = here.contains(&place)
        || end.is_some_and(|end| end.is_before(&place))
        || attempt.moment().plus(NOTED_WITHIN) <= began;
    Ok((!is_met).then_some((place.key, current)))
}

/// Drops a hint, if a read that settles what is under way finds that its attempt will never need it, nor a scan that
/// runs now. Whatever is on its way has long ended by then.
fn drop_if_stale(shared: &Arc<Shared>, place: &Place) {
    let now = shared.clock.now();
    let is_young = move |fence: Fence| fence.moment().plus(YOUNG) >= now;
    if is_young(place.fence) {
        return;
    }
    let place = place.clone();
    shared.in_the_background(async move |shared: Arc<Shared>| {
        let current = shared.read(&place.key, Freshness::Serial).await?;
        let needed =
            |record: &Record| record.is_open() && (record.fence() == place.fence || is_young(record.fence()));
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
