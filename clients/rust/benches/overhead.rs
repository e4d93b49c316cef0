//! Lifecycles by `once`, beside those of the bare generated stub: how many a second, and how much processor time each takes.
//!
//! `SEMEL_BIN=… cargo bench -p semel-client`; `SEMEL_BENCH_LIFECYCLES` says how many, 20,000 unless it does.

use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use semel_client::proto::begin_response::Decision;
use semel_client::proto::idempotency_service_client::IdempotencyServiceClient;
use semel_client::proto::{BeginRequest, CompleteRequest, Key, Result as Stored, result::Outcome};
use semel_client::testing::TestServer;
use semel_client::{Client, Request};
use tokio::task::JoinSet;

type Fallible<T> = Result<T, Box<dyn Error + Send + Sync>>;

const AT_A_TIME: u64 = 16;
const LIFECYCLES: u64 = 20_000;
/// What `/proc` counts in.
const TICK: Duration = Duration::from_millis(10);

#[tokio::main]
async fn main() -> Fallible<()> {
    let lifecycles = match std::env::var("SEMEL_BENCH_LIFECYCLES") {
        Ok(number) => number.parse()?,
        Err(_) => LIFECYCLES,
    };
    let server = TestServer::start().await?;
    let client = server.client()?;
    // Each once to warm up, and once to count.
    for (round, counts) in [("warm", false), ("counted", true)] {
        let number = if counts { lifecycles } else { lifecycles / 10 };
        let (by, with) = (client.clone(), client.clone());
        let stub = measured(number, move |at| by_stub(by.clone(), format!("stub-{round}-{at}"))).await?;
        let once = measured(number, move |at| by_once(with.clone(), format!("once-{round}-{at}"))).await?;
        if counts {
            println!("rust stub: {stub}");
            println!("rust once: {once}");
        }
    }
    server.stop().await
}

/// Runs that many, so many at a time, and says what it took.
async fn measured<F>(number: u64, one: impl Fn(u64) -> F + Clone + Send + 'static) -> Fallible<String>
where
    F: Future<Output = Fallible<()>> + Send + 'static,
{
    let (began, before) = (Instant::now(), processor_time()?);
    let next = Arc::new(AtomicU64::new(0));
    let mut tasks = JoinSet::new();
    for _ in 0..AT_A_TIME {
        let (next, one) = (Arc::clone(&next), one.clone());
        tasks.spawn(async move {
            loop {
                let at = next.fetch_add(1, Ordering::Relaxed);
                if at >= number {
                    return Fallible::Ok(());
                }
                one(at).await?;
            }
        });
    }
    while let Some(ended) = tasks.join_next().await {
        ended??;
    }
    let (took, used) = (began.elapsed(), processor_time()?.saturating_sub(before));
    let number = u32::try_from(number)?;
    Ok(format!(
        "{:.0} lifecycles/s, {:.0} µs of processor time each",
        f64::from(number) / took.as_secs_f64(),
        used.as_secs_f64() * 1e6 / f64::from(number),
    ))
}

/// What this process has used so far, of all processors.
fn processor_time() -> Fallible<Duration> {
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
    // Fields 14 and 15 of proc(5); what follows the name begins with field 3.
    let ticks: u32 = fields.skip(11).take(2).map(|field| field.parse().unwrap_or(0)).sum();
    Ok(TICK * ticks)
}

async fn by_once(client: Client, key: String) -> Fallible<()> {
    let request = Request::raw(key.clone());
    client.once("bench/Run", key, request, async |_| Ok(42)).await?;
    Ok(())
}

async fn by_stub(client: Client, key: String) -> Fallible<()> {
    let mut stub = IdempotencyServiceClient::new(client.connections());
    let fingerprint = Request::raw(key.clone()).fingerprint()?;
    let key = Key { tenant: "default".to_owned(), endpoint: "bench/Run".to_owned(), idempotency_key: key };
    let attempt_id = uuid::Uuid::new_v4().to_string();
    let begin = BeginRequest {
        key: Some(key.clone()),
        attempt_id: attempt_id.clone(),
        fingerprint: fingerprint.to_vec().into(),
        ..BeginRequest::default()
    };
    let Some(Decision::Started(started)) = stub.begin(begin).await?.into_inner().decision else {
        return Err("a fresh key is started".into());
    };
    let result = Stored {
        outcome: Outcome::Success.into(),
        content_type: "application/json".to_owned(),
        payload: "42".into(),
        ..Stored::default()
    };
    let complete = CompleteRequest {
        key: Some(key),
        fence: started.fence,
        attempt_id,
        result: Some(result),
        retention: None,
    };
    stub.complete(complete).await?;
    Ok(())
}
