//! Credentials that are none: forged, foreign, old, too long, doubled; and guesses by the thousand.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::SystemTime;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::uri::PathAndQuery;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use semel::server::TokenHash;
use serde_json::{Value, json};
use tonic::metadata::{AsciiMetadataValue, MetadataMap};
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};
use tonic::{Code, Request, Status};

use crate::attacked::{Attack, Door};
use crate::figures::{FIXED, GREETED, HANDSHAKE};
use crate::report::size;
use crate::support::authority::{Authority, Pair, TokenIssuer, jwks};
use crate::support::server::reason;

/// No more are open at a time: the guessers, those of one certificate, and the honest one.
const CONNECTIONS: u64 = 16;

const TENANTS: [&str; 3] = ["alpha", "beta", "shop"];
const METHODS: [&str; 12] = [
    "/semel.v1.IdempotencyService/Begin",
    "/semel.v1.IdempotencyService/Complete",
    "/semel.v1.IdempotencyService/Abort",
    "/semel.v1.IdempotencyService/Lookup",
    "/semel.v1.IdempotencyService/Renew",
    "/semel.v1.IdempotencyService/SaveCheckpoint",
    "/semel.v1.IdempotencyService/BatchBegin",
    "/semel.v1.IdempotencyService/BatchComplete",
    "/semel.v1.OperatorService/ListRecords",
    "/semel.v1.OperatorService/ResolveRecord",
    "/semel.v1.OperatorService/ForgetRecord",
    "/semel.v1.OperatorService/GetPolicy",
];

fn header(kid: Option<&str>) -> Header {
    Header { kid: kid.map(str::to_owned), ..Header::new(Algorithm::ES256) }
}

/// Seconds since 1970, so many from now.
fn at(seconds: i64) -> i64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    i64::try_from(now.as_secs()).unwrap() + seconds
}

fn claims(tenant: &str) -> Value {
    json!({
        "iss": "https://issuer.example", "aud": "semel", "sub": "somebody", "exp": at(3600), "nbf": at(-60),
        "semel_tenants": [tenant], "semel_roles": ["client", "reader", "operator"],
    })
}

fn but(mut claims: Value, name: &str, value: Value) -> Value {
    claims[name] = value;
    claims
}

fn without(mut claims: Value, name: &str) -> Value {
    claims.as_object_mut().unwrap().remove(name);
    claims
}

/// Everything that the server believes, and somebody that it does not.
struct World {
    authority: Authority,
    issuer: TokenIssuer,
    second: TokenIssuer,
    stranger: TokenIssuer,
}

const TOKEN: &str = "semel_a_token_of_these_tests_that_is_no_secret";

impl World {
    fn new() -> Self {
        Self {
            authority: Authority::new(),
            issuer: TokenIssuer::new("one"),
            second: TokenIssuer::new("two"),
            stranger: TokenIssuer::new("one"),
        }
    }

    /// The settings of a server that believes it, whose files are in this directory.
    fn arguments(&self, directory: &Path) -> Vec<String> {
        let server = self.authority.server();
        let token = format!(
            "[[token]]\nname = \"honest\"\nsha256 = \"{}\"\ntenants = [\"shop\"]\nroles = [\"client\"]\n",
            TokenHash::of(TOKEN)
        );
        let mut arguments = Vec::new();
        for (setting, name, text) in [
            ("--tls-certificate-file", "server.pem", server.certificate),
            ("--tls-key-file", "server-key.pem", server.key),
            ("--tls-client-ca-file", "ca.pem", self.authority.pem.clone()),
            ("--auth-credentials-file", "credentials.toml", token),
            ("--auth-jwks-file", "jwks.json", jwks(&[self.issuer.jwk(), self.second.jwk()])),
        ] {
            let path = directory.join(name);
            std::fs::write(&path, text).unwrap();
            arguments.extend([setting.to_owned(), path.to_str().unwrap().to_owned()]);
        }
        for (setting, value) in [
            ("--auth-trust-domain", "example.org"),
            ("--auth-jwt-algorithms", "ES256"),
            ("--auth-jwt-issuer", "https://issuer.example"),
            ("--auth-jwt-audience", "semel"),
        ] {
            arguments.extend([setting.to_owned(), value.to_owned()]);
        }
        arguments
    }

