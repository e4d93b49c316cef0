//! The connections to the server, and the credential that goes with each call.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use futures_util::future::BoxFuture;
use http::{HeaderValue, Request, Response, Uri, header};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tonic::body::Body;
use tonic::transport::{Certificate, ClientTlsConfig, Endpoint, Identity};
use tower::util::BoxCloneSyncService;
use tower::{Service, ServiceExt};

use crate::error::{BoxError, Error, refused};
use crate::options::{ClientOptions, TlsFiles};

const KEEP_ALIVE_AFTER: Duration = Duration::from_secs(20);
const KEEP_ALIVE_WAIT: Duration = Duration::from_secs(5);
const CONNECT_WITHIN: Duration = Duration::from_secs(3);
/// How old what was read of the files may be.
const READ_EVERY: Duration = Duration::from_secs(1);

type Transport = BoxCloneSyncService<Request<Body>, Response<Body>, BoxError>;

/// A client's connections as a [`tower::Service`], for generated stubs and layers of your own: each call goes over the next
/// connection, with the client's credential. Nothing is sent again here.
///
/// ```no_run
/// # async fn example(client: semel_client::Client) -> Result<(), tonic::Status> {
/// use semel_client::proto::{LookupRequest, idempotency_service_client::IdempotencyServiceClient};
///
/// let mut stub = IdempotencyServiceClient::new(client.connections());
/// let answer = stub.lookup(LookupRequest::default()).await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Connections {
    shared: Arc<Shared>,
}

struct Shared {
    server: Option<Server>,
    token_file: Option<PathBuf>,
    state: Mutex<State>,
}

/// How the server is connected to.
struct Server {
    address: Uri,
    tls: TlsFiles,
    connections: usize,
}

/// What the files held at the last look, and the connections made by it.
struct State {
    looked: Instant,
    token: Option<HeaderValue>,
    pem: Pem,
    endpoint: Option<Endpoint>,
    transports: Vec<Transport>,
    turn: usize,
}

impl Connections {
    pub(crate) fn new(address: Uri, options: &ClientOptions) -> Result<Self, Error> {
        let server = Server { address, tls: options.tls.clone(), connections: options.connections };
        let pem = Pem::read(&server.tls)?;
        let endpoint = server.endpoint(&pem)?;
        Self::with(options, Some(server), pem, Some(endpoint), Vec::new())
    }

    /// Calls go through `service` instead.
    pub(crate) fn through<S>(service: S, options: &ClientOptions) -> Result<Self, Error>
    where
        S: Service<Request<Body>, Response = Response<Body>> + Clone + Send + Sync + 'static,
        S::Error: Into<BoxError> + 'static,
        S::Future: Send + 'static,
    {
        let transport = BoxCloneSyncService::new(service.map_err(Into::into));
        Self::with(options, None, Pem::default(), None, vec![transport])
    }

    fn with(
        options: &ClientOptions,
        server: Option<Server>,
        pem: Pem,
        endpoint: Option<Endpoint>,
        transports: Vec<Transport>,
    ) -> Result<Self, Error> {
        let token = match (&options.token, &options.token_file) {
            (Some(token), _) => Some(bearer(token).ok_or_else(|| refused("TOKEN", "this is not one token"))?),
            (None, Some(file)) => Some(read_token(file)?),
            (None, None) => None,
        };
        let token_file = options.token_file.clone().filter(|_| options.token.is_none());
        let state = State { looked: Instant::now(), token, pem, endpoint, transports, turn: 0 };
        Ok(Self { shared: Arc::new(Shared { server, token_file, state: Mutex::new(state) }) })
    }

    /// Has the files read again at the next call.
    pub(crate) fn forget_token(&self) {
        if self.shared.token_file.is_some() {
            let mut state = self.shared.lock();
            if let Some(past) = Instant::now().checked_sub(READ_EVERY) {
                state.looked = past;
            }
        }
    }

    /// Closes the connections, as soon as no call is on them.
    pub(crate) fn close(&self) {
        if self.shared.server.is_some() {
            self.shared.lock().transports.clear();
        }
    }

    /// The next connection, and the credential.
    fn next(&self) -> Option<(Transport, Option<HeaderValue>)> {
        let shared = &*self.shared;
        let mut state = shared.lock();
        let state = &mut *state;
        shared.look(state);
        if state.transports.is_empty()
            && let (Some(server), Some(endpoint)) = (&shared.server, &state.endpoint)
        {
            let connect = || BoxCloneSyncService::new(endpoint.connect_lazy().map_err(Into::into));
            state.transports = (0..server.connections).map(|_| connect()).collect();
        }
        state.turn = state.turn.wrapping_add(1);
        let at = state.turn.checked_rem(state.transports.len())?;
        Some((state.transports[at].clone(), state.token.clone()))
    }
}

