//! A server that takes every kind of credential, and credentials of every kind.

use std::sync::Arc;
use std::time::Duration;

use jsonwebtoken::Algorithm;
use semel::config::parse_credentials;
use semel::server::{
    Auth, ClientCertificates, Jwt, JwtKeys, JwtSettings, Security, Tls, TlsPem, TokenHash, TrustDomain,
};
use serde_json::{Value, json};
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};

use crate::caller::Caller;
use crate::support::authority::{Authority, Pair, TokenIssuer, jwks};
use crate::support::server::*;

pub(crate) const TENANTS: [&str; 3] = ["alpha", "beta", "gamma"];
pub(crate) const ROLES: [&str; 3] = ["client", "reader", "operator"];

/// A moment of the tests' clock, in seconds, so many after its beginning.
pub(crate) fn at(seconds: i64) -> i64 {
    i64::try_from(START / 1_000_000).unwrap() + seconds
}

/// A server that takes every kind of credential.
pub(crate) struct World {
    pub(crate) server: RunningServer,
    pub(crate) auth: Arc<Auth>,
    pub(crate) authority: Authority,
    pub(crate) issuer: TokenIssuer,
}

pub(crate) fn token(name: &str) -> String {
    format!("semel_{name}")
}

pub(crate) fn token_table(name: &str, tenants: &str, role: &str, more: &str) -> String {
    let sha256 = TokenHash::of(&token(name));
    format!(
        "[[token]]\nname = \"{name}\"\nsha256 = \"{sha256}\"\ntenants = {tenants}\nroles = [\"{role}\"]\n{more}\n"
    )
}

fn certificate_table(uri: &str, tenants: &str, role: &str) -> String {
    format!("[[certificate]]\nuri = \"{uri}\"\ntenants = {tenants}\nroles = [\"{role}\"]\n")
}

pub(crate) fn mapped_uri(tenant: &str, role: &str) -> String {
    format!("spiffe://mesh.example/ns/{tenant}/sa/{role}")
}

/// A token and a mapped certificate for each tenant and role, and some of more tenants.
fn credentials() -> String {
    let mut text = String::new();
    for tenant in TENANTS {
        for role in ROLES {
            let tenants = format!("[\"{tenant}\"]");
            text += &token_table(&format!("{tenant}-{role}"), &tenants, role, "");
            let uri = mapped_uri(tenant, role);
            text += &certificate_table(&uri, &tenants, role);
        }
    }
    text += &token_table("two", "[\"alpha\", \"beta\"]", "client", "");
    text += &token_table("all", "[\"*\"]", "client", "");
    text += &token_table("some", "[\"al*\"]", "client", "");
    // The tests' clock begins in January 2027.
    text += &token_table("expired", "[\"alpha\"]", "client", "expires = 2027-01-01");
    text += &token_table("expiring", "[\"alpha\"]", "client", "expires = 2027-01-16T00:00:00Z");
    text += &token_table("revoked", "[\"alpha\"]", "client", "revoked = 2026-12-01T00:00:00Z");
    text += &certificate_table("spiffe://mesh.example/any/*", "[\"alpha\"]", "client");
    text
}

pub(crate) fn parsed(text: &str) -> semel::server::Credentials {
    parse_credentials("credentials.toml", text).unwrap().credentials()
}

fn jwt_settings() -> JwtSettings {
    JwtSettings {
        algorithms: vec![Algorithm::ES256],
        issuer: "https://issuer.example".into(),
        audience: "semel".into(),
        subject_claim: "sub".into(),
        tenants_claim: "semel_tenants".into(),
        roles_claim: "/access/roles".into(),
        leeway: Duration::from_secs(30),
    }
}

pub(crate) fn claims(tenants: &Value, role: &str) -> Value {
    json!({
        "iss": "https://issuer.example", "aud": "semel", "sub": "somebody", "exp": at(3600), "nbf": at(-60),
        "semel_tenants": tenants, "access": { "roles": ["unrelated", role] },
    })
}

impl World {
    pub(crate) async fn new() -> Self {
        let (authority, issuer, clock) = (Authority::new(), TokenIssuer::new("one"), TestClock::new());
        let pair = authority.server();
        let pem = TlsPem {
            certificate: pair.certificate.as_bytes(),
            key: pair.key.as_bytes(),
            client_ca: Some(authority.pem.as_bytes()),
        };
        let tls = Tls::new(pem, ClientCertificates::Optional, clock.clone()).unwrap();
        let (keys, passed_over) = JwtKeys::parse(jwks(&[issuer.jwk()]).as_bytes()).unwrap();
        assert!(passed_over.is_empty());
        let auth = Auth::new(clock.clone())
            .with_trust_domain(TrustDomain::new("example.org").unwrap())
            .with_credentials(parsed(&credentials()))
            .with_jwt(Jwt::new(jwt_settings(), keys));
        let auth = Arc::new(auth);
        let security = Security { tls: Some(Arc::new(tls)), auth: Some(auth.clone()) };
        let server = Start { security, clock, ..Start::default() }.serve().await;
        Self { server, auth, authority, issuer }
    }

    /// A connection on which nobody shows a certificate, or the bearer of this one.
    pub(crate) async fn channel(&self, shown: Option<&Pair>) -> Channel {
        let mut tls = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(&self.authority.pem));
        if let Some(pair) = shown {
            tls = tls.identity(Identity::from_pem(&pair.certificate, &pair.key));
        }
        let endpoint = Endpoint::from_shared(format!("https://{}", self.server.grpc)).unwrap();
        endpoint.tls_config(tls).unwrap().connect().await.unwrap()
    }

    pub(crate) async fn bearer(&self, token: &str) -> Caller {
        Caller { channel: self.channel(None).await, authorization: vec![format!("Bearer {token}")] }
    }

    pub(crate) async fn certificate(&self, uris: &[&str]) -> Caller {
        let pair = self.authority.client(uris);
        Caller { channel: self.channel(Some(&pair)).await, authorization: Vec::new() }
    }
}
