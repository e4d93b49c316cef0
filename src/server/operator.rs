//! `semel.v1.OperatorService`: for the people who run semel.

use std::sync::Arc;

use tonic::{Request, Response, Status};

use super::audited::about;
use super::call::Context;
use super::convert;
use super::observed::{checked, observed};
use super::status::Failure;
use crate::audit::{Audit, AuditedCall};
use crate::coordinator::Coordinator;
use crate::policies::Policies;
use crate::proto;
use crate::proto::operator_service_server::OperatorService;
use crate::telemetry::{Method, Telemetry};

/// Lists, settles and forgets records, and tells policies.
#[derive(Debug)]
pub(super) struct Operator {
    pub(super) coordinator: Arc<Coordinator>,
    pub(super) policies: Arc<Policies>,
    pub(super) telemetry: Arc<Telemetry>,
    pub(super) audit: Arc<Audit>,
    pub(super) max_response_bytes: usize,
}

#[tonic::async_trait]
impl OperatorService for Operator {
    async fn list_records(
        &self,
        request: Request<proto::ListRecordsRequest>,
    ) -> Result<Response<proto::ListRecordsResponse>, Status> {
        let context = Context::of(&request);
        let mut audited = self.audit.begin(context.caller.name(), "ListRecords");
        let answer = self.list(request.get_ref(), &context, &mut audited).await;
        audited.ended(answer.as_ref().err().map(|failure| failure.reason().as_str()));
        Ok(Response::new(checked(&self.telemetry, Method::ListRecords, &context, answer)?))
    }

    async fn resolve_record(
        &self,
        request: Request<proto::ResolveRecordRequest>,
    ) -> Result<Response<proto::ResolveRecordResponse>, Status> {
        let context = Context::of(&request);
        let mut audited = self.audit.begin(context.caller.name(), "ResolveRecord");
        if let Some(key) = &request.get_ref().key {
            about(&mut audited, &key.tenant, &key.endpoint, Some(&key.idempotency_key));
        }
        let call = convert::resolve(request.into_inner(), &context.caller, &self.policies);
        let answer = observed(&self.telemetry, Method::ResolveRecord, &context, call, async |call| {
            call.decide_audited(&self.coordinator, context.deadline, &mut audited).await
        })
        .await;
        audited.ended(answer.as_ref().err().map(|failure| failure.reason().as_str()));
        let (call, kept) = answer?;
        Ok(Response::new(convert::resolve_response(&call, &kept, self.coordinator.now())))
    }

    async fn forget_record(
        &self,
        request: Request<proto::ForgetRecordRequest>,
    ) -> Result<Response<proto::ForgetRecordResponse>, Status> {
        let context = Context::of(&request);
        let mut audited = self.audit.begin(context.caller.name(), "ForgetRecord");
        if let Some(key) = &request.get_ref().key {
            about(&mut audited, &key.tenant, &key.endpoint, Some(&key.idempotency_key));
        }
        let call = convert::forget(request.into_inner(), &context.caller, &self.policies);
        let answer = observed(&self.telemetry, Method::ForgetRecord, &context, call, async |call| {
            call.decide_audited(&self.coordinator, context.deadline, &mut audited).await
        })
        .await;
        audited.ended(answer.as_ref().err().map(|failure| failure.reason().as_str()));
        answer?;
        Ok(Response::new(proto::ForgetRecordResponse {}))
    }

    async fn get_policy(
        &self,
        request: Request<proto::GetPolicyRequest>,
    ) -> Result<Response<proto::GetPolicyResponse>, Status> {
        let context = Context::of(&request);
        let mut audited = self.audit.begin(context.caller.name(), "GetPolicy");
        let in_force = convert::policy(request.get_ref(), &context.caller, &self.policies);
        about(&mut audited, &request.get_ref().tenant, &request.get_ref().endpoint, None);
        audited.ended(in_force.as_ref().err().map(|failure| failure.reason().as_str()));
        let in_force = checked(&self.telemetry, Method::GetPolicy, &context, in_force)?;
        Ok(Response::new(convert::policy_response(&in_force)))
    }
}

impl Operator {
    async fn list(
        &self,
        request: &proto::ListRecordsRequest,
        context: &Context,
        audited: &mut AuditedCall<'_>,
    ) -> Result<proto::ListRecordsResponse, Failure> {
        about(audited, &request.tenant, &request.endpoint, None);
        let call = convert::list(request, &context.caller)?;
        call.audited(audited);
        let rules = self.policies.current();
        let now = self.coordinator.now();
        let max_bytes = self.max_response_bytes.saturating_sub(convert::list_page::TOKEN_BYTES);
        let listing =
            self.coordinator.list(&call.filter, &rules, call.page_size, call.after, max_bytes, |listed| {
                convert::list_page::record_bytes(listed, &rules, now)
            });
        let page = context.deadline.reading(listing).await?;
        audited.asked([("records_told", page.records.len().to_string())]);
        Ok(convert::list_page::response(page, &call.filter, &rules, now))
    }
}
