//! What a JSON Web Token has to be, and for how long one is believed.

use std::collections::HashMap;
use std::time::Duration;

use jsonwebtoken::{Algorithm, EncodingKey, Header};
use semel::proto::idempotency_service_client::IdempotencyServiceClient;
use semel::server::JwtKeys;
use serde_json::{Value, json};

use crate::support::authority::{TokenIssuer, jwks};
use crate::support::log::Log;
use crate::support::server::*;
use crate::world::{World, at, claims};

/// What is wrong with each token is in the log, and not in the answer, which is the same for all.
#[tokio::test]
async fn a_json_web_token_is_believed_only_as_a_whole() {
    let log = Log::default();
    let _guard = log.capture();
    let world = World::new().await;
    let other = TokenIssuer::new("one");
    let good = claims(&json!("alpha"), "client");
    let but = |name: &str, value: Value| {
        let mut claims = good.clone();
        claims[name] = value;
        claims
    };
    let without = |name: &str| {
        let mut claims = good.clone();
        claims.as_object_mut().unwrap().remove(name);
        claims
    };
    let sign = |claims: Value| world.issuer.sign(&claims);
    let header = |kid: Option<&str>| Header { kid: kid.map(str::to_owned), ..Header::new(Algorithm::ES256) };
    let critical = || {
        let mut header = header(Some("one"));
        header.crit = Some(vec!["exp".into()]);
        header
    };
    let signed = sign(good.clone());
    let (head, rest) = signed.split_once('.').unwrap();
    let (body, signature) = rest.split_once('.').unwrap();
    let encode = |value: &Value| {
        use base64::Engine as _;
        base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(value.to_string())
    };
    let none = encode(&json!({ "alg": "none", "typ": "JWT", "kid": "one" }));
    let forged = encode(&but("semel_tenants", json!(["*"])));
    // The public key as a shared secret: the oldest trick.
    let public = world.issuer.jwk().to_string();
    let secret = EncodingKey::from_secret(public.as_bytes());
    let shared = Header { kid: Some("one".into()), ..Header::new(Algorithm::HS256) };
    let shared = jsonwebtoken::encode(&shared, &good, &secret).unwrap();

    for accepted in [
        signed.clone(),
        sign(but("aud", json!(["other", "semel"]))),
        sign(but("exp", json!(at(-20)))),
        sign(but("nbf", json!(at(20)))),
        sign(without("nbf")),
        world.issuer.sign_under(&header(None), &good),
    ] {
        assert_eq!(world.bearer(&accepted).await.call("Begin", "alpha").await, "OK", "{accepted}");
    }
    let mut expired_without_nbf = but("exp", json!(at(-31)));
    expired_without_nbf.as_object_mut().unwrap().remove("nbf");
    let mut answers = HashMap::new();
    // Not all in one second, in which only so much is said.
    for (place, (cause, wrong)) in [
        ("expired (exp)", sign(but("exp", json!(at(-31))))),
        ("expired (exp)", sign(expired_without_nbf)),
        ("not valid yet (nbf)", sign(but("nbf", json!(at(31))))),
        ("audience (aud)", sign(but("aud", json!("another")))),
        ("audience (aud)", sign(but("aud", json!([])))),
        ("issuer (iss)", sign(but("iss", json!("https://evil.example")))),
        ("exp, iss and aud is missing", sign(without("exp"))),
        ("exp, iss and aud is missing", sign(without("iss"))),
        ("exp, iss and aud is missing", sign(without("aud"))),
        ("exp, iss and aud is missing", sign(but("exp", json!("tomorrow")))),
        ("times (exp, nbf) are no numbers", sign(but("nbf", json!("tomorrow")))),
        ("auth.jwt_subject_claim is missing", sign(without("sub"))),
        ("auth.jwt_tenants_claim is missing", sign(without("semel_tenants"))),
        ("auth.jwt_tenants_claim is missing", sign(but("semel_tenants", json!([])))),
        ("names a key (kid)", world.issuer.sign_under(&header(Some("two")), &good)),
        ("critical headers", world.issuer.sign_under(&critical(), &good)),
        ("signature is wrong", other.sign(&good)),
        ("signature is wrong", format!("{head}.{forged}.{signature}")),
        ("is no signed JSON Web Token", format!("{none}.{body}.")),
        ("not one of auth.jwt_algorithms", shared),
        ("is no signed JSON Web Token", format!("{head}.{body}")),
        ("is no signed JSON Web Token", "garbage".into()),
        ("is no signed JSON Web Token", "xyzzy.b.c".into()),
    ]
    .into_iter()
    .enumerate()
    {
        world.server.clock.advance(Duration::from_secs(u64::from(place == 10)));
        let caller = world.bearer(&wrong).await;
        let request = caller.request(begin("k", 1));
        let status = IdempotencyServiceClient::new(caller.channel.clone()).begin(request).await.unwrap_err();
        assert_eq!(reason(&status), "CREDENTIAL_INVALID", "{cause}");
        *answers.entry(format!("{:?} {}", status.code(), status.message())).or_insert(0) += 1;
        let text = log.text();
        assert!(text.lines().last().is_some_and(|line| line.contains(cause)), "{cause} in:\n{text}");
        assert!(!text.contains(&wrong), "the token is in the log");
    }
    assert_eq!(answers.len(), 1, "an answer tells one from another: {answers:?}");
    // No role is no error of the token.
    let nothing = world.bearer(&sign(claims(&json!("alpha"), "root"))).await;
    assert_eq!(nothing.call("Begin", "alpha").await, "ROLE_REQUIRED");
}

