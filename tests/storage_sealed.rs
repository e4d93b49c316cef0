//! Encryption of what callers wrote: what is in the store shows none of it, what comes out is what went in, and no
//! ciphertext opens where it was not written.

mod support {
    pub(crate) mod log;
    pub(crate) mod server;
}

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use semel::config::parse_encryption_keys;
use semel::domain::{Policy, Record, Tenant};
use semel::proto;
use semel::proto::abort_request::Disposition;
use semel::storage::backup;
use semel::storage::conformance::{Samples, key as stored_key};
use semel::storage::copy::{EmbeddedReader, copy};
use semel::storage::embedded::{EmbeddedStore, Settings};
use semel::storage::memory::MemoryStore;
use semel::storage::sealed::{KeyId, Keyring, Keyrings, Sealing};
use semel::storage::{Expected, Freshness, Put, Scan, Scope, Store, Versioned, Write, WriteId};
use support::log::Log;
use support::server::*;
use tonic::Code;
use uuid::Uuid;

/// In everything that callers write.
const SECRET: &str = "hunter2-4242";

fn id(text: &str) -> KeyId {
    KeyId::new(text).unwrap()
}

/// A key ring of keys that are made of their ids; the first is the default one.
fn ring(ids: &[&str], tenants: &[(&str, &str)]) -> Keyring {
    let key = |text: &str| std::array::from_fn(|n| text.as_bytes()[n % text.len()]);
    let tenants = tenants.iter().map(|(tenant, key)| (Tenant::new(tenant).unwrap(), id(key)));
    Keyring::new(ids.iter().map(|text| (id(text), key(text))), ids.first().map(|text| id(text)), tenants)
}

fn sealing(inner: &Arc<dyn Store>, ring: Keyring) -> (Arc<dyn Store>, Arc<Keyrings>) {
    let keyrings = Arc::new(Keyrings::new(ring));
    (Arc::new(Sealing::new(inner.clone(), keyrings.clone())), keyrings)
}

/// Each server draws write ids of its own.
fn on(store: Arc<dyn Store>) -> Start {
    static SEED: AtomicU64 = AtomicU64::new(1);
    Start { seed: SEED.fetch_add(1, Ordering::Relaxed), ..Start::on(store) }
}

fn memory() -> Arc<dyn Store> {
    Arc::new(MemoryStore::new())
}

async fn all(store: &dyn Store) -> Vec<(semel::domain::Key, Versioned)> {
    let scan = Scan { scope: Scope::All, tenant: None, after: None, limit: 1000 };
    store.scan(&scan).await.unwrap().records
}

fn write_of(n: u64, record: Record) -> Write {
    let next = Versioned::new(WriteId(Uuid::from_u64_pair(5, n)), Arc::new(record));
    Write::new(stored_key("t", n), None, next, &Policy::default())
}

/// Each call of a server that stores something callers wrote.
async fn write_everything(server: &RunningServer) -> HashMap<&'static str, i64> {
    let mut client = server.client().await;
    let begin = |name: &str| proto::BeginRequest {
        fingerprint: SECRET.into(),
        labels: HashMap::from([(format!("label {SECRET}"), SECRET.into())]),
        ..begin(name, 1)
    };
    let mut fences = HashMap::new();
    for name in ["running", "saved", "completed", "released", "given up"] {
        fences.insert(name, started(client.begin(begin(name)).await.unwrap()).fence);
    }
    let save = proto::SaveCheckpointRequest {
        key: Some(key("saved")),
        fence: fences["saved"],
        attempt_id: attempt_id(1),
        name: format!("point {SECRET}"),
        value: SECRET.into(),
    };
    client.save_checkpoint(save).await.unwrap();
    let result = proto::Result {
        code: 201,
        content_type: format!("text/{SECRET}"),
        headers: vec![proto::Header { name: format!("x-{SECRET}"), value: SECRET.into() }],
        ..success(SECRET)
    };
    let complete = complete("completed", 1, fences["completed"], "");
    client.complete(proto::CompleteRequest { result: Some(result), ..complete }).await.unwrap();
    for (name, disposition) in [("released", Disposition::Release), ("given up", Disposition::OutcomeUnknown)]
    {
        let abort = abort(name, 1, fences[name], disposition);
        client.abort(proto::AbortRequest { detail: SECRET.into(), ..abort }).await.unwrap();
    }
    fences
}

