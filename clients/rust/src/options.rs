//! Where the server is, and how it is called.

use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use http::Uri;

use crate::error::{Error, refused};
use crate::failure::Meaning;

/// Where the server is, and how it is called. What is not said is taken from the variables that the `semel` command reads
/// (`SEMEL_SERVER`, …), else from the defaults.
///
/// ```
/// # use semel_client::ClientOptions;
/// use std::time::Duration;
///
/// let options = ClientOptions::new()
///     .address("https://semel.internal:7400")
///     .tls_ca("/etc/semel/ca.pem")
///     .token_file("/run/secrets/semel-token")
///     .timeout(Duration::from_secs(5));
/// ```
#[derive(Clone)]
#[must_use]
pub struct ClientOptions {
    address: Option<String>,
    tenant: Option<String>,
    pub(crate) tls: TlsFiles,
    pub(crate) token: Option<String>,
    pub(crate) token_file: Option<PathBuf>,
    insecure_token: bool,
    pub(crate) timeout: Duration,
    pub(crate) try_timeout: Duration,
    pub(crate) report_timeout: Duration,
    pub(crate) connections: usize,
    pub(crate) on_unexpected: Meaning,
    pub(crate) fails_fast: bool,
    pub(crate) largest_answer: usize,
}

/// PEM files: who signs the server's certificate, and the client's own certificate and key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct TlsFiles {
    pub(crate) ca: Option<PathBuf>,
    pub(crate) certificate: Option<PathBuf>,
    pub(crate) key: Option<PathBuf>,
}

impl Default for ClientOptions {
    fn default() -> Self {
        Self::new()
    }
}

impl ClientOptions {
    /// The defaults.
    pub fn new() -> Self {
        Self {
            address: None,
            tenant: None,
            tls: TlsFiles::default(),
            token: None,
            token_file: None,
            insecure_token: false,
            timeout: Duration::from_secs(10),
            try_timeout: Duration::from_secs(3),
            report_timeout: Duration::from_secs(10),
            connections: 2,
            on_unexpected: Meaning::Unknown,
            fails_fast: false,
            largest_answer: 64 << 20,
        }
    }

    /// An `https://` or `http://` address, or `host:port`, which is `http://`. Else `SEMEL_SERVER`, else
    /// `http://127.0.0.1:7400`.
    pub fn address(mut self, address: impl Into<String>) -> Self {
        self.address = Some(address.into());
        self
    }

    /// Whose keys these are; empty: the tenant of the credential. Else `SEMEL_TENANT`, else `default`.
    pub fn tenant(mut self, tenant: impl Into<String>) -> Self {
        self.tenant = Some(tenant.into());
        self
    }

    /// A PEM file of those who sign the server's certificate. Else `SEMEL_TLS_CA`, else the system's. It is read again when
    /// it changes, as are all files here.
    pub fn tls_ca(mut self, file: impl Into<PathBuf>) -> Self {
        self.tls.ca = Some(file.into());
        self
    }

    /// PEM files of a certificate to show, and of its private key. Else `SEMEL_TLS_CERT` and `SEMEL_TLS_KEY`.
    pub fn tls_identity(mut self, certificate: impl Into<PathBuf>, key: impl Into<PathBuf>) -> Self {
        self.tls.certificate = Some(certificate.into());
        self.tls.key = Some(key.into());
        self
    }

    /// A bearer token to show.
    pub fn token(mut self, token: impl Into<String>) -> Self {
        self.token = Some(token.into());
        self
    }

    /// A file that holds a bearer token, which is read again when it is more than 1 s since it was. Else
    /// `SEMEL_TOKEN_FILE`.
    pub fn token_file(mut self, file: impl Into<PathBuf>) -> Self {
        self.token_file = Some(file.into());
        self
    }

    /// Lets a token go unencrypted to somewhere else than this machine.
    pub fn insecure_token(mut self) -> Self {
        self.insecure_token = true;
        self
    }

    /// For one call, all its sends together: 10 s. A wait is on top.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// For one send: 3 s. A wait is on top.
    pub fn try_timeout(mut self, timeout: Duration) -> Self {
        self.try_timeout = timeout;
        self
    }

    /// For Complete and Abort of [`once`](crate::Client::once), all sends together: 10 s.
    pub fn report_timeout(mut self, timeout: Duration) -> Self {
        self.report_timeout = timeout;
        self
    }

