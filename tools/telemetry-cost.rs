//! A server to be counted, and its caller: tools/telemetry-cost runs the one under valgrind, and the other not.
//!
//! `telemetry-cost serve MODE` says where it listens, and serves in one thread until its input ends.
//! `telemetry-cost call ADDRESS COUNT` begins and completes COUNT keys there, one after the other.
#![allow(clippy::unwrap_used, reason = "a measurement stops at the first thing that goes wrong")]

use std::io::Read as _;
use std::sync::Arc;

use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{SpanData, SpanExporter};
use semel::audit::Audit;
use semel::clock::SystemClock;
use semel::coordinator::{Coordinator, Settings as CoordinatorSettings};
use semel::policies::Policies;
use semel::proto;
use semel::proto::begin_response::Decision;
use semel::proto::idempotency_service_client::IdempotencyServiceClient;
use semel::quotas::Quotas;
use semel::server::{Limits, Listeners, Security, Server};
use semel::storage::Store;
use semel::storage::memory::{self, MemoryStore};
use semel::storage::metered::Metered;
use semel::telemetry::{KeyHash, Names, Settings, Telemetry};
use tokio::net::TcpListener;

/// Takes nothing: what is unsampled never gets here.
#[derive(Debug)]
struct Nowhere;

impl SpanExporter for Nowhere {
    async fn export(&self, _: Vec<SpanData>) -> OTelSdkResult {
        Ok(())
    }
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["serve", mode] => runtime.block_on(serve(mode)),
        ["call", address, count] => runtime.block_on(call(address, count.parse().unwrap())),
        _ => println!("tools/telemetry-cost runs this"),
    }
}

async fn serve(mode: &str) {
    let settings =
        |trace_all_but_first| Settings { decision_log: false, trace_all_but_first, ..Settings::default() };
    let names = Names { key_hash: KeyHash::new(b"measured"), store: memory::NAME };
    let clock = Arc::new(SystemClock);
    let telemetry = Arc::new(match mode {
        // A build without telemetry, or with all of it off.
        "without" | "off" => Telemetry::off(),
        "metrics" => Telemetry::start(&settings(false), names, clock.clone()).unwrap(),
        // Traces are on, and the callers' are not sampled.
        "unsampled" => Telemetry::tracing_to(Nowhere, &settings(false), names, clock.clone()),
        // The same, and what is not a first decision would be kept.
        "noting" => Telemetry::tracing_to(Nowhere, &settings(true), names, clock.clone()),
        _ => panic!("{mode} is none of without, off, metrics, unsampled, noting"),
    });
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
    let store: Arc<dyn Store> =
        if mode == "without" { store } else { Arc::new(Metered::telling(store, telemetry.clone())) };
    let policies = Arc::new(Policies::default());
    let quotas = Arc::new(Quotas::new(policies.clone()));
    let settings = CoordinatorSettings { observer: Some(quotas.clone()), ..CoordinatorSettings::default() };
    let audit = Arc::new(Audit::to_log(clock.clone(), KeyHash::new(b"measured")));
    let server = Server {
        coordinator: Arc::new(Coordinator::new(store, clock, 1, settings)),
        policies,
        quotas,
        limits: Limits::default(),
        audit,
        telemetry,
        configuration: "".into(),
        security: Security::default(),
    };
    let listeners = Listeners {
        grpc: TcpListener::bind("127.0.0.1:0").await.unwrap(),
        operations: TcpListener::bind("127.0.0.1:0").await.unwrap(),
    };
    println!("{}", listeners.grpc.local_addr().unwrap());
    let told = tokio::task::spawn_blocking(|| std::io::stdin().read_to_end(&mut Vec::new()));
    server.run(listeners, async { drop(told.await) }).await.unwrap();
}

async fn call(address: &str, count: u32) {
    let mut client = IdempotencyServiceClient::connect(format!("http://{address}")).await.unwrap();
    for number in 0..count {
        let key = proto::Key {
            tenant: "default".into(),
            endpoint: "semel.bench".into(),
            idempotency_key: format!("measured-{number:08}"),
        };
        let attempt_id = "00000000-0000-4000-8000-000000000001".to_owned();
        let begin = proto::BeginRequest {
            key: Some(key.clone()),
            attempt_id: attempt_id.clone(),
            ..Default::default()
        };
        let begun = client.begin(unsampled(begin)).await.unwrap().into_inner();
        let Some(Decision::Started(started)) = begun.decision else { panic!("{begun:?}") };
        let result = proto::Result {
            outcome: proto::result::Outcome::Success.into(),
            payload: vec![7; 100].into(),
            ..Default::default()
        };
        let complete = proto::CompleteRequest {
            key: Some(key),
            fence: started.fence,
            attempt_id,
            result: Some(result),
            retention: None,
        };
        client.complete(unsampled(complete)).await.unwrap();
    }
}

/// As a caller that traces, and does not keep this trace.
fn unsampled<T>(message: T) -> tonic::Request<T> {
    let mut request = tonic::Request::new(message);
    let traceparent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00";
    request.metadata_mut().insert("traceparent", traceparent.parse().unwrap());
    request
}
