//! Keys that are held while their work is no closure.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::attempt::Attempt;
use crate::client::Client;
use crate::error::Error;
use crate::handoff::Handoff;
use crate::key::Key;
use crate::lease::{Keeping, Lease, Lost};
use crate::proto::{
    self, AbortRequest, AbortResponse, BeginRequest, CompleteRequest, CompleteResponse, Started,
};
use crate::sending::{Method, Sending};
use crate::time::duration;

/// A key that is held while its work is no closure: a process that was started, a message that somebody else acknowledges.
///
/// Its lease is renewed until this is dropped. Whoever drops it without [`complete`](Self::complete) or
/// [`abort`](Self::abort) leaves its outcome to the end of the lease, and to the policy.
///
/// ```no_run
/// # use std::time::{Duration, Instant};
/// # use semel_client::{Client, proto};
/// # async fn example(client: Client, begin: proto::BeginRequest) -> Result<(), Box<dyn std::error::Error>> {
/// let asked = Instant::now();
/// let answer = client.begin(begin.clone()).await?;
/// if let Some(proto::begin_response::Decision::Started(started)) = answer.decision {
///     let held = client.hold(&begin, &started, asked, Duration::from_secs(5)).await?;
///     let mut child = tokio::process::Command::new("reconcile").spawn()?;
///     tokio::select! {
///         status = child.wait() => println!("{}", status?),
///         lost = held.lost() => println!("stop it before {:?}: {lost}", lost.lease_ends()),
///     }
/// }
/// # Ok(())
/// # }
/// ```
pub struct Held {
    attempt: Attempt,
    lease: Arc<Lease>,
    _keeping: Keeping,
}

impl Client {
    /// Holds the key of an attempt that a plain [`begin`](Self::begin) started: renews a third into each lease.
    ///
    /// `asked` is when that was called: the lease counts from then. Where half of it is gone already, it is renewed first.
    /// Ownership counts as lost `time_to_stop` before the lease ends, but never more than a quarter of it.
    ///
    /// # Errors
    ///
    /// The key is lost already: run nothing, and give it back with [`abort`](Self::abort) unless the server
    /// [said so](KeyLost::is_refused).
    pub async fn hold(
        &self,
        request: &BeginRequest,
        started: &Started,
        asked: Instant,
        time_to_stop: Duration,
    ) -> Result<Held, KeyLost> {
        let key = request.key.clone().unwrap_or_default();
        let owner = Handoff {
            tenant: key.tenant,
            endpoint: key.endpoint,
            key: Key::from(key.idempotency_key),
            fence: started.fence,
            attempt: started.attempt,
            attempt_id: request.attempt_id.clone(),
            lease: duration(started.lease),
        };
        let attempt = Attempt::new(self.clone(), owner, Vec::new(), None);
        let since = tokio::time::Instant::from_std(asked) + duration(started.waited);
        let lease = Lease::new(attempt.clone(), since, Some(time_to_stop));
        if lease.is_late() {
            lease.renew(None).await.map_err(|error| KeyLost(lease.lost_because(error)))?;
        }
        Ok(Held { attempt, _keeping: lease.keep(), lease })
    }
}

impl Held {
    /// The attempt that holds the key.
    pub fn attempt(&self) -> &Attempt {
        &self.attempt
    }

    /// Returns when the key is lost. The attempt's cancellation fires then, too. Once it has returned, it returns no more.
    pub async fn lost(&self) -> KeyLost {
        self.attempt.cancellation().cancelled().await;
        match self.lease.take_lost() {
            Some(lost) => KeyLost(lost),
            None => std::future::pending().await,
        }
    }

    /// Stores a result as it is, within this time for all sends together. The credential may be replaced meanwhile.
    ///
    /// # Errors
    ///
    /// Those of the contract, by [`ErrorKind`](crate::ErrorKind).
    pub async fn complete(&self, result: proto::Result, within: Duration) -> Result<CompleteResponse, Error> {
        let request = CompleteRequest {
            key: Some(self.attempt.owner().proto_key()),
            fence: self.attempt.fence(),
            attempt_id: self.attempt.owner().attempt_id.clone(),
            result: Some(result),
            retention: None,
        };
        self.attempt.client().send(self.reporting(Method::Complete, within), &request, None).await.1
    }

    /// Gives the key up without a result, within this time. `detail` is for people.
    ///
    /// # Errors
    ///
    /// Those of the contract, by [`ErrorKind`](crate::ErrorKind).
    pub async fn abort(
        &self,
        disposition: proto::abort_request::Disposition,
        detail: impl Into<String>,
        within: Duration,
    ) -> Result<AbortResponse, Error> {
        let request = AbortRequest {
            key: Some(self.attempt.owner().proto_key()),
            fence: self.attempt.fence(),
            attempt_id: self.attempt.owner().attempt_id.clone(),
            disposition: disposition.into(),
            detail: detail.into(),
            retry_after: None,
        };
        self.attempt.client().send(self.reporting(Method::Abort, within), &request, None).await.1
    }

    fn reporting(&self, method: Method, within: Duration) -> Sending {
        self.attempt.reporting(method, within)
    }
}

impl fmt::Debug for Held {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_tuple("Held").field(&self.attempt).finish()
    }
}

/// Why a key is not ours any more, or may not be.
#[derive(Debug)]
pub struct KeyLost(Lost);

impl KeyLost {
    /// The server said so. Else the lease could not be renewed.
    pub fn is_refused(&self) -> bool {
        self.0.refused
    }

    /// What the Renew came to.
    pub fn error(&self) -> &Error {
        &self.0.error
    }

    /// When the lease ends that is known of. Nobody else is granted the key before, unless the server said that it is lost.
    pub fn lease_ends(&self) -> Instant {
        self.0.until.into_std()
    }
}

impl fmt::Display for KeyLost {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.error.fmt(formatter)
    }
}

impl std::error::Error for KeyLost {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.0.error)
    }
}
