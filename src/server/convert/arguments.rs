//! Requests into commands: every field of a call is checked before anything is said, so that all that is wrong
//! is said at once.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::page_token;
use super::time::{length, past_moment, positive_length};
use crate::coordinator::{Listing, ListingFilter};
use crate::domain::{
    Abort, AttemptId, Begin, CheckpointName, Complete, Detail, Disposition, Endpoint, Fence, Fingerprint,
    Forget, Header, IdempotencyKey, InForce, Key, Labels, Lookup, Note, OperationResult, Outcome, Policy,
    Reason, Renew, Resolution, Resolve, SaveCheckpoint, Tenant, Timestamp, Violation,
};
use crate::policies::Policies;
use crate::proto;
use crate::server::call::{BeginCall, Call, Context, ListCall};
use crate::server::caller::Caller;
use crate::server::status::{Failure, MOST_FIELDS};

const DEFAULT_PAGE_SIZE: usize = 100;
const MAX_PAGE_SIZE: usize = 1000;

/// What is wrong with a request so far.
#[derive(Debug, Default)]
struct Wrong {
    /// In the order of the request's fields.
    fields: Vec<(Cow<'static, str>, Violation)>,
    /// Its caller may not act for the tenant: then nothing else is said.
    not_allowed: bool,
}

impl Wrong {
    fn note(&mut self, path: impl Into<Cow<'static, str>>, reason: Reason, problem: impl Into<String>) {
        self.fields.push((path.into(), Violation::new(reason, problem)));
    }

    /// The value, or a note of what is wrong with it.
    fn check<T>(&mut self, path: &'static str, value: Result<T, Violation>) -> Option<T> {
        value.map_err(|violation| self.fields.push((path.into(), violation))).ok()
    }

    /// Whose call it is: the tenant that it names, or the only one that its caller acts for.
    fn tenant(&mut self, path: &'static str, named: &str, caller: &Caller) -> Option<Tenant> {
        if named.is_empty()
            && let Some(only) = caller.only_tenant()
        {
            return Some(only.clone());
        }
        let tenant = self.check(path, Tenant::new(named))?;
        if caller.covers(&tenant) {
            Some(tenant)
        } else {
            self.not_allowed = true;
            None
        }
    }

    /// The key, and the policy in force for it, which is known even where the idempotency key itself is wrong.
    fn key(
        &mut self,
        key: Option<proto::Key>,
        caller: &Caller,
        policies: &Policies,
    ) -> (Option<Key>, Option<Arc<InForce>>) {
        let Some(key) = key else {
            self.note("key", Reason::InvalidKey, "is missing; send tenant, endpoint and idempotency_key");
            return (None, None);
        };
        let tenant = self.tenant("key.tenant", &key.tenant, caller);
        let endpoint = self.check("key.endpoint", Endpoint::new(&key.endpoint));
        let idempotency_key = self.check("key.idempotency_key", IdempotencyKey::new(&key.idempotency_key));
        let Some((tenant, endpoint)) = tenant.zip(endpoint) else { return (None, None) };
        let in_force = policies.select(&tenant, &endpoint);
        let key = idempotency_key.map(|idempotency_key| Key { tenant, endpoint, idempotency_key });
        (key, Some(in_force))
    }

    fn fingerprint(&mut self, sent: &[u8], policy: Option<&Policy>) -> Option<Fingerprint> {
        if !sent.is_empty() {
            return self.check("fingerprint", Fingerprint::new(sent));
        }
        if policy.is_some_and(|policy| policy.fingerprint_required) {
            self.note(
                "fingerprint",
                Reason::FingerprintRequired,
                "is empty, and the policy requires one; send a digest of the canonical request, such as its SHA-256",
            );
        }
        None
    }

