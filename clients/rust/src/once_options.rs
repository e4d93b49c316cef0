//! How one `once` or `resume` behaves.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio_util::sync::CancellationToken;

use crate::codec::Json;
use crate::failure::{Classify, Meaning, WorkError};

/// How one [`once_with`](crate::Client::once_with) or [`resume_with`](crate::Client::resume_with) behaves.
///
/// ```
/// # use semel_client::{OnceOptions, RawBytes};
/// use std::time::Duration;
///
/// let options = OnceOptions::new().wait(Duration::from_secs(20)).codec(RawBytes);
/// ```
#[derive(Clone)]
#[must_use]
pub struct OnceOptions<C = Json> {
    pub(crate) wait: Duration,
    pub(crate) lease: Option<Duration>,
    pub(crate) retention: Option<Duration>,
    pub(crate) first_sent: Option<SystemTime>,
    pub(crate) retry: bool,
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) fail_open: bool,
    pub(crate) codec: C,
    pub(crate) on_unexpected: Option<Meaning>,
    pub(crate) classify: Option<Arc<Classify>>,
    pub(crate) timeout: Option<Duration>,
    pub(crate) cancel: Option<CancellationToken>,
}

impl Default for OnceOptions {
    fn default() -> Self {
        Self::new()
    }
}

impl OnceOptions {
    /// The defaults: no wait, JSON, fail closed; the rest is the client's and the policy's.
    pub fn new() -> Self {
        Self {
            wait: Duration::ZERO,
            lease: None,
            retention: None,
            first_sent: None,
            retry: false,
            labels: BTreeMap::new(),
            fail_open: false,
            codec: Json,
            on_unexpected: None,
            classify: None,
            timeout: None,
            cancel: None,
        }
    }
}

impl<C> OnceOptions<C> {
    /// How long to wait while another attempt runs, instead of [`InProgress`](crate::ErrorKind::InProgress) at once.
    pub fn wait(mut self, wait: Duration) -> Self {
        self.wait = wait;
        self
    }

    /// Another lease than the policy's.
    pub fn lease(mut self, lease: Duration) -> Self {
        self.lease = Some(lease);
        self
    }

    /// Another retention than the policy's.
    pub fn retention(mut self, retention: Duration) -> Self {
        self.retention = Some(retention);
        self
    }

    /// When the caller first sent this operation: past the window in which its outcome is known it is refused with
    /// [`KeyExpired`](crate::ErrorKind::KeyExpired), instead of run again.
    pub fn first_sent(mut self, at: SystemTime) -> Self {
        self.first_sent = Some(at);
        self
    }

    /// The caller knows this to be a retry.
    pub fn retry(mut self) -> Self {
        self.retry = true;
        self
    }

    /// What people find the attempt by: at most 16, 1 KiB in all. Never the key.
    pub fn label(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.labels.insert(name.into(), value.into());
        self
    }

    /// Runs the work unprotected where semel cannot be reached: nobody may then rely on a unique run. It is counted and
    /// logged.
    pub fn fail_open(mut self) -> Self {
        self.fail_open = true;
        self
    }

    /// How the value becomes a result, and is read again.
    pub fn codec<D>(self, codec: D) -> OnceOptions<D> {
        let Self { wait, lease, retention, first_sent, retry, labels, fail_open, .. } = self;
        let Self { on_unexpected, classify, timeout, cancel, .. } = self;
        OnceOptions {
            wait,
            lease,
            retention,
            first_sent,
            retry,
            labels,
            fail_open,
            codec,
            on_unexpected,
            classify,
            timeout,
            cancel,
        }
    }

    /// What an error of the work means that says nothing of itself; else the client's.
    pub fn on_unexpected(mut self, meaning: Meaning) -> Self {
        self.on_unexpected = Some(meaning);
        self
    }

    /// Asks the caller what an error of the work means, before anything else does. `None` is no opinion.
    pub fn classify(
        mut self,
        classify: impl Fn(&WorkError) -> Option<Meaning> + Send + Sync + 'static,
    ) -> Self {
        self.classify = Some(Arc::new(classify));
        self
    }

    /// For all sends of the Begin together; a wait is on top. Else the client's.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// The caller's own cancellation. Before the work, the call ends at once; while it runs, its
    /// [`cancellation`](crate::Attempt::cancellation) fires, and the call waits for its end.
    pub fn cancelled_by(mut self, token: CancellationToken) -> Self {
        self.cancel = Some(token);
        self
    }
}

impl<C> fmt::Debug for OnceOptions<C> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("OnceOptions").field("wait", &self.wait).finish_non_exhaustive()
    }
}
