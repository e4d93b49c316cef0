//! The client, and its plain methods.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use http::{Request, Response};
use opentelemetry::trace::FutureExt;
use prost::Message;
use tokio::runtime::Handle;
use tokio_util::task::TaskTracker;
use tonic::body::Body;
use tower::Service;

use crate::connections::Connections;
use crate::error::{BoxError, Error, refused};
use crate::options::{ClientOptions, Filled};
use crate::proto;
use crate::sending::{Again, Method, Sending};
use crate::telemetry::Telemetry;
use crate::time::duration;

/// A client of a semel server. It is made once, cloned freely, shared by everybody, and closed at the end. It connects
/// when it is used, within a Tokio runtime.
#[derive(Clone)]
pub struct Client {
    inner: Arc<Inner>,
}

struct Inner {
    tenant: String,
    options: ClientOptions,
    connections: Connections,
    telemetry: Telemetry,
    /// No call begins any more.
    closed: AtomicBool,
    /// And none is sent again.
    gone: AtomicBool,
    /// Reports, and what is given back, whoever waits for them.
    background: TaskTracker,
}

impl Client {
    /// Makes a client. Set up OpenTelemetry, if you use it, before.
    ///
    /// # Errors
    ///
    /// [`Invalid`](crate::ErrorKind::Invalid) where the address is none, a file cannot be read, or options do not go
    /// together.
    pub fn new(options: ClientOptions) -> Result<Self, Error> {
        let Filled { address, tenant, options } = options.filled()?;
        let connections = Connections::new(address, &options)?;
        Ok(Self::with(tenant, options, connections))
    }

    /// Makes a client whose calls go through `service` instead of connections of its own: a
    /// [`Channel`](tonic::transport::Channel) of yours, a stack of layers, or a server in the process. The address and the
    /// TLS files of the options are not used.
    ///
    /// # Errors
    ///
    /// [`Invalid`](crate::ErrorKind::Invalid) where the token is none, or its file cannot be read.
    pub fn through<S>(service: S, options: ClientOptions) -> Result<Self, Error>
    where
        S: Service<Request<Body>, Response = Response<Body>> + Clone + Send + Sync + 'static,
        S::Error: Into<BoxError> + 'static,
        S::Future: Send + 'static,
    {
        let (tenant, options) = options.without_server();
        let connections = Connections::through(service, &options)?;
        Ok(Self::with(tenant, options, connections))
    }

    fn with(tenant: String, options: ClientOptions, connections: Connections) -> Self {
        Self {
            inner: Arc::new(Inner {
                tenant,
                options,
                connections,
                telemetry: Telemetry::new(),
                closed: AtomicBool::new(false),
                gone: AtomicBool::new(false),
                background: TaskTracker::new(),
            }),
        }
    }

    /// Ends the client: no call begins any more. Waits for reports that are under way, and for what is given back in the
    /// background, then closes the connections. Once is enough, for all clones.
    pub async fn close(&self) {
        self.inner.closed.store(true, Ordering::SeqCst);
        self.inner.background.close();
        self.inner.background.wait().await;
        self.inner.gone.store(true, Ordering::SeqCst);
        self.inner.connections.close();
    }

    /// The connections as a [`tower::Service`]: for generated stubs, and layers of your own.
    pub fn connections(&self) -> Connections {
        self.inner.connections.clone()
    }

    /// Whose keys these are, where a request names no tenant.
    pub fn tenant(&self) -> &str {
        &self.inner.tenant
    }

    pub(crate) fn connections_ref(&self) -> &Connections {
        &self.inner.connections
    }

    pub(crate) fn telemetry(&self) -> &Telemetry {
        &self.inner.telemetry
    }

    pub(crate) fn options(&self) -> &ClientOptions {
        &self.inner.options
    }

    pub(crate) fn is_gone(&self) -> bool {
        self.inner.gone.load(Ordering::SeqCst)
    }

    pub(crate) fn usable(&self) -> Result<(), Error> {
        if self.inner.closed.load(Ordering::SeqCst) {
            return Err(refused("CLIENT_CLOSED", "the client is closed"));
        }
        Ok(())
    }

    /// Goes on with `future` whatever becomes of the caller, and tells its end to who waits for it.
    pub(crate) fn in_background<F>(&self, future: F, runtime: &Handle) -> tokio::task::JoinHandle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        self.inner.background.spawn_on(future.with_current_context(), runtime)
    }

    /// How a plain method is sent.
    fn plain(&self, method: Method, wait: Duration) -> Sending {
        let ClientOptions { timeout, try_timeout, fails_fast, .. } = self.inner.options;
        let again = match method {
            Method::Complete | Method::Abort | Method::Renew => Again::MayPass,
            _ if fails_fast => Again::NoAnswer,
            _ => Again::MayPass,
        };
        Sending { method, within: timeout, once: try_timeout, wait, again }
    }

    async fn call<Q, A>(&self, method: Method, wait: Duration, request: Q) -> Result<A, Error>
    where
        Q: Message + Clone + 'static,
        A: Message + Default + 'static,
    {
        self.usable()?;
        self.send(self.plain(method, wait), &request, None).await.1
    }

    /// Names the client's tenant where the key names none.
    fn fill(&self, key: &mut Option<proto::Key>) {
        if let Some(key) = key {
            self.fill_tenant(&mut key.tenant);
        }
    }

    fn fill_tenant(&self, tenant: &mut String) {
        if tenant.is_empty() {
            tenant.clone_from(&self.inner.tenant);
        }
    }
}

