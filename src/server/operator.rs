//! `semel.v1.OperatorService`: for the people who run semel.

use std::sync::Arc;

use tonic::{Request, Response, Status};

use super::call::Context;
use super::convert;
use super::observed::{checked, observed};
use super::status::Failure;
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
    pub(super) max_response_bytes: usize,
}

#[tonic::async_trait]
impl OperatorService for Operator {
    async fn list_records(
        &self,
        request: Request<proto::ListRecordsRequest>,
    ) -> Result<Response<proto::ListRecordsResponse>, Status> {
        let context = Context::of(&request);
        let call = checked(
            &self.telemetry,
            Method::ListRecords,
            &context,
            convert::list(request.get_ref(), &context.caller),
        )?;
        let rules = self.policies.current();
        let now = self.coordinator.now();
        let max_bytes = self.max_response_bytes.saturating_sub(convert::list_page::TOKEN_BYTES);
        let listing = self.coordinator.list(
            &call.filter,
            &rules,
            call.page_size,
            call.after,
            max_bytes,
            |key, kept| convert::list_page::record_bytes(key, kept, &rules, now),
        );
        let page = context.deadline.reading(listing).await.map_err(Failure::from);
        let page = checked(&self.telemetry, Method::ListRecords, &context, page)?;
        Ok(Response::new(convert::list_page::response(page, &call.filter, &rules, now)))
    }

    async fn resolve_record(
        &self,
        request: Request<proto::ResolveRecordRequest>,
    ) -> Result<Response<proto::ResolveRecordResponse>, Status> {
        let context = Context::of(&request);
        let call = convert::resolve(request.into_inner(), &context.caller, &self.policies);
        let (call, kept) = observed(&self.telemetry, Method::ResolveRecord, &context, call, async |call| {
            call.decide(&self.coordinator, context.deadline).await
        })
        .await?;
        Ok(Response::new(convert::resolve_response(&call, &kept, self.coordinator.now())))
    }

    async fn forget_record(
        &self,
        request: Request<proto::ForgetRecordRequest>,
    ) -> Result<Response<proto::ForgetRecordResponse>, Status> {
        let context = Context::of(&request);
        let call = convert::forget(request.into_inner(), &context.caller, &self.policies);
        observed(&self.telemetry, Method::ForgetRecord, &context, call, async |call| {
            call.decide(&self.coordinator, context.deadline).await
        })
        .await?;
        Ok(Response::new(proto::ForgetRecordResponse {}))
    }

    async fn get_policy(
        &self,
        request: Request<proto::GetPolicyRequest>,
    ) -> Result<Response<proto::GetPolicyResponse>, Status> {
        let context = Context::of(&request);
        let in_force = convert::policy(request.get_ref(), &context.caller, &self.policies);
        let in_force = checked(&self.telemetry, Method::GetPolicy, &context, in_force)?;
        Ok(Response::new(convert::policy_response(&in_force)))
    }
}
