//! The contract, as generated: requests, responses, and the stubs of both services.
//!
//! Written by `make generate` (tests/generated.rs), from `proto/semel/v1/semel.proto`.
#![allow(missing_docs, unreachable_pub, clippy::pedantic, clippy::doc_markdown, reason = "generated code")]

include!("generated/semel.v1.rs");
