//! Each method over a real socket: what it answers, and what it answers when it is called again.

mod support {
    pub(crate) mod server;
}

use std::sync::Arc;
use std::time::Duration;

use semel::proto;
use support::server::*;

#[tokio::test]
async fn begin_complete_replay() {
    let server = Start::default().serve().await;
    let mut client = server.client().await;
    let first = started(client.begin(begin("k", 1)).await.unwrap());
    assert_eq!((first.attempt, first.lease), (1, seconds(30)));
}
