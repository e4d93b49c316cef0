//! What was decided, as messages of the contract.

use prost::Message;

use super::page_token;
use super::time::{proto_duration, proto_timestamp};
use crate::coordinator::{Begun, Listed, ListingFilter, ListingPage};
use crate::domain::{
    Aborted, BeginAnswer, Checkpoint, Completed, InForce, InProgressAnswer, Kept, Key, Lookup, OnLostLease,
    OperationResult, Outcome, Phase, Policy, PolicyRules, Reading, Renewed, Resolve, SavedCheckpoint,
    Started, Timestamp, Traceparent, UnresolvedAnswer, UnresolvedReason,
};
use crate::proto;
use crate::server::call::Call;

pub(in crate::server) fn begin_response(begun: Begun) -> proto::BeginResponse {
    use proto::begin_response::Decision;

    let decision = match begun.answer {
        BeginAnswer::Started(started) => Decision::Started(self::started(&started, begun.waited)),
        BeginAnswer::Replayed(completed) => Decision::Replayed(replayed(&completed)),
        BeginAnswer::InProgress(running) => Decision::InProgress(in_progress(&running)),
        BeginAnswer::Unresolved(unresolved) => Decision::Unresolved(self::unresolved(unresolved)),
    };
    proto::BeginResponse { decision: Some(decision) }
}

fn started(started: &Started, waited: std::time::Duration) -> proto::Started {
    proto::Started {
        fence: started.fence.get(),
        attempt: started.attempt,
        lease: Some(proto_duration(started.lease)),
        lease_expires_at: Some(proto_timestamp(started.lease_end)),
        checkpoints: started.checkpoints.iter().map(checkpoint).collect(),
        waited: Some(proto_duration(waited)),
    }
}

fn replayed(completed: &Completed) -> proto::Replayed {
    proto::Replayed {
        result: Some(result(&completed.result)),
        fence: completed.fence.get(),
        attempt: completed.attempt,
        completed_at: Some(proto_timestamp(completed.completed_at)),
        expires_at: Some(proto_timestamp(completed.expires_at)),
        original_traceparent: traceparent(completed.traceparent),
    }
}

fn in_progress(running: &InProgressAnswer) -> proto::InProgress {
    proto::InProgress {
        attempt: running.attempt,
        retry_after: Some(proto_duration(running.retry_after)),
        lease_expires_at: running.lease_end.map(proto_timestamp),
        original_traceparent: traceparent(running.traceparent),
        backing_off: running.backing_off(),
    }
}

fn unresolved(unresolved: UnresolvedAnswer) -> proto::Unresolved {
    proto::Unresolved {
        reason: unresolved_reason(unresolved.reason).into(),
        attempt: unresolved.attempt,
        detail: unresolved.detail,
        since: Some(proto_timestamp(unresolved.since)),
        original_traceparent: traceparent(unresolved.traceparent),
    }
}

pub(in crate::server) fn complete_response(completed: &Completed) -> proto::CompleteResponse {
    proto::CompleteResponse {
        completed_at: Some(proto_timestamp(completed.completed_at)),
        expires_at: Some(proto_timestamp(completed.expires_at)),
        repeated_call: completed.repeated,
    }
}

pub(in crate::server) fn abort_response(aborted: Aborted) -> proto::AbortResponse {
    proto::AbortResponse { repeated_call: aborted.repeated }
}

pub(in crate::server) fn renew_response(renewed: Renewed) -> proto::RenewResponse {
    proto::RenewResponse {
        lease: Some(proto_duration(renewed.lease)),
        lease_expires_at: Some(proto_timestamp(renewed.lease_end)),
    }
}

pub(in crate::server) fn save_checkpoint_response(saved: SavedCheckpoint) -> proto::SaveCheckpointResponse {
    proto::SaveCheckpointResponse { repeated_call: saved.repeated }
}

pub(in crate::server) fn lookup_response(
    call: &Call<Lookup>,
    kept: &Kept,
    now: Timestamp,
) -> proto::LookupResponse {
    proto::LookupResponse { record: Some(record(&call.key, kept, &call.in_force.policy, now)) }
}

pub(in crate::server) fn resolve_response(
    call: &Call<Resolve>,
    kept: &Kept,
    now: Timestamp,
) -> proto::ResolveRecordResponse {
    proto::ResolveRecordResponse { record: Some(record(&call.key, kept, &call.in_force.policy, now)) }
}

/// How a page is made: what each record costs of it, and what it becomes.
pub(in crate::server) mod list_page {
    use super::{
        Listed, ListingFilter, ListingPage, Message, PolicyRules, Timestamp, page_token, proto, record,
    };

    /// The most bytes that all but the records may take: the token, which holds the place of one record.
    pub(in crate::server) const TOKEN_BYTES: usize = 4096;

    /// What a record takes of the response, in bytes.
    pub(in crate::server) fn record_bytes(listed: &Listed, rules: &PolicyRules, now: Timestamp) -> usize {
        let bytes = listed_record(listed, rules, now).encoded_len();
        1 + prost::length_delimiter_len(bytes) + bytes
    }

    pub(in crate::server) fn response(
        page: ListingPage,
        filter: &ListingFilter,
        rules: &PolicyRules,
        now: Timestamp,
    ) -> proto::ListRecordsResponse {
        let records = page.records.iter().map(|listed| listed_record(listed, rules, now));
        proto::ListRecordsResponse {
            records: records.collect(),
            next_page_token: page.next.map_or_else(String::new, |place| page_token::encode(filter, &place)),
        }
    }

