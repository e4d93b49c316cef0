//! semel decides once and for all who performs a side effect, and replays the result to everyone else.
//!
//! Start at docs/ARCHITECTURE.md.
#![cfg_attr(not(test), warn(clippy::unwrap_used))]

pub mod audit;
pub mod bench;
pub mod cli;
pub mod clock;
pub mod config;
pub mod coordinator;
pub mod domain;
mod panics;
pub mod policies;
pub mod proto;
pub mod quotas;
pub mod remote;
pub mod server;
pub mod storage;
pub mod sweep;
pub mod telemetry;