    fn result(
        &mut self,
        sent: Option<proto::Result>,
        policy: Option<&Policy>,
    ) -> Option<Arc<OperationResult>> {
        let Some(sent) = sent else {
            self.note("result", Reason::InvalidResult, "is missing; send what the operation returned");
            return None;
        };
        let outcome = match sent.outcome() {
            proto::result::Outcome::Success => Some(Outcome::Success),
            proto::result::Outcome::Failure => Some(Outcome::Failure),
            proto::result::Outcome::Unspecified => {
                self.note(
                    "result.outcome",
                    Reason::InvalidResult,
                    format!("is {}; send OUTCOME_SUCCESS or OUTCOME_FAILURE", sent.outcome),
                );
                None
            }
        };
        let nameless = sent.headers.iter().enumerate().filter(|(_, header)| header.name.is_empty());
        // The first of them show what is wrong; a request may have a million.
        for (place, _) in nameless.take(MOST_FIELDS) {
            self.note(
                format!("result.headers[{place}].name"),
                Reason::InvalidResult,
                "is empty; send the header's name",
            );
        }
        let headers =
            sent.headers.into_iter().map(|header| Header { name: header.name, value: own(&header.value) });
        let result = OperationResult {
            // Refused above where there is none.
            outcome: outcome.unwrap_or(Outcome::Failure),
            code: sent.code,
            content_type: sent.content_type,
            headers: headers.collect(),
            payload: sent.payload,
            payload_omitted: sent.payload_omitted,
        };
        // Where the policy is not known: what none may allow.
        let most = policy.map_or(Policy::RESULT_BYTES_LIMIT, |policy| policy.max_result_bytes);
        self.check("result", result.check_size(most))?;
        Some(Arc::new(OperationResult { payload: own(&result.payload), ..result }))
    }

    fn failure(self) -> Failure {
        if self.not_allowed { Failure::tenant_not_allowed() } else { Failure::arguments(self.fields) }
    }

    /// `Err` where anything was wrong.
    fn or<T>(self, arguments: Option<T>) -> Result<T, Failure> {
        match arguments {
            Some(arguments) if self.fields.is_empty() => Ok(arguments),
            _ => Err(self.failure()),
        }
    }
}

/// A copy of its own: what was decoded shares one buffer with its whole request, and what is kept would keep
/// that buffer too.
fn own(bytes: &Bytes) -> Bytes {
    Bytes::copy_from_slice(bytes)
}

/// What every call of an owner carries.
struct Owner {
    key: Option<Key>,
    in_force: Option<Arc<InForce>>,
    fence: Option<Fence>,
    attempt_id: Option<AttemptId>,
}

impl Owner {
    fn check(
        wrong: &mut Wrong,
        key: Option<proto::Key>,
        fence: i64,
        attempt_id: &str,
        (caller, policies): (&Caller, &Policies),
    ) -> Self {
        let (key, in_force) = wrong.key(key, caller, policies);
        Self {
            in_force,
            key,
            fence: wrong.check("fence", Fence::new(fence)),
            attempt_id: wrong.check("attempt_id", AttemptId::parse(attempt_id)),
        }
    }

    fn policy(&self) -> Option<&Policy> {
        self.in_force.as_ref().map(|in_force| &in_force.policy)
    }

