//! The lease of an attempt, and the renewals that keep it: the only loop that does.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use opentelemetry::trace::FutureExt;
use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use crate::attempt::Attempt;
use crate::error::{Error, ErrorKind};
use crate::proto::{RenewRequest, RenewResponse};
use crate::sending::{Again, Method, Sending};
use crate::time::duration;

/// The shortest time that one Renew is given.
const SHORTEST_RENEWAL: Duration = Duration::from_millis(50);

pub(crate) struct Lease {
    attempt: Attempt,
    /// How long before its end it counts as lost; a tenth of it where nothing is said.
    time_to_stop: Option<Duration>,
    state: Mutex<State>,
}

struct State {
    length: Duration,
    /// When that was sent by which it was granted last.
    since: Instant,
    lost: Option<Lost>,
}

impl State {
    /// When it ends, at the latest: nobody else is granted the key before.
    fn until(&self) -> Instant {
        self.since + self.length
    }
}

/// Why a lease is lost.
#[derive(Debug)]
pub(crate) struct Lost {
    pub(crate) error: Error,
    /// The server said so.
    pub(crate) refused: bool,
    /// When the lease ends that is known of.
    pub(crate) until: Instant,
}

impl Lease {
    /// A lease that runs from when that was sent by which it was granted.
    pub(crate) fn new(attempt: Attempt, since: Instant, time_to_stop: Option<Duration>) -> Arc<Self> {
        let state = Mutex::new(State { length: attempt.lease(), since, lost: None });
        Arc::new(Self { attempt, time_to_stop, state })
    }

    /// Whether half of it was gone before its work could begin.
    pub(crate) fn is_late(&self) -> bool {
        let state = self.state();
        state.since.elapsed() >= state.length / 2
    }

    /// Renews a third into each lease from now on, until what is given is dropped; fires the attempt's cancellation when
    /// ownership is lost.
    pub(crate) fn keep(self: &Arc<Self>) -> Keeping {
        let lease = Arc::clone(self);
        let renewals = async move {
            loop {
                let next = {
                    let state = lease.state();
                    state.since + state.length / 3
                };
                sleep_until(next).await;
                if let Err(error) = lease.renew(None).await {
                    lease.lose(lease.lost_because(error));
                    return;
                }
            }
        };
        Keeping(tokio::spawn(renewals.with_current_context()).abort_handle())
    }

    /// What a Renew that came to this says of it.
    pub(crate) fn lost_because(&self, error: Error) -> Lost {
        let until = self.state().until();
        if matches!(error.kind(), ErrorKind::LeaseLost { .. }) {
            return Lost { error, refused: true, until };
        }
        let kind = ErrorKind::LeaseLost { value: None };
        let text = "the lease could not be renewed";
        Lost { error: Error::new(kind, "LEASE_OVER", text).with_source(error), refused: false, until }
    }

    fn lose(&self, lost: Lost) {
        let client = self.attempt.client();
        client.telemetry().lease_lost(self.attempt.owner().endpoint(), lost.error.reason());
        self.state().lost = Some(lost);
        self.attempt.cancellation().cancel();
    }

    /// Whether the server said that it is lost.
    pub(crate) fn is_refused(&self) -> bool {
        self.state().lost.as_ref().is_some_and(|lost| lost.refused)
    }

    /// Why it is lost, if it is.
    pub(crate) fn take_lost(&self) -> Option<Lost> {
        self.state().lost.take()
    }

    /// Sends a Renew until it is answered, or the lease counts as lost: that long before its end, for the work to stop by
    /// then.
    pub(crate) async fn renew(&self, cancel: Option<&CancellationToken>) -> Result<(), Error> {
        let (length, within) = {
            let state = self.state();
            let before = self.time_to_stop.map_or(state.length / 10, |time| time.min(state.length / 4));
            (state.length, (state.until() - before).saturating_duration_since(Instant::now()))
        };
        if within.is_zero() {
            let kind = ErrorKind::StoreUnavailable { may_have_taken_effect: false };
            return Err(Error::new(kind, "", "the lease counts as lost, and no Renew is sent"));
        }
        let owner = self.attempt.owner();
        let request = RenewRequest {
            key: Some(owner.proto_key()),
            fence: owner.fence,
            attempt_id: owner.attempt_id.clone(),
            lease: None,
        };
        let client = self.attempt.client();
        let once = (length / 6).max(SHORTEST_RENEWAL).min(client.options().try_timeout);
        let how =
            Sending { method: Method::Renew, within, once, wait: Duration::ZERO, again: Again::Renewal };
        let (sent, answer) = client.send::<_, RenewResponse>(how, &request, cancel).await;
        let granted = duration(answer?.lease);
        let mut state = self.state();
        state.since = sent.at;
        if granted > Duration::ZERO {
            state.length = granted;
        }
        Ok(())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Renewals that go on; they end when this is dropped.
pub(crate) struct Keeping(AbortHandle);

impl Drop for Keeping {
    fn drop(&mut self) {
        self.0.abort();
    }
}
