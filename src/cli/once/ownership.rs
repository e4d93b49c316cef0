//! Owning the key, and the attempt's last word.

use std::time::Duration;

use semel_client::proto::abort_request::Disposition;
use semel_client::proto::{self, AbortRequest, BeginRequest, Key, Started};
use semel_client::{Held, KeyLost};
use tokio::time::Instant;

use super::outcome::{Stored, Verdict, without_headers, without_output};
use super::outlet::Outlets;
use super::signals::Signals;
use crate::cli::client::Client;
use crate::cli::failure::Failure;

/// How long a report is still tried once this process was told to end.
const LAST_WORD_WITHIN: Duration = Duration::from_secs(3);

/// An attempt that the server started.
#[derive(Debug)]
pub(super) struct Granted {
    client: Client,
    request: BeginRequest,
    started: Started,
    /// When it was asked for: its lease counts from then.
    asked: Instant,
}

/// Why the key is not ours any more, or may not be.
#[derive(Debug)]
pub(super) enum Lost {
    /// The server said so.
    Refused(Failure),
    /// The lease, which ends at `until`, could not be renewed.
    NotRenewed { failure: Failure, until: Instant },
}

impl Lost {
    pub(super) fn why(&self) -> String {
        match self {
            Self::Refused(failure) => format!("the key is not ours any more ({failure})"),
            Self::NotRenewed { failure, .. } => format!("the lease could not be renewed in time ({failure})"),
        }
    }

    /// How long the command may take to end by itself. Where nobody else is granted the key yet, it has to have ended
    /// when somebody may.
    pub(super) fn grace(&self, kill_after: Duration) -> Duration {
        match self {
            Self::Refused(_) => kill_after,
            Self::NotRenewed { until, .. } => until.saturating_duration_since(Instant::now()),
        }
    }
}

impl Granted {
    pub(super) fn new(client: &Client, request: &BeginRequest, started: Started, asked: Instant) -> Self {
        Self { client: client.clone(), request: request.clone(), started, asked }
    }

    pub(super) fn server(&self) -> &str {
        self.client.server()
    }

    pub(super) fn key(&self) -> Key {
        self.request.key.clone().unwrap_or_default()
    }

    pub(super) fn attempt_id(&self) -> &str {
        &self.request.attempt_id
    }

    pub(super) const fn fence(&self) -> i64 {
        self.started.fence
    }

    pub(super) const fn attempt(&self) -> u32 {
        self.started.attempt
    }

    /// Holds the key from now on, for a command that takes so long to stop. It may start once this has returned: the grant
    /// may have come late.
    pub(super) async fn hold(&self, time_to_stop: Duration) -> Result<Held, Lost> {
        let (client, asked) = (&self.client, self.asked.into_std());
        let held = client.within_context(async |semel| {
            semel.hold(&self.request, &self.started, asked, time_to_stop).await
        });
        held.await.map_err(|lost| self.lost(&lost))
    }

    fn lost(&self, lost: &KeyLost) -> Lost {
        let until = Instant::from_std(lost.lease_ends());
        let lease = self.started.lease.and_then(|lease| Duration::try_from(lease).ok()).unwrap_or_default();
        // The renewal that failed began a third into the lease.
        let within = until.checked_sub(lease / 3 * 2).map_or(Duration::ZERO, |began| began.elapsed());
        let failure = self.client.failure(lost.error(), within);
        if lost.is_refused() { Lost::Refused(failure) } else { Lost::NotRenewed { failure, until } }
    }

    /// Gives the key up because nothing ran. Says what did not work, for a message's end.
    pub(super) async fn release(&self, detail: &str) -> String {
        let request = AbortRequest {
            key: self.request.key.clone(),
            fence: self.started.fence,
            attempt_id: self.request.attempt_id.clone(),
            disposition: Disposition::Release.into(),
            detail: said(detail),
            retry_after: None,
        };
        match self.client.call(async |semel| semel.abort(request).await).await {
            Ok(_) => String::new(),
            Err(failure) => format!("; the key could not be released: {failure}"),
        }
    }
}

/// An attempt that owns its key: its lease is renewed.
#[derive(Debug)]
pub(super) struct Ownership {
    pub(super) granted: Granted,
    pub(super) held: Held,
}

impl Ownership {
    /// Returns when the key is lost.
    pub(super) async fn lost(&self) -> Lost {
        self.granted.lost(&self.held.lost().await)
    }

    /// Reports what became of the command, for as long as it takes, within bounds.
    pub(super) async fn report(
        &self,
        verdict: &Verdict,
        within: Duration,
        signals: &mut Signals,
        outlets: &Outlets,
    ) -> Stored {
        let told_to_end = tokio::select! {
            stored = self.send(verdict, within) => return stored,
            signal = signals.next_ending() => signal,
        };
        outlets.say(&format!(
            "{told_to_end}: the outcome is not stored yet; trying for {LAST_WORD_WITHIN:?} more"
        ));
        self.send(verdict, LAST_WORD_WITHIN.min(within)).await
    }

    async fn send(&self, verdict: &Verdict, within: Duration) -> Stored {
        let stored = match verdict {
            Verdict::Complete(result) => self.complete(result, within).await,
            Verdict::Release(detail) => self.give_up(Disposition::Release, detail, within).await,
            Verdict::Unknown(detail) => self.give_up(Disposition::OutcomeUnknown, detail, within).await,
        };
        match stored {
            Ok(cut) => Stored::Yes { cut },
            Err(failure) if failure.may_pass() => Stored::Unanswered(failure),
            Err(failure) => Stored::Refused(failure),
        }
    }

    /// Stores as much of the result as is taken; tells whether that is less than all.
    async fn complete(&self, result: &proto::Result, within: Duration) -> Result<bool, Failure> {
        let until = Instant::now() + within;
        let complete = async |result: &proto::Result| {
            let left = until.saturating_duration_since(Instant::now());
            self.granted.client.call(async |_| self.held.complete(result.clone(), left).await).await
        };
        let mut sent = result.clone();
        for smaller in [without_output(result), without_headers(result)] {
            match complete(&sent).await {
                Err(failure) if failure.is_too_large() => sent = smaller,
                done => return done.map(|_| sent != *result),
            }
        }
        complete(&sent).await.map(|_| true)
    }

    async fn give_up(
        &self,
        disposition: Disposition,
        detail: &str,
        within: Duration,
    ) -> Result<bool, Failure> {
        let abort = async |_: &_| self.held.abort(disposition, said(detail), within).await;
        self.granted.client.call(abort).await.map(|_| false)
    }
}

/// What operators read of an attempt that was given up.
fn said(detail: &str) -> String {
    format!("semel once: {detail}")
}
