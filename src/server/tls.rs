//! TLS for callers: the certificate in force, and whose certificates are believed.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls::time_provider::TimeProvider;
use rustls::{RootCertStore, ServerConfig};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tracing::warn;
use x509_parser::parse_x509_certificate;

use super::complaints::{Complaints, Leave};
use crate::domain::Clock;

/// Whether a connection without a client's certificate is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientCertificates {
    /// It is: the caller may have another credential, or ask for health.
    Optional,
    /// It is refused in the handshake.
    Required,
}

/// What TLS is made from, each in PEM form.
#[derive(Clone, Copy, Debug)]
pub struct TlsPem<'a> {
    /// The server's certificate, with those between it and its authority.
    pub certificate: &'a [u8],
    /// Its private key.
    pub key: &'a [u8],
    /// The certificates of the authorities whose clients are believed; none: clients are asked for no certificate.
    pub client_ca: Option<&'a [u8]>,
}

/// One of the parts of [`TlsPem`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TlsPart {
    /// The server's certificate.
    Certificate,
    /// Its private key.
    Key,
    /// The authorities of clients.
    ClientCa,
}

/// How connections are encrypted, from now on and until it is replaced.
#[derive(Debug)]
pub struct Tls {
    clients: ClientCertificates,
    clock: Arc<dyn Clock>,
    complaints: Complaints,
    in_force: RwLock<Arc<ServerConfig>>,
}

impl Tls {
    /// Begins with `pem`; errors name the part and what is wrong with it.
    pub fn new(
        pem: TlsPem<'_>,
        clients: ClientCertificates,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, Vec<(TlsPart, String)>> {
        let in_force = RwLock::new(Arc::new(config(pem, clients, &clock)?));
        Ok(Self { clients, clock, complaints: Complaints::default(), in_force })
    }

    /// Takes `pem` for every connection from now on. Where it is wrong, or not valid at this moment, what was in force
    /// stays so. Connections that are open stay as they are.
    pub fn replace(&self, pem: TlsPem<'_>) -> Result<(), Vec<(TlsPart, String)>> {
        let config = config(pem, self.clients, &self.clock)?;
        if let Some(problem) = self.trouble_with_time(pem) {
            return Err(vec![(TlsPart::Certificate, problem)]);
        }
        *self.in_force.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(config);
        Ok(())
    }

    /// Why clients refuse the certificate at this moment, where its time is the reason.
    pub fn trouble_with_time(&self, pem: TlsPem<'_>) -> Option<String> {
        let first = CertificateDer::pem_slice_iter(pem.certificate).next()?.ok()?;
        let (_, certificate) = parse_x509_certificate(&first).ok()?;
        let (valid, now) = (certificate.validity(), seconds(self.clock.as_ref()));
        if now > valid.not_after.timestamp() {
            Some(format!("holds a certificate that expired at {}", valid.not_after))
        } else if now < valid.not_before.timestamp() {
            Some(format!("holds a certificate that is not valid before {}", valid.not_before))
        } else {
            None
        }
    }

    /// The connection, once both sides have agreed on its keys.
    pub(super) async fn accept(
        &self,
        stream: TcpStream,
        peer: SocketAddr,
    ) -> io::Result<TlsStream<TcpStream>> {
        let config = self.in_force.read().unwrap_or_else(PoisonError::into_inner).clone();
        let accepted = TlsAcceptor::from(config).accept(stream).await;
        // Who connects and says nothing is a probe.
        if let Err(error) = &accepted
            && error.kind() != io::ErrorKind::UnexpectedEof
            && let Leave::Given { unsaid } = self.complaints.ask(seconds(self.clock.as_ref()))
        {
            warn!(%peer, %error, unsaid, "a TLS handshake failed");
        }
        accepted
    }
}

fn config(
    pem: TlsPem<'_>,
    clients: ClientCertificates,
    clock: &Arc<dyn Clock>,
) -> Result<ServerConfig, Vec<(TlsPart, String)>> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let chain = certificates(pem.certificate).map_err(|problem| (TlsPart::Certificate, problem));
    let key = PrivateKeyDer::from_pem_slice(pem.key)
        .map_err(|error| (TlsPart::Key, format!("holds no private key in PEM form: {error}")));
    let verifier = pem
        .client_ca
        .map(|ca| verifier(ca, clients, provider.clone()).map_err(|problem| (TlsPart::ClientCa, problem)))
        .transpose();
    let (chain, key, verifier) = match (chain, key, verifier) {
        (Ok(chain), Ok(key), Ok(verifier)) => (chain, key, verifier),
        (chain, key, verifier) => {
            return Err(chain.err().into_iter().chain(key.err()).chain(verifier.err()).collect());
        }
    };
    let whole = |error: rustls::Error| vec![(TlsPart::Certificate, format!("cannot be used: {error}"))];
    let builder = ServerConfig::builder_with_details(provider, Arc::new(ByClock(clock.clone())))
        .with_safe_default_protocol_versions()
        .map_err(whole)?;
    let builder = match verifier {
        Some(verifier) => builder.with_client_cert_verifier(verifier),
        None => builder.with_no_client_auth(),
    };
    let mut config = builder.with_single_cert(chain, key).map_err(|error| match error {
        rustls::Error::InconsistentKeys(_) => {
            vec![(TlsPart::Key, "does not belong to the certificate".to_owned())]
        }
        other => whole(other),
    })?;
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(config)
}

fn verifier(
    ca: &[u8],
    clients: ClientCertificates,
    provider: Arc<rustls::crypto::CryptoProvider>,
) -> Result<Arc<dyn ClientCertVerifier>, String> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(ca)? {
        roots
            .add(certificate)
            .map_err(|error| format!("holds what is no certificate of an authority: {error}"))?;
    }
    let builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
    let builder = match clients {
        ClientCertificates::Optional => builder.allow_unauthenticated(),
        ClientCertificates::Required => builder,
    };
    builder.build().map_err(|error| format!("cannot be used: {error}"))
}

fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    let found: Vec<_> = CertificateDer::pem_slice_iter(pem)
        .collect::<Result<_, _>>()
        .map_err(|error| format!("cannot be read as certificates in PEM form: {error}"))?;
    if found.is_empty() {
        return Err("holds no certificate in PEM form; it must hold at least one".to_owned());
    }
    match found.iter().find_map(|certificate| parse_x509_certificate(certificate).err()) {
        Some(error) => Err(format!("holds what is no X.509 certificate: {error}")),
        None => Ok(found),
    }
}

/// Whole seconds since 1970.
pub(super) fn seconds(clock: &dyn Clock) -> i64 {
    i64::try_from(clock.now().as_micros() / 1_000_000).unwrap_or(i64::MAX)
}

/// The server's clock, as TLS asks for the time.
#[derive(Debug)]
struct ByClock(Arc<dyn Clock>);

impl TimeProvider for ByClock {
    fn current_time(&self) -> Option<UnixTime> {
        Some(UnixTime::since_unix_epoch(Duration::from_micros(self.0.now().as_micros())))
    }
}
