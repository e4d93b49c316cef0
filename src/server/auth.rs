//! From a credential to a caller: who makes this call, and may they make it.

mod certificate;
mod credentials;
mod jwt;
#[cfg(feature = "test-support")]
mod test_support;

use std::net::SocketAddr;
use std::sync::{Arc, PoisonError, RwLock};

use http::HeaderMap;
use tracing::warn;

use super::caller::{Caller, Identity, Role};
use super::complaints::{Complaints, Leave};
use super::status::Failure;
use super::tls::seconds;
use crate::domain::Clock;

pub(super) use certificate::PeerCertificate;
pub use certificate::TrustDomain;
pub use credentials::{Credentials, TOKEN_PREFIX, Token, TokenHash};
pub use jwt::{JWT_ALGORITHMS, Jwt, JwtKeys, JwtSettings};

/// Why a credential is not accepted: for the log, never for the caller.
#[derive(Debug)]
struct Rejection {
    kind: &'static str,
    cause: &'static str,
    /// Whom it would stand for, where that is known for sure.
    who: String,
}

impl Rejection {
    fn of(kind: &'static str, cause: &'static str) -> Self {
        Self { kind, cause, who: String::new() }
    }

    fn about(self, who: &str) -> Self {
        Self { who: who.to_owned(), ..self }
    }
}

/// A call that may not be made.
#[derive(Debug)]
pub(super) struct NotAdmitted {
    /// What its caller is told.
    pub(super) failure: Failure,
    /// Why, for those who run the server.
    pub(super) cause: String,
    /// Whose credential it is, as far as that is known.
    pub(super) who: Option<String>,
    /// Whether the credential is good, and not enough.
    pub(super) is_known: bool,
    /// Where it came from.
    pub(super) peer: Option<SocketAddr>,
}

impl NotAdmitted {
    /// A call that came without a credential.
    pub(super) fn without_credential(peer: Option<SocketAddr>) -> Box<Self> {
        let cause = "no credential was shown".to_owned();
        Box::new(Self { failure: Failure::credential_required(), cause, who: None, is_known: false, peer })
    }

    fn by(rejection: Rejection, failure: Failure, is_known: bool, peer: &Peer) -> Box<Self> {
        let Rejection { kind, cause, who } = rejection;
        let who = (!who.is_empty()).then_some(who);
        let cause = format!("{kind}: {cause}");
        Box::new(Self { failure, cause, who, is_known, peer: Some(peer.address) })
    }
}

/// The other end of a connection.
#[derive(Clone, Debug)]
pub(super) struct Peer {
    pub(super) address: SocketAddr,
    pub(super) certificate: Option<Arc<PeerCertificate>>,
}

/// Every kind of credential that is accepted.
#[derive(Debug)]
pub struct Auth {
    clock: Arc<dyn Clock>,
    trust_domain: Option<TrustDomain>,
    credentials: Option<RwLock<Arc<Credentials>>>,
    jwt: Option<Jwt>,
    complaints: Complaints,
}