    /// How many HTTP/2 connections are used in turn: 2.
    pub fn connections(mut self, connections: usize) -> Self {
        self.connections = connections;
        self
    }

    /// What an error of a work means that says nothing of itself: [`Meaning::Unknown`].
    pub fn on_unexpected(mut self, meaning: Meaning) -> Self {
        self.on_unexpected = meaning;
        self
    }

    /// For plain methods at which somebody waits: an error that the server answered ends the call, even where it may pass
    /// (INTERNAL, a quota). What got no answer is sent again as ever; so is, after errors that may pass, an owner's word: its
    /// Complete, its Abort, its Renew.
    pub fn fail_fast(mut self) -> Self {
        self.fails_fast = true;
        self
    }

    /// The largest answer that is taken, in bytes: 64 MiB. A server may be set to send larger ones
    /// (`limits.max_response_bytes`).
    pub fn largest_answer(mut self, bytes: usize) -> Self {
        self.largest_answer = bytes;
        self
    }

    /// Takes from the environment what is not said, and refuses what does not go together.
    pub(crate) fn filled(mut self) -> Result<Filled, Error> {
        let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        let file = |name: &str| variable(name).map(PathBuf::from);
        let address = self.address.take().filter(|address| !address.is_empty());
        let address = address.or_else(|| variable("SEMEL_SERVER"));
        let address = address.unwrap_or_else(|| "http://127.0.0.1:7400".to_owned());
        let tenant = self.named_tenant();
        self.tls.ca = self.tls.ca.or_else(|| file("SEMEL_TLS_CA"));
        self.tls.certificate = self.tls.certificate.or_else(|| file("SEMEL_TLS_CERT"));
        self.tls.key = self.tls.key.or_else(|| file("SEMEL_TLS_KEY"));
        self.token = self.token.filter(|token| !token.is_empty());
        if self.token.is_none() {
            self.token_file = self.token_file.or_else(|| file("SEMEL_TOKEN_FILE"));
        }
        if self.connections == 0
            || [self.timeout, self.try_timeout, self.report_timeout].contains(&Duration::ZERO)
        {
            return Err(refused("OPTIONS", "a timeout or the number of connections is zero"));
        }
        let address = self.checked(&address)?;
        Ok(Filled { address, tenant, options: self })
    }

    /// The tenant, and the rest, for calls that go to no address.
    pub(crate) fn without_server(mut self) -> (String, Self) {
        (self.named_tenant(), self)
    }

    fn named_tenant(&mut self) -> String {
        let named = self.tenant.take().or_else(|| std::env::var("SEMEL_TENANT").ok());
        named.unwrap_or_else(|| "default".to_owned())
    }

    fn checked(&self, address: &str) -> Result<Uri, Error> {
        let wrong = |text: &str| refused("ADDRESS", text);
        let whole = if address.contains("://") { address.to_owned() } else { format!("http://{address}") };
        let uri: Uri = whole
            .parse()
            .map_err(|_| wrong("the address is neither https://host:port nor http://host:port"))?;
        let path = uri.path_and_query().map_or("", |path| path.as_str());
        let host = uri.host().unwrap_or_default();
        let named = uri.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"));
        // Neither a user, nor a port that is none.
        let bare = uri.authority().is_some_and(|authority| authority.as_str() == named);
        match (uri.scheme_str(), bare, path) {
            (Some("https"), true, "" | "/") => return Ok(uri),
            (Some("http"), true, "" | "/") => {}
            _ => return Err(wrong("the address is neither https://host:port nor http://host:port")),
        }
        if self.tls != TlsFiles::default() {
            return Err(wrong("certificates are of use for https:// alone"));
        }
        let host = host.trim_matches(['[', ']']);
        let loopback = host == "localhost" || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback());
        let has_token = self.token.is_some() || self.token_file.is_some();
        if has_token && !loopback && !self.insecure_token {
            return Err(wrong(
                "a token over http:// can be read on the way; use https://, or insecure_token() if that is known to be safe",
            ));
        }
        Ok(uri)
    }
}

/// Options without gaps.
pub(crate) struct Filled {
    pub(crate) address: Uri,
    pub(crate) tenant: String,
    pub(crate) options: ClientOptions,
}

impl fmt::Debug for ClientOptions {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("ClientOptions").field("address", &self.address).finish_non_exhaustive()
    }
}
