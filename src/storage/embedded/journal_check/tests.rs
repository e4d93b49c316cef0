//! Every bit of small journals, flipped; every byte, cut off.

use std::fs;
use std::ops::Range;

use xxhash_rust::xxh3::Xxh3;

use super::super::journal_format::{END, END_BYTES, ITEM, ITEM_BYTES, START, START_BYTES};
use super::super::mark::Mark;
use super::*;

const STORE: StoreId = StoreId([0xa7; 16]);
const RECORDS: u64 = 1;
const RECLAIM: u64 = 3;

fn item(bytes: &mut Vec<u8>, keyspace: u64, key: &[u8], value: &[u8]) {
    let length = |bytes: &[u8]| u32::try_from(bytes.len()).expect("small").to_le_bytes();
    bytes.extend([ITEM, 0, 0]);
    bytes.extend(keyspace.to_le_bytes());
    bytes.extend(u16::try_from(key.len()).expect("small").to_le_bytes());
    bytes.extend(length(value));
    bytes.extend(length(value));
    bytes.extend(key);
    bytes.extend(value);
}

/// A batch as the engine writes it.
fn batch(ordinal: u64, seqno: u64, values: &[&[u8]]) -> Vec<u8> {
    batch_of(STORE, ordinal, seqno, values)
}

fn batch_of(store: StoreId, ordinal: u64, seqno: u64, values: &[&[u8]]) -> Vec<u8> {
    let mut items = Vec::new();
    for value in values {
        item(&mut items, RECORDS, b"\x01t\x00\x01ekey", value);
    }
    let length = START_BYTES + items.len() + ITEM_BYTES + Mark::KEY.len() + Mark::BYTES + END_BYTES;
    let mark = Mark { store, ordinal, seqno_at_least: seqno, length: length as u64 };
    item(&mut items, RECLAIM, Mark::KEY, &mark.to_bytes());
    let mut bytes = vec![START];
    bytes.extend(u32::try_from(values.len() + 1).expect("small").to_le_bytes());
    bytes.extend(seqno.to_le_bytes());
    let mut hasher = Xxh3::new();
    hasher.update(&items);
    bytes.extend(items);
    bytes.push(END);
    bytes.extend(hasher.digest().to_le_bytes());
    bytes.extend(TRAILER);
    bytes
}

/// Five batches and where each lies. Sequence numbers have gaps, as the engine takes some for itself.
fn journal() -> (Vec<u8>, Vec<Range<usize>>) {
    let mut bytes = Vec::new();
    let mut places = Vec::new();
    for (ordinal, seqno) in [(7, 70), (8, 71), (9, 75), (10, 76), (11, 80)] {
        let from = bytes.len();
        let value = vec![u8::try_from(seqno).expect("small"); 40];
        bytes.extend(batch(ordinal, seqno, &[&value, b"", &[1; 30]]));
        places.push(from..bytes.len());
    }
    (bytes, places)
}

fn inspect(files: &[Vec<u8>]) -> Result<Inspection, JournalError> {
    let mut inspection = Inspection::of(STORE);
    for (n, bytes) in files.iter().enumerate() {
        inspection.add(Path::new(&format!("{n}.jnl")), bytes)?;
    }
    Ok(inspection)
}

fn damage(files: &[Vec<u8>]) -> Option<(String, usize)> {
    match inspect(files) {
        Err(JournalError::Damaged { path, offset, .. }) => Some((path.display().to_string(), offset)),
        Err(JournalError::Io { .. }) | Ok(_) => None,
    }
}

#[test]
fn an_intact_journal_is_taken_whole_with_and_without_padding() {
    let (bytes, places) = journal();
    for padding in [0, 1, 7, 4096] {
        let mut bytes = bytes.clone();
        let end = bytes.len();
        bytes.resize(end + padding, 0);
        let inspection = inspect(&[bytes]).expect("intact");
        assert_eq!((inspection.batches, inspection.files[0].intact), (places.len() as u64, end));
        assert_eq!(inspection.cut, None);
    }
    for empty in [vec![], vec![0; 100]] {
        assert_eq!(inspect(&[empty]).expect("empty").batches, 0);
    }
}

#[test]
fn every_bit_flipped_before_the_last_batch_is_refused_with_its_place() {
    let (bytes, places) = journal();
    let last = places.last().expect("five").start;
    let mut harmless = 0;
    for at in 0..last {
        for bit in 0..8 {
            let mut flipped = bytes.clone();
            flipped[at] ^= 1 << bit;
            flipped.resize(flipped.len() + 64, 0);
            let hit = places.iter().position(|place| place.contains(&at)).expect("inside a batch");
            if let Some((path, offset)) = damage(&[flipped.clone()]) {
                assert_eq!((path.as_str(), offset), ("0.jnl", places[hit].start), "byte {at}, bit {bit}");
            } else {
                // A sequence number that stays between its neighbours orders the batches as before.
                assert!(
                    (places[hit].start + 5..places[hit].start + 13).contains(&at),
                    "byte {at}, bit {bit}"
                );
                let inspection = inspect(&[flipped]).expect("it opens");
                assert_eq!(inspection.batches, places.len() as u64, "with every batch");
                harmless += 1;
            }
        }
    }
    assert!(harmless <= 4, "few flips are harmless: {harmless}");
    println!("flipped {} bits before the last batch, {harmless} of them harmless", last * 8);
}