    fn call<C>(self, command: impl FnOnce(Fence, AttemptId) -> Option<C>) -> Option<Call<C>> {
        let command = command(self.fence?, self.attempt_id?)?;
        Some(Call { key: self.key?, in_force: self.in_force?, command })
    }
}

pub(in crate::server) fn begin(
    request: proto::BeginRequest,
    context: &Context,
    now: Timestamp,
    policies: &Policies,
) -> Result<BeginCall, Failure> {
    let mut wrong = Wrong::default();
    let (key, in_force) = wrong.key(request.key, &context.caller, policies);
    let attempt_id = wrong.check("attempt_id", AttemptId::parse(&request.attempt_id));
    let policy = in_force.as_ref().map(|in_force| &in_force.policy);
    let fingerprint = wrong.fingerprint(&request.fingerprint, policy);
    let lease = wrong.check("lease", positive_length(request.lease)).flatten();
    let retention = wrong.check("retention", positive_length(request.retention)).flatten();
    let wait = wrong.check("wait", request.wait.map_or(Ok(Duration::ZERO), length));
    let first_sent = wrong.check("first_sent", past_moment(request.first_sent, now)).flatten();
    let labels = wrong.check("labels", Labels::new(request.labels));
    let arguments = (|| {
        let command = Begin {
            attempt_id: attempt_id?,
            fingerprint,
            lease,
            retention,
            first_sent,
            labels: labels?,
            traceparent: context.traceparent,
            may_open: true,
        };
        let call = Call { key: key?, in_force: in_force?, command };
        Some(BeginCall { call, wait: wait?, retry: request.retry })
    })();
    wrong.or(arguments)
}

pub(in crate::server) fn complete(
    request: proto::CompleteRequest,
    caller: &Caller,
    policies: &Policies,
) -> Result<Call<Complete>, Failure> {
    let mut wrong = Wrong::default();
    let owner = Owner::check(&mut wrong, request.key, request.fence, &request.attempt_id, (caller, policies));
    let result = wrong.result(request.result, owner.policy());
    let retention = wrong.check("retention", positive_length(request.retention)).flatten();
    let call =
        owner.call(|fence, attempt_id| Some(Complete { fence, attempt_id, result: result?, retention }));
    wrong.or(call)
}

pub(in crate::server) fn abort(
    request: proto::AbortRequest,
    caller: &Caller,
    policies: &Policies,
) -> Result<Call<Abort>, Failure> {
    let mut wrong = Wrong::default();
    let sent = request.disposition();
    let owner = Owner::check(&mut wrong, request.key, request.fence, &request.attempt_id, (caller, policies));
    let disposition = match sent {
        proto::abort_request::Disposition::Release => Some(Disposition::Release),
        proto::abort_request::Disposition::OutcomeUnknown => Some(Disposition::OutcomeUnknown),
        proto::abort_request::Disposition::Unspecified => {
            wrong.note(
                "disposition",
                Reason::InvalidDisposition,
                format!(
                    "is {}; send DISPOSITION_RELEASE if nothing happened, DISPOSITION_OUTCOME_UNKNOWN if it may have",
                    request.disposition
                ),
            );
            None
        }
    };
    let detail = wrong.check("detail", Detail::new(request.detail));
    let retry_after = wrong.check("retry_after", request.retry_after.map_or(Ok(Duration::ZERO), length));
    let call = owner.call(|fence, attempt_id| {
        Some(Abort {
            fence,
            attempt_id,
            disposition: disposition?,
            detail: detail?,
            retry_after: retry_after?,
        })
    });
    wrong.or(call)
}

pub(in crate::server) fn renew(
    request: proto::RenewRequest,
    caller: &Caller,
    policies: &Policies,
) -> Result<Call<Renew>, Failure> {
    let mut wrong = Wrong::default();
    let owner = Owner::check(&mut wrong, request.key, request.fence, &request.attempt_id, (caller, policies));
    let lease = wrong.check("lease", positive_length(request.lease)).flatten();
    let call = owner.call(|fence, attempt_id| Some(Renew { fence, attempt_id, lease }));
    wrong.or(call)
}

pub(in crate::server) fn save_checkpoint(
    request: proto::SaveCheckpointRequest,
    caller: &Caller,
    policies: &Policies,
) -> Result<Call<SaveCheckpoint>, Failure> {
    let mut wrong = Wrong::default();
    let owner = Owner::check(&mut wrong, request.key, request.fence, &request.attempt_id, (caller, policies));
    let name = wrong.check("name", CheckpointName::new(&request.name));
    let value = own(&request.value);
    let call = owner.call(|fence, attempt_id| Some(SaveCheckpoint { fence, attempt_id, name: name?, value }));
    wrong.or(call)
}

pub(in crate::server) fn lookup(
    request: proto::LookupRequest,
    caller: &Caller,
    policies: &Policies,
) -> Result<Call<Lookup>, Failure> {
    let mut wrong = Wrong::default();
    let (key, in_force) = wrong.key(request.key, caller, policies);
    wrong.or(key.zip(in_force).map(|(key, in_force)| Call { key, in_force, command: Lookup }))
}

pub(in crate::server) fn resolve(
    request: proto::ResolveRecordRequest,
    caller: &Caller,
    policies: &Policies,
) -> Result<Call<Resolve>, Failure> {
    use proto::resolve_record_request::Resolution as Sent;

    let mut wrong = Wrong::default();
    let (key, in_force) = wrong.key(request.key, caller, policies);
    let fence = wrong.check("fence", Fence::new(request.fence));
    let policy = in_force.as_ref().map(|in_force| &in_force.policy);
    let resolution = match request.resolution {
        Some(Sent::Result(result)) => wrong.result(Some(result), policy).map(Resolution::Result),
        Some(Sent::Release(true)) => Some(Resolution::Release),
        Some(Sent::Release(false)) => {
            wrong.note("release", Reason::InvalidResolution, "is false; send true, or a result");
            None
        }
        None => {
            wrong.note("resolution", Reason::InvalidResolution, "is missing; send a result, or release");
            None
        }
    };
    let note = wrong.check("note", Note::new(request.note));
    let arguments = (|| {
        let command = Resolve { fence: fence?, resolution: resolution?, note: note?, force: request.force };
        Some(Call { key: key?, in_force: in_force?, command })
    })();
    wrong.or(arguments)
}

pub(in crate::server) fn forget(
    request: proto::ForgetRecordRequest,
    caller: &Caller,
    policies: &Policies,
) -> Result<Call<Forget>, Failure> {
    let mut wrong = Wrong::default();
    let (key, in_force) = wrong.key(request.key, caller, policies);
    let fence = wrong.check("fence", Fence::new(request.fence));
    let arguments = (|| {
        let command = Forget { fence: fence?, force: request.force };
        Some(Call { key: key?, in_force: in_force?, command })
    })();
    wrong.or(arguments)
}

pub(in crate::server) fn list(
    request: &proto::ListRecordsRequest,
    caller: &Caller,
) -> Result<ListCall, Failure> {
    let mut wrong = Wrong::default();
    let tenant = wrong.tenant("tenant", &request.tenant, caller);
    let endpoint = if request.endpoint.is_empty() {
        None
    } else {
        wrong.check("endpoint", Endpoint::new(&request.endpoint))
    };
    let reading = match proto::State::try_from(request.state) {
        Ok(proto::State::Unspecified) => None,
        Ok(proto::State::InProgress) => Some(Listing::InProgress),
        Ok(proto::State::Completed) => Some(Listing::Completed),
        Ok(proto::State::Released) => Some(Listing::Released),
        Ok(proto::State::Unresolved) => Some(Listing::Unresolved),
        Ok(proto::State::LeaseLost) => Some(Listing::LeaseLost),
        Err(_) => {
            wrong.note("state", Reason::InvalidPage, format!("is {}, which is no state", request.state));
            None
        }
    };
    // A token belongs to a filter, and is judged only with one that is right.
    let filter =
        tenant.filter(|_| wrong.fields.is_empty()).map(|tenant| ListingFilter { tenant, endpoint, reading });
    let page_size = match usize::try_from(request.page_size) {
        Ok(0) => Some(DEFAULT_PAGE_SIZE),
        Ok(asked) => Some(asked.min(MAX_PAGE_SIZE)),
        Err(_) => {
            wrong.note(
                "page_size",
                Reason::InvalidPage,
                format!("is {}; send 1 to {MAX_PAGE_SIZE}, or leave it out", request.page_size),
            );
            None
        }
    };
    let after = match &filter {
        Some(filter) if !request.page_token.is_empty() => {
            wrong.check("page_token", page_token::decode(&request.page_token, filter))
        }
        _ => None,
    };
    let arguments = (|| Some(ListCall { filter: filter?, page_size: page_size?, after }))();
    wrong.or(arguments)
}

pub(in crate::server) fn policy(
    request: &proto::GetPolicyRequest,
    caller: &Caller,
    policies: &Policies,
) -> Result<Arc<InForce>, Failure> {
    let mut wrong = Wrong::default();
    let tenant = wrong.tenant("tenant", &request.tenant, caller);
    let endpoint = wrong.check("endpoint", Endpoint::new(&request.endpoint));
    wrong.or(tenant.zip(endpoint).map(|(tenant, endpoint)| policies.select(&tenant, &endpoint)))
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use prost::Message;

    use crate::policies::Policies;
    use crate::proto;
    use crate::server::caller::Caller;

    /// What is kept of a request must not keep the buffer it was decoded from.
    #[test]
    fn a_kept_result_shares_no_memory_with_its_request() {
        let key = Some(proto::Key { tenant: "t".into(), endpoint: "e".into(), idempotency_key: "k".into() });
        let headers = vec![proto::Header { name: "h".into(), value: Bytes::from_static(b"v") }];
        let result =
            proto::Result { outcome: 1, headers, payload: Bytes::from_static(b"p"), ..Default::default() };
        let attempt_id = "00000000-0000-4000-8000-000000000001".to_owned();
        let request =
            proto::CompleteRequest { key, fence: 1, attempt_id, result: Some(result), retention: None };
        let buffer = Bytes::from(request.encode_to_vec());
        let request = proto::CompleteRequest::decode(buffer.clone()).unwrap();
        assert!(!buffer.is_unique(), "decoding shares the buffer, or this test shows nothing");
        let call = super::complete(request, &Caller::ANYBODY, &Policies::default()).unwrap();
        assert!(buffer.is_unique());
        assert_eq!(
            (&*call.command.result.payload, &*call.command.result.headers[0].value),
            (&b"p"[..], &b"v"[..])
        );
    }
}