fn shows_secret(directory: &Path) -> bool {
    walkdir::WalkDir::new(directory)
        .into_iter()
        .filter_map(Result::ok)
        .filter(|entry| entry.file_type().is_file())
        .any(|entry| {
            let bytes = std::fs::read(entry.path()).unwrap();
            bytes.windows(SECRET.len()).any(|window| window == SECRET.as_bytes())
        })
}

/// The control is the same without keys: there the secret is found.
#[tokio::test]
async fn nothing_that_callers_wrote_is_on_the_disk() {
    for encrypted in [false, true] {
        let directory = tempfile::tempdir().unwrap();
        let embedded = Arc::new(EmbeddedStore::open(Settings::new(directory.path().to_owned())).unwrap());
        let inner: Arc<dyn Store> = embedded.clone();
        let store = if encrypted { sealing(&inner, ring(&["k1"], &[])).0 } else { inner.clone() };
        let mut server = on(store).serve().await;
        write_everything(&server).await;
        server.stop();
        server.ended().await.unwrap();
        assert_eq!(shows_secret(directory.path()), !encrypted);
        let sealed = all(&*inner).await.iter().filter(|(_, found)| found.sealed.is_some()).count();
        assert_eq!(sealed, if encrypted { 5 } else { 0 });
    }
}

#[tokio::test]
async fn what_was_encrypted_is_replayed_byte_for_byte_by_whoever_has_the_key() {
    let inner = memory();
    let first = on(sealing(&inner, ring(&["k1"], &[])).0).serve().await;
    let fences = write_everything(&first).await;
    // Another server, which has remembered nothing.
    let other = on(sealing(&inner, ring(&["k2", "k1"], &[])).0).serve().await;
    let (mut client, mut operator) = (other.client().await, other.operator().await);
    let told = replayed(client.begin(begin("completed", 2)).await.unwrap());
    let result = told.result.unwrap();
    assert_eq!((result.code, &*result.payload), (201, SECRET.as_bytes()));
    assert_eq!(result.content_type, format!("text/{SECRET}"));
    assert_eq!(
        (&*result.headers[0].name, &*result.headers[0].value),
        (&*format!("x-{SECRET}"), SECRET.as_bytes())
    );
    let other_request = proto::BeginRequest { fingerprint: "other".into(), ..begin("completed", 2) };
    assert_eq!(reason(&client.begin(other_request).await.unwrap_err()), "FINGERPRINT_MISMATCH");
    other.clock.advance(Duration::from_mins(1));
    let owner = started(client.begin(begin("saved", 2)).await.unwrap());
    assert_eq!(owner.checkpoints.len(), 1);
    assert_eq!(&*owner.checkpoints[0].value, SECRET.as_bytes());
    let listed = operator
        .list_records(proto::ListRecordsRequest {
            tenant: "shop".into(),
            ..proto::ListRecordsRequest::default()
        })
        .await
        .unwrap()
        .into_inner();
    assert_eq!(listed.records.len(), fences.len());
    for record in listed.records {
        let name = record.key.unwrap().idempotency_key;
        assert!(name == "saved" || record.labels.values().any(|value| value == SECRET), "{name}");
    }
}