    /// Where nobody can open it, no result is told, rather than an empty one.
    fn listed_record(
        Listed { key, kept, sealed }: &Listed,
        rules: &PolicyRules,
        now: Timestamp,
    ) -> proto::Record {
        let in_force = rules.select(&key.tenant, &key.endpoint);
        let told = record(key, kept, &in_force.policy, now);
        if *sealed { proto::Record { result: None, ..told } } else { told }
    }
}

pub(in crate::server) fn policy_response(in_force: &InForce) -> proto::GetPolicyResponse {
    let policy = &in_force.policy;
    proto::GetPolicyResponse {
        lease: Some(proto_duration(policy.lease)),
        max_lease: Some(proto_duration(policy.max_lease)),
        retention: Some(proto_duration(policy.retention)),
        max_retention: Some(proto_duration(policy.max_retention)),
        max_wait: Some(proto_duration(policy.max_wait)),
        max_attempts: policy.max_attempts,
        rerun_after_lost_lease: policy.on_lost_lease == OnLostLease::Rerun,
        fingerprint_required: policy.fingerprint_required,
        // At most Policy::RESULT_BYTES_LIMIT, so it fits.
        max_result_bytes: i64::try_from(policy.max_result_bytes).unwrap_or(i64::MAX),
        unresolved_retention: Some(proto_duration(policy.unresolved_retention)),
        max_retry_after: Some(proto_duration(policy.max_retry_after)),
        requests_per_second: policy.requests_per_second,
        burst: policy.rate().map_or(0, |rate| rate.burst.get()),
        max_open_keys: policy.max_open_keys,
        source: in_force.source.clone(),
    }
}

fn record(key: &Key, kept: &Kept, policy: &Policy, now: Timestamp) -> proto::Record {
    let reading = kept.read(policy, now);
    let (lease_end, completed, resolution) = match &kept.phase {
        Phase::InProgress { lease_end, .. } => (Some(*lease_end), None, None),
        Phase::Completed { result, resolution } => (None, Some(result), resolution.as_ref()),
        Phase::Released { resolution, .. } => (None, None, resolution.as_ref()),
    };
    let unresolved = match reading {
        Reading::Unresolved { reason, since } => Some(self::unresolved(UnresolvedAnswer {
            reason,
            attempt: kept.attempt,
            detail: kept.detail().to_owned(),
            since,
            traceparent: kept.traceparent,
        })),
        Reading::InProgress | Reading::Completed | Reading::Released | Reading::LeaseLost => None,
    };
    proto::Record {
        key: Some(proto::Key {
            tenant: key.tenant.as_str().to_owned(),
            endpoint: key.endpoint.as_str().to_owned(),
            idempotency_key: key.idempotency_key.as_str().to_owned(),
        }),
        state: state(reading).into(),
        fence: kept.fence.get(),
        attempt: kept.attempt,
        fingerprint: kept
            .fingerprint
            .as_ref()
            .map(|fingerprint| bytes::Bytes::copy_from_slice(fingerprint.as_bytes()))
            .unwrap_or_default(),
        first_seen_at: Some(proto_timestamp(kept.first_seen_at)),
        changed_at: Some(proto_timestamp(kept.changed_at)),
        lease_expires_at: lease_end.map(proto_timestamp),
        expires_at: Some(proto_timestamp(kept.expires_at)),
        result: completed.map(|completed| result(completed)),
        unresolved,
        checkpoints: kept.checkpoints.as_slice().iter().map(checkpoint).collect(),
        labels: kept.labels.pairs().iter().map(|(name, value)| (name.clone(), value.clone())).collect(),
        original_traceparent: traceparent(kept.traceparent),
        resolution_note: resolution.map_or_else(String::new, |note| note.as_str().to_owned()),
    }
}

fn result(result: &OperationResult) -> proto::Result {
    let outcome = match result.outcome {
        Outcome::Success => proto::result::Outcome::Success,
        Outcome::Failure => proto::result::Outcome::Failure,
    };
    let header = |header: &crate::domain::Header| proto::Header {
        name: header.name.clone(),
        value: header.value.clone(),
    };
    proto::Result {
        outcome: outcome.into(),
        code: result.code,
        content_type: result.content_type.clone(),
        headers: result.headers.iter().map(header).collect(),
        payload: result.payload.clone(),
        payload_omitted: result.payload_omitted,
    }
}

fn checkpoint(point: &Checkpoint) -> proto::Checkpoint {
    proto::Checkpoint {
        name: point.name.as_str().to_owned(),
        value: point.value.clone(),
        fence: point.fence.get(),
    }
}

const fn state(reading: Reading) -> proto::State {
    match reading {
        Reading::InProgress => proto::State::InProgress,
        Reading::Completed => proto::State::Completed,
        Reading::Released => proto::State::Released,
        Reading::Unresolved { .. } => proto::State::Unresolved,
        Reading::LeaseLost => proto::State::LeaseLost,
    }
}

const fn unresolved_reason(reason: UnresolvedReason) -> proto::unresolved::Reason {
    match reason {
        UnresolvedReason::OutcomeUnknown => proto::unresolved::Reason::OutcomeUnknown,
        UnresolvedReason::AttemptsExhausted => proto::unresolved::Reason::AttemptsExhausted,
    }
}

fn traceparent(traceparent: Option<Traceparent>) -> String {
    traceparent.as_ref().map_or_else(String::new, Traceparent::to_string)
}
