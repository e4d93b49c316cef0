//! `semel.v1.IdempotencyService`: each method has its message taken apart, decided and answered.

use std::sync::Arc;
use std::time::Duration;

use tonic::{Request, Response, Status};

use super::call::Context;
use super::convert;
use super::observed::{checked, observed};
use crate::coordinator::{Coordinator, in_key_order};
use crate::policies::Policies;
use crate::proto;
use crate::proto::idempotency_service_server::IdempotencyService;
use crate::quotas::Quotas;
use crate::telemetry::{Method, Telemetry};

/// For the services that perform side effects.
#[derive(Debug)]
pub(super) struct Idempotency {
    pub(super) coordinator: Arc<Coordinator>,
    pub(super) policies: Arc<Policies>,
    pub(super) telemetry: Arc<Telemetry>,
    pub(super) quotas: Arc<Quotas>,
    pub(super) max_response_bytes: usize,
}

#[tonic::async_trait]
impl IdempotencyService for Idempotency {
    async fn begin(
        &self,
        request: Request<proto::BeginRequest>,
    ) -> Result<Response<proto::BeginResponse>, Status> {
        let context = Context::of(&request);
        let call = convert::begin(request.into_inner(), &context, self.coordinator.now(), &self.policies);
        let call = call.map(|call| call.with_room(&self.quotas));
        let (_, begun) = observed(&self.telemetry, Method::Begin, &context, call, async |call| {
            call.ask(&self.quotas)?;
            call.decide(&self.coordinator, context.deadline).await
        })
        .await?;
        Ok(Response::new(convert::begin_response(begun)))
    }

    async fn complete(
        &self,
        request: Request<proto::CompleteRequest>,
    ) -> Result<Response<proto::CompleteResponse>, Status> {
        let context = Context::of(&request);
        let call = convert::complete(request.into_inner(), &context.caller, &self.policies);
        let (_, completed) = observed(&self.telemetry, Method::Complete, &context, call, async |call| {
            call.report(&self.quotas);
            call.decide(&self.coordinator, context.deadline).await
        })
        .await?;
        Ok(Response::new(convert::complete_response(&completed)))
    }

    async fn abort(
        &self,
        request: Request<proto::AbortRequest>,
    ) -> Result<Response<proto::AbortResponse>, Status> {
        let context = Context::of(&request);
        let call = convert::abort(request.into_inner(), &context.caller, &self.policies);
        let (_, aborted) = observed(&self.telemetry, Method::Abort, &context, call, async |call| {
            call.report(&self.quotas);
            call.decide(&self.coordinator, context.deadline).await
        })
        .await?;
        Ok(Response::new(convert::abort_response(aborted)))
    }

    async fn lookup(
        &self,
        request: Request<proto::LookupRequest>,
    ) -> Result<Response<proto::LookupResponse>, Status> {
        let context = Context::of(&request);
        let call = convert::lookup(request.into_inner(), &context.caller, &self.policies);
        let (call, kept) = observed(&self.telemetry, Method::Lookup, &context, call, async |call| {
            call.ask(&self.quotas)?;
            call.look(&self.coordinator, context.deadline).await
        })
        .await?;
        Ok(Response::new(convert::lookup_response(&call, &kept, self.coordinator.now())))
    }

    async fn renew(
        &self,
        request: Request<proto::RenewRequest>,
    ) -> Result<Response<proto::RenewResponse>, Status> {
        let context = Context::of(&request);
        let call = convert::renew(request.into_inner(), &context.caller, &self.policies);
        let (_, renewed) = observed(&self.telemetry, Method::Renew, &context, call, async |call| {
            call.report(&self.quotas);
            call.decide(&self.coordinator, context.deadline).await
        })
        .await?;
        Ok(Response::new(convert::renew_response(renewed)))
    }

    async fn save_checkpoint(
        &self,
        request: Request<proto::SaveCheckpointRequest>,
    ) -> Result<Response<proto::SaveCheckpointResponse>, Status> {
        let context = Context::of(&request);
        let call = convert::save_checkpoint(request.into_inner(), &context.caller, &self.policies);
        let (_, saved) = observed(&self.telemetry, Method::SaveCheckpoint, &context, call, async |call| {
            call.report(&self.quotas);
            call.decide(&self.coordinator, context.deadline).await
        })
        .await?;
        Ok(Response::new(convert::save_checkpoint_response(saved)))
    }

    async fn batch_begin(
        &self,
        request: Request<proto::BatchBeginRequest>,
    ) -> Result<Response<proto::BatchBeginResponse>, Status> {
        let context = Context::of(&request);
        let requests = request.into_inner().requests;
        checked(&self.telemetry, Method::BatchBegin, &context, convert::check_batch(requests.len()))?;
        let now = self.coordinator.now();
        let calls = requests.into_iter().map(|request| {
            let call = convert::begin(request, &context, now, &self.policies);
            (call.as_ref().ok().map(|begin| begin.call.key.clone()), call)
        });
        let slots = in_key_order(calls, |call| async {
            let call = call.map(|mut call| {
                // A batch does not wait: whom it would wait for may be in it.
                call.wait = Duration::ZERO;
                call.with_room(&self.quotas)
            });
            let begun = observed(&self.telemetry, Method::BatchBegin, &context, call, async |call| {
                call.ask(&self.quotas)?;
                call.decide(&self.coordinator, context.deadline).await
            });
            self.telemetry.traced_item(begun).await.map(|(_, begun)| begun)
        })
        .await;
        let (response, cut) = convert::batch_begin_response(slots, self.max_response_bytes);
        self.telemetry.did_not_fit(cut);
        Ok(Response::new(response))
    }

    async fn batch_complete(
        &self,
        request: Request<proto::BatchCompleteRequest>,
    ) -> Result<Response<proto::BatchCompleteResponse>, Status> {
        let context = Context::of(&request);
        let requests = request.into_inner().requests;
        checked(&self.telemetry, Method::BatchComplete, &context, convert::check_batch(requests.len()))?;
        let calls = requests.into_iter().map(|request| {
            let call = convert::complete(request, &context.caller, &self.policies);
            (call.as_ref().ok().map(|call| call.key.clone()), call)
        });
        let slots = in_key_order(calls, |call| async {
            let completed = observed(&self.telemetry, Method::BatchComplete, &context, call, async |call| {
                call.report(&self.quotas);
                call.decide(&self.coordinator, context.deadline).await
            });
            self.telemetry.traced_item(completed).await.map(|(_, completed)| completed)
        })
        .await;
        let (response, cut) = convert::batch_complete_response(slots, self.max_response_bytes);
        self.telemetry.did_not_fit(cut);
        Ok(Response::new(response))
    }
}
