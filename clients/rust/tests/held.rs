//! Keys that are held while their work is no closure, and what calls are sent again.

use std::convert::Infallible;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use semel_client::proto::abort_request::Disposition;
use semel_client::proto::begin_response::Decision;
use semel_client::proto::idempotency_service_server::IdempotencyServiceServer;
use semel_client::proto::{self, BeginRequest, Started};
use semel_client::testing::Fake;
use semel_client::{Client, ClientOptions, Error, Held};
use tonic::body::Body;
use tonic::{Code, Status};
use tower::Service;

/// What each method is refused with, and how often it was called.
#[derive(Clone, Default)]
struct Gate {
    refused: Arc<Mutex<Vec<(&'static str, Status)>>>,
    begins: Arc<AtomicU32>,
}

impl Gate {
    /// Refuses the next call of the method with this.
    fn refuse(&self, method: &'static str, status: Status) {
        self.refused.lock().expect("no panic").push((method, status));
    }

    fn client(&self, fake: &Fake, options: ClientOptions) -> Client {
        let (gate, server) = (self.clone(), IdempotencyServiceServer::new(fake.clone()));
        let service = tower::service_fn(move |request: http::Request<Body>| {
            let (gate, mut server) = (gate.clone(), server.clone());
            async move {
                let method = request.uri().path().rsplit('/').next().expect("a method").to_owned();
                if method == "Begin" {
                    gate.begins.fetch_add(1, Ordering::SeqCst);
                }
                let refused = {
                    let mut refused = gate.refused.lock().expect("no panic");
                    let at = refused.iter().position(|(name, _)| *name == method);
                    at.map(|at| refused.remove(at).1)
                };
                match refused {
                    Some(status) => Ok::<_, Infallible>(status.into_http()),
                    None => server.call(request).await,
                }
            }
        });
        Client::through(service, options).expect("a client")
    }
}

fn request() -> BeginRequest {
    BeginRequest {
        key: Some(proto::Key { tenant: "t".into(), endpoint: "e".into(), idempotency_key: "k".into() }),
        attempt_id: "9f1c6c9e-0f0b-4c3e-9d7a-3f6f1c1f8a11".into(),
        ..Default::default()
    }
}

async fn begun(client: &Client) -> Started {
    match client.begin(request()).await.expect("an answer").decision {
        Some(Decision::Started(started)) => started,
        other => panic!("{other:?}"),
    }
}

/// By the paused clock.
fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

async fn held(client: &Client) -> Held {
    let (asked, started) = (now(), begun(client).await);
    client.hold(&request(), &started, asked, Duration::from_secs(5)).await.expect("it is ours")
}

fn methods(fake: &Fake) -> Vec<&'static str> {
    fake.calls().iter().map(|call| call.method).collect()
}

#[tokio::test(start_paused = true)]
async fn a_held_key_is_renewed_and_completed_by_its_holder() {
    let (fake, gate) = (Fake::new(), Gate::default());
    let client = gate.client(&fake, ClientOptions::new());
    let held = held(&client).await;
    // Nothing ends it: the renewals of several leases pass.
    tokio::time::timeout(Duration::from_mins(5), held.lost()).await.expect_err("it stays ours");
    assert!(methods(&fake).iter().filter(|method| **method == "Renew").count() > 5, "{:?}", methods(&fake));
    // A credential may just be being replaced.
    gate.refuse("Complete", Status::unauthenticated("expired"));
    let result = proto::Result { payload: "done".into(), ..Default::default() };
    held.complete(result, Duration::from_secs(10)).await.expect("it is stored");
    drop(held);
    let renewed = methods(&fake).len();
    tokio::time::sleep(Duration::from_mins(5)).await;
    assert_eq!(methods(&fake).len(), renewed, "renewals end with it");
    let again = client.begin(request()).await.expect("an answer").decision;
    assert!(matches!(again, Some(Decision::Replayed(_))), "{again:?}");
}