    /// An attack on a server that believes all of this; its files are in `directory`.
    fn attack(&self, name: &'static str, directory: &Path) -> Attack {
        let arguments = self.arguments(directory);
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        Attack::new(name, FIXED + CONNECTIONS * (GREETED + HANDSHAKE))
            .with(&arguments)
            .through(Door { authority: Some(self.authority.pem.clone()), token: Some(TOKEN.to_owned()) })
    }

    /// Rightly signed, and not to be believed.
    fn of_the_wrong_claims(&self, good: &Value) -> Vec<(&'static str, String)> {
        let mut wrong = vec![
            ("expired", self.issuer.sign(&but(good.clone(), "exp", json!(at(-60))))),
            ("expired long ago", self.issuer.sign(&but(good.clone(), "exp", json!(0)))),
            ("not valid yet", self.issuer.sign(&but(good.clone(), "nbf", json!(at(3000))))),
            ("for another audience", self.issuer.sign(&but(good.clone(), "aud", json!("semel2")))),
            (
                "by another issuer",
                self.issuer.sign(&but(good.clone(), "iss", json!("https://issuer.example/"))),
            ),
            ("for no tenant", self.issuer.sign(&but(good.clone(), "semel_tenants", json!([])))),
        ];
        for missing in ["exp", "iss", "aud", "sub", "semel_tenants"] {
            wrong.push(("without a claim", self.issuer.sign(&without(good.clone(), missing))));
        }
        wrong
    }

    /// By a stranger, who says where the key is.
    fn with_keys_of_their_own(&self, good: &Value) -> Vec<(&'static str, String)> {
        let own: jsonwebtoken::jwk::Jwk = serde_json::from_value(self.stranger.jwk()).unwrap();
        vec![
            (
                "a key of its own in its header",
                self.stranger.sign_under(&Header { jwk: Some(own.clone()), ..header(Some("one")) }, good),
            ),
            (
                "a key of its own, and no name",
                self.stranger.sign_under(&Header { jwk: Some(own), ..header(None) }, good),
            ),
            (
                "a key to be fetched",
                self.stranger.sign_under(
                    &Header { jku: Some("http://127.0.0.1:1/jwks.json".into()), ..header(Some("one")) },
                    good,
                ),
            ),
            (
                "a certificate to be fetched",
                self.stranger.sign_under(
                    &Header { x5u: Some("http://127.0.0.1:1/cert.pem".into()), ..header(Some("one")) },
                    good,
                ),
            ),
        ]
    }

