//! Authorities for tests: of certificates, and of JSON Web Tokens.
#![allow(dead_code, reason = "each integration test compiles this module, and uses what it needs of it")]

use std::net::{IpAddr, Ipv4Addr};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, IsCa, Issuer, KeyPair, SanType,
    SerialNumber, date_time_ymd,
};
use serde_json::{Value, json};

/// A certificate and its key, in PEM form.
#[derive(Clone, Debug)]
pub(crate) struct Pair {
    pub(crate) certificate: String,
    pub(crate) key: String,
}

/// Signs certificates.
#[derive(Debug)]
pub(crate) struct Authority {
    pub(crate) pem: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    pub(crate) fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::<String>::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name = named("authority");
        let certificate = params.self_signed(&key).unwrap();
        Self { pem: certificate.pem(), issuer: Issuer::new(params, key) }
    }

    /// For a server on this machine.
    pub(crate) fn server(&self) -> Pair {
        let names = vec![
            SanType::IpAddress(IpAddr::V4(Ipv4Addr::LOCALHOST)),
            SanType::DnsName("localhost".try_into().unwrap()),
        ];
        self.sign(names, (1990, 4000))
    }

    /// For a server at this address.
    pub(crate) fn server_at(&self, address: Ipv4Addr) -> Pair {
        self.sign(vec![SanType::IpAddress(IpAddr::V4(address))], (1990, 4000))
    }

    /// For a client with these URIs.
    pub(crate) fn client(&self, uris: &[&str]) -> Pair {
        self.client_of(uris, (1990, 4000))
    }

    /// The same, from one year to the beginning of another.
    pub(crate) fn client_of(&self, uris: &[&str], years: (i32, i32)) -> Pair {
        self.sign(uris.iter().map(|uri| SanType::URI((*uri).try_into().unwrap())).collect(), years)
    }

    /// For a client with this URI, this name and this serial number.
    pub(crate) fn client_named(&self, uri: &str, name: &str, serial: &[u8]) -> Pair {
        let names = vec![SanType::URI(uri.try_into().unwrap())];
        self.sign_params(names, (1990, 4000), |params| {
            params.distinguished_name = named(name);
            params.serial_number = Some(SerialNumber::from_slice(serial));
        })
    }

    /// For a server on this machine, from one year to the beginning of another.
    pub(crate) fn server_of(&self, years: (i32, i32)) -> Pair {
        self.sign(vec![SanType::IpAddress(IpAddr::V4(Ipv4Addr::LOCALHOST))], years)
    }

    fn sign(&self, names: Vec<SanType>, years: (i32, i32)) -> Pair {
        self.sign_params(names, years, |_| {})
    }

    fn sign_params(
        &self,
        names: Vec<SanType>,
        (from, to): (i32, i32),
        change: impl FnOnce(&mut CertificateParams),
    ) -> Pair {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::<String>::new()).unwrap();
        params.distinguished_name = named("bearer");
        params.subject_alt_names = names;
        params.not_before = date_time_ymd(from, 1, 1);
        params.not_after = date_time_ymd(to, 1, 1);
        change(&mut params);
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        Pair { certificate: certificate.pem(), key: key.serialize_pem() }
    }
}

fn named(name: &str) -> DistinguishedName {
    let mut names = DistinguishedName::new();
    names.push(DnType::CommonName, name);
    names
}

/// Signs JSON Web Tokens, by ES256.
pub(crate) struct TokenIssuer {
    id: String,
    key: KeyPair,
}

impl TokenIssuer {
    pub(crate) fn new(id: &str) -> Self {
        Self { id: id.to_owned(), key: KeyPair::generate().unwrap() }
    }

    /// Its public key, as a JWKS has it.
    pub(crate) fn jwk(&self) -> Value {
        let point = self.key.public_key_raw();
        let (x, y) = (URL_SAFE_NO_PAD.encode(&point[1..33]), URL_SAFE_NO_PAD.encode(&point[33..]));
        json!({ "kty": "EC", "crv": "P-256", "use": "sig", "alg": "ES256", "kid": self.id, "x": x, "y": y })
    }

    /// A token with these claims.
    pub(crate) fn sign(&self, claims: &Value) -> String {
        self.sign_under(&Header { kid: Some(self.id.clone()), ..Header::new(Algorithm::ES256) }, claims)
    }

    /// A token with this header and these claims.
    pub(crate) fn sign_under(&self, header: &Header, claims: &Value) -> String {
        jsonwebtoken::encode(header, claims, &EncodingKey::from_ec_der(&self.key.serialize_der())).unwrap()
    }
}

pub(crate) fn jwks(keys: &[Value]) -> String {
    json!({ "keys": keys }).to_string()
}
