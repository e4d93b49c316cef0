//! The contract, generated from `proto/semel/v1/semel.proto`.

#[allow(missing_docs, unreachable_pub, clippy::all, clippy::pedantic, reason = "generated")]
mod generated {
    tonic::include_proto!("semel.v1");
}

pub use generated::*;

/// The contract's descriptors, for reflection.
pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/semel_descriptor.bin"));