/// A token that was found good is not good for longer than it says, nor than its key is there.
#[tokio::test]
async fn a_json_web_token_ends_with_its_time_and_with_its_key() {
    let world = World::new().await;
    let good = claims(&json!("alpha"), "client");
    let nameless = world.issuer.sign_under(&Header::new(Algorithm::ES256), &good);
    let signed = world.issuer.sign(&good);
    let caller = world.bearer(&signed).await;
    assert_eq!(caller.call("Begin", "alpha").await, "OK");
    let two = TokenIssuer::new("two");
    world.auth.replace_jwt_keys(JwtKeys::parse(jwks(&[world.issuer.jwk(), two.jwk()]).as_bytes()).unwrap().0);
    assert_eq!(caller.call("Begin", "alpha").await, "OK");
    assert_eq!(world.bearer(&two.sign(&good)).await.call("Begin", "alpha").await, "OK");
    assert_eq!(
        world.bearer(&nameless).await.call("Begin", "alpha").await,
        "CREDENTIAL_INVALID",
        "of several keys it has to name one"
    );
    world.auth.replace_jwt_keys(JwtKeys::parse(jwks(&[two.jwk()]).as_bytes()).unwrap().0);
    assert_eq!(caller.call("Begin", "alpha").await, "CREDENTIAL_INVALID");
    let last = world.bearer(&two.sign(&good)).await;
    assert_eq!(last.call("Begin", "alpha").await, "OK");
    world.server.clock.advance(Duration::from_secs(3631));
    assert_eq!(last.call("Begin", "alpha").await, "CREDENTIAL_INVALID");
}

#[test]
fn a_jwks_file_is_taken_as_far_as_it_can_be_used() {
    let good = TokenIssuer::new("good").jwk();
    let mut encryption = TokenIssuer::new("other").jwk();
    encryption["use"] = json!("enc");
    let shared = json!({ "kty": "oct", "kid": "s", "k": "c2VjcmV0" });
    let strange = json!({ "kty": "XYZ", "kid": "x" });
    let (_, passed_over) =
        JwtKeys::parse(jwks(&[good.clone(), encryption.clone(), shared.clone(), strange]).as_bytes())
            .unwrap();
    assert_eq!(passed_over.len(), 2, "{passed_over:?}");
    assert!(
        passed_over[0].contains("keys[2]") && passed_over[0].contains("shared secret"),
        "{passed_over:?}"
    );
    for (json, part) in [
        ("", "is not JSON"),
        ("[]", "no list \"keys\""),
        ("{\"keys\": []}", "has no key"),
        (&jwks(&[encryption]), "has no key"),
        (&jwks(&[shared]), "shared secret"),
        (&jwks(&[good.clone(), good]), "two keys with the kid \"good\""),
    ] {
        let error = JwtKeys::parse(json.as_bytes()).expect_err(json);
        assert!(error.contains(part), "{json}: {error}");
        assert!(!error.contains("c2VjcmV0"));
    }
}