#[test]
fn every_bit_flipped_in_the_last_batch_costs_at_most_that_batch_and_is_no_torn_tail() {
    let (bytes, places) = journal();
    let last = places.last().expect("five").clone();
    let mut dropped = 0;
    for at in last.clone() {
        for bit in 0..8 {
            let mut flipped = bytes.clone();
            flipped[at] ^= 1 << bit;
            flipped.resize(flipped.len() + 64, 0);
            let inspection = inspect(&[flipped]).expect("it opens");
            match inspection.cut {
                Some(cut) => {
                    assert_eq!((inspection.batches, cut.offset), (4, last.start));
                    assert!(cut.was_complete, "byte {at}, bit {bit}: it was acknowledged");
                    dropped += 1;
                }
                None => assert!((last.start + 5..last.start + 13).contains(&at), "byte {at}, bit {bit}"),
            }
        }
    }
    assert!(dropped > last.len() * 7);
}

#[test]
fn a_torn_tail_is_cut_at_every_length() {
    let (bytes, places) = journal();
    let last = places.last().expect("five").clone();
    for end in last.start + 1..last.end {
        for padding in [0, 64] {
            let mut torn = bytes[..end].to_vec();
            torn.resize(end + padding, 0);
            let inspection = inspect(&[torn]).expect("it opens");
            assert_eq!((inspection.batches, inspection.files[0].intact), (4, last.start));
            let cut = inspection.cut.expect("a tail was cut");
            assert!(!cut.was_complete, "cut at {end}: {}", cut.what);
        }
    }
}

#[test]
fn a_tail_may_be_torn_in_a_sealed_file_when_nothing_follows() {
    let (bytes, places) = journal();
    let torn = bytes[..places[4].end - 3].to_vec();
    let inspection = inspect(&[torn.clone(), vec![0; 64]]).expect("it opens");
    assert_eq!((inspection.batches, inspection.last.expect("some").file), (4, 0), "that file is copied too");
    assert_eq!(damage(&[torn, batch(11, 90, &[b"later"])]), Some(("0.jnl".to_owned(), places[4].start)));
}

#[test]
fn several_files_are_one_sequence() {
    let (bytes, places) = journal();
    let (first, second) = bytes.split_at(places[2].start);
    let inspection = inspect(&[first.to_vec(), second.to_vec()]).expect("intact");
    assert_eq!((inspection.batches, inspection.last.expect("some").file), (5, 1));
    let mut flipped = first.to_vec();
    flipped[places[1].start + 30] ^= 4;
    assert_eq!(damage(&[flipped, second.to_vec()]), Some(("0.jnl".to_owned(), places[1].start)));
    let mut lower = first.to_vec();
    lower[places[1].start + 5] ^= 8; // 71 becomes 79, past the 75 that follows in the next file
    assert_eq!(damage(&[lower, second.to_vec()]), Some(("0.jnl".to_owned(), places[1].start)));
}

#[test]
fn a_missing_batch_or_file_is_refused() {
    let (bytes, places) = journal();
    let mut without = bytes[..places[2].start].to_vec();
    without.extend(&bytes[places[3].start..]);
    assert_eq!(damage(&[without]), Some(("0.jnl".to_owned(), places[2].start)));
    let files = |range: Range<usize>| bytes[places[range.start].start..places[range.end - 1].end].to_vec();
    assert_eq!(damage(&[files(0..2), files(3..5)]), Some(("1.jnl".to_owned(), 0)));
}

#[test]
fn a_batch_of_another_maker_is_refused() {
    let mut items = Vec::new();
    item(&mut items, RECORDS, b"key", b"value");
    let mut foreign = vec![START];
    foreign.extend(1_u32.to_le_bytes());
    foreign.extend(70_u64.to_le_bytes());
    let mut hasher = Xxh3::new();
    hasher.update(&items);
    foreign.extend(items);
    foreign.push(END);
    foreign.extend(hasher.digest().to_le_bytes());
    foreign.extend(TRAILER);
    foreign.extend(batch(1, 71, &[b"ours"]));
    assert_eq!(damage(&[foreign]), Some(("0.jnl".to_owned(), 0)));
}

