//! Every reason that an error can have, provoked over a real socket: its code, its details, and that it repeats
//! nothing that a caller sent.

mod every_reason;
mod fields;
mod world;

#[path = "../support/mod.rs"]
mod report;
#[path = "../support"]
mod support {
    pub(crate) mod scripted_store;
    pub(crate) mod server;
}
