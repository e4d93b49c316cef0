//! What went wrong, as gRPC says it: code, reason, details.

use std::borrow::Cow;
use std::collections::HashMap;
use std::time::Duration;

use tonic::{Code, Status};
use tonic_types::{ErrorDetails, FieldViolation, QuotaViolation, StatusExt};
use uuid::Uuid;

use super::caller::Role;
use crate::coordinator::CallError;
use crate::domain::{Policy, Rate, Reason, Refusal, Tenant, Traceparent, Violation};
use crate::proto;
use crate::quotas::RateExceeded;

/// What `google.rpc.ErrorInfo.domain` carries.
const DOMAIN: &str = "semel.v1";

/// The name under which a lost fence says whether a later one was granted.
const SUPERSEDED: &str = "superseded";

/// The most fields that one error names: statuses travel in headers, which clients bound.
pub(super) const MOST_FIELDS: usize = 12;

/// How long until it is worth asking again for what others give back: a held call, an open key.
const FOR_A_KEY_TO_END: Duration = Duration::from_secs(1);

/// An error on its way to a caller: as the status of a call, or in its slot of a batch.
#[derive(Debug)]
pub(super) struct Failure {
    reason: Reason,
    message: String,
    fields: Vec<FieldViolation>,
    /// What programs may want to know beside the reason. Never a key, never anything a caller sent.
    metadata: Option<(&'static str, String)>,
    /// Which bound was reached, whose, and after which pause the same call is worth sending again.
    quota: Option<Box<(QuotaViolation, Duration)>>,
    /// The span of the attempt that was met, for those who run the server.
    original: Option<Box<Traceparent>>,
}

impl Failure {
    /// A failure for `reason`, in the words of `message`.
    pub(super) fn new(reason: Reason, message: impl Into<String>) -> Self {
        Self {
            reason,
            message: message.into(),
            fields: Vec::new(),
            metadata: None,
            quota: None,
            original: None,
        }
    }