/// What is written under a later key is read beside what was written under earlier ones; a tenant's own key is its own.
#[tokio::test]
async fn keys_rotate_while_the_server_runs() {
    let inner = memory();
    let (store, keyrings) = sealing(&inner, ring(&["k1"], &[]));
    let server = on(store).serve().await;
    let mut client = server.client().await;
    let under = async |name: &str| {
        let found = all(&*inner).await.into_iter().find(|(key, _)| key.idempotency_key.as_str() == name);
        found.unwrap().1.sealed.map(|sealed| sealed.key_id.as_str().to_owned())
    };
    let run = async |client: &mut semel::proto::idempotency_service_client::IdempotencyServiceClient<_>,
                     name: &str| {
        let owner = started(client.begin(begin(name, 1)).await.unwrap());
        client.complete(complete(name, 1, owner.fence, SECRET)).await.unwrap();
    };
    run(&mut client, "one").await;
    keyrings.replace(ring(&["k2", "k1"], &[]));
    run(&mut client, "two").await;
    keyrings.replace(ring(&["k2", "k1", "own"], &[("shop", "own")]));
    run(&mut client, "three").await;
    let unbound = Keyring::new([(id("k1"), [1; 32])], None, []);
    assert_eq!(under("one").await.as_deref(), Some("k1"));
    assert_eq!(under("two").await.as_deref(), Some("k2"));
    assert_eq!(under("three").await.as_deref(), Some("own"));
    let later = on(sealing(&inner, ring(&["k3", "k2", "k1", "own"], &[])).0).serve().await;
    let mut reader = later.client().await;
    for name in ["one", "two", "three"] {
        assert_eq!(replayed(reader.begin(begin(name, 2)).await.unwrap()).result.unwrap().payload, SECRET);
    }
    // Without a default key, whoever has none of its own is stored as it is.
    keyrings.replace(unbound);
    run(&mut client, "four").await;
    assert_eq!(under("four").await, None);
}

/// A key that is gone makes what it encrypted unreadable, and nothing that was done is done again.
#[tokio::test]
async fn without_its_key_a_record_is_refused_and_never_taken_for_a_new_one() {
    let log = Log::default();
    let _captured = log.capture();
    let inner = memory();
    let writing = on(sealing(&inner, ring(&["k1", "own"], &[("shop", "own")])).0).serve().await;
    let fences = write_everything(&writing).await;
    let deleted = sealing(&inner, ring(&["k1"], &[])).0;
    for store in [deleted, inner.clone()] {
        let server = on(store).serve().await;
        let (mut client, mut operator) = (server.client().await, server.operator().await);
        for name in fences.keys() {
            for attempt in [1, 2] {
                let refused = client.begin(begin(name, attempt)).await.unwrap_err();
                assert_eq!(
                    (refused.code(), &*reason(&refused)),
                    (Code::Unavailable, "STORE_UNAVAILABLE"),
                    "{name}"
                );
                let waiting = proto::BeginRequest { retry: true, wait: seconds(1), ..begin(name, attempt) };
                assert_eq!(reason(&client.begin(waiting).await.unwrap_err()), "STORE_UNAVAILABLE", "{name}");
            }
            let lookup = proto::LookupRequest { key: Some(key(name)) };
            assert_eq!(reason(&client.lookup(lookup).await.unwrap_err()), "STORE_UNAVAILABLE");
            let late = complete(name, 1, fences[name], "late");
            assert_eq!(reason(&client.complete(late).await.unwrap_err()), "STORE_UNAVAILABLE");
        }
        // How it stands can still be told, and what is no longer wanted can be forgotten.
        let list = |state: proto::State| proto::ListRecordsRequest {
            tenant: "shop".into(),
            state: state.into(),
            ..proto::ListRecordsRequest::default()
        };
        let listed = operator.list_records(list(proto::State::Completed)).await.unwrap().into_inner().records;
        assert_eq!((listed.len(), listed[0].fence, listed[0].result.clone()), (1, fences["completed"], None));
        let all = operator.list_records(list(proto::State::Unspecified)).await.unwrap().into_inner().records;
        assert_eq!(all.len(), fences.len());
        assert!(!format!("{all:?}").contains(SECRET));
    }
    let told = log.text();
    assert!(
        told.contains("encrypted under the key own, which this server's key file does not have"),
        "{told}"
    );
    assert!(told.contains("this server has no key for it (see the setting encryption_key_file)"), "{told}");
    assert!(!told.contains(SECRET));

    let server = on(sealing(&inner, ring(&["k1"], &[])).0).serve().await;
    let mut operator = server.operator().await;
    let fence = fences["completed"];
    let forget = proto::ForgetRecordRequest { key: Some(key("completed")), fence, force: false };
    operator.forget_record(forget).await.unwrap();
    let again = started(server.client().await.begin(begin("completed", 3)).await.unwrap());
    assert!(again.fence > fence);

    // The key is put back.
    let restored = on(sealing(&inner, ring(&["k1", "own"], &[])).0).serve().await;
    let mut client = restored.client().await;
    let saved = client.lookup(proto::LookupRequest { key: Some(key("saved")) }).await.unwrap().into_inner();
    assert_eq!(&*saved.record.unwrap().checkpoints[0].value, SECRET.as_bytes());
}