#[test]
fn a_payload_that_is_a_batch_is_not_taken_for_one() {
    // Torn anywhere, a batch leaves such a payload in the journal, after bytes that cannot be read.
    let mut payload = b"padding".to_vec();
    for ordinal in 0..20 {
        payload.extend(batch_of(StoreId([0; 16]), ordinal, 70 + ordinal, &[b"forged"]));
    }
    let before = batch(7, 70, &[b"first"]);
    for earlier in [&[][..], &before] {
        let torn = [earlier, &batch(8, 71, &[&payload, &[1; 30]])].concat();
        for end in earlier.len() + 1..torn.len() {
            let inspection =
                inspect(&[torn[..end].to_vec()]).unwrap_or_else(|error| panic!("{end}: {error}"));
            assert_eq!(inspection.cut.expect("a tail was cut").offset, earlier.len());
        }
    }
}

#[test]
fn what_is_looked_at_for_later_batches_is_bounded_by_the_length_of_the_tail() {
    // Each of these begins as a batch, and goes on into the next: whoever follows them all never ends.
    let mut nested = Vec::new();
    while nested.len() < 3 * 1024 * 1024 {
        nested.extend([START]);
        nested.extend(u32::MAX.to_le_bytes());
        nested.extend(71_u64.to_le_bytes());
        item(&mut nested, RECORDS, b"k", b"");
        nested.extend([ITEM, 0, 0]);
        nested.extend(RECORDS.to_le_bytes());
        nested.extend(0_u16.to_le_bytes());
        nested.extend(13_u32.to_le_bytes());
        nested.extend(13_u32.to_le_bytes());
    }
    let torn = batch(8, 71, &[&nested]);
    let inspection = inspect(&[torn[..torn.len() - 1].to_vec()]).expect("it opens");
    assert_eq!(inspection.cut.expect("a tail was cut").offset, 0);
}

#[test]
fn a_batch_of_another_store_is_refused() {
    let (mut bytes, places) = journal();
    let foreign = batch_of(StoreId([3; 16]), 9, 75, &[&[75; 40], b"", &[1; 30]]);
    bytes[places[2].clone()].copy_from_slice(&foreign);
    assert_eq!(damage(&[bytes]), Some(("0.jnl".to_owned(), places[2].start)));
}

#[test]
fn a_rewrite_in_place_leaves_what_a_copy_leaves() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let (bytes, places) = journal();
    let torn = &bytes[..bytes.len() - 3];
    let (copied, rewritten) = (directory.path().join("copied"), directory.path().join("rewritten"));
    for path in [&copied, &rewritten] {
        fs::write(path, torn).expect("written");
    }
    let last = places[3].start as u64..places[3].end as u64;
    copy(&copied, last.end).expect("copied");
    rewrite_in_place(&rewritten, last.clone()).expect("rewritten");
    let kept = &bytes[..places[3].end];
    for path in [&copied, &rewritten] {
        assert_eq!(fs::read(path).expect("there"), kept);
    }
}

#[test]
fn noise_never_panics() {
    let (bytes, _) = journal();
    let mut state = 1_u64;
    for _ in 0..20_000 {
        let mut noisy = bytes.clone();
        for _ in 0..4 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let at = usize::try_from(state >> 33).expect("small") % noisy.len();
            noisy[at] = u8::try_from(state >> 24 & 0xff).expect("a byte");
        }
        drop(inspect(&[noisy]));
    }
}

#[test]
fn the_files_are_left_fit_to_be_opened() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let (bytes, places) = journal();
    let (first, second) = bytes.split_at(places[2].start);
    let mut padded = first.to_vec();
    padded.resize(5000, 0);
    fs::write(directory.path().join("9.jnl"), &padded).expect("written");
    fs::write(directory.path().join("10.jnl"), &second[..second.len() - 5]).expect("written");
    fs::write(directory.path().join("11.jnl"), vec![0; 100]).expect("written");
    fs::write(directory.path().join("12.copy"), b"of an earlier check").expect("written");
    fs::write(directory.path().join("version"), b"not a journal").expect("written");
    let checked = check(directory.path(), STORE, NoRoom::Fail).expect("it opens");
    assert_eq!(checked.batches, 4);
    assert_eq!(checked.cut.expect("torn").path, directory.path().join("10.jnl"));
    let read = |name: &str| fs::read(directory.path().join(name)).expect("there");
    assert_eq!(read("9.jnl"), padded, "a file before the last batch is left alone");
    assert_eq!(read("10.jnl"), second[..places[4].start - places[2].start], "cut after the last batch");
    assert_eq!(read("11.jnl"), b"");
    assert!(!directory.path().join("12.copy").exists());
    assert_eq!(check(directory.path(), STORE, NoRoom::Fail).expect("it opens again").cut, None);
}

/// Around the lengths that are compared as one.
#[test]
fn padding_of_any_length_is_left_out_and_nothing_else() {
    for written in [0, 1, 4095, 4096, 4097, 8192, 9000] {
        for padding in [0, 1, 4095, 4096, 4097, 8191, 8192, 20_000] {
            let mut bytes = vec![0; written + padding];
            if let Some(last) = written.checked_sub(1) {
                bytes[last] = 1;
            }
            assert_eq!(without_padding(&bytes).len(), written, "{padding} bytes of padding");
        }
    }
}