    /// Values of `authorization`, none of which is a credential; each is somebody's idea of one.
    fn forged(&self, tenant: &str) -> Vec<(&'static str, Vec<String>)> {
        let good = claims(tenant);
        let signed = self.issuer.sign(&good);
        let parts: Vec<&str> = signed.split('.').collect();
        let [head, body, signature] = parts[..] else { panic!("{signed} has not three parts") };
        let encode = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let shared = |secret: &[u8]| {
            let header = Header { kid: Some("one".into()), ..Header::new(Algorithm::HS256) };
            jsonwebtoken::encode(&header, &good, &EncodingKey::from_secret(secret)).unwrap()
        };
        let key = self.issuer.jwk();
        let mut forged = self.of_the_wrong_claims(&good);
        forged.extend(self.with_keys_of_their_own(&good));
        forged.extend([
            ("unsigned", format!("{}.{body}.", encode(&json!({ "alg": "none", "kid": "one" })))),
            (
                "unsigned, spelt otherwise",
                format!("{}.{body}.", encode(&json!({ "alg": "nOnE", "kid": "one" }))),
            ),
            (
                "unsigned, with a signature",
                format!("{}.{body}.{signature}", encode(&json!({ "alg": "none" }))),
            ),
            ("without its signature", format!("{head}.{body}.")),
            ("without two of its parts", head.to_owned()),
            ("the whole key as a secret", shared(key.to_string().as_bytes())),
            ("a part of the key as a secret", shared(key["x"].as_str().unwrap().as_bytes())),
            ("no secret", shared(b"")),
            ("another's signature", self.stranger.sign(&good)),
            ("the signature of the other key", self.second.sign_under(&header(Some("one")), &good)),
            ("a key that is not there", self.issuer.sign_under(&header(Some("../../dev/null")), &good)),
            ("one key of two, without saying which", self.issuer.sign_under(&header(None), &good)),
            (
                "another algorithm",
                format!(
                    "{}.{body}.{signature}",
                    encode(&json!({ "alg": "ES384", "typ": "JWT", "kid": "one" }))
                ),
            ),
            (
                "an algorithm that is none",
                format!(
                    "{}.{body}.{signature}",
                    encode(&json!({ "alg": "ES257", "typ": "JWT", "kid": "one" }))
                ),
            ),
            (
                "other claims under the same signature",
                format!("{head}.{}.{signature}", encode(&but(good.clone(), "semel_tenants", json!(["*"])))),
            ),
            ("a token that is not there", "semel_nobody".into()),
            ("longer than any token", format!("semel_{}", "x".repeat(10_000))),
            ("a JSON Web Token that is too long", format!("{head}.{}.{signature}", "A".repeat(10_000))),
            ("a hash", TokenHash::of(TOKEN).to_string()),
            ("in other letters", TOKEN.to_uppercase()),
            ("shorter by one", TOKEN[..TOKEN.len() - 1].to_owned()),
        ]);
        // One bit of the signature, each of its bytes in turn.
        let bytes = URL_SAFE_NO_PAD.decode(signature).unwrap();
        for place in 0..bytes.len() {
            let mut flipped = bytes.clone();
            flipped[place] ^= 1 << (place % 8);
            forged.push((
                "a bit of its signature",
                format!("{head}.{body}.{}", URL_SAFE_NO_PAD.encode(flipped)),
            ));
        }
        let mut all: Vec<_> =
            forged.into_iter().map(|(name, token)| (name, vec![format!("Bearer {token}")])).collect();
        let bearer = format!("Bearer {signed}");
        all.extend([
            ("twice the same", vec![bearer.clone(), bearer.clone()]),
            ("a wrong one and a good one", vec!["Bearer semel_nobody".to_owned(), bearer.clone()]),
            ("a good one and a wrong one", vec![bearer.clone(), "Bearer semel_nobody".to_owned()]),
            ("two in one", vec![format!("{bearer}, {bearer}")]),
            ("another scheme", vec![format!("Basic {signed}")]),
            ("no scheme", vec![signed.clone()]),
            ("nothing", vec![String::new()]),
        ]);
        all
    }

    async fn channel(&self, address: &str, shown: Option<&Pair>) -> Result<Channel, tonic::transport::Error> {
        let mut tls = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(&self.authority.pem));
        if let Some(pair) = shown {
            tls = tls.identity(Identity::from_pem(&pair.certificate, &pair.key));
        }
        Endpoint::from_shared(format!("https://{address}"))?.tls_config(tls)?.connect().await
    }
}

/// What a method says to an empty message under these values of `authorization`.
async fn call(channel: &Channel, method: &'static str, authorization: &[String]) -> Result<(), Status> {
    let mut client = tonic::client::Grpc::new(channel.clone());
    client.ready().await.map_err(|error| Status::unavailable(error.to_string()))?;
    let mut request = Request::new(());
    for value in authorization {
        request.metadata_mut().append("authorization", AsciiMetadataValue::try_from(value.as_str()).unwrap());
    }
    let codec = tonic_prost::ProstCodec::<(), ()>::default();
    client.unary(request, PathAndQuery::from_static(method), codec).await.map(drop)
}

