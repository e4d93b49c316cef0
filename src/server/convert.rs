//! Between the contract's messages and the domain: the one place, with `status.rs`, that sees both.

mod answers;
mod arguments;
mod batches;
mod page_token;
#[cfg(feature = "test-support")]
pub mod test_support;
mod time;

pub(super) use answers::{
    abort_response, begin_response, complete_response, list_page, lookup_response, policy_response,
    renew_response, resolve_response, save_checkpoint_response,
};
pub(super) use arguments::{
    abort, begin, complete, forget, list, lookup, policy, renew, resolve, save_checkpoint,
};
pub(super) use batches::{batch_begin_response, batch_complete_response, check_batch};
