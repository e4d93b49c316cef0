//! Giving back what may have been granted to a Begin that nobody listens to any more.

use std::time::Duration;

use tokio::runtime::Handle;

use crate::client::Client;
use crate::proto::abort_request::Disposition;
use crate::proto::begin_response::Decision;
use crate::proto::{
    AbortRequest, AbortResponse, BeginRequest, BeginResponse, LookupRequest, LookupResponse, State,
};
use crate::sending::{Again, Method, Sending};

/// How long it is tried.
const WITHIN: Duration = Duration::from_secs(2);
/// What people are told of an attempt that was given back.
pub(crate) const NOTHING_RAN: &str = "nothing ran";

/// A Begin that may have to be given back: it is, in the background, where this is dropped while that is due.
pub(crate) struct Withdrawal {
    client: Client,
    pub(crate) request: BeginRequest,
    pub(crate) due: bool,
    runtime: Handle,
}

impl Withdrawal {
    pub(crate) fn new(client: Client, request: BeginRequest, runtime: Handle) -> Self {
        Self { client, request, due: false, runtime }
    }
}

impl Drop for Withdrawal {
    fn drop(&mut self) {
        if self.due {
            let request = std::mem::take(&mut self.request);
            let work = withdraw(self.client.clone(), request);
            let work = async { tokio::time::timeout(WITHIN, work).await };
            drop(self.client.in_background(work, &self.runtime));
        }
    }
}

async fn withdraw(client: Client, mut request: BeginRequest) {
    let once = client.options().try_timeout.min(WITHIN);
    let how = |method| Sending { method, within: WITHIN, once, wait: Duration::ZERO, again: Again::MayPass };
    let lookup = LookupRequest { key: request.key.clone() };
    let found: LookupResponse = match client.send(how(Method::Lookup), &lookup, None).await.1 {
        Ok(found) => found,
        Err(_) => return,
    };
    if found.record.is_none_or(|record| record.state() != State::InProgress) {
        return;
    }
    request.wait = None;
    let begun: Result<BeginResponse, _> = client.send(how(Method::Begin), &request, None).await.1;
    let Ok(BeginResponse { decision: Some(Decision::Started(started)) }) = begun else {
        return;
    };
    let abort = AbortRequest {
        key: request.key,
        fence: started.fence,
        attempt_id: request.attempt_id,
        disposition: Disposition::Release.into(),
        detail: NOTHING_RAN.to_owned(),
        retry_after: None,
    };
    // Whatever comes of it: its lease ends in any case.
    let _: Result<AbortResponse, _> = client.send(how(Method::Abort), &abort, None).await.1;
}