/// What stands beside a ciphertext, and what the ciphertext belongs to, cannot be changed by whoever has the disk.
#[tokio::test]
async fn a_ciphertext_opens_nowhere_but_where_it_was_written() {
    let inner = memory();
    let (store, _) = sealing(&inner, ring(&["k1", "k2"], &[]));
    let mut made = Vec::new();
    for n in 1..=2 {
        let write = write_of(n, Samples::completed_with(1, format!("{SECRET} {n}")));
        assert_eq!(store.compare_and_put(&write).await.unwrap(), Put::Applied);
        let stored = inner.get(&write.key, Freshness::Acknowledged).await.unwrap().unwrap();
        assert_eq!(store.get(&write.key, Freshness::Acknowledged).await.unwrap(), Some(write.made()));
        made.push((write, stored));
    }
    let [(one, sealed_one), (_, sealed_two)] = &made[..] else { panic!("two") };
    let content = sealed_one.sealed.clone().unwrap();
    let with = |change: &dyn Fn(&mut semel::storage::sealed::Sealed)| {
        let mut changed = (*content).clone();
        change(&mut changed);
        Versioned { sealed: Some(Arc::new(changed)), ..sealed_one.clone() }
    };
    let flip = |at: usize| {
        with(&|sealed| {
            let mut bytes = sealed.ciphertext.to_vec();
            bytes[at] ^= 1;
            sealed.ciphertext = bytes.into();
        })
    };
    let later = Record::Kept(match &*sealed_one.record {
        Record::Kept(kept) => {
            semel::domain::Kept { expires_at: kept.expires_at.plus(Duration::from_secs(1)), ..kept.clone() }
        }
        Record::Forgotten(_) => unreachable!(),
    });
    let forged = [
        ("another record's", Versioned { sealed: sealed_two.sealed.clone(), ..sealed_one.clone() }),
        ("under another write", Versioned { write_id: sealed_two.write_id, ..sealed_one.clone() }),
        ("that expires later", Versioned { record: Arc::new(later), ..sealed_one.clone() }),
        ("for another write", with(&|sealed| sealed.write_id = sealed_two.write_id)),
        ("under another key", with(&|sealed| sealed.key_id = id("k2"))),
        ("with another nonce", with(&|sealed| sealed.nonce[0] ^= 1)),
        ("changed at its start", flip(0)),
        ("changed in its tag", flip(content.ciphertext.len() - 1)),
        ("cut", with(&|sealed| sealed.ciphertext.truncate(20))),
        ("emptied", with(&|sealed| sealed.ciphertext.clear())),
    ];
    for (what, forged) in forged {
        let disk = memory();
        let write = Write {
            next: forged.record.clone(),
            sealed: forged.sealed.clone(),
            write_id: forged.write_id,
            ..one.clone()
        };
        disk.compare_and_put(&write).await.unwrap();
        let (reader, _) = sealing(&disk, ring(&["k1", "k2"], &[]));
        let found = reader.get(&one.key, Freshness::Acknowledged).await.unwrap().unwrap();
        assert!(found.sealed.is_some(), "a ciphertext {what} was opened");
        assert!(!format!("{found:?}").contains(SECRET));
        let server = on(reader).serve().await;
        drop(server);
    }
    // The same bytes under the key of another tenant.
    let disk = memory();
    let elsewhere = Write {
        key: stored_key("other tenant", 1),
        next: sealed_one.record.clone(),
        sealed: sealed_one.sealed.clone(),
        expected: Expected::Absent,
        ..one.clone()
    };
    disk.compare_and_put(&elsewhere).await.unwrap();
    let (reader, _) = sealing(&disk, ring(&["k1", "k2"], &[]));
    let found = reader.get(&elsewhere.key, Freshness::Acknowledged).await.unwrap().unwrap();
    assert!(found.sealed.is_some());
}

