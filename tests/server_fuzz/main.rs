//! Hostile requests over a real socket: what is valid is accepted, what is not is refused with the paths of exactly
//! the fields that are wrong, and the server serves on. `SEMEL_FUZZ_REQUESTS` says how many, `SEMEL_FUZZ_SEED`
//! repeats a run.

#[path = "../support/raw.rs"]
mod raw;
#[path = "../support/mod.rs"]
mod report;
mod requests;
#[path = "../support/server.rs"]
mod server;

use std::time::Duration;

use prost::Message;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, RngExt, SeedableRng};
use raw::{RawClient, framed};
use requests::{Asked, Wrong};
use semel::domain::{Policy, PolicyRules};
use semel::proto;
use server::*;
use tonic::{Code, Status};

const WORKERS: u8 = 4;

fn setting(name: &str, otherwise: u64) -> u64 {
    std::env::var(name)
        .map_or(otherwise, |text| text.parse().unwrap_or_else(|_| panic!("{name} is no number")))
}

fn seed() -> u64 {
    let seed = setting("SEMEL_FUZZ_SEED", 20_261_122);
    println!("SEMEL_FUZZ_SEED={seed} repeats this run");
    seed
}

async fn serve() -> RunningServer {
    // Long waits are asked for; none is granted.
    let policy = Policy { max_wait: Duration::from_millis(1), ..Policy::default() };
    Start { rules: PolicyRules::new(policy, Vec::new()), ..Start::default() }.serve().await
}

/// How many requests were accepted, and how many refused.
#[derive(Clone, Copy, Debug, Default)]
struct Tally {
    accepted: u64,
    refused: u64,
}

#[tokio::test]
async fn hostile_requests_are_refused_field_by_field() {
    let (requests, seed) = (setting("SEMEL_FUZZ_REQUESTS", 10_000), seed());
    let server = serve().await;
    let mut workers = tokio::task::JoinSet::new();
    for worker in (0..WORKERS).map(u64::from) {
        let mut raw = RawClient::connect(&server.grpc).await;
        workers.spawn(async move {
            let mut random = StdRng::seed_from_u64(seed.wrapping_add(worker));
            let mut tally = Tally::default();
            for number in (worker..requests).step_by(usize::from(WORKERS)) {
                let asked = requests::any(&mut random);
                let answer = raw.call(asked.path, &[], &asked.message).await;
                let refused = judge(&asked, answer).unwrap_or_else(|problem| {
                    panic!(
                        "request {number} of seed {seed}, {} with {:?}: {problem}",
                        asked.path, asked.wrong
                    )
                });
                if refused { tally.refused += 1 } else { tally.accepted += 1 }
            }
            tally
        });
    }
    let mut all = Tally::default();
    while let Some(tally) = workers.join_next().await {
        let tally = tally.unwrap();
        all.accepted += tally.accepted;
        all.refused += tally.refused;
    }
    println!("{all:?}");
    assert_eq!(all.accepted + all.refused, requests);
    // A generator that only made one kind would test half.
    assert!(all.accepted >= requests / 5 && all.refused >= requests / 5, "{all:?}");
    serves_on(&server).await;
    report::count("fuzz_requests", requests);
}

async fn serves_on(server: &RunningServer) {
    let mut client = server.client().await;
    let owner = started(client.begin(begin("after all", 1)).await.unwrap());
    client.complete(complete("after all", 1, owner.fence, "done")).await.unwrap();
}

/// Whether the answer is a refusal; `Err` where it is not what the request deserves.
fn judge(asked: &Asked, answer: Result<bytes::Bytes, Status>) -> Result<bool, String> {
    let wanted: Vec<&str> = asked.wrong.iter().map(|wrong| &*wrong.path).collect();
    match answer {
        Ok(message) if asked.wrong.is_empty() => slots(asked, &message).map(|()| false),
        Ok(_) => Err(format!("accepted, though {wanted:?} are wrong")),
        Err(status) if asked.wrong.is_empty() => match status.code() {
            Code::FailedPrecondition | Code::Aborted | Code::NotFound => Ok(false),
            _ => Err(format!("valid, and refused: {status:?}")),
        },
        Err(status) => {
            let said = details(&status);
            let first = asked.wrong[0].reason;
            if status.code() != Code::InvalidArgument || said.reason != first || said.fields != wanted {
                return Err(format!("{first} and {wanted:?} expected: {status:?}"));
            }
            Ok(true)
        }
    }
}

