//! A server as its callers reach it: where it is, how the way there is encrypted, and the credential that they show.

use std::future::poll_fn;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::future::BoxFuture;
use http::HeaderValue;
use http::header::AUTHORIZATION;
use sha2::{Digest, Sha256};
use tokio::time::Instant;
use tonic::Request;
use tonic::body::Body;
use tonic::codegen::Service;
use tonic::metadata::AsciiMetadataValue;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};

/// How often the files are looked at, at most: a long run outlives its token, and its certificate.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// The files that hold what a caller believes, and what it shows.
#[derive(Clone, Debug, Default)]
pub struct Access {
    /// The authorities that sign the server's certificate, in PEM form; none: those of the system.
    pub ca: Option<PathBuf>,
    /// The caller's own certificate, in PEM form.
    pub certificate: Option<PathBuf>,
    /// Its private key.
    pub key: Option<PathBuf>,
    /// A bearer token.
    pub token: Option<PathBuf>,
}

/// A server, reached when it is called.
#[derive(Clone, Debug)]
pub struct Remote {
    address: String,
    access: Access,
    /// How an endpoint is to be used, before it is.
    shape: fn(Endpoint) -> Endpoint,
    state: Arc<Mutex<State>>,
}

/// What the files held at the last look.
#[derive(Debug)]
struct State {
    looked: Instant,
    tls: [u8; 32],
    endpoint: Endpoint,
    channel: Option<Channel>,
    token: Option<AsciiMetadataValue>,
}

impl Remote {
    /// A server at `server`, which is a URL, or a host and a port. Errors name what is wrong, for people.
    pub fn new(server: &str, access: Access, shape: fn(Endpoint) -> Endpoint) -> Result<Self, String> {
        let address = if server.contains("://") { server.to_owned() } else { format!("http://{server}") };
        let endpoint = || {
            Endpoint::from_shared(address.clone())
                .map_err(|error| format!("{address} is no address: {error}"))
        };
        match address.split_once("://") {
            Some(("https", _)) => {}
            Some(("http", _)) => {
                let tls = [&access.ca, &access.certificate, &access.key].into_iter().flatten().next();
                if let Some(file) = tls {
                    let file = file.display();
                    return Err(format!(
                        "{address} is not encrypted, and {file} is of use for https:// alone"
                    ));
                }
            }
            _ => return Err(format!("{address} is neither an https:// nor an http:// address")),
        }
        endpoint()?;
        let (tls, endpoint) = encrypted(&address, &access, shape)?;
        let token = access.token.as_deref().map(read_token).transpose()?;
        let state = State { looked: Instant::now(), tls, endpoint, channel: None, token };
        Ok(Self { address, access, shape, state: Arc::new(Mutex::new(state)) })
    }

    /// A server that asks for nothing.
    pub fn open(endpoint: Endpoint) -> Self {
        let address = endpoint.uri().to_string();
        let state = State { looked: Instant::now(), tls: [0; 32], endpoint, channel: None, token: None };
        Self {
            address,
            access: Access::default(),
            shape: |endpoint| endpoint,
            state: Arc::new(Mutex::new(state)),
        }
    }

    /// Its URL.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// How to connect to it.
    pub fn endpoint(&self) -> Endpoint {
        self.look().endpoint.clone()
    }

    /// A connection that is made when it is used, and shared by all who ask for one.
    pub fn channel(&self) -> Channel {
        let mut state = self.look();
        let state = &mut *state;
        state.channel.get_or_insert_with(|| state.endpoint.connect_lazy()).clone()
    }

    /// `message` with the caller's token, where it has one.
    pub fn request<M>(&self, message: M) -> Request<M> {
        let mut request = Request::new(message);
        if let Some(token) = &self.look().token {
            request.metadata_mut().insert("authorization", token.clone());
        }
        request
    }