#[tokio::test(start_paused = true)]
async fn who_holds_a_key_learns_that_it_is_lost_and_why() {
    let (fake, gate) = (Fake::new(), Gate::default());
    let client = gate.client(&fake, ClientOptions::new());
    let refused = held(&client).await;
    gate.refuse("Renew", lost());
    let lost = refused.lost().await;
    assert!(lost.is_refused() && refused.attempt().cancellation().is_cancelled());
    assert_eq!(lost.error().reason(), "FENCE_LOST");

    // No answer: it counts as lost that long before its end, for the work to stop by then.
    let fake = Fake::new();
    let client = gate.client(&fake, ClientOptions::new());
    let held = held(&client).await;
    for _ in 0..1000 {
        gate.refuse("Renew", Status::unavailable("gone"));
    }
    let lost = held.lost().await;
    assert!(!lost.is_refused());
    assert_eq!(lost.error().reason(), "LEASE_OVER");
    let left = lost.lease_ends().saturating_duration_since(now());
    assert!(left >= Duration::from_secs(5), "{left:?}");
}

#[tokio::test(start_paused = true)]
async fn a_grant_that_came_late_is_renewed_before_anything_runs() {
    let (fake, gate) = (Fake::new(), Gate::default());
    let client = gate.client(&fake, ClientOptions::new());
    let (asked, started) = (now(), begun(&client).await);
    let lease = started.lease.and_then(|lease| Duration::try_from(lease).ok()).expect("a lease");
    tokio::time::sleep(lease / 2).await;
    gate.refuse("Renew", lost());
    let refused = client.hold(&request(), &started, asked, Duration::ZERO).await;
    assert!(refused.expect_err("the server says so").is_refused());
    let held = client.hold(&request(), &started, asked, Duration::ZERO).await.expect("it is renewed");
    assert_eq!(methods(&fake), ["Begin", "Renew"]);
    held.abort(Disposition::Release, "nothing ran", Duration::from_secs(1)).await.expect("it is released");
}

fn lost() -> Status {
    use tonic_types::{ErrorDetails, StatusExt};
    let details = ErrorDetails::with_error_info("FENCE_LOST", "semel.v1", std::collections::HashMap::new());
    Status::with_error_details(Code::Aborted, "a later fence was granted", details)
}

#[tokio::test(start_paused = true)]
async fn who_fails_fast_sends_again_what_got_no_answer_and_an_owners_word() {
    let (fake, gate) = (Fake::new(), Gate::default());
    let client = gate.client(&fake, ClientOptions::new().fail_fast());
    gate.refuse("Begin", Status::internal("a bug"));
    let refused: Error = client.begin(request()).await.expect_err("an answer is one");
    assert_eq!((refused.name(), gate.begins.load(Ordering::SeqCst)), ("ServerError", 1));
    gate.refuse("Begin", Status::unavailable("gone"));
    let started = begun(&client).await;
    assert_eq!(gate.begins.load(Ordering::SeqCst), 3);
    gate.refuse("Complete", Status::internal("a bug"));
    let complete = proto::CompleteRequest {
        key: request().key,
        fence: started.fence,
        attempt_id: request().attempt_id,
        result: Some(proto::Result::default()),
        retention: None,
    };
    client.complete(complete).await.expect("it is sent again");
    // Without it, errors that may pass are sent again, too.
    gate.refuse("Begin", Status::internal("a bug"));
    let patient = gate.client(&fake, ClientOptions::new());
    patient.begin(request()).await.expect("it is sent again");
}

#[tokio::test(start_paused = true)]
async fn nothing_is_sent_after_a_pause_that_took_all_the_time_that_was_left() {
    let fake = Fake::new();
    // The first pause is 25 to 50 ms, and the timers of Tokio end at the next whole millisecond.
    let gate = Gate::default();
    let client = gate.client(&fake, ClientOptions::new().timeout(Duration::from_millis(26)));
    for calls in 1..=500 {
        gate.refuse("Begin", Status::unavailable("gone"));
        client.begin(request()).await.expect_err("the store is away");
        assert_eq!(gate.begins.load(Ordering::SeqCst), calls);
    }
}
