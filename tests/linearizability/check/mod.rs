//! Histories of real calls, and whether they could have happened one call at a time. `docs/adr/0021` says why so.

pub(crate) mod callers;
pub(crate) mod calls;
pub(crate) mod checking;
pub(crate) mod corrupted;
pub(crate) mod cuts;
pub(crate) mod history;
pub(crate) mod impossible;
pub(crate) mod met;
mod rules;
mod specification;