/// One for each method of the services: the generated request in, the generated response out, with the sending again,
/// deadlines and errors of this library, and the client's tenant where the request names none.
impl Client {
    /// Reserves a key, or tells what became of it. Make an `attempt_id` for each attempt.
    ///
    /// # Errors
    ///
    /// Those of the contract, by [`ErrorKind`](crate::ErrorKind).
    pub async fn begin(&self, mut request: proto::BeginRequest) -> Result<proto::BeginResponse, Error> {
        self.fill(&mut request.key);
        let wait = duration(request.wait);
        self.call(Method::Begin, wait, request).await
    }

    /// Records the result of the attempt that holds the fence.
    ///
    /// # Errors
    ///
    /// Those of the contract, by [`ErrorKind`](crate::ErrorKind).
    pub async fn complete(
        &self,
        mut request: proto::CompleteRequest,
    ) -> Result<proto::CompleteResponse, Error> {
        self.fill(&mut request.key);
        self.call(Method::Complete, Duration::ZERO, request).await
    }

    /// Gives the key up without a result.
    ///
    /// # Errors
    ///
    /// Those of the contract, by [`ErrorKind`](crate::ErrorKind).
    pub async fn abort(&self, mut request: proto::AbortRequest) -> Result<proto::AbortResponse, Error> {
        self.fill(&mut request.key);
        self.call(Method::Abort, Duration::ZERO, request).await
    }

    /// Tells what is known of a key, and changes nothing.
    ///
    /// # Errors
    ///
    /// Those of the contract, by [`ErrorKind`](crate::ErrorKind).
    pub async fn lookup(&self, mut request: proto::LookupRequest) -> Result<proto::LookupResponse, Error> {
        self.fill(&mut request.key);
        self.call(Method::Lookup, Duration::ZERO, request).await
    }

    /// Extends the owner's lease.
    ///
    /// # Errors
    ///
    /// Those of the contract, by [`ErrorKind`](crate::ErrorKind).
    pub async fn renew(&self, mut request: proto::RenewRequest) -> Result<proto::RenewResponse, Error> {
        self.fill(&mut request.key);
        self.call(Method::Renew, Duration::ZERO, request).await
    }

    /// Saves a recovery point under the owner's fence.
    ///
    /// # Errors
    ///
    /// Those of the contract, by [`ErrorKind`](crate::ErrorKind).
    pub async fn save_checkpoint(
        &self,
        mut request: proto::SaveCheckpointRequest,
    ) -> Result<proto::SaveCheckpointResponse, Error> {
        self.fill(&mut request.key);
        self.call(Method::SaveCheckpoint, Duration::ZERO, request).await
    }

    /// Begin for up to 1,000 keys; each item stands alone.
    ///
    /// # Errors
    ///
    /// Those of the contract, by [`ErrorKind`](crate::ErrorKind).
    pub async fn batch_begin(
        &self,
        mut request: proto::BatchBeginRequest,
    ) -> Result<proto::BatchBeginResponse, Error> {
        request.requests.iter_mut().for_each(|item| self.fill(&mut item.key));
        self.call(Method::BatchBegin, Duration::ZERO, request).await
    }

    /// Complete for up to 1,000 keys; each item stands alone.
    ///
    /// # Errors
    ///
    /// Those of the contract, by [`ErrorKind`](crate::ErrorKind).
    pub async fn batch_complete(
        &self,
        mut request: proto::BatchCompleteRequest,
    ) -> Result<proto::BatchCompleteResponse, Error> {
        request.requests.iter_mut().for_each(|item| self.fill(&mut item.key));
        self.call(Method::BatchComplete, Duration::ZERO, request).await
    }

    /// Pages through a tenant's live records.
    ///
    /// # Errors
    ///
    /// Those of the contract, by [`ErrorKind`](crate::ErrorKind).
    pub async fn list_records(
        &self,
        mut request: proto::ListRecordsRequest,
    ) -> Result<proto::ListRecordsResponse, Error> {
        self.fill_tenant(&mut request.tenant);
        self.call(Method::ListRecords, Duration::ZERO, request).await
    }

    /// Settles a record whose outcome nobody knows.
    ///
    /// # Errors
    ///
    /// Those of the contract, by [`ErrorKind`](crate::ErrorKind).
    pub async fn resolve_record(
        &self,
        mut request: proto::ResolveRecordRequest,
    ) -> Result<proto::ResolveRecordResponse, Error> {
        self.fill(&mut request.key);
        self.call(Method::ResolveRecord, Duration::ZERO, request).await
    }

    /// Erases everything of a record but its fence.
    ///
    /// # Errors
    ///
    /// Those of the contract, by [`ErrorKind`](crate::ErrorKind).
    pub async fn forget_record(
        &self,
        mut request: proto::ForgetRecordRequest,
    ) -> Result<proto::ForgetRecordResponse, Error> {
        self.fill(&mut request.key);
        self.call(Method::ForgetRecord, Duration::ZERO, request).await
    }

    /// Tells the policy in force for a tenant and an endpoint.
    ///
    /// # Errors
    ///
    /// Those of the contract, by [`ErrorKind`](crate::ErrorKind).
    pub async fn get_policy(
        &self,
        mut request: proto::GetPolicyRequest,
    ) -> Result<proto::GetPolicyResponse, Error> {
        self.fill_tenant(&mut request.tenant);
        self.call(Method::GetPolicy, Duration::ZERO, request).await
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Client").field("tenant", &self.inner.tenant).finish_non_exhaustive()
    }
}
