//! Owning the key: the lease, measured on this machine's own clock, and the attempt's last word.

use std::time::Duration;

use tokio::time::{Instant, timeout_at};

use super::outcome::{Stored, Verdict, without_headers, without_output};
use super::outlet::Outlets;
use super::signals::Signals;
use crate::cli::abort::abort;
use crate::cli::client::Client;
use crate::cli::complete::complete;
use crate::cli::exit::Exit;
use crate::cli::failure::Failure;
use crate::cli::renew::renew;
use crate::proto::abort_request::Disposition;
use crate::proto::{self, AbortRequest, BeginRequest, CompleteRequest, Key, RenewRequest, Started};

/// How long a report is still tried once this process was told to end.
const LAST_WORD_WITHIN: Duration = Duration::from_secs(3);
/// The pause after a report that the server refused for its credential.
const CREDENTIAL_PAUSE: Duration = Duration::from_secs(1);
/// The pause after a renewal that the server refused for a reason that may pass.
const PAUSE: Duration = Duration::from_millis(200);

/// An attempt that owns its key.
#[derive(Debug)]
pub(super) struct Ownership {
    client: Client,
    pub(super) key: Key,
    pub(super) fence: i64,
    pub(super) attempt: u32,
    pub(super) attempt_id: String,
    lease: Duration,
    /// When the lease that is known of was asked for.
    since: Instant,
    /// When it ends, at the latest: nobody else is granted the key before.
    until: Instant,
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

impl Ownership {
    pub(super) fn new(client: &Client, request: &BeginRequest, started: &Started, sent: Instant) -> Self {
        let length =
            |length: Option<prost_types::Duration>| length.and_then(|length| Duration::try_from(length).ok());
        let lease = length(started.lease).unwrap_or_default();
        let since = sent + length(started.waited).unwrap_or_default();
        Self {
            client: client.clone(),
            key: request.key.clone().unwrap_or_default(),
            fence: started.fence,
            attempt: started.attempt,
            attempt_id: request.attempt_id.clone(),
            lease,
            since,
            until: since + lease,
        }
    }

    pub(super) fn server(&self) -> &str {
        self.client.server()
    }

    /// Makes sure that the command may start now: the answer may have come late.
    pub(super) async fn secure(&mut self, kill_after: Duration) -> Result<(), Lost> {
        if Instant::now() < self.since + self.lease / 2 { Ok(()) } else { self.renew_until(kill_after).await }
    }

    /// Renews a third into each lease, until ownership is lost. It counts as lost early enough before the end of
    /// the lease for the command to be stopped by then.
    pub(super) async fn keep(&mut self, kill_after: Duration) -> Lost {
        loop {
            tokio::time::sleep_until(self.since + self.lease / 3).await;
            if let Err(lost) = self.renew_until(kill_after).await {
                return lost;
            }
        }
    }

    async fn renew_until(&mut self, kill_after: Duration) -> Result<(), Lost> {
        let stop_at = self.until - kill_after.min(self.lease / 4);
        let request = RenewRequest {
            key: Some(self.key.clone()),
            fence: self.fence,
            attempt_id: self.attempt_id.clone(),
            lease: None,
        };
        loop {
            let left = stop_at.saturating_duration_since(Instant::now());
            let client = self.client.patient(self.lease / 6).within(left);
            // The end of the lease waits for no call.
            let failure = match timeout_at(stop_at, renew(&client, &request)).await {
                Ok(Ok((renewed, sent))) => {
                    let lease = renewed.lease.and_then(|lease| Duration::try_from(lease).ok());
                    self.lease = lease.unwrap_or(self.lease);
                    self.since = sent;
                    self.until = sent + self.lease;
                    return Ok(());
                }
                Ok(Err(failure)) => failure,
                Err(_) => Failure::silence(self.client.server(), left),
            };
            match failure.reason() {
                "FENCE_LOST" | "ALREADY_COMPLETED" | "KEY_NOT_FOUND" => return Err(Lost::Refused(failure)),
                _ if Instant::now() + PAUSE >= stop_at => {
                    return Err(Lost::NotRenewed { failure, until: self.until });
                }
                _ => tokio::time::sleep(PAUSE).await,
            }
        }
    }

    /// Gives the key up because nothing ran. Says what did not work, for a message's end.
    pub(super) async fn release(&self, detail: &str) -> String {
        match abort(&self.client, &self.abort_request(Disposition::Release, detail)).await {
            Ok(_) => String::new(),
            Err(failure) => format!("; the key could not be released: {failure}"),
        }
    }

    /// Reports what became of the command, for as long as it takes, within bounds.
    pub(super) async fn report(
        &self,
        verdict: &Verdict,
        within: Duration,
        signals: &mut Signals,
        outlets: &Outlets,
    ) -> Stored {
        let client = self.client.within(within);
        let told_to_end = tokio::select! {
            stored = self.insist(&client, verdict, within) => return stored,
            signal = signals.next_ending() => signal,
        };
        outlets.say(&format!(
            "{told_to_end}: the outcome is not stored yet; trying for {LAST_WORD_WITHIN:?} more"
        ));
        self.send(&self.client.within(LAST_WORD_WITHIN.min(within)), verdict).await
    }

    /// Goes on where the credential is refused: it may just be being replaced, and the work is done.
    async fn insist(&self, client: &Client, verdict: &Verdict, within: Duration) -> Stored {
        let until = Instant::now() + within;
        loop {
            let stored = self.send(client, verdict).await;
            let again = Instant::now() + CREDENTIAL_PAUSE;
            match &stored {
                Stored::Refused(failure) if failure.exit() == Exit::NOT_ALLOWED && again < until => {
                    tokio::time::sleep_until(again).await;
                }
                _ => return stored,
            }
        }
    }

    async fn send(&self, client: &Client, verdict: &Verdict) -> Stored {
        let stored = match verdict {
            Verdict::Complete(result) => self.complete(client, result).await,
            Verdict::Release(detail) => self.give_up(client, Disposition::Release, detail).await,
            Verdict::Unknown(detail) => self.give_up(client, Disposition::OutcomeUnknown, detail).await,
        };
        match stored {
            Ok(cut) => Stored::Yes { cut },
            Err(failure) if failure.may_pass() => Stored::Unanswered(failure),
            Err(failure) => Stored::Refused(failure),
        }
    }

    /// Stores as much of the result as is taken; tells whether that is less than all.
    async fn complete(&self, client: &Client, result: &proto::Result) -> Result<bool, Failure> {
        let mut request = CompleteRequest {
            key: Some(self.key.clone()),
            fence: self.fence,
            attempt_id: self.attempt_id.clone(),
            result: Some(result.clone()),
            retention: None,
        };
        for smaller in [without_output(result), without_headers(result)] {
            match complete(client, &request).await {
                Err(failure) if failure.is_too_large() => request.result = Some(smaller),
                done => return done.map(|_| request.result.as_ref() != Some(result)),
            }
        }
        complete(client, &request).await.map(|_| true)
    }

    async fn give_up(
        &self,
        client: &Client,
        disposition: Disposition,
        detail: &str,
    ) -> Result<bool, Failure> {
        abort(client, &self.abort_request(disposition, detail)).await.map(|_| false)
    }

    fn abort_request(&self, disposition: Disposition, detail: &str) -> AbortRequest {
        AbortRequest {
            key: Some(self.key.clone()),
            fence: self.fence,
            attempt_id: self.attempt_id.clone(),
            disposition: disposition.into(),
            detail: format!("semel once: {detail}"),
            retry_after: None,
        }
    }
}
