//! Begins that are held over a real socket.

#[path = "support/server.rs"]
mod server;

use std::time::Duration;

use semel::coordinator::Settings;
use semel::domain::{Policy, PolicyRules};
use semel::proto::idempotency_service_client::IdempotencyServiceClient;
use semel::proto::{BeginRequest, BeginResponse};
use semel::server::Limits;
use server::{Start, begin, reason, seconds, started};
use tonic::transport::Channel;
use tonic::{Response, Status};

const HOUR: Duration = Duration::from_hours(1);

async fn hold(
    client: &mut IdempotencyServiceClient<Channel>,
    attempt: u32,
    wait: Option<prost_types::Duration>,
) -> Result<Response<BeginResponse>, Status> {
    client.begin(BeginRequest { wait, ..begin("k", attempt) }).await
}

/// Whether no more Begins are held: asked by one that is held for a moment where it may be.
async fn is_full(client: &mut IdempotencyServiceClient<Channel>) -> bool {
    let moment = Some(prost_types::Duration { seconds: 0, nanos: 1_000_000 });
    match hold(client, 3, moment).await {
        Ok(_) => false,
        Err(status) => {
            assert_eq!(reason(&status), "TOO_MANY_WAITERS");
            true
        }
    }
}

#[tokio::test]
async fn the_place_of_a_begin_whose_stream_is_reset_is_free_again() {
    // Nothing but the reset ends the wait within the time of this test.
    let policy = Policy { max_wait: HOUR, lease: HOUR, ..Policy::default() };
    let running = Start {
        rules: PolicyRules::new(policy, Vec::new()),
        settings: Settings { max_waiters: 1, ..Settings::default() },
        limits: Limits { request_timeout: HOUR, ..Limits::default() },
        ..Start::default()
    };
    let running = running.serve().await;
    let mut client = running.client().await;
    started(client.begin(begin("k", 1)).await.unwrap());
    let held = tokio::spawn({
        let mut client = client.clone();
        // Refused where the question below has the place just then.
        async move { while hold(&mut client, 2, seconds(3600)).await.is_err() {} }
    });
    while !is_full(&mut client).await {}
    held.abort();
    assert!(held.await.unwrap_err().is_cancelled());
    let freed = async { while is_full(&mut client).await {} };
    tokio::time::timeout(Duration::from_mins(2), freed).await.expect("its place is free");
}
