//! Hostile clients against a real server: what they do to its memory, its descriptors and its other callers.
//! docs/RELIABILITY.md says what is tried, and what holds.

mod attacked;
mod cancelled;
mod credentials;
mod figures;
mod floods;
mod messages;
mod operations;
mod slow;
mod wire;

#[path = "../support/mod.rs"]
mod report;
#[path = "../support"]
mod support {
    pub(crate) use crate::report::semel;
    pub(crate) mod authority;
    pub(crate) mod process;
    pub(crate) mod raw;
    pub(crate) mod samples;
    pub(crate) mod server;
}