/// In a batch each item is judged in its slot.
fn slots(asked: &Asked, message: &[u8]) -> Result<(), String> {
    let errors: Vec<Option<proto::ItemError>> = match asked.path {
        requests::BATCH_BEGIN => {
            use proto::batch_begin_response::item::Outcome;
            let items = proto::BatchBeginResponse::decode(message).map_err(|error| error.to_string())?.items;
            items
                .into_iter()
                .map(|item| match item.outcome {
                    Some(Outcome::Error(error)) => Some(error),
                    _ => None,
                })
                .collect()
        }
        requests::BATCH_COMPLETE => {
            use proto::batch_complete_response::item::Outcome;
            let items =
                proto::BatchCompleteResponse::decode(message).map_err(|error| error.to_string())?.items;
            items
                .into_iter()
                .map(|item| match item.outcome {
                    Some(Outcome::Error(error)) => Some(error),
                    _ => None,
                })
                .collect()
        }
        _ => return Ok(()),
    };
    if errors.len() != asked.slots.len() {
        return Err(format!("{} slots for {} items", errors.len(), asked.slots.len()));
    }
    for (place, (error, wrong)) in errors.iter().zip(&asked.slots).enumerate() {
        let refused = error.as_ref().filter(|error| error.code == i32::from(Code::InvalidArgument));
        let agree = match (refused, wrong.first()) {
            (None, None) => error.as_ref().is_none_or(|error| error.code != i32::from(Code::Internal)),
            (Some(error), Some(Wrong { reason, path })) => {
                error.reason == *reason && error.message.starts_with(&format!("{path} "))
            }
            (None, Some(_)) | (Some(_), None) => false,
        };
        if !agree {
            return Err(format!("slot {place}: {error:?} for {wrong:?}"));
        }
    }
    Ok(())
}

/// Bytes that are no message, or no frame.
#[tokio::test]
async fn malformed_bytes_get_the_transports_own_code() {
    let (requests, seed) = (setting("SEMEL_FUZZ_REQUESTS", 10_000) / 5, seed());
    let mut random = StdRng::seed_from_u64(seed);
    let server = serve().await;
    let mut raw = RawClient::connect(&server.grpc).await;
    let mut malformed = 0;
    for number in 0..requests {
        let asked = requests::any(&mut random);
        let bytes = damaged(&mut random, asked.message);
        let decodes = requests::decodes(asked.path, &bytes);
        let answer = raw.call(asked.path, &[], &bytes).await;
        match answer {
            Ok(_) => assert!(decodes, "request {number} of seed {seed}: accepted, and is no message"),
            // Ours, which always has a reason.
            Err(status) if decodes => {
                let reason = details(&status).reason;
                assert_ne!(reason, "INTERNAL", "request {number} of seed {seed}: {status:?}");
            }
            // The transport's own, which never does: gRPC gives INTERNAL to a message that cannot be parsed.
            Err(status) => {
                malformed += 1;
                assert!(
                    status.code() == Code::Internal && status.details().is_empty(),
                    "request {number} of seed {seed}: {status:?}"
                );
            }
        }
    }
    assert!(malformed >= requests / 10, "{malformed} of {requests} could not be parsed");

    let good = framed(&begin("k", 1).encode_to_vec());
    let mut compressed = good.to_vec();
    compressed[0] = 1;
    let mut flagged = good.to_vec();
    flagged[0] = 0x7f;
    let mut twice = good.to_vec();
    twice.extend_from_slice(&good);
    for body in [Vec::new(), vec![0], good[..7].to_vec(), compressed, flagged, twice] {
        let mut raw = RawClient::connect(&server.grpc).await;
        let answer = raw.send("/semel.v1.IdempotencyService/Begin", &[], body.clone().into()).await;
        // Whatever it is, it is not a bug of ours.
        if let Err(status) = answer {
            assert!(status.details().is_empty(), "{body:?}: {status:?}");
        }
    }
    serves_on(&server).await;
}

