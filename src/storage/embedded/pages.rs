//! Pages of records. What cannot be read is stepped over: one bad record must not hide all that come after it.

use std::sync::atomic::Ordering;

use fjall::{UserKey, UserValue};

use super::engine::Engine;
use super::{CODEC, Counters, Shared};
use crate::domain::{Key, Tenant};
use crate::storage::{Cursor, Page, Scan, Scope, Versioned};

/// The most bytes of records in a page.
const PAGE_BYTES: usize = 8 * 1024 * 1024;

/// The page that `scan` asks for.
pub(super) fn fill(shared: &Shared, engine: &Engine, scan: &Scan) -> Result<Filled, String> {
    let prefix = prefix(scan.tenant.as_ref());
    let after = scan.after.as_ref().map(|cursor| cursor.0.as_slice());
    let mut filling = Filling::new(&shared.stats, scan.limit.max(1));
    match scan.scope {
        Scope::All => {
            for entry in engine.records(&prefix, after) {
                let (key, value) = entry?;
                if filling.add(&key, &value, false) {
                    break;
                }
            }
        }
        Scope::Open | Scope::Unresolved => {
            for key in engine.open_keys(&prefix, after) {
                let key = key?;
                shared.stats.index_entries.fetch_add(1, Ordering::Relaxed);
                // A record that was reclaimed since its key was read is no longer open.
                let Some(value) = engine.get(&key)? else { continue };
                if filling.add(&key, &value, true) {
                    break;
                }
            }
        }
    }
    Ok(filling.filled)
}

/// A page, and what was left out of it.
pub(super) struct Filled {
    page: Page,
    unreadable: usize,
    first_problem: Option<String>,
}

impl Filled {
    /// The page; the log is told what is missing from it.
    pub(super) fn told(self) -> Page {
        if let Some(problem) = self.first_problem {
            tracing::error!(
                records = self.unreadable,
                problem,
                "records that cannot be read are left out of a scan; calls on their keys are refused"
            );
        }
        self.page
    }
}

struct Filling<'a> {
    stats: &'a Counters,
    filled: Filled,
    limit: usize,
    bytes: usize,
}

impl<'a> Filling<'a> {
    fn new(stats: &'a Counters, limit: usize) -> Self {
        let page = Page { records: Vec::new(), next: None };
        Self { stats, filled: Filled { page, unreadable: 0, first_problem: None }, limit, bytes: 0 }
    }

    /// Adds a record from the engine, with `only_open` if it is open; whether the page is full then.
    fn add(&mut self, key: &UserKey, value: &UserValue, only_open: bool) -> bool {
        let Filled { page, unreadable, first_problem } = &mut self.filled;
        self.stats.records_read.fetch_add(1, Ordering::Relaxed);
        match read(key, value, only_open) {
            Ok(None) => return false,
            Ok(Some(record)) => page.records.push(record),
            Err(problem) => {
                self.stats.unreadable.fetch_add(1, Ordering::Relaxed);
                *unreadable += 1;
                first_problem.get_or_insert(problem);
            }
        }
        self.bytes += value.len();
        // What is stepped over counts too, so that no page takes long to find.
        let full = page.records.len() + *unreadable >= self.limit || self.bytes >= PAGE_BYTES;
        if full {
            page.next = Some(Cursor(key.to_vec()));
        }
        full
    }
}

/// Takes a stored record apart; `None` for one that was settled since its key was found in the index of open ones.
fn read(key: &[u8], value: &[u8], only_open: bool) -> Result<Option<(Key, Versioned)>, String> {
    if only_open && !CODEC.decode_head(value).map_err(|error| error.to_string())?.open {
        return Ok(None);
    }
    let key = Key::from_bytes(key).ok_or("a stored key is malformed")?;
    Ok(Some((key, CODEC.decode(value).map_err(|error| error.to_string())?)))
}

/// What the keys of a tenant's records begin with, as [`Key::to_bytes`] writes them; of everybody's, nothing.
fn prefix(tenant: Option<&Tenant>) -> Vec<u8> {
    tenant.map_or_else(Vec::new, |tenant| {
        let text = tenant.as_str().as_bytes();
        // A tenant is at most 128 bytes long.
        let mut prefix = vec![u8::try_from(text.len()).unwrap_or(u8::MAX)];
        prefix.extend_from_slice(text);
        prefix
    })
}
