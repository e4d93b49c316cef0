//! Doors for this project's own tests: what a server makes of bytes that came from outside, without its sockets.

use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, HeaderValue};
use prost::Message;
use tonic::Status;

use super::{arguments, batches, page_token};
use crate::coordinator::ListingFilter;
use crate::domain::{Key, Timestamp, Violation};
use crate::policies::Policies;
use crate::proto;
use crate::server::call::{Context, traceparent_of};
use crate::server::caller::{Caller, Identity};
use crate::server::deadline::Deadline;
use crate::server::status::Failure;
use crate::storage::Cursor;

/// Methods of both services.
pub const METHODS: [&str; 12] = [
    "Begin",
    "Complete",
    "Abort",
    "Renew",
    "SaveCheckpoint",
    "Lookup",
    "BatchBegin",
    "BatchComplete",
    "ResolveRecord",
    "ForgetRecord",
    "ListRecords",
    "GetPolicy",
];

/// A call as it arrives.
#[derive(Debug)]
pub struct Arrival<'a> {
    /// One of [`METHODS`].
    pub method: &'a str,
    /// Its message.
    pub message: &'a [u8],
    /// Its headers `traceparent` and `grpc-timeout`, where they can be headers at all.
    pub headers: [&'a [u8]; 2],
    /// Who makes it; anybody where absent.
    pub identity: Option<Arc<Identity>>,
}

/// Checks a call's arguments: the keys that it is about, or what its caller is told, one for each item of a batch. `None`
/// where the bytes are no message of the method.
pub fn checked(
    arrival: &Arrival<'_>,
    policies: &Policies,
    now: Timestamp,
) -> Option<Vec<Result<Key, Status>>> {
    let caller = arrival.identity.clone().map_or(Caller::ANYBODY, Caller::known);
    let mut headers = HeaderMap::new();
    for (name, value) in ["traceparent", "grpc-timeout"].into_iter().zip(arrival.headers) {
        if let Ok(value) = HeaderValue::from_bytes(value) {
            headers.insert(name, value);
        }
    }
    let context = Context {
        caller: caller.clone(),
        deadline: Deadline::of_headers(&headers, Duration::from_mins(1)),
        traceparent: traceparent_of(&headers),
    };
    let message = arrival.message;
    let whole = |call: Result<Key, Failure>| vec![call.map_err(Status::from)];
    let begin = |request| arguments::begin(request, &context, now, policies).map(|begin| begin.call.key);
    let complete = |request| arguments::complete(request, &caller, policies).map(|call| call.key);
    Some(match arrival.method {
        "Begin" => whole(begin(read(message)?)),
        "Complete" => whole(complete(read(message)?)),
        "Abort" => whole(arguments::abort(read(message)?, &caller, policies).map(|call| call.key)),
        "Renew" => whole(arguments::renew(read(message)?, &caller, policies).map(|call| call.key)),
        "SaveCheckpoint" => {
            whole(arguments::save_checkpoint(read(message)?, &caller, policies).map(|call| call.key))
        }
        "Lookup" => whole(arguments::lookup(read(message)?, &caller, policies).map(|call| call.key)),
        "ResolveRecord" => whole(arguments::resolve(read(message)?, &caller, policies).map(|call| call.key)),
        "ForgetRecord" => whole(arguments::forget(read(message)?, &caller, policies).map(|call| call.key)),
        "BatchBegin" => {
            let requests = read::<proto::BatchBeginRequest>(message)?.requests;
            items(requests, begin)
        }
        "BatchComplete" => {
            let requests = read::<proto::BatchCompleteRequest>(message)?.requests;
            items(requests, complete)
        }
        // These two are about no key.
        "ListRecords" => told(arguments::list(&read(message)?, &caller)),
        "GetPolicy" => told(arguments::policy(&read(message)?, &caller, policies)),
        _ => return None,
    })
}

fn read<M: Message + Default>(bytes: &[u8]) -> Option<M> {
    M::decode(bytes).ok()
}

fn items<R>(requests: Vec<R>, check: impl Fn(R) -> Result<Key, Failure>) -> Vec<Result<Key, Status>> {
    match batches::check_batch(requests.len()) {
        Err(failure) => vec![Err(failure.into())],
        Ok(()) => requests.into_iter().map(|request| check(request).map_err(Status::from)).collect(),
    }
}

fn told<T>(call: Result<T, Failure>) -> Vec<Result<Key, Status>> {
    call.err().map(|failure| Err(failure.into())).into_iter().collect()
}

/// The token of a place in a listing.
pub fn page_token(filter: &ListingFilter, cursor: &Cursor) -> String {
    page_token::encode(filter, cursor)
}

/// The place in a listing that a token stands for.
pub fn cursor(token: &str, filter: &ListingFilter) -> Result<Cursor, Violation> {
    page_token::decode(token, filter)
}