impl Auth {
    /// Accepts nothing yet.
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self { clock, trust_domain: None, credentials: None, jwt: None, complaints: Complaints::default() }
    }

    /// Accepts certificates whose URI has the form of this trust domain.
    #[must_use]
    pub fn with_trust_domain(self, trust_domain: TrustDomain) -> Self {
        Self { trust_domain: Some(trust_domain), ..self }
    }

    /// Accepts these tokens and certificates.
    #[must_use]
    pub fn with_credentials(self, credentials: Credentials) -> Self {
        Self { credentials: Some(RwLock::new(Arc::new(credentials))), ..self }
    }

    /// Accepts tokens of an issuer.
    #[must_use]
    pub fn with_jwt(self, jwt: Jwt) -> Self {
        Self { jwt: Some(jwt), ..self }
    }

    /// Takes other tokens and certificates, for every call from now on; without effect where there were none from the
    /// start.
    pub fn replace_credentials(&self, credentials: Credentials) {
        if let Some(in_force) = &self.credentials {
            *in_force.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(credentials);
        }
    }

    /// Takes other keys of the issuer; without effect where there were none from the start.
    pub fn replace_jwt_keys(&self, keys: JwtKeys) {
        if let Some(jwt) = &self.jwt {
            jwt.replace(keys);
        }
    }

    pub(super) const fn trust_domain(&self) -> Option<&TrustDomain> {
        self.trust_domain.as_ref()
    }

    /// Who calls the method at `path`, if they may.
    pub(super) fn admit(
        &self,
        path: &str,
        headers: &HeaderMap,
        peer: &Peer,
    ) -> Result<Caller, Box<NotAdmitted>> {
        let roles = match needs(path) {
            Needs::Nothing => return Ok(Caller::ANYBODY),
            Needs::Credential => None,
            Needs::OneOf(roles) => Some(roles),
        };
        let identity = match self.identity(headers, peer) {
            Ok(Some(identity)) => identity,
            Ok(None) => return Err(NotAdmitted::without_credential(Some(peer.address))),
            Err(rejection) => {
                self.tell(peer, &rejection);
                return Err(NotAdmitted::by(rejection, Failure::credential_invalid(), false, peer));
            }
        };
        match roles {
            Some(roles) if !identity.has_one_of(roles) => {
                let rejection = Rejection::of("role", "lacks the role for the method").about(identity.name());
                self.tell(peer, &rejection);
                Err(NotAdmitted::by(rejection, Failure::role_required(roles), true, peer))
            }
            _ => Ok(Caller::known(identity)),
        }
    }

    /// The first credential that is there decides: a token that came with the call, then the connection's certificate.
    /// A token that is wrong is not made good by a certificate: it may be somebody else's who forwards calls.
    fn identity(&self, headers: &HeaderMap, peer: &Peer) -> Result<Option<Arc<Identity>>, Rejection> {
        let takes_tokens = self.credentials.is_some() || self.jwt.is_some();
        let mut sent = headers.get_all(http::header::AUTHORIZATION).iter();
        match (sent.next(), sent.next()) {
            (Some(one), None) if takes_tokens => {
                return self.bearer(bearer(one.as_bytes())?).map(Some);
            }
            (Some(_), Some(_)) if takes_tokens => {
                return Err(Rejection::of("bearer", "authorization was sent more than once"));
            }
            _ => {}
        }
        peer.certificate.as_ref().map(|certificate| self.certificate(certificate)).transpose()
    }

    fn bearer(&self, token: &str) -> Result<Arc<Identity>, Rejection> {
        if token.starts_with(TOKEN_PREFIX) {
            let credentials = self.credentials.as_ref().ok_or(Rejection::of("token", "no token is known"))?;
            let credentials = credentials.read().unwrap_or_else(PoisonError::into_inner).clone();
            return credentials.token(token, self.clock.now()).cloned();
        }
        let jwt = self.jwt.as_ref().ok_or(Rejection::of("bearer", "it is no token of semel's"))?;
        jwt.identity(token, seconds(self.clock.as_ref()))
    }

    fn certificate(&self, certificate: &PeerCertificate) -> Result<Arc<Identity>, Rejection> {
        let uri = certificate.valid_uri(seconds(self.clock.as_ref()))?;
        let credentials = self.credentials.as_ref();
        let credentials =
            credentials.map(|credentials| credentials.read().unwrap_or_else(PoisonError::into_inner).clone());
        let named = credentials.as_ref().and_then(|credentials| credentials.certificate(uri));
        let identity = named.or_else(|| certificate.by_form());
        identity.cloned().ok_or_else(|| Rejection::of("certificate", "its URI stands for nobody").about(uri))
    }

    /// Says in the log why somebody was refused, but not without end: refusals cost a stranger nothing.
    fn tell(&self, peer: &Peer, rejection: &Rejection) {
        let Leave::Given { unsaid } = self.complaints.ask(seconds(self.clock.as_ref())) else { return };
        if unsaid > 0 {
            warn!(calls = unsaid, "more calls were refused for their credentials");
        }
        let Rejection { kind, cause, who } = rejection;
        warn!(peer = %peer.address, kind, cause, who, "a call was refused for its credential");
    }
}

/// The token in an `authorization` header.
fn bearer(header: &[u8]) -> Result<&str, Rejection> {
    let text = str::from_utf8(header).map_err(|_| Rejection::of("bearer", "authorization is not a text"))?;
    let (scheme, token) = text.split_once(' ').unwrap_or((text, ""));
    if !scheme.eq_ignore_ascii_case("bearer") {
        return Err(Rejection::of("bearer", "authorization does not begin with Bearer"));
    }
    Ok(token.trim())
}

/// What the caller of a method needs.
#[derive(Debug)]
enum Needs {
    Nothing,
    Credential,
    OneOf(&'static [Role]),
}

/// A method that is not named here needs the whole of its service.
fn needs(path: &str) -> Needs {
    use Role::{Client, Operator, Reader};

    let (service, method) = path.strip_prefix('/').and_then(|path| path.split_once('/')).unwrap_or_default();
    match (service, method) {
        // A load balancer and a kubelet have no credential.
        ("grpc.health.v1.Health", _) => Needs::Nothing,
        ("semel.v1.IdempotencyService", "Lookup") => Needs::OneOf(&[Client, Reader, Operator]),
        ("semel.v1.IdempotencyService", _) => Needs::OneOf(&[Client]),
        ("semel.v1.OperatorService", "ListRecords" | "GetPolicy") => Needs::OneOf(&[Reader, Operator]),
        ("semel.v1.OperatorService", _) => Needs::OneOf(&[Operator]),
        _ => Needs::Credential,
    }
}
