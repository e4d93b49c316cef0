//! What a user of the package would write: an empty project runs it.

use std::sync::atomic::{AtomicU32, Ordering};

use semel_client::testing::TestServer;
use semel_client::{Failure, OnceOptions, RawBytes, Request, WorkError};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let server = TestServer::start().await?;
    let client = server.client()?;
    let runs = AtomicU32::new(0);
    let charge = async || {
        let work = async |_| {
            runs.fetch_add(1, Ordering::SeqCst);
            Ok::<_, WorkError>("ch_1".to_owned())
        };
        client.once("payments/Charge", "order-42", Request::json(&["tok_1"]), work).await
    };
    let (first, second) = (charge().await?, charge().await?);
    assert_eq!((first.value.as_str(), first.replayed), ("ch_1", false));
    assert_eq!((second.value.as_str(), second.replayed), ("ch_1", true));
    assert_eq!(runs.load(Ordering::SeqCst), 1);

    let declined =
        async |_| Err::<Vec<u8>, WorkError>(Failure::new("CardDeclined", "no").with_code(402).into());
    let options = OnceOptions::new().codec(RawBytes);
    let ended = client.once_with(options, "payments/Charge", "order-43", Request::none(), declined).await;
    assert_eq!(ended.expect_err("it failed for good").name(), "OperationFailed");

    client.close().await;
    server.stop().await?;
    println!("{}: ran once, replayed once", semel_client::VERSION);
    Ok(())
}