    /// What is known, and not from long ago. Files that cannot be used now are as they were: they may be half written.
    fn look(&self) -> MutexGuard<'_, State> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let Access { ca, certificate, key, token } = &self.access;
        let has_files = [ca, certificate, key, token].into_iter().any(Option::is_some);
        if has_files && state.looked.elapsed() >= LOOK_EVERY {
            state.looked = Instant::now();
            if let Some(Ok(token)) = token.as_deref().map(read_token) {
                state.token = Some(token);
            }
            if let Ok((tls, endpoint)) = encrypted(&self.address, &self.access, self.shape)
                && tls != state.tls
            {
                *state = State { tls, endpoint, channel: None, token: state.token.take(), ..*state };
            }
        }
        state
    }
}

/// As what a client's calls go through: with the caller's token, over the connection that all share.
impl Service<http::Request<Body>> for Remote {
    type Response = http::Response<Body>;
    type Error = tonic::transport::Error;
    type Future = BoxFuture<'static, Result<Self::Response, Self::Error>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, mut request: http::Request<Body>) -> Self::Future {
        let mut channel = self.channel();
        if let Some(token) = &self.look().token
            && let Ok(mut value) = HeaderValue::from_bytes(token.as_bytes())
        {
            value.set_sensitive(true);
            request.headers_mut().insert(AUTHORIZATION, value);
        }
        Box::pin(async move {
            poll_fn(|context| channel.poll_ready(context)).await?;
            channel.call(request).await
        })
    }
}

/// The endpoint, and what tells whether one made later would be another.
fn encrypted(
    address: &str,
    access: &Access,
    shape: fn(Endpoint) -> Endpoint,
) -> Result<([u8; 32], Endpoint), String> {
    let wrong = |error: tonic::transport::Error| {
        let cause = std::error::Error::source(&error).map_or_else(|| error.to_string(), ToString::to_string);
        format!("{address} cannot be used: {cause}")
    };
    let endpoint = shape(Endpoint::from_shared(address.to_owned()).map_err(wrong)?);
    if !address.starts_with("https://") {
        return Ok(([0; 32], endpoint));
    }
    let mut seen = Sha256::new();
    let mut read = |path: &Path| {
        let content =
            std::fs::read(path).map_err(|error| format!("{} cannot be read: {error}", path.display()))?;
        seen.update(Sha256::digest(&content));
        Ok::<_, String>(content)
    };
    let mut tls = ClientTlsConfig::new();
    tls = match &access.ca {
        Some(ca) => {
            let content = read(ca)?;
            check_certificates(ca, &content)?;
            tls.ca_certificate(Certificate::from_pem(content))
        }
        None => tls.with_native_roots(),
    };
    match (&access.certificate, &access.key) {
        (Some(certificate), Some(key)) => {
            let content = read(certificate)?;
            check_certificates(certificate, &content)?;
            tls = tls.identity(Identity::from_pem(content, read(key)?));
        }
        (None, None) => {}
        _ => return Err("a client certificate needs both --tls-cert and --tls-key".to_owned()),
    }
    Ok((seen.finalize().into(), endpoint.tls_config(tls).map_err(wrong)?))
}

/// tonic takes a file without any certificate for one that names no authority.
fn check_certificates(path: &Path, content: &[u8]) -> Result<(), String> {
    use rustls::pki_types::CertificateDer;
    use rustls::pki_types::pem::PemObject;

    match CertificateDer::pem_slice_iter(content).next() {
        Some(Ok(_)) => Ok(()),
        Some(Err(error)) => Err(format!("{} holds no certificate in PEM form: {error}", path.display())),
        None => Err(format!("{} holds no certificate in PEM form", path.display())),
    }
}

/// The token that a file holds, as a header has it. No error repeats what is in the file.
fn read_token(path: &Path) -> Result<AsciiMetadataValue, String> {
    let file = path.display();
    let text = std::fs::read_to_string(path).map_err(|error| format!("{file} cannot be read: {error}"))?;
    let token = text.trim();
    if token.is_empty() || token.contains(char::is_whitespace) {
        return Err(format!("{file} does not hold one token, and nothing else"));
    }
    let mut value: AsciiMetadataValue =
        format!("Bearer {token}").parse().map_err(|_| format!("{file} holds what no header can carry"))?;
    value.set_sensitive(true);
    Ok(value)
}
