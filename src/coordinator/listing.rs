//! Paging through a tenant's live records.

use super::records::report;
use super::{CallError, Coordinator};
use crate::domain::{Endpoint, Kept, Key, PolicyRules, Reading, Tenant};
use crate::storage::{Cursor, Scan, Scope};

/// How many rows are read from the store at a time.
const ROWS_AT_A_TIME: usize = 64;
/// How many rows a page may cost: a filter that matches little gives a short page, not a long call.
const ROWS_PER_PAGE: usize = 20_000;

/// Which records to list.
#[derive(Clone, Debug)]
pub struct ListingFilter {
    /// Whose.
    pub tenant: Tenant,
    /// Of which operation; of all where absent.
    pub endpoint: Option<Endpoint>,
    /// How they read; any where absent.
    pub reading: Option<Listing>,
}

/// A way that a record can read, without its details.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Listing {
    /// An attempt owns the key.
    InProgress,
    /// It happened.
    Completed,
    /// Nothing happened.
    Released,
    /// Nobody knows, or nobody may try again.
    Unresolved,
    /// The lease is over and the next Begin runs.
    LeaseLost,
}

impl From<Reading> for Listing {
    fn from(reading: Reading) -> Self {
        match reading {
            Reading::InProgress => Self::InProgress,
            Reading::Completed => Self::Completed,
            Reading::Released => Self::Released,
            Reading::Unresolved { .. } => Self::Unresolved,
            Reading::LeaseLost => Self::LeaseLost,
        }
    }
}

/// A record that was listed.
#[derive(Clone, Debug)]
pub struct Listed {
    /// Whose.
    pub key: Key,
    /// How it stands.
    pub kept: Kept,
    /// What callers wrote in it is encrypted, and this server has no key for it: `kept` has none of it.
    pub sealed: bool,
}

/// Some of the records, and where to go on.
#[derive(Clone, Debug)]
pub struct ListingPage {
    /// Records that match.
    pub records: Vec<Listed>,
    /// Absent at the end. A page with few records, or none, may still have one.
    pub next: Option<Cursor>,
}

impl Coordinator {
    /// A page of at most `page_size` records whose sizes, by `size`, add up to at most `max_bytes`; one record is
    /// returned whatever its size.
    pub async fn list(
        &self,
        filter: &ListingFilter,
        rules: &PolicyRules,
        page_size: usize,
        after: Option<Cursor>,
        max_bytes: usize,
        size: impl Fn(&Listed) -> usize,
    ) -> Result<ListingPage, CallError> {
        // The narrowest that answers: not every store lists more.
        let scope = match filter.reading {
            Some(Listing::Unresolved) => Scope::Unresolved,
            Some(Listing::InProgress | Listing::Released | Listing::LeaseLost) => Scope::Open,
            Some(Listing::Completed) | None => Scope::All,
        };
        let mut page = ListingPage { records: Vec::new(), next: after };
        let mut bytes = 0;
        let mut rows_left = ROWS_PER_PAGE;
        let mut at_a_time = ROWS_AT_A_TIME;
        loop {
            let limit = at_a_time.min(page_size - page.records.len()).min(rows_left);
            if limit == 0 {
                return Ok(page);
            }
            let scan = Scan { scope, tenant: Some(filter.tenant.clone()), after: page.next.clone(), limit };
            let rows = self.records.store.scan(&scan).await.map_err(report)?;
            let now = self.clock.now();
            let found: Vec<Listed> = rows
                .records
                .into_iter()
                .filter_map(|(key, current)| {
                    let kept = current.record.live(now)?.clone();
                    Some(Listed { key, kept, sealed: current.sealed.is_some() })
                })
                .filter(|listed| filter.admits(listed, rules, now))
                .collect();
            let more: usize = found.iter().map(&size).sum();
            if bytes + more > max_bytes && !(page.records.is_empty() && limit == 1) {
                if limit == 1 {
                    return Ok(page);
                }
                // Too much for this page: go over the same rows in smaller steps.
                at_a_time = limit / 2;
                continue;
            }
            bytes += more;
            rows_left -= limit;
            page.records.extend(found);
            page.next = rows.next;
            if page.next.is_none() {
                return Ok(page);
            }
        }
    }
}

impl ListingFilter {
    fn admits(
        &self,
        Listed { key, kept, .. }: &Listed,
        rules: &PolicyRules,
        now: crate::domain::Timestamp,
    ) -> bool {
        if self.endpoint.as_ref().is_some_and(|endpoint| *endpoint != key.endpoint) {
            return false;
        }
        let policy = &rules.select(&key.tenant, &key.endpoint).policy;
        self.reading.is_none_or(|wanted| wanted == kept.read(policy, now).into())
    }
}
