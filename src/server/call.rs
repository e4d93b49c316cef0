//! A call whose arguments are right: what is decided, and by when.

use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, HeaderName};

use super::caller::Caller;
use super::deadline::Deadline;
use super::status::Failure;
use crate::coordinator::{self, Begun, CallError, Coordinator, ListingFilter};
use crate::domain::{Begin, Command, InForce, Key, Refusal, Traceparent};
use crate::quotas::Quotas;
use crate::storage::Cursor;
use crate::telemetry::Telemetry;

/// Looked for in every request: a name that is made once need not be made for each.
static TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// The trace of a request's caller, where it sent a valid one.
pub(super) fn traceparent_of(headers: &HeaderMap) -> Option<Traceparent> {
    headers.get(&TRACEPARENT).and_then(|value| Traceparent::from_bytes(value.as_bytes()))
}

/// What every request is given before its method is called.
#[derive(Clone, Debug)]
pub(super) struct Admitted {
    pub(super) deadline: Deadline,
    pub(super) caller: Caller,
    /// Its caller's trace, where it sent a valid one.
    pub(super) traceparent: Option<Traceparent>,
}

/// What a call carries beside its message.
#[derive(Clone, Debug)]
pub(super) struct Context {
    /// Who makes it.
    pub(super) caller: Caller,
    /// By when it has to be answered.
    pub(super) deadline: Deadline,
    /// Its caller's trace, where it sent a valid one; else its own, where it has one.
    pub(super) traceparent: Option<Traceparent>,
}

impl Context {
    pub(super) fn of<T>(request: &tonic::Request<T>) -> Self {
        // Every request comes through dispatch.rs, which admits it.
        let admitted: &Admitted = request.extensions().get().expect("no call without a caller");
        Self {
            caller: admitted.caller.clone(),
            deadline: admitted.deadline,
            traceparent: admitted.traceparent.or_else(Telemetry::own_traceparent),
        }
    }
}

/// A command, the key it is about and the policy in force for it.
#[derive(Debug)]
pub(super) struct Call<C> {
    pub(super) key: Key,
    pub(super) in_force: Arc<InForce>,
    pub(super) command: C,
}

impl<C> Call<C> {
    /// Counts a call that asks for something, and refuses it where its tenant asked too often.
    pub(super) fn ask(&self, quotas: &Quotas) -> Result<(), Failure> {
        let tenant = &self.key.tenant;
        quotas.ask(tenant, &self.in_force.policy).map_err(|exceeded| Failure::rate_exceeded(tenant, exceeded))
    }

    /// Counts an owner's call, which is never refused.
    pub(super) fn report(&self, quotas: &Quotas) {
        quotas.report(&self.key.tenant, &self.in_force.policy);
    }
}

impl<C: Command> Call<C> {
    /// Decides a command that may write.
    pub(super) async fn decide(
        &self,
        coordinator: &Coordinator,
        deadline: Deadline,
    ) -> Result<C::Answer, Failure> {
        Ok(deadline.writing(self.run(coordinator, deadline)).await?)
    }

    /// Decides a command that only reads.
    pub(super) async fn look(
        &self,
        coordinator: &Coordinator,
        deadline: Deadline,
    ) -> Result<C::Answer, Failure> {
        Ok(deadline.reading(self.run(coordinator, deadline)).await?)
    }

    fn run(
        &self,
        coordinator: &Coordinator,
        deadline: Deadline,
    ) -> impl Future<Output = Result<C::Answer, coordinator::CallError>> {
        coordinator.run(&self.key, &self.command, &self.in_force.policy, Some(deadline.ends()))
    }
}

/// A Begin and how its caller wants it served.
#[derive(Debug)]
pub(super) struct BeginCall {
    pub(super) call: Call<Begin>,
    pub(super) wait: Duration,
    pub(super) retry: bool,
}

impl BeginCall {
    /// The same call, for which it is settled whether it may open a key.
    pub(super) fn with_room(mut self, quotas: &Quotas) -> Self {
        self.call.command.may_open = quotas.may_open(&self.call.key.tenant, &self.call.in_force.policy);
        self
    }

    /// As [`Call::ask`].
    pub(super) fn ask(&self, quotas: &Quotas) -> Result<(), Failure> {
        self.call.ask(quotas)
    }

    pub(super) async fn decide(
        &self,
        coordinator: &Coordinator,
        deadline: Deadline,
    ) -> Result<Begun, Failure> {
        let call = coordinator::BeginCall {
            key: &self.call.key,
            begin: &self.call.command,
            policy: &self.call.in_force.policy,
            wait: self.wait,
            deadline: Some(deadline.ends()),
            retry: self.retry,
        };
        deadline.writing(coordinator.begin(&call)).await.map_err(|error| match error {
            CallError::Refused(refusal @ Refusal::TooManyOpenKeys) => {
                Failure::too_many_open_keys(refusal, &call.key.tenant, call.policy)
            }
            error => Failure::from(error),
        })
    }
}

/// Which page of which records.
#[derive(Debug)]
pub(super) struct ListCall {
    pub(super) filter: ListingFilter,
    pub(super) page_size: usize,
    pub(super) after: Option<Cursor>,
}
