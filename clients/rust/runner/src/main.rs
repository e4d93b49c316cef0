//! Plays the behavioural suite of the client libraries with the Rust client: clients/vectors/scenarios/README.md.

mod batch;
mod commands;
mod options;
mod results;
mod telemetry;
mod values;
mod work;

use std::error::Error;

use serde_json::Value;
use tokio::io::{AsyncBufReadExt, BufReader};

use commands::Runner;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error + Send + Sync>> {
    tracing_subscriber::fmt().with_writer(std::io::stderr).with_ansi(false).init();
    let observed = telemetry::observed()?;
    let mut runner = Runner::default();
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    while let Some(line) = lines.next_line().await? {
        let command: Value = serde_json::from_str(&line)?;
        runner.carry_out(&command).await?;
    }
    runner.end().await;
    if let Some(observed) = observed {
        observed.end()?;
    }
    Ok(())
}