    /// Arguments that were refused, each with its path, in the order of the contract's fields.
    pub(super) fn arguments(wrong: Vec<(Cow<'static, str>, Violation)>) -> Self {
        let reason = wrong.first().map_or(Reason::Internal, |(_, violation)| violation.reason);
        let more = wrong.len().saturating_sub(MOST_FIELDS);
        let fields: Vec<FieldViolation> = wrong
            .into_iter()
            .take(MOST_FIELDS)
            .map(|(path, violation)| FieldViolation::new(path, violation.problem))
            .collect();
        let mut message = String::new();
        for field in &fields {
            if !message.is_empty() {
                message.push_str(". ");
            }
            message.push_str(&field.field);
            message.push(' ');
            message.push_str(&field.description);
        }
        if more > 0 {
            message.push_str(". ");
            message.push_str(&more.to_string());
            message.push_str(" more fields are wrong");
        }
        Self { fields, ..Self::new(reason, message) }
    }

    /// A call without any credential.
    pub(super) fn credential_required() -> Self {
        Self::new(
            Reason::CredentialRequired,
            "this server wants a credential: a bearer token in the metadata \"authorization\", or a client certificate",
        )
    }

    /// A credential that is not accepted. Why not is in the log alone: it would help whoever guesses.
    pub(super) fn credential_invalid() -> Self {
        Self::new(
            Reason::CredentialInvalid,
            "the credential is not accepted; those who run the server find the cause in its log",
        )
    }

    /// A caller who has none of the roles that may call the method.
    pub(super) fn role_required(roles: &[Role]) -> Self {
        let names: Vec<_> = roles.iter().map(|role| role.as_str()).collect();
        Self {
            metadata: Some(("roles", names.join(","))),
            ..Self::new(
                Reason::RoleRequired,
                format!(
                    "the credential has no role that may call this method; it takes {}",
                    names.join(" or ")
                ),
            )
        }
    }

    /// A call for a tenant that its caller's credential does not cover.
    pub(super) fn tenant_not_allowed() -> Self {
        Self::new(
            Reason::TenantNotAllowed,
            "the credential does not cover this tenant; name one that it covers, or none where it covers one alone",
        )
    }

    /// More requests than a batch may have.
    pub(super) fn batch_too_large(items: usize, most: usize) -> Self {
        let problem =
            format!("has {items} items; at most {most} are allowed, send the rest in another batch");
        Self {
            metadata: Some(("max_items", most.to_string())),
            ..Self::arguments(vec![("requests".into(), Violation::new(Reason::BatchTooLarge, problem))])
        }
    }

    /// An answer for which there was no room left in the batch's.
    pub(super) fn response_too_large() -> Self {
        Self::new(
            Reason::ResponseTooLarge,
            "the call was made, and its answer does not fit the batch's response; send this item alone, unchanged, to \
             be told the answer",
        )
    }

    /// A request too many in too short a time.
    pub(super) fn rate_exceeded(tenant: &Tenant, RateExceeded { rate, wait }: RateExceeded) -> Self {
        // What an engine rounds down would be too early.
        let wait =
            Duration::from_millis(u64::try_from(wait.as_millis()).unwrap_or(u64::MAX).saturating_add(1));
        let Rate { per_second, burst } = rate;
        let problem = format!("requests_per_second is {per_second} (burst {burst})");
        let message = format!(
            "the tenant asks more often than its policy allows: {problem}; send the same call again after {} ms",
            wait.as_millis()
        );
        Self {
            quota: Some(Box::new((violation(tenant, problem), wait))),
            ..Self::new(Reason::QuotaExceeded, message)
        }
    }

    /// A key that would be one open key too many.
    pub(super) fn too_many_open_keys(refusal: Refusal, tenant: &Tenant, policy: &Policy) -> Self {
        let problem = format!("max_open_keys is {}", policy.max_open_keys);
        let message = format!("{refusal}: {problem}");
        Self {
            quota: Some(Box::new((violation(tenant, problem), FOR_A_KEY_TO_END))),
            ..Self::new(refusal.reason(), message)
        }
    }

    /// A bug, to be found in the log by `id`.
    pub(super) fn internal(id: Uuid) -> Self {
        Self {
            metadata: Some(("id", id.to_string())),
            ..Self::new(
                Reason::Internal,
                format!("semel has a bug; its log has more under {id}. Send the same call again"),
            )
        }
    }

    /// Why.
    pub(super) const fn reason(&self) -> Reason {
        self.reason
    }

    /// Whether a later fence was granted.
    pub(super) fn superseded(&self) -> bool {
        self.metadata.as_ref().is_some_and(|(name, value)| *name == SUPERSEDED && value == "true")
    }

    /// The span of the attempt that was met, where there is one to be told.
    pub(super) fn original(&self) -> Option<Traceparent> {
        self.original.as_deref().copied()
    }

    fn code(&self) -> Code {
        code(self.reason)
    }
}

impl From<CallError> for Failure {
    fn from(error: CallError) -> Self {
        let original = match error {
            CallError::Refused(Refusal::FingerprintMismatch { original }) => original.map(Box::new),
            _ => None,
        };
        let (reason, metadata) = match error {
            CallError::Refused(refusal) => (refusal.reason(), refusal_metadata(refusal)),
            CallError::TooManyWaiters => (Reason::TooManyWaiters, None),
            CallError::StoreUnavailable => (Reason::StoreUnavailable, None),
            CallError::StoreOutcomeUnknown => (Reason::StoreOutcomeUnknown, None),
            CallError::NotListed { .. } => (Reason::NotListed, None),
        };
        Self { metadata, original, ..Self::new(reason, error.to_string()) }
    }
}

fn violation(tenant: &Tenant, problem: String) -> QuotaViolation {
    QuotaViolation::new(format!("tenant:{}", tenant.as_str()), problem)
}

/// Whether a later fence was granted: then the side effect may have run twice.
fn refusal_metadata(refusal: Refusal) -> Option<(&'static str, String)> {
    match refusal {
        Refusal::FenceLost { superseded } => Some((SUPERSEDED, superseded.to_string())),
        Refusal::FingerprintMismatch { .. }
        | Refusal::KeyExpired
        | Refusal::TooManyOpenKeys
        | Refusal::AttemptEnded
        | Refusal::AlreadyCompleted
        | Refusal::ResultConflict
        | Refusal::CheckpointConflict
        | Refusal::CheckpointLimit
        | Refusal::StateConflict
        | Refusal::KeyNotFound => None,
    }
}

impl From<Failure> for Status {
    fn from(failure: Failure) -> Self {
        let code = failure.code();
        let metadata: HashMap<String, String> =
            failure.metadata.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        let mut details = ErrorDetails::with_error_info(failure.reason.as_str(), DOMAIN, metadata);
        if !failure.fields.is_empty() {
            details.set_bad_request(failure.fields);
        }
        let mut pause = retry_after(failure.reason);
        if let Some(quota) = failure.quota {
            let (violation, until_then) = *quota;
            details.set_quota_failure(vec![violation]);
            pause = Some(until_then);
        }
        if let Some(pause) = pause {
            details.set_retry_info(Some(pause));
        }
        Self::with_error_details(code, failure.message, details)
    }
}

impl From<Failure> for proto::ItemError {
    fn from(failure: Failure) -> Self {
        Self {
            code: i32::from(failure.code()),
            reason: failure.reason.as_str().to_owned(),
            message: failure.message,
        }
    }
}

const fn code(reason: Reason) -> Code {
    match reason {
        Reason::InvalidKey
        | Reason::InvalidAttemptId
        | Reason::InvalidFence
        | Reason::InvalidFingerprint
        | Reason::FingerprintRequired
        | Reason::InvalidDuration
        | Reason::InvalidResult
        | Reason::ResultTooLarge
        | Reason::InvalidDisposition
        | Reason::InvalidCheckpoint
        | Reason::InvalidLabels
        | Reason::InvalidDetail
        | Reason::InvalidResolution
        | Reason::InvalidPage
        | Reason::BatchTooLarge => Code::InvalidArgument,
        Reason::FingerprintMismatch
        | Reason::KeyExpired
        | Reason::ResultConflict
        | Reason::AlreadyCompleted
        | Reason::CheckpointConflict
        | Reason::CheckpointLimit
        | Reason::StateConflict
        | Reason::NotListed => Code::FailedPrecondition,
        Reason::FenceLost | Reason::AttemptEnded => Code::Aborted,
        Reason::KeyNotFound => Code::NotFound,
        Reason::QuotaExceeded | Reason::TooManyWaiters | Reason::ResponseTooLarge => Code::ResourceExhausted,
        Reason::StoreUnavailable | Reason::StoreOutcomeUnknown => Code::Unavailable,
        Reason::CredentialRequired | Reason::CredentialInvalid => Code::Unauthenticated,
        Reason::TenantNotAllowed | Reason::RoleRequired => Code::PermissionDenied,
        Reason::Internal => Code::Internal,
    }
}

/// The pause after which the same call is worth sending again, where it is.
const fn retry_after(reason: Reason) -> Option<Duration> {
    match reason {
        Reason::TooManyWaiters | Reason::StoreUnavailable | Reason::QuotaExceeded => Some(FOR_A_KEY_TO_END),
        // The call may have taken effect: its caller should learn that soon.
        Reason::StoreOutcomeUnknown => Some(Duration::from_millis(200)),
        Reason::InvalidKey
        | Reason::InvalidAttemptId
        | Reason::InvalidFence
        | Reason::InvalidFingerprint
        | Reason::FingerprintRequired
        | Reason::InvalidDuration
        | Reason::InvalidResult
        | Reason::ResultTooLarge
        | Reason::InvalidDisposition
        | Reason::InvalidCheckpoint
        | Reason::InvalidLabels
        | Reason::InvalidDetail
        | Reason::InvalidResolution
        | Reason::InvalidPage
        | Reason::BatchTooLarge
        | Reason::FingerprintMismatch
        | Reason::KeyExpired
        | Reason::ResultConflict
        | Reason::AlreadyCompleted
        | Reason::CheckpointConflict
        | Reason::CheckpointLimit
        | Reason::StateConflict
        | Reason::NotListed
        | Reason::FenceLost
        | Reason::AttemptEnded
        | Reason::KeyNotFound
        | Reason::ResponseTooLarge
        | Reason::CredentialRequired
        | Reason::CredentialInvalid
        | Reason::TenantNotAllowed
        | Reason::RoleRequired
        | Reason::Internal => None,
    }
}