/// A message with one thing done to it that a careless or hostile client may do.
fn damaged(random: &mut StdRng, mut message: Vec<u8>) -> Vec<u8> {
    let place = |random: &mut StdRng, message: &[u8]| random.random_range(0..=message.len());
    match random.random_range(0..6) {
        0 => message.truncate(place(random, &message)),
        1 => {
            let at = place(random, &message);
            let mut noise = vec![0; random.random_range(1..40)];
            random.fill_bytes(&mut noise);
            message.splice(at..at, noise);
        }
        2 => {
            for _ in 0..random.random_range(1..4) {
                if let Some(byte) = message.choose(random).copied() {
                    let at = message.iter().position(|other| *other == byte).unwrap_or(0);
                    message[at] ^= 1 << random.random_range(0..8);
                }
            }
        }
        // Bytes that are no UTF-8, where a text belongs: key.tenant, attempt_id.
        3 => message.extend([0x0a, 3, 0x0a, 1, 0xff, 0x12, 2, 0xc0, 0x80]),
        // A length far past the end.
        4 => message.extend([0x12, 0xff, 0xff, 0xff, 0xff, 0x0f]),
        // Groups in groups, deeper than anybody nests them.
        _ => message.extend(std::iter::repeat_n(0xfb, 500)),
    }
    message
}

/// No two of these are the same identity, however they are cut, cased, normalized or look.
#[tokio::test]
async fn identities_never_meet() {
    let mut identities: Vec<(String, String, String)> = Vec::new();
    for text in
        ["abcdef", "a/b/c/", "a\0b\0c\0", "\u{1}\u{2}a\u{1}\0\0", "a:b:c:d", "%00%2F", "\u{e9}\u{e9}\u{e9}"]
    {
        let cuts: Vec<usize> = (1..text.len()).filter(|place| text.is_char_boundary(*place)).collect();
        for (order, first) in cuts.iter().enumerate() {
            for second in &cuts[order + 1..] {
                let part = |range: std::ops::Range<usize>| text[range].to_owned();
                identities.push((part(0..*first), part(*first..*second), part(*second..text.len())));
            }
        }
    }
    for key in [
        "a",
        "A",
        "a ",
        " a",
        "a\n",
        "a\r\n",
        "a\0",
        "\u{430}",
        "\u{ff41}",
        "a\u{200b}",
        "a\u{301}",
        "\u{e1}",
        "\u{202e}a",
        "*",
        "a*",
        "..",
        "a/../b",
        "'; --",
        "\u{1f600}",
        "\u{feff}a",
    ] {
        identities.push(("t".into(), "e".into(), key.into()));
        identities.push(("t".into(), key.into(), "k".into()));
        identities.push((key.into(), "e".into(), "k".into()));
    }
    // As long as they may be, different in the last byte alone.
    for last in ["x", "y"] {
        identities.push(("t".repeat(127) + last, "e".repeat(256), "k".repeat(255)));
        identities.push(("t".repeat(128), "e".repeat(255) + last, "k".repeat(255)));
        identities.push(("t".repeat(128), "e".repeat(256), "k".repeat(254) + last));
    }
    identities.sort();
    identities.dedup();

    let server = serve().await;
    let mut client = server.client().await;
    let request = |(tenant, endpoint, idempotency_key): &(String, String, String), attempt| {
        let (tenant, endpoint) = (tenant.clone(), endpoint.clone());
        let key = proto::Key { tenant, endpoint, idempotency_key: idempotency_key.clone() };
        proto::BeginRequest { key: Some(key), ..begin("", attempt) }
    };
    for (number, identity) in identities.iter().enumerate() {
        let begin = request(identity, 1);
        let owner = started(client.begin(begin.clone()).await.unwrap());
        assert_eq!(owner.attempt, 1, "{identity:?}");
        let report = complete("", 1, owner.fence, &number.to_string());
        client.complete(proto::CompleteRequest { key: begin.key, ..report }).await.unwrap();
    }
    for (number, identity) in identities.iter().enumerate() {
        let replay = replayed(client.begin(request(identity, 2)).await.unwrap());
        assert_eq!(replay.result, Some(success(&number.to_string())), "{identity:?}");
    }
}
