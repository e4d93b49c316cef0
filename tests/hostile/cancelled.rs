//! Calls that their callers give up, at each stage, by a reset or by going away; Begins that wait for somebody else,
//! and whose callers do not.

use bytes::Bytes;
use futures_util::future::select_all;
use prost::Message;
use semel::proto;
use semel::proto::idempotency_service_client::IdempotencyServiceClient;

use crate::attacked::{Attack, Target, soon};
use crate::figures::{CALL, FIXED, GREETED};
use crate::report::size;
use crate::support::raw::{Frames, framed};
use crate::support::server::{begin, complete, in_progress, reason, seconds, started};
use crate::wire::{BEGIN, Heard, Hostile, data, headers};

const END_HEADERS: u8 = Frames::END_HEADERS;
const END_STREAM: u8 = Frames::END_STREAM;

/// How far a call has come when it is given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// Its headers have not ended.
    Headers,
    /// Its headers have; nothing of its message came.
    Opened,
    /// Half of its message came.
    HalfSent,
    /// All of it came.
    Sent,
    /// It waits for the owner of its key.
    Waiting,
    /// Its answer has begun, and is not taken.
    Answered,
}

const STAGES: [Stage; 6] =
    [Stage::Headers, Stage::Opened, Stage::HalfSent, Stage::Sent, Stage::Waiting, Stage::Answered];

/// Fewer than the resets of streams not yet taken up that end a connection: these are to reach the calls.
const STREAMS: u32 = 16;

/// A key that somebody holds, and one that is completed.
struct Keys {
    held: String,
    done: String,
}

async fn keys(target: &Target) -> Keys {
    let mut client = IdempotencyServiceClient::new(target.channel().await.unwrap());
    let [held, done] = [(); 2].map(|()| uuid::Uuid::new_v4().to_string());
    let long = proto::BeginRequest { lease: seconds(3600), ..begin(&held, 1) };
    started(client.begin(long).await.unwrap());
    let owner = started(client.begin(begin(&done, 1)).await.unwrap());
    client.complete(complete(&done, 1, owner.fence, &"x".repeat(100_000))).await.unwrap();
    Keys { held, done }
}

/// A Begin that waits as long as the server lets it.
fn waiting(key: &str) -> Bytes {
    framed(&proto::BeginRequest { wait: seconds(30), ..begin(key, 2) }.encode_to_vec())
}

impl Stage {
    fn frames(self, stream: u32, keys: &Keys) -> Vec<Bytes> {
        let opened = headers(END_HEADERS, stream, BEGIN, &[]);
        let whole = |message: Bytes| vec![opened.clone(), data(END_STREAM, stream, &message)];
        let new = framed(&begin(&uuid::Uuid::new_v4().to_string(), 1).encode_to_vec());
        match self {
            Self::Headers => vec![headers(0, stream, BEGIN, &[])],
            Self::Opened => vec![opened],
            Self::HalfSent => vec![opened, data(0, stream, &new[..new.len() / 2])],
            Self::Sent => whole(new),
            Self::Waiting => whole(waiting(&keys.held)),
            Self::Answered => whole(framed(&begin(&keys.done, 2).encode_to_vec())),
        }
    }

    /// What has been heard when the calls of `rounds` rounds have come so far.
    fn is_reached(self, heard: &Heard, rounds: u64) -> bool {
        let begun = heard.pongs >= rounds;
        if self == Self::Answered { begun && heard.answers >= rounds * u64::from(STREAMS) } else { begun }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_that_are_given_up_at_every_stage() {
    const CONNECTIONS: u64 = 4;
    const ROUNDS: u32 = 8;
    Attack::new("cancelled", FIXED + CONNECTIONS * (GREETED + u64::from(ROUNDS * STREAMS) * CALL))
        .with(&["--max-waiters", "2000"])
        .run(async |target, toll| {
            let keys = keys(target).await;
            for stage in STAGES {
                for _ in 0..CONNECTIONS {
                    let mut hostile = Hostile::connect(&target.grpc).await;
                    if stage == Stage::Answered {
                        // No window: of the answer come the headers alone.
                        hostile.send([Frames::frame(4, 0, 0, &[0, 4, 0, 0, 0, 0])]).await;
                    }
                    if stage == Stage::Headers {
                        // Nothing else may come before they end: the caller can only go away.
                        assert!(hostile.send(stage.frames(1, &keys)).await);
                        toll.add("given_up", 1);
                    }
                    for round in 0..if stage == Stage::Headers { 0 } else { ROUNDS } {
                        let streams =
                            || (round * STREAMS..(round + 1) * STREAMS).map(|number| 1 + 2 * number);
                        let opening = streams().flat_map(|stream| stage.frames(stream, &keys));
                        let ping = Frames::frame(6, 0, 0, &[0; 8]);
                        assert!(hostile.send(opening.chain([ping])).await, "{stage:?}");
                        let reached = |heard: &Heard| stage.is_reached(heard, u64::from(round) + 1);
                        assert!(hostile.hears(reached).await, "{stage:?}: the server has closed");
                        // Those of the last round go with their connection.
                        if round + 1 < ROUNDS {
                            assert!(hostile.send(streams().map(Frames::reset)).await, "{stage:?}");
                        }
                        toll.add("given_up", u64::from(STREAMS));
                    }
                    toll.add("frames", hostile.frames);
                    let heard = hostile.gone().await;
                    assert!(heard.goodbye.is_none(), "{stage:?}: {heard:?}");
                    toll.add("connections", 1);
                }
            }
            nobody_waits(target, &keys.held).await;
        })
        .await;
}

/// A Begin is let wait: the places of those who went away are free.
async fn nobody_waits(target: &Target, held: &str) {
    let mut client = IdempotencyServiceClient::new(target.channel().await.unwrap());
    soon("places of callers that have gone are free", async {
        loop {
            let waits = proto::BeginRequest { wait: seconds(1), ..begin(held, 3) };
            match client.begin(waits).await {
                Ok(answer) => break drop(in_progress(answer)),
                Err(full) => assert_eq!(reason(&full), "TOO_MANY_WAITERS"),
            }
        }
    })
    .await;
}

/// Every place for a Begin that waits is taken, by callers who then go away.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn thousands_of_begins_that_wait_for_nobody() {
    const PER_CONNECTION: u64 = 200;
    let places = size("SEMEL_HOSTILE_CONNECTIONS", 2_000);
    Attack::new("held", FIXED + (places + PER_CONNECTION) * CALL)
        .with(&["--max-waiters", &places.to_string()])
        .run(async |target, toll| {
            let keys = keys(target).await;
            let mut connections = Vec::new();
            // More than there are places: the server says to some that they are taken.
            for _ in 0..=places / PER_CONNECTION {
                let mut hostile = Hostile::connect(&target.grpc).await;
                let streams = (0..u32::try_from(PER_CONNECTION).unwrap()).map(|number| 1 + 2 * number);
                let held = streams.flat_map(|stream| Stage::Waiting.frames(stream, &keys));
                assert!(hostile.send(held).await);
                connections.push(hostile);
            }
            let answered =
                connections.iter_mut().map(|hostile| Box::pin(hostile.hears(|heard| heard.answers > 0)));
            let (_, first, _) = select_all(answered).await;
            assert!(connections[first].heard(|heard| heard.refused_at_first > 0), "nobody is refused");
            toll.add("connections", connections.len() as u64);
            toll.add("given_up", connections.len() as u64 * PER_CONNECTION);
            for hostile in connections {
                hostile.gone().await;
            }
            nobody_waits(target, &keys.held).await;
        })
        .await;
}
