//! JSON Web Tokens (RFC 7519), signed by somebody whose public keys are in a file (JWKS, RFC 7517).

use std::collections::HashSet;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::jwk::{Jwk, PublicKeyUse};
use jsonwebtoken::{Algorithm, AlgorithmFamily, DecodingKey, Validation, decode, decode_header};
use quick_cache::sync::Cache;
use serde_json::Value;

use super::Rejection;
use super::credentials::TokenHash;
use crate::domain::Pattern;
use crate::server::caller::{Identity, Role};

/// How many tokens are remembered as good, so that a signature is not checked for each call.
const REMEMBERED: usize = 10_000;

/// The signatures that are ever accepted. None by a shared secret: whoever can check it can forge it.
pub const JWT_ALGORITHMS: [&str; 9] =
    ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "EdDSA"];

/// What a token has to say to be believed.
#[derive(Clone, Debug)]
pub struct JwtSettings {
    /// The only algorithms accepted, some of [`JWT_ALGORITHMS`].
    pub algorithms: Vec<Algorithm>,
    /// What `iss` has to be.
    pub issuer: String,
    /// What `aud` has to be, or hold.
    pub audience: String,
    /// The claim that names the caller.
    pub subject_claim: String,
    /// The claim that names the tenants. A name that begins with `/` is a JSON pointer (RFC 6901).
    pub tenants_claim: String,
    /// The claim that names the roles; other names than semel's are passed over.
    pub roles_claim: String,
    /// How far the issuer's clock may differ.
    pub leeway: Duration,
}

/// A public key of the issuer.
struct Key {
    id: Option<String>,
    algorithm: Option<Algorithm>,
    family: AlgorithmFamily,
    decoding: DecodingKey,
}

/// The issuer's public keys, and what they have signed lately.
pub struct JwtKeys {
    keys: Vec<Key>,
    good: Cache<TokenHash, Good>,
}

impl std::fmt::Debug for JwtKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.keys.iter().map(|key| key.id.as_deref().unwrap_or("no id"))).finish()
    }
}

/// A token whose signature and names were found good; its times are looked at for each call.
#[derive(Clone, Debug)]
struct Good {
    identity: Arc<Identity>,
    expires: f64,
    not_before: Option<f64>,
}

impl JwtKeys {
    /// Reads a JWKS file. Keys that cannot be used are passed over, and told of; with none left it is refused.
    pub fn parse(json: &[u8]) -> Result<(Self, Vec<String>), String> {
        let whole: Value = serde_json::from_slice(json).map_err(|error| format!("is not JSON: {error}"))?;
        let Some(listed) = whole.get("keys").and_then(Value::as_array) else {
            return Err(r#"is no JWKS: it has no list "keys""#.to_owned());
        };
        let (mut keys, mut passed_over) = (Vec::new(), Vec::new());
        for (place, listed) in listed.iter().enumerate() {
            match Key::of(listed) {
                Ok(Some(key)) => keys.push(key),
                Ok(None) => {}
                Err(problem) => passed_over.push(format!("keys[{place}] {problem}; it is passed over")),
            }
        }
        let mut ids = HashSet::new();
        if let Some(id) = keys.iter().filter_map(|key| key.id.as_ref()).find(|id| !ids.insert(*id)) {
            return Err(format!("has two keys with the kid {id:?}"));
        }
        if keys.is_empty() {
            let why =
                if passed_over.is_empty() { String::new() } else { format!(": {}", passed_over.join(". ")) };
            return Err(format!("has no key that signatures can be checked with{why}"));
        }
        Ok((Self { keys, good: Cache::new(REMEMBERED) }, passed_over))
    }

    /// The key that a header names, or the only one where it names none.
    fn find(&self, id: Option<&str>, algorithm: Algorithm) -> Result<&Key, Rejection> {
        let key = match (id, &self.keys[..]) {
            (Some(id), keys) => keys.iter().find(|key| key.id.as_deref() == Some(id)),
            (None, [key]) => Some(key),
            (None, _) => return Err(rejected("names no key (kid), and there are several")),
        };
        let key = key.ok_or(rejected("names a key (kid) that the JWKS file does not have"))?;
        if key.family != algorithm.family() || key.algorithm.is_some_and(|only| only != algorithm) {
            return Err(rejected("its algorithm (alg) is not that of the key"));
        }
        Ok(key)
    }
}

impl Key {
    /// `None` for a key with another purpose.
    fn of(listed: &Value) -> Result<Option<Self>, String> {
        let jwk: Jwk =
            serde_json::from_value(listed.clone()).map_err(|error| format!("is no key: {error}"))?;
        if jwk.common.public_key_use.as_ref().is_some_and(|purpose| *purpose != PublicKeyUse::Signature) {
            return Ok(None);
        }
        let key = DecodingKey::from_jwk(&jwk).map_err(|error| format!("cannot be used: {error}"))?;
        let family = key.family();
        if family == AlgorithmFamily::Hmac {
            return Err("is a shared secret, which semel takes no signatures by".to_owned());
        }
        let algorithm = match jwk.common.key_algorithm {
            None => None,
            Some(named) => Some(
                named
                    .to_string()
                    .parse()
                    .map_err(|_| format!("is for {named}, which semel does not know"))?,
            ),
        };
        Ok(Some(Self { id: jwk.common.key_id, algorithm, family, decoding: key }))
    }
}

/// Checks tokens.
#[derive(Debug)]
pub struct Jwt {
    settings: JwtSettings,
    keys: RwLock<Arc<JwtKeys>>,
}

impl Jwt {
    /// Begins with `keys`.
    pub fn new(settings: JwtSettings, keys: JwtKeys) -> Self {
        Self { settings, keys: RwLock::new(Arc::new(keys)) }
    }

