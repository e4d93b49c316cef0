//! What an operator's call found and left, for the audit log.

use std::sync::{Arc, Mutex, PoisonError};

use super::auth::NotAdmitted;
use super::call::{Call, ListCall};
use super::complaints::{Complaints, Leave};
use super::deadline::Deadline;
use super::status::Failure;
use super::tls::seconds;
use crate::audit::{Audit, AuditedCall, Refused, State};
use crate::coordinator::{Coordinator, Listing};
use crate::domain::{
    Command, Endpoint, Forget, IdempotencyKey, Key, Policy, Reading, Record, Resolution, Resolve, Tenant,
    Timestamp, Transition,
};
use crate::telemetry::Method;

/// A command that notes what it was decided on last: the decision that stands.
#[derive(Debug)]
struct Noting<'a, C> {
    command: &'a C,
    /// Before, and after if it takes effect.
    noted: Mutex<Option<[State; 2]>>,
}

impl<C: Command> Command for Noting<'_, C> {
    type Answer = C::Answer;

    const REFUSAL_STOPS_OWNER: bool = C::REFUSAL_STOPS_OWNER;

    const READS_CONTENT: bool = C::READS_CONTENT;

    fn decide(&self, record: Option<&Record>, policy: &Policy, now: Timestamp) -> Transition<C::Answer> {
        let decided = self.command.decide(record, policy, now);
        let before = state(record, policy, now);
        let after = match &decided {
            Transition::Change { next, .. } => state(Some(next), policy, now),
            Transition::Unchanged(_) => before.clone(),
        };
        *self.noted.lock().unwrap_or_else(PoisonError::into_inner) = Some([before, after]);
        decided
    }
}

fn state(record: Option<&Record>, policy: &Policy, now: Timestamp) -> State {
    let reads = record.and_then(|record| record.live(now)).map(|kept| kept.read(policy, now));
    let state = match (reads, record) {
        (Some(Reading::InProgress), _) => "IN_PROGRESS",
        (Some(Reading::Completed), _) => "COMPLETED",
        (Some(Reading::Released), _) => "RELEASED",
        (Some(Reading::Unresolved { .. }), _) => "UNRESOLVED",
        (Some(Reading::LeaseLost), _) => "LEASE_LOST",
        (None, Some(Record::Forgotten(_))) => "FORGOTTEN",
        (None, Some(Record::Kept(_))) => "EXPIRED",
        (None, None) => "ABSENT",
    };
    State::Record { state, fence: record.map(|record| record.fence().get()) }
}

/// What an operator asks of a record, but for what may hold anything: results and notes.
pub(super) trait Asks {
    fn asks(&self) -> Vec<(&'static str, String)>;
}

impl Asks for Resolve {
    fn asks(&self) -> Vec<(&'static str, String)> {
        let resolution = match self.resolution {
            Resolution::Result(_) => "result",
            Resolution::Release => "release",
        };
        vec![
            ("fence", self.fence.get().to_string()),
            ("resolution", resolution.to_owned()),
            ("force", self.force.to_string()),
        ]
    }
}

impl Asks for Forget {
    fn asks(&self) -> Vec<(&'static str, String)> {
        vec![("fence", self.fence.get().to_string()), ("force", self.force.to_string())]
    }
}

impl<C: Command + Asks> Call<C> {
    /// Decides a command that may write, and tells `audited` what was asked, found and left.
    pub(super) async fn decide_audited(
        &self,
        coordinator: &Coordinator,
        deadline: Deadline,
        audited: &mut AuditedCall<'_>,
    ) -> Result<C::Answer, Failure> {
        audited.about(&self.key);
        audited.asked(self.command.asks());
        let noting = Noting { command: &self.command, noted: Mutex::new(None) };
        let run = coordinator.run(&self.key, &noting, &self.in_force.policy, Some(deadline.ends()));
        let answer = deadline.writing(run).await;
        let noted = noting.noted.into_inner().unwrap_or_else(PoisonError::into_inner);
        if let Some([before, after]) = noted {
            audited.found(Some(before), Some(after));
        }
        Ok(answer?)
    }
}

impl ListCall {
    /// Tells `audited` what is asked.
    pub(super) fn audited(&self, audited: &mut AuditedCall<'_>) {
        audited.of(&self.filter.tenant, self.filter.endpoint.as_ref());
        let state = match self.filter.reading {
            None => "any",
            Some(Listing::InProgress) => "IN_PROGRESS",
            Some(Listing::Completed) => "COMPLETED",
            Some(Listing::Released) => "RELEASED",
            Some(Listing::Unresolved) => "UNRESOLVED",
            Some(Listing::LeaseLost) => "LEASE_LOST",
        };
        audited.asked([("state", state.to_owned()), ("page_size", self.page_size.to_string())]);
    }
}

/// Tells `audited` of the record that a request names, or of its tenant and endpoint, where they are right.
pub(super) fn about(audited: &mut AuditedCall<'_>, tenant: &str, endpoint: &str, key: Option<&str>) {
    let (Ok(tenant), endpoint) = (Tenant::new(tenant), Endpoint::new(endpoint).ok()) else { return };
    let key = key.and_then(|key| IdempotencyKey::new(key).ok());
    match (endpoint, key) {
        (Some(endpoint), Some(idempotency_key)) => {
            audited.about(&Key { tenant, endpoint, idempotency_key });
        }
        (endpoint, _) => audited.of(&tenant, endpoint.as_ref()),
    }
}

/// Writes down the operators' calls that are refused before their arguments are read.
#[derive(Debug)]
pub(super) struct Refusals {
    audit: Arc<Audit>,
    /// Lines cost a stranger nothing, so there is a bound on them; of those whose credential is good, each has one.
    of_strangers: Complaints,
}

impl Refusals {
    pub(super) fn new(audit: Arc<Audit>) -> Self {
        Self { audit, of_strangers: Complaints::default() }
    }

    pub(super) fn write_down(&self, method: Method, refused: &NotAdmitted) {
        if !method.is_operators() {
            return;
        }
        let mut left_out = 0;
        if !refused.is_known {
            match self.of_strangers.ask(seconds(self.audit.clock())) {
                Leave::Given { unsaid } => left_out = unsaid,
                Leave::Refused => return,
            }
        }
        self.audit.refused(&Refused {
            who: refused.who.as_deref(),
            peer: refused.peer,
            action: method.short_name(),
            cause: &refused.cause,
            outcome: refused.failure.reason().as_str(),
            left_out,
        });
    }
}
