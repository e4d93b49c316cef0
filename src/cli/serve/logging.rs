//! The server's log: on standard error, for people or as JSON.

use std::io::IsTerminal as _;

use tracing_subscriber::Layer as _;
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::audit;
use crate::config::{LogFormat, ServerConfig};

/// Starts to log as configured.
pub(super) fn start(config: &ServerConfig) {
    let to_stderr = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    let lines = match config.log_format {
        LogFormat::Json => to_stderr.json().flatten_event(true).boxed(),
        LogFormat::Human => to_stderr.with_ansi(std::io::stderr().is_terminal()).boxed(),
    };
    // Whatever is logged otherwise: an audit log that can be lost by a log level is none.
    let filter = config.log_level.clone().with_target(audit::TARGET, LevelFilter::INFO);
    tracing_subscriber::registry().with(lines.with_filter(filter)).init();
}