    /// Takes `keys` for every call from now on; what other keys signed is not believed any more.
    pub fn replace(&self, keys: JwtKeys) {
        *self.keys.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(keys);
    }

    /// Whom `token` stands for at `now`, in seconds.
    pub(super) fn identity(&self, token: &str, now: i64) -> Result<Arc<Identity>, Rejection> {
        let keys = self.keys.read().unwrap_or_else(PoisonError::into_inner).clone();
        let hash = TokenHash::of(token);
        let good = if let Some(good) = keys.good.get(&hash) {
            good
        } else {
            let good = self.check(token, &keys)?;
            keys.good.insert(hash, good.clone());
            good
        };
        #[allow(clippy::cast_precision_loss, reason = "seconds since 1970 are far below 2^53")]
        let (now, leeway) = (now as f64, self.settings.leeway.as_secs_f64());
        let refused = |cause| Err(rejected(cause).about(good.identity.name()));
        if now >= good.expires + leeway {
            return refused("expired (exp)");
        }
        if good.not_before.is_some_and(|not_before| now < not_before - leeway) {
            return refused("not valid yet (nbf)");
        }
        Ok(good.identity)
    }

    /// Everything but the times, which pass.
    fn check(&self, token: &str, keys: &JwtKeys) -> Result<Good, Rejection> {
        let header = decode_header(token).map_err(|_| rejected("is no signed JSON Web Token"))?;
        if !self.settings.algorithms.contains(&header.alg) {
            return Err(rejected("its algorithm (alg) is not one of auth.jwt_algorithms"));
        }
        // RFC 7515: what a token calls critical has to be understood.
        if header.crit.is_some() {
            return Err(rejected("has critical headers (crit)"));
        }
        let key = keys.find(header.kid.as_deref(), header.alg)?;
        let mut validation = Validation::new(header.alg);
        // The times are judged by the server's own clock.
        validation.validate_exp = false;
        validation.set_required_spec_claims(&["exp", "iss", "aud"]);
        validation.set_issuer(&[&self.settings.issuer]);
        validation.set_audience(&[&self.settings.audience]);
        let claims = decode::<Value>(token, &key.decoding, &validation)
            .map_err(|error| rejected(cause(error.kind())))?;
        self.good(&claims.claims)
    }

    fn good(&self, claims: &Value) -> Result<Good, Rejection> {
        let at = |name: &str| if name.starts_with('/') { claims.pointer(name) } else { claims.get(name) };
        let moment = |name: &str| match claims.get(name) {
            None => Ok(None),
            Some(value) => value.as_f64().map(Some).ok_or(rejected("its times (exp, nbf) are no numbers")),
        };
        let subject = at(&self.settings.subject_claim).and_then(Value::as_str).unwrap_or_default();
        if subject.is_empty() {
            return Err(rejected("the claim auth.jwt_subject_claim is missing"));
        }
        let tenants = texts(at(&self.settings.tenants_claim));
        if tenants.is_empty() {
            return Err(rejected("the claim auth.jwt_tenants_claim is missing or empty").about(subject));
        }
        let roles = texts(at(&self.settings.roles_claim)).into_iter().filter_map(Role::named).collect();
        let tenants = tenants.into_iter().map(Pattern::parse).collect();
        Ok(Good {
            identity: Arc::new(Identity::new(format!("jwt:{subject}"), tenants, roles)),
            expires: moment("exp")?.ok_or(rejected("never expires (exp)"))?,
            not_before: moment("nbf")?,
        })
    }
}

/// A text, or the texts of a list.
fn texts(value: Option<&Value>) -> Vec<&str> {
    match value {
        Some(Value::String(text)) if !text.is_empty() => vec![text],
        Some(Value::Array(values)) => {
            values.iter().filter_map(Value::as_str).filter(|text| !text.is_empty()).collect()
        }
        _ => Vec::new(),
    }
}

fn rejected(cause: &'static str) -> Rejection {
    Rejection::of("jwt", cause)
}

const fn cause(kind: &ErrorKind) -> &'static str {
    match kind {
        ErrorKind::InvalidSignature => "its signature is wrong",
        ErrorKind::InvalidIssuer => "its issuer (iss) is not auth.jwt_issuer",
        ErrorKind::InvalidAudience => "its audience (aud) does not name auth.jwt_audience",
        ErrorKind::MissingRequiredClaim(_) => "one of the claims exp, iss and aud is missing",
        ErrorKind::InvalidAlgorithm => "its algorithm (alg) is not that of the key",
        _ => "it is damaged",
    }
}
