//! The server's log: on standard error, for people or as JSON.

use std::io::IsTerminal as _;

use tracing_subscriber::Layer as _;
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

use super::log_queue::{Flushed, LogQueue};
use crate::audit;
use crate::config::{LogFormat, ServerConfig};
use crate::panics;

/// What the HTTP/2 library logs as.
const HTTP2: &str = "h2";

/// Starts to log as configured. What was logged is written at the latest when the result is dropped.
pub(super) fn start(config: &ServerConfig) -> std::io::Result<Flushed> {
    let queue = LogQueue::to(std::io::stderr())?;
    let to_stderr = tracing_subscriber::fmt::layer().with_writer(queue.clone());
    let lines = match config.log_format {
        LogFormat::Json => to_stderr.json().flatten_event(true).boxed(),
        LogFormat::Human => to_stderr.with_ansi(std::io::stderr().is_terminal()).boxed(),
    };
    // Whatever is logged otherwise: an audit log that can be lost by a log level is none.
    let mut filter = config.log_level.clone().with_target(audit::TARGET, LevelFilter::INFO);
    // The HTTP/2 library warns of every connection that it ends for abuse: strangers would fill the log.
    if !config.log_level.iter().any(|(target, _)| target.starts_with(HTTP2)) {
        filter = filter.with_target(HTTP2, LevelFilter::ERROR);
    }
    tracing_subscriber::registry().with(lines.with_filter(filter)).init();
    panics::log_them();
    Ok(Flushed(queue))
}