/// Nonces are drawn anew for each send, and the write id alone says whether a write happened.
#[tokio::test]
async fn a_write_that_is_sent_again_is_known_by_its_id() {
    let inner = memory();
    let (store, _) = sealing(&inner, ring(&["k1"], &[]));
    let write = write_of(1, Samples::completed_with(1, SECRET));
    assert_eq!(store.compare_and_put(&write).await.unwrap(), Put::Applied);
    let first = inner.get(&write.key, Freshness::Acknowledged).await.unwrap().unwrap();
    assert_eq!(store.compare_and_put(&write).await.unwrap(), Put::Applied);
    let other = Write { write_id: WriteId(Uuid::from_u128(9)), ..write.clone() };
    assert_eq!(store.compare_and_put(&other).await.unwrap(), Put::Conflict(Some(write.made())));
    let elsewhere = memory();
    sealing(&elsewhere, ring(&["k1"], &[])).0.compare_and_put(&write).await.unwrap();
    let second = elsewhere.get(&write.key, Freshness::Acknowledged).await.unwrap().unwrap();
    assert_ne!(first.sealed.unwrap().nonce, second.sealed.unwrap().nonce);
}

/// A copy needs no keys, and what is copied opens as before.
#[tokio::test(flavor = "multi_thread")]
async fn a_copy_takes_ciphertexts_as_they_are() {
    let directories = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let [from, to] = directories
        .each_ref()
        .map(|directory| Arc::new(EmbeddedStore::open(Settings::new(directory.path().to_owned())).unwrap()));
    let inner: Arc<dyn Store> = from.clone();
    let (store, _) = sealing(&inner, ring(&["k1"], &[]));
    let server = on(store).serve().await;
    write_everything(&server).await;
    let tally = copy(&mut EmbeddedReader::new(&from), &*to, &*server.clock, |_| {}).await.unwrap();
    assert_eq!((tally.copied, tally.total()), (5, 5));
    assert!(!shows_secret(directories[1].path()));
    let copied: Arc<dyn Store> = to;
    assert_eq!(all(&*copied).await, all(&*inner).await);
    let server = on(sealing(&copied, ring(&["k1"], &[])).0).serve().await;
    let told = replayed(server.client().await.begin(begin("completed", 2)).await.unwrap());
    assert_eq!(told.result.unwrap().payload, SECRET);
}

