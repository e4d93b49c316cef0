//! Where a page of a listing ended, as text that only the same listing takes back.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest, Sha256};

use crate::coordinator::{Listing, ListingFilter};
use crate::domain::{Reason, Violation};
use crate::storage::Cursor;

const VERSION: u8 = 1;
const CHECKSUM_BYTES: usize = 8;

/// `VERSION`, a checksum over filter and place, the place.
pub(super) fn encode(filter: &ListingFilter, cursor: &Cursor) -> String {
    let mut bytes = Vec::with_capacity(1 + CHECKSUM_BYTES + cursor.0.len());
    bytes.push(VERSION);
    bytes.extend_from_slice(&checksum(filter, &cursor.0));
    bytes.extend_from_slice(&cursor.0);
    URL_SAFE_NO_PAD.encode(bytes)
}

/// Reads back what [`encode`] wrote for the same filter.
pub(super) fn decode(token: &str, filter: &ListingFilter) -> Result<Cursor, Violation> {
    let invalid = |problem: &str| Err(Violation::new(Reason::InvalidPage, problem));
    let Ok(bytes) = URL_SAFE_NO_PAD.decode(token) else {
        return invalid("is not a token of this service; send next_page_token unchanged, or leave it out");
    };
    let Some((&VERSION, rest)) = bytes.split_first() else {
        return invalid("is of another version of this service; list from the beginning");
    };
    match rest.split_first_chunk::<CHECKSUM_BYTES>() {
        Some((sum, place)) if *sum == checksum(filter, place) => Ok(Cursor(place.to_vec())),
        _ => invalid(
            "is of another listing; send it with the tenant, endpoint and state that it was given for",
        ),
    }
}

/// Each part behind its length, so that no two filters meet.
fn checksum(filter: &ListingFilter, place: &[u8]) -> [u8; CHECKSUM_BYTES] {
    let endpoint = filter.endpoint.as_ref().map_or("", |endpoint| endpoint.as_str());
    let reading = [match filter.reading {
        None => 0,
        Some(Listing::InProgress) => 1,
        Some(Listing::Completed) => 2,
        Some(Listing::Released) => 3,
        Some(Listing::Unresolved) => 4,
        Some(Listing::LeaseLost) => 5,
    }];
    let mut hash = Sha256::new();
    for part in [filter.tenant.as_str().as_bytes(), endpoint.as_bytes(), &reading, place] {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    let mut sum = [0; CHECKSUM_BYTES];
    sum.copy_from_slice(&hash.finalize()[..CHECKSUM_BYTES]);
    sum
}
