//! Rows of a database, of hints and of records: taken for what they say, or for nothing, whatever somebody wrote there.

use std::sync::Arc;

use scylla::value::CqlValue;
use semel::domain::{Fence, Timestamp};
use semel::storage::record_codec::Codec;
use semel::storage::scylla::test_support::{self as doors, Columns};
use semel::storage::{Cursor, Versioned, WriteId};
use uuid::Uuid;

use super::input::Input;
use super::records::samples;

const NOW: Timestamp = Timestamp::from_micros(1_800_000_000_000_000);

/// A first byte that says which kind of row, and its columns.
pub fn run(data: &[u8]) {
    let mut input = Input(data);
    match input.byte() % 3 {
        0 => hint(&mut input),
        1 => record(&mut input),
        _ => {
            let cursor = Cursor(input.0.to_vec());
            if let Some(read) = doors::cursor(&cursor) {
                assert_eq!(read, cursor, "a cursor is another one when it comes back");
            }
        }
    }
}

fn hint(input: &mut Input<'_>) {
    let (bucket, fence) = (input.number(), input.number());
    let (tenant, endpoint, key) = (input.text(), input.text(), input.text());
    if let Some((named, (first, last), before)) = doors::partition(tenant, bucket) {
        assert_eq!(named.as_str(), tenant);
        assert!(0 <= first && first <= last && before < bucket);
    }
    let Some((found, of, cursor)) = doors::hint((tenant, bucket), (fence, endpoint, key), NOW) else {
        return;
    };
    assert_eq!(Ok(of), Fence::new(fence));
    let parts = (found.tenant.as_str(), found.endpoint.as_str(), found.idempotency_key.as_str());
    assert_eq!(parts, (tenant, endpoint, key));
    assert_eq!(doors::cursor(&cursor).as_ref(), Some(&cursor), "a scan does not go on where it was");
}

fn record(input: &mut Input<'_>) {
    let mut columns = Columns::new();
    while !input.is_empty() && columns.len() < 8 {
        let name = match input.byte() % 4 {
            0 => "write_id",
            1 => "record",
            2 => "[applied]",
            _ => "other",
        };
        let value = match input.byte() % 6 {
            0 => None,
            1 => Some(CqlValue::Uuid(Uuid::from_bytes(input.array()))),
            2 => Some(CqlValue::Boolean(input.byte().is_multiple_of(2))),
            3 => Some(CqlValue::Text(input.text().to_owned())),
            4 => Some(CqlValue::BigInt(input.number())),
            _ => {
                let length = usize::from(u16::from_le_bytes(input.array()));
                Some(CqlValue::Blob(input.bytes(length).to_vec()))
            }
        };
        columns.push((name.to_owned(), value));
    }
    let same = |current: &Versioned| {
        let bytes = Codec::NEXT.encode(current);
        assert_eq!(
            Codec::NEXT.decode(&bytes).as_ref(),
            Ok(current),
            "what a row holds cannot be written again"
        );
    };
    if let Ok(Some(current)) = doors::row(Some(columns.clone()), NOW) {
        same(&current);
    }
    let says = |wanted| {
        columns.iter().any(|(name, value)| name == "[applied]" && *value == Some(CqlValue::Boolean(wanted)))
    };
    match doors::answer(Some(columns.clone()), NOW) {
        Ok(Ok(())) => assert!(says(true), "taken for applied, and nothing says so"),
        Ok(Err(current)) => {
            assert!(says(false), "taken for refused, and nothing says so");
            current.iter().for_each(same);
        }
        Err(_) => {}
    }
}

/// Rows as the store writes them, whole and damaged.
pub fn seeds() -> Vec<Vec<u8>> {
    let text =
        |text: &str| [&u16::try_from(text.len()).unwrap_or(0).to_le_bytes()[..], text.as_bytes()].concat();
    let mut seeds = Vec::new();
    for (bucket, fence) in
        [(500_000_i64, 1_800_000_000_000_000_i64), (0, 1), (-1, -1), (i64::MAX, i64::MAX), (i64::MIN, 0)]
    {
        let numbers = [bucket.to_le_bytes(), fence.to_le_bytes()].concat();
        seeds.push([&[0][..], &numbers, &text("acme"), &text("POST /charges"), &text("key-1")].concat());
        if let Some((_, _, cursor)) = doors::hint(("acme", bucket), (fence, "POST /charges", "key-1"), NOW) {
            seeds.push([&[2][..], &cursor.0].concat());
        }
    }
    let mut top_of_partition = NOW.as_micros().to_be_bytes().to_vec();
    top_of_partition.push(1);
    top_of_partition.extend_from_slice(&500_000_i64.to_be_bytes());
    seeds.push([&[2][..], &top_of_partition, b"acme"].concat());
    for record in samples() {
        let bytes = Codec::LATEST.encode(&Versioned::new(WriteId(Uuid::from_u128(7)), Arc::new(record)));
        let length = u16::try_from(bytes.len()).unwrap_or(0).to_le_bytes();
        let write_id = [&[0, 1][..], Uuid::from_u128(7).as_bytes()].concat();
        let record = [&[1, 5][..], &length, &bytes].concat();
        seeds.push([&[1][..], &write_id, &record].concat());
        seeds.push([&[1, 2, 2, 1][..], &record, &write_id].concat());
        seeds.push([&[1, 0, 0][..], &record].concat());
    }
    seeds.push(vec![1, 2, 2, 0]);
    seeds
}
