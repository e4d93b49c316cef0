//! Credentials on the wire, and the keys of an issuer: nobody is let in but by what was handed out or signed.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use semel::config::parse_credentials;
use semel::domain::{Clock, Timestamp};
use semel::server::{Auth, Jwt, JwtKeys, JwtSettings, TokenHash};
use serde_json::{Value, json};

use super::input::{Input, text};

/// Seconds since 1970.
const NOW: u64 = 1_800_000_000;
const OWN_TOKEN: &str = "semel_handed-out";
/// The key pair of RFC 8037, appendix A: known to everybody.
const PUBLIC: &str = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo";
const PRIVATE: &str = "nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A";

#[derive(Debug)]
struct Fixed;

impl Clock for Fixed {
    fn now(&self) -> Timestamp {
        Timestamp::from_micros(NOW * 1_000_000)
    }
}

/// A first byte that says what the rest is: a header, changes of a good token, claims that are signed, or a JWKS.
pub fn run(data: &[u8]) {
    let mut input = Input(data);
    match input.byte() % 4 {
        0 => authorization(input.0),
        1 => {
            let mut token = good_token().as_bytes().to_vec();
            for [low, high, byte] in input.0.as_chunks::<3>().0 {
                let place = usize::from(u16::from_le_bytes([*low, *high])) % token.len();
                token[place] = *byte;
            }
            authorization(&[b"Bearer ", &*token].concat());
        }
        2 => {
            let Ok(claims) = serde_json::from_slice::<Value>(input.0) else { return };
            let Ok(token) = sign(&claims) else { return };
            if let Ok(name) = auth().bearer_name(format!("Bearer {token}").as_bytes()) {
                let subject = claims["sub"].as_str().expect("a name without a subject");
                assert_eq!(name, format!("jwt:{subject}"));
                assert!(
                    claims["exp"].as_f64().is_some_and(|expires| expires + 30.0 > 1.8e9),
                    "expired: {claims}"
                );
            }
        }
        _ => {
            let _ = JwtKeys::parse(input.0);
        }
    }
}

fn authorization(header: &[u8]) {
    let Ok(name) = auth().bearer_name(header) else { return };
    let token = text(header).trim();
    let token = token.rsplit(' ').next().unwrap_or_default();
    match &*name {
        "token:handed out" => assert_eq!(token, OWN_TOKEN, "another token"),
        "jwt:billing" => {
            let signed = |token: &str| token.rsplit_once('.').map(|(signed, _)| signed.to_owned());
            assert_eq!(signed(token), signed(good_token()), "not what was signed");
        }
        other => panic!("nobody is called {other}"),
    }
}

fn auth() -> &'static Auth {
    static AUTH: OnceLock<Auth> = OnceLock::new();
    AUTH.get_or_init(|| {
        let jwk = json!({ "kty": "OKP", "crv": "Ed25519", "x": PUBLIC, "use": "sig", "alg": "EdDSA", "kid": "one" });
        let (keys, passed_over) = JwtKeys::parse(json!({ "keys": [jwk] }).to_string().as_bytes()).expect("a good key");
        assert_eq!(passed_over, Vec::<String>::new());
        let settings = JwtSettings {
            algorithms: vec![Algorithm::EdDSA],
            issuer: "https://issuer.example".into(),
            audience: "semel".into(),
            subject_claim: "sub".into(),
            tenants_claim: "tenants".into(),
            roles_claim: "/access/roles".into(),
            leeway: Duration::from_secs(30),
        };
        let sha256 = TokenHash::of(OWN_TOKEN);
        let file = format!("[[token]]\nname = \"handed out\"\nsha256 = \"{sha256}\"\ntenants = [\"acme\"]\nroles = [\"client\"]\n");
        let credentials = parse_credentials("credentials.toml", &file).expect("a good file").credentials();
        Auth::new(Arc::new(Fixed)).with_credentials(credentials).with_jwt(Jwt::new(settings, keys))
    })
}

fn claims() -> Value {
    json!({
        "iss": "https://issuer.example", "aud": "semel", "sub": "billing", "exp": NOW + 60, "nbf": NOW - 60,
        "tenants": ["acme", "a*"], "access": { "roles": ["client"] },
    })
}

fn good_token() -> &'static str {
    static TOKEN: OnceLock<String> = OnceLock::new();
    TOKEN.get_or_init(|| sign(&claims()).expect("claims can be signed"))
}

fn sign(claims: &Value) -> Result<String, String> {
    // PKCS #8 (RFC 8410): what stands before the 32 bytes of every such key.
    let mut der = vec![48, 46, 2, 1, 0, 48, 5, 6, 3, 43, 101, 112, 4, 34, 4, 32];
    der.extend(URL_SAFE_NO_PAD.decode(PRIVATE).map_err(|error| error.to_string())?);
    let header = Header { kid: Some("one".to_owned()), ..Header::new(Algorithm::EdDSA) };
    jsonwebtoken::encode(&header, claims, &EncodingKey::from_ed_der(&der)).map_err(|error| error.to_string())
}

/// Headers, claims and key sets, good ones and others.
pub fn seeds() -> Vec<Vec<u8>> {
    assert!(
        auth().bearer_name(format!("Bearer {}", good_token()).as_bytes()).is_ok(),
        "the good token is none"
    );
    let jwk = |more: Value| {
        let mut jwk = json!({ "kty": "OKP", "crv": "Ed25519", "x": PUBLIC, "use": "sig", "alg": "EdDSA", "kid": "one" });
        if let (Some(jwk), Value::Object(more)) = (jwk.as_object_mut(), more) {
            jwk.extend(more);
        }
        jwk
    };
    let none = format!(
        "{}.{}.",
        URL_SAFE_NO_PAD.encode(r#"{"alg":"none"}"#),
        URL_SAFE_NO_PAD.encode(claims().to_string())
    );
    let mut expired = claims();
    expired["exp"] = json!(1);
    let mut lists = claims();
    lists["aud"] = json!(["other", "semel"]);
    lists["nbf"] = json!("soon");
    [
        (0, format!("Bearer {OWN_TOKEN}")),
        (0, format!("bearer  {} ", good_token())),
        (0, format!("Bearer {none}")),
        (0, "Basic dXNlcjpwYXNz".to_owned()),
        (1, "\u{1}\u{0}A".to_owned()),
        (2, claims().to_string()),
        (2, expired.to_string()),
        (2, lists.to_string()),
        (3, json!({ "keys": [jwk(json!({})), jwk(json!({ "kid": "two", "use": "enc" }))] }).to_string()),
        (3, json!({ "keys": [{ "kty": "oct", "k": "c2VjcmV0", "alg": "HS256" }] }).to_string()),
        (
            3,
            json!({ "keys": [{ "kty": "EC", "crv": "P-256", "x": PUBLIC, "y": PUBLIC, "kid": "e" }] })
                .to_string(),
        ),
        (3, json!({ "keys": [{ "kty": "RSA", "n": "AQAB", "e": "AQAB" }] }).to_string()),
    ]
    .map(|(kind, text): (u8, String)| [&[kind][..], text.as_bytes()].concat())
    .to_vec()
}
