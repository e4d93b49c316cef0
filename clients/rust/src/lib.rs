#![doc = include_str!("../README.md")]

mod attempt;
mod canonical;
mod client;
mod codec;
mod connections;
mod error;
mod failure;
mod handoff;
mod held;
mod key;
mod lease;
mod once;
mod once_options;
mod options;
mod owning;
pub mod proto;
mod request;
mod sending;
mod status;
mod telemetry;
#[cfg(feature = "testing")]
pub mod testing;
mod time;
mod withdrawal;

pub use attempt::{Attempt, Checkpoint};
pub use client::Client;
pub use codec::{Codec, Json, Protobuf, RawBytes};
pub use connections::Connections;
pub use error::{BoxError, Error, ErrorKind, FieldProblem};
pub use failure::{Cancelled, FAILURE_CONTENT_TYPE, Failure, Meaning, WorkError};
pub use handoff::Handoff;
pub use held::{Held, KeyLost};
pub use key::{Key, Warning};
pub use once::Outcome;
pub use once_options::OnceOptions;
pub use options::ClientOptions;
pub use request::Request;
pub use tokio_util::sync::CancellationToken;
pub use tonic::Code;

/// The nearest that gRPC's own service config gets to how this library sends again, for stubs of gRPC implementations that take
/// one. The generated stubs of [`proto`] take none: over [`Client::connections`] they send once.
pub const SERVICE_CONFIG: &str = include_str!("../service_config.json");

/// The version of this library, and of the server released with it.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
