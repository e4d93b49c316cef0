//! What semel tells the people who run it. Idempotency keys are never part of it.

mod key_hash;

pub use key_hash::KeyHash;