/// A restore changes open records without their keys, and what it made of them opens all the same.
#[tokio::test(flavor = "multi_thread")]
async fn a_restored_store_opens_what_the_restore_changed() {
    let directories = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let settings = |n: usize| Settings::new(directories[n].path().join("store"));
    let from = Arc::new(EmbeddedStore::open(settings(0)).unwrap());
    let inner: Arc<dyn Store> = from.clone();
    let server = on(sealing(&inner, ring(&["k1"], &[])).0).serve().await;
    write_everything(&server).await;
    server.clock.advance(Duration::from_secs(1));
    let restored = tokio::task::block_in_place(|| {
        let mut bytes = Vec::new();
        backup::write(&from, &*server.clock, Duration::from_hours(24), &mut bytes, || false).unwrap();
        assert!(!bytes.windows(SECRET.len()).any(|window| window == SECRET.as_bytes()));
        backup::restore(&bytes[..], &settings(1), &*server.clock, Duration::ZERO).unwrap()
    });
    assert_eq!((restored.contents.records, restored.unresolved), (5, 4));
    let to: Arc<dyn Store> = Arc::new(EmbeddedStore::open(settings(1)).unwrap());
    let server = on(sealing(&to, ring(&["k1"], &[])).0).serve().await;
    server.clock.advance(Duration::from_secs(2));
    let mut client = server.client().await;
    let told = replayed(client.begin(begin("completed", 2)).await.unwrap());
    assert_eq!(told.result.unwrap().payload, SECRET);
    let saved = client.lookup(proto::LookupRequest { key: Some(key("saved")) }).await.unwrap().into_inner();
    let saved = saved.record.unwrap();
    assert_eq!((saved.state(), &*saved.checkpoints[0].value), (proto::State::Unresolved, SECRET.as_bytes()));
}

#[test]
fn a_key_file_says_all_that_is_wrong_with_it_and_shows_no_key() {
    let good = "current = \"2026-11\"\n[keys]\n\"2026-11\" = \"a2V5IG9mIHRoaXJ0eS10d28gYnl0ZXMsIGV4YWN0bHk=\"\n\
                own = \"MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=\"\n[tenants]\nshop = \"own\"\n";
    let ring = parse_encryption_keys("keys.toml", good).unwrap();
    assert_eq!(ring.ids(), [id("2026-11"), id("own")]);
    assert_eq!(ring.current(), Some(&id("2026-11")));
    assert_eq!(ring.tenants()[&Tenant::new("shop").unwrap()], id("own"));
    assert!(!format!("{ring:?}").contains("MDEy"));
    let none = parse_encryption_keys("keys.toml", "current = \"none\"\n").unwrap();
    assert_eq!((none.current(), none.ids().len()), (None, 0));

    let said = parse_encryption_keys(
        "keys.toml",
        "curent = \"x\"\n[keys]\nshort = \"c2VjcmV0\"\nraw = \"secret!\"\n\"a b\" = \"\"\nnone = \"\"\nnumber = 5\n\
         [tenants]\nshop = \"gone\"\nother = 5\n\"\" = \"short\"\n",
    )
    .unwrap_err()
    .to_string();
    let expected = [
        "keys.toml: current is missing; write the id of the key that encrypts what is written, or \"none\"",
        "keys.toml:1: curent is not known here; did you mean current? (known: current, keys, tenants)",
        "keys.toml:3: keys.short is 6 bytes long; a key has 32",
        "keys.toml:4: keys.raw is not 32 bytes in base64; make one with `semel encryption-key create`",
        "keys.toml:5: keys.a b is no id of a key; write 1 to 64 letters, digits, dots, dashes and underscores, not none",
        "keys.toml:6: keys.none is no id of a key; write 1 to 64 letters, digits, dots, dashes and underscores, not none",
        "keys.toml:7: keys.number is not 32 bytes in base64; make one with `semel encryption-key create`",
        "keys.toml:9: tenants.shop names a key that is not among [keys]; write it there too",
        "keys.toml:10: tenants.other is a number; write the id of a key",
        "keys.toml:11: tenants. is empty; send the tenant's name",
    ];
    assert_eq!(said.lines().collect::<Vec<_>>(), expected);
    assert!(!said.contains("c2Vj") && !said.contains("secret!"));
}
