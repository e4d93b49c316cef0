//! Histories of real calls, and whether they could have happened one call at a time. `docs/adr/0021` says why so.
#![allow(dead_code, reason = "two integration tests compile this module, and each uses what it needs of it")]

pub(crate) mod callers;
pub(crate) mod calls;
pub(crate) mod checking;
pub(crate) mod clock;
pub(crate) mod corrupted;
pub(crate) mod course;
pub(crate) mod cuts;
pub(crate) mod history;
pub(crate) mod impossible;
pub(crate) mod met;
pub(crate) mod policies;
pub(crate) mod progress;
mod rules;
mod specification;