/// All that an answer says; what differs from call to call is left out.
fn said(status: &Status) -> String {
    let mut metadata: MetadataMap = status.metadata().clone();
    metadata.remove("date");
    format!("{:?} {} {metadata:?}", status.code(), status.message())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_method_denies_every_forged_credential() {
    let (world, directory) = (World::new(), tempfile::tempdir().unwrap());
    world
        .attack("forged", directory.path())
        .run(async |target, toll| {
            let channel = world.channel(&target.grpc, None).await.unwrap();
            let mut answers = BTreeSet::new();
            for tenant in TENANTS {
                // What is forged is near to what is not.
                let good = [format!("Bearer {}", world.issuer.sign(&claims(tenant)))];
                let accepted = call(&channel, METHODS[0], &good).await.unwrap_err();
                assert_eq!(accepted.code(), Code::InvalidArgument, "{accepted}");
                for (name, authorization) in world.forged(tenant) {
                    for method in METHODS {
                        let denied = call(&channel, method, &authorization).await.expect_err(name);
                        assert_eq!(denied.code(), Code::Unauthenticated, "{name}, {method}: {denied}");
                        assert_eq!(reason(&denied), "CREDENTIAL_INVALID", "{name}, {method}");
                        answers.insert(said(&denied));
                    }
                    toll.add("denied", METHODS.len() as u64);
                }
            }
            assert_eq!(answers.len(), 1, "an answer tells one from another: {answers:?}");
            let answer = answers.first().unwrap().to_lowercase();
            for word in ["signature", "expired", "issuer", "audience", "kid", "hash", "example", TOKEN] {
                assert!(!answer.contains(word), "{word} in {answer}");
            }
            certificates(&world, &target.grpc, toll).await;
        })
        .await;
}

/// Certificates of nobody, and of somebody else.
async fn certificates(world: &World, address: &str, toll: &mut crate::attacked::Toll) {
    let of = |tenant: &str, role: &str| format!("spiffe://example.org/tenant/{tenant}/role/{role}");
    let (others, alpha) = (Authority::new(), of("alpha", "client"));
    // In the handshake, which a client of TLS 1.3 may hear of with its first call.
    for (name, pair) in [
        ("another authority", others.client(&[&alpha])),
        ("expired", world.authority.client_of(&[&alpha], (2000, 2010))),
        ("not valid yet", world.authority.client_of(&[&alpha], (3000, 3010))),
        ("its own authority", Authority::new().client(&[&alpha])),
    ] {
        for method in METHODS {
            if let Ok(channel) = world.channel(address, Some(&pair)).await {
                let denied = call(&channel, method, &[]).await.expect_err(name);
                assert!(
                    matches!(denied.code(), Code::Unavailable | Code::Unknown | Code::Cancelled),
                    "{name}: {denied}"
                );
            }
        }
        toll.add("denied", METHODS.len() as u64);
    }
    // By what they name.
    for (name, uris) in [
        ("no URI", vec![]),
        ("two URIs", vec![alpha.clone(), of("beta", "client")]),
        ("another domain", vec![alpha.replace("example.org", "example.com")]),
        ("another form", vec![alpha.replace("tenant", "tenants")]),
        ("every tenant", vec![of("*", "client")]),
        ("no such role", vec![of("alpha", "root")]),
    ] {
        let uris: Vec<&str> = uris.iter().map(String::as_str).collect();
        let channel = world.channel(address, Some(&world.authority.client(&uris))).await.unwrap();
        for method in METHODS {
            let denied = call(&channel, method, &[]).await.expect_err(name);
            assert_eq!(reason(&denied), "CREDENTIAL_INVALID", "{name}, {method}");
        }
        toll.add("denied", METHODS.len() as u64);
    }
}

/// Guesses without end, each as far from the next as chance has it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn guesses_by_the_thousand() {
    const GUESSERS: u64 = 8;
    let guesses = size("SEMEL_HOSTILE_GUESSES", 2_000) / GUESSERS;
    let (world, directory) = (World::new(), tempfile::tempdir().unwrap());
    world
        .attack("guessed", directory.path())
        .run(async |target, toll| {
            let mut guessing = tokio::task::JoinSet::new();
            for guesser in 0..GUESSERS {
                let channel = world.channel(&target.grpc, None).await.unwrap();
                let stranger = TokenIssuer::new("one");
                guessing.spawn(async move {
                    for number in 0..usize::try_from(guesses).unwrap() {
                        let guess = if (guesser + number as u64).is_multiple_of(2) {
                            format!("Bearer semel_{}", uuid::Uuid::new_v4())
                        } else {
                            let named = but(claims("shop"), "sub", json!(number.to_string()));
                            format!("Bearer {}", stranger.sign(&named))
                        };
                        let method = METHODS[number % METHODS.len()];
                        let denied = call(&channel, method, &[guess]).await.unwrap_err();
                        assert_eq!(reason(&denied), "CREDENTIAL_INVALID");
                    }
                });
            }
            guessing.join_all().await;
            toll.add("connections", GUESSERS);
            toll.add("denied", GUESSERS * guesses);
        })
        .await;
}
