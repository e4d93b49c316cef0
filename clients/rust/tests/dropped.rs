//! What cancellation by dropping does, which no other language has; and what panics do.

use std::time::Duration;

use semel_client::testing::Fake;
use semel_client::{Attempt, CancellationToken, ErrorKind, Handoff, OnceOptions, Request};
use tokio::sync::oneshot;

fn methods(fake: &Fake) -> Vec<&'static str> {
    fake.calls().iter().map(|call| call.method).collect()
}

#[tokio::test]
async fn dropping_the_work_reports_that_its_outcome_is_unknown() {
    let fake = Fake::new();
    let client = fake.client().expect("a client");
    let (began, has_begun) = oneshot::channel();
    let caller = client.clone();
    let task = tokio::spawn(async move {
        let work = async |_: Attempt| {
            began.send(()).expect("the test listens");
            std::future::pending::<Result<(), semel_client::WorkError>>().await
        };
        caller.once("e", "k", Request::none(), work).await
    });
    has_begun.await.expect("the work begins");
    task.abort();
    assert!(task.await.expect_err("it was aborted").is_cancelled());
    client.close().await; // it waits for the report
    assert_eq!(methods(&fake), ["Begin", "Abort"]);
}

#[tokio::test]
async fn nothing_is_sent_for_a_caller_that_has_gone() {
    let fake = Fake::new();
    let client = fake.client().expect("a client");
    let cancellation = CancellationToken::new();
    cancellation.cancel();
    let options = OnceOptions::new().cancelled_by(cancellation);
    let ended = client.once_with(options, "e", "k", Request::none(), async |_| Ok(1)).await;
    assert!(ended.is_err(), "it ran");
    client.close().await;
    assert!(methods(&fake).is_empty());
}

#[tokio::test]
async fn a_dropped_work_that_was_handed_off_reports_nothing() {
    let fake = Fake::new();
    let client = fake.client().expect("a client");
    let (send, receive) = oneshot::channel::<Handoff>();
    let caller = client.clone();
    let task = tokio::spawn(async move {
        let work = async |attempt: Attempt| {
            send.send(attempt.handoff()?).expect("the test listens");
            std::future::pending::<Result<i32, semel_client::WorkError>>().await
        };
        caller.once("e", "k", Request::none(), work).await
    });
    let handoff = receive.await.expect("the work hands off");
    task.abort();
    assert!(task.await.is_err());
    client.complete_handoff(handoff, 7).await.expect("it is completed");
    client.close().await;
    assert_eq!(methods(&fake), ["Begin", "Complete"]);
}

#[tokio::test]
async fn a_panic_is_reported_and_goes_on() {
    let fake = Fake::new();
    let client = fake.client().expect("a client");
    let caller = client.clone();
    let task = tokio::spawn(async move {
        let work = async |_: Attempt| -> Result<(), semel_client::WorkError> { panic!("on purpose") };
        caller.once("e", "k", Request::none(), work).await
    });
    assert!(task.await.expect_err("the panic goes on").is_panic());
    client.close().await;
    assert_eq!(methods(&fake), ["Begin", "Abort"]);
}

#[tokio::test]
async fn a_call_that_is_cancelled_before_sends_nothing() {
    let fake = Fake::new();
    let client = fake.client().expect("a client");
    let token = CancellationToken::new();
    token.cancel();
    let options = OnceOptions::new().cancelled_by(token);
    let ended = client.once_with(options, "e", "k", Request::none(), async |_| Ok(())).await;
    assert!(matches!(ended.expect_err("it is cancelled").kind(), ErrorKind::Cancelled));
    assert!(fake.calls().is_empty());
}

#[tokio::test]
async fn a_waiting_call_gets_what_the_first_one_returned() {
    let fake = Fake::new();
    let client = fake.client().expect("a client");
    let (open, opened) = oneshot::channel::<()>();
    let (began, has_begun) = oneshot::channel();
    let first = client.clone();
    let first = tokio::spawn(async move {
        let work = async |_: Attempt| {
            began.send(()).expect("the test listens");
            opened.await?;
            Ok("first".to_owned())
        };
        first.once("e", "k", Request::none(), work).await
    });
    has_begun.await.expect("the first begins");
    let waiting = OnceOptions::new().wait(Duration::from_mins(1));
    let second = client.once_with(waiting, "e", "k", Request::none(), async |_| Ok("second".to_owned()));
    open.send(()).expect("the first listens");
    let second = second.await.expect("it is replayed");
    assert_eq!((second.value.as_str(), second.replayed), ("first", true));
    assert!(!first.await.expect("no panic").expect("it returns").replayed);
}