impl Service<Request<Body>> for Connections {
    type Response = Response<Body>;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<Response<Body>, BoxError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        let Some((transport, token)) = self.next() else {
            return Box::pin(async { Err("the client has no connection".into()) });
        };
        if let Some(token) = token {
            request.headers_mut().insert(header::AUTHORIZATION, token);
        }
        Box::pin(transport.oneshot(request))
    }
}

impl fmt::Debug for Connections {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Connections")
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads the files, if that is long ago. Those that cannot be used now are as they were: they may be half written.
    fn look(&self, state: &mut State) {
        let has_tls_files = self.server.as_ref().is_some_and(|server| server.tls != TlsFiles::default());
        if state.looked.elapsed() < READ_EVERY || !(has_tls_files || self.token_file.is_some()) {
            return;
        }
        state.looked = Instant::now();
        if let Some(Ok(token)) = self.token_file.as_deref().map(read_token) {
            state.token = Some(token);
        }
        if let Some(server) = self.server.as_ref().filter(|_| has_tls_files)
            && let Ok(pem) = Pem::read(&server.tls)
            && pem != state.pem
            && let Ok(endpoint) = server.endpoint(&pem)
        {
            state.pem = pem;
            state.endpoint = Some(endpoint);
            state.transports.clear();
        }
    }
}

impl Server {
    fn endpoint(&self, pem: &Pem) -> Result<Endpoint, Error> {
        let endpoint = Endpoint::from(self.address.clone())
            .connect_timeout(CONNECT_WITHIN)
            .http2_keep_alive_interval(KEEP_ALIVE_AFTER)
            .keep_alive_timeout(KEEP_ALIVE_WAIT)
            .user_agent(concat!("semel-rust/", env!("CARGO_PKG_VERSION")))
            .map_err(|_| refused("ADDRESS", "the address cannot be used"))?;
        if self.address.scheme_str() != Some("https") {
            return Ok(endpoint);
        }
        let mut config = ClientTlsConfig::new();
        config = match &pem.ca {
            Some(ca) => config.ca_certificate(Certificate::from_pem(ca)),
            None => config.with_native_roots(),
        };
        if let (Some(certificate), Some(key)) = (&pem.certificate, &pem.key) {
            config = config.identity(Identity::from_pem(certificate, key));
        }
        endpoint.tls_config(config).map_err(|error| {
            refused(
                "TLS",
                "the certificates or the key cannot be used: they are not PEM, or do not go together",
            )
            .with_source(error)
        })
    }
}

/// What the TLS files hold.
#[derive(Default, PartialEq, Eq)]
struct Pem {
    ca: Option<Vec<u8>>,
    certificate: Option<Vec<u8>>,
    key: Option<Vec<u8>>,
}

impl Pem {
    fn read(files: &TlsFiles) -> Result<Self, Error> {
        if files.certificate.is_some() != files.key.is_some() {
            return Err(refused("TLS", "a client's certificate needs both its file and its key's"));
        }
        let read = |file: &Option<PathBuf>, is_sound: fn(&[u8]) -> bool, what: &str| {
            let Some(file) = file else { return Ok(None) };
            let shown = file.display();
            let content = std::fs::read(file)
                .map_err(|error| refused("TLS", format!("{shown} cannot be read")).with_source(error))?;
            if !is_sound(&content) {
                return Err(refused("TLS", format!("{shown} does not hold a {what} in PEM form")));
            }
            Ok(Some(content))
        };
        Ok(Self {
            ca: read(&files.ca, holds_certificates, "certificate")?,
            certificate: read(&files.certificate, holds_certificates, "certificate")?,
            key: read(&files.key, |content| PrivateKeyDer::from_pem_slice(content).is_ok(), "private key")?,
        })
    }
}

/// Whether this is one certificate or more. tonic takes what holds none for somebody who believes nobody.
fn holds_certificates(content: &[u8]) -> bool {
    let mut all = CertificateDer::pem_slice_iter(content).peekable();
    all.peek().is_some() && all.all(|each| each.is_ok())
}

/// Reads a token; no error repeats what is in the file.
fn read_token(file: &Path) -> Result<HeaderValue, Error> {
    let shown = file.display();
    let text = std::fs::read_to_string(file)
        .map_err(|_| refused("TOKEN_FILE", format!("the token's file cannot be read: {shown}")))?;
    bearer(text.trim()).ok_or_else(|| {
        refused("TOKEN_FILE", format!("the file does not hold one token, and nothing else: {shown}"))
    })
}

/// The header that shows a token; `None` where it is none.
fn bearer(token: &str) -> Option<HeaderValue> {
    if token.is_empty() || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        return None;
    }
    let mut value = HeaderValue::try_from(format!("Bearer {token}")).ok()?;
    value.set_sensitive(true);
    Some(value)
}
