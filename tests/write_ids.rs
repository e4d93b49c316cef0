//! Each start of a server makes write ids of its own: by its id a write knows itself in the store, so two that share one
//! would be taken for each other.

#[path = "support/process.rs"]
mod process;
mod support;

use std::path::Path;

use process::ServerProcess;
use semel::domain::{Endpoint, IdempotencyKey, Key, Tenant};
use semel::proto;
use semel::proto::idempotency_service_client::IdempotencyServiceClient;
use semel::storage::embedded::{EmbeddedStore, Settings};
use semel::storage::{Freshness, Store as _, WriteId};

/// The id of the first write of a server that starts on `data`.
async fn first_write(data: &Path) -> WriteId {
    let server = ServerProcess::start(data, &[]);
    let mut client = IdempotencyServiceClient::connect(format!("http://{}", server.grpc)).await.unwrap();
    let key = proto::Key { tenant: "shop".into(), endpoint: "charge".into(), idempotency_key: "k".into() };
    let begin = proto::BeginRequest {
        key: Some(key),
        attempt_id: "00000000-0000-4000-8000-000000000001".into(),
        ..proto::BeginRequest::default()
    };
    client.begin(begin).await.unwrap();
    drop(client);
    assert!(server.terminate().success());
    let key = Key {
        tenant: Tenant::new("shop").unwrap(),
        endpoint: Endpoint::new("charge").unwrap(),
        idempotency_key: IdempotencyKey::new("k").unwrap(),
    };
    let store = EmbeddedStore::open(Settings::new(data)).unwrap();
    store.get(&key, Freshness::Acknowledged).await.unwrap().expect("it was written").write_id
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_starts_make_different_write_ids() {
    let (one, another) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    assert_ne!(first_write(one.path()).await, first_write(another.path()).await);
}
