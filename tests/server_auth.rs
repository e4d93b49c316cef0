//! Who may call what: every kind of credential, over real sockets, against every method and every tenant.

#[path = "support/mod.rs"]
mod report;
mod support {
    pub(crate) mod authority;
    pub(crate) mod log;
    pub(crate) mod server;
}

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use jsonwebtoken::{Algorithm, EncodingKey, Header};
use semel::config::parse_credentials;
use semel::proto;
use semel::proto::idempotency_service_client::IdempotencyServiceClient;
use semel::proto::operator_service_client::OperatorServiceClient;
use semel::proto::resolve_record_request::Resolution;
use semel::server::{
    Auth, ClientCertificates, Jwt, JwtKeys, JwtSettings, Security, Tls, TlsPem, TokenHash, TrustDomain,
};
use serde_json::{Value, json};
use support::authority::{Authority, Pair, TokenIssuer, jwks};
use support::log::Log;
use support::server::*;
use tokio_stream::StreamExt as _;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};
use tonic::{Code, Request, Status};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;
use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
use tonic_reflection::pb::v1::{ServerReflectionRequest, server_reflection_request::MessageRequest};

const TENANTS: [&str; 3] = ["alpha", "beta", "gamma"];
const ROLES: [&str; 3] = ["client", "reader", "operator"];
const METHODS: [&str; 12] = [
    "Begin",
    "Complete",
    "Abort",
    "Lookup",
    "Renew",
    "SaveCheckpoint",
    "BatchBegin",
    "BatchComplete",
    "ListRecords",
    "ResolveRecord",
    "ForgetRecord",
    "GetPolicy",
];

/// A moment of the tests' clock, in seconds, so many after its beginning.
fn at(seconds: i64) -> i64 {
    i64::try_from(START / 1_000_000).unwrap() + seconds
}

/// A server that takes every kind of credential.
struct World {
    server: RunningServer,
    auth: Arc<Auth>,
    authority: Authority,
    issuer: TokenIssuer,
}

fn token(name: &str) -> String {
    format!("semel_{name}")
}

fn token_table(name: &str, tenants: &str, role: &str, more: &str) -> String {
    let sha256 = TokenHash::of(&token(name));
    format!(
        "[[token]]\nname = \"{name}\"\nsha256 = \"{sha256}\"\ntenants = {tenants}\nroles = [\"{role}\"]\n{more}\n"
    )
}

fn certificate_table(uri: &str, tenants: &str, role: &str) -> String {
    format!("[[certificate]]\nuri = \"{uri}\"\ntenants = {tenants}\nroles = [\"{role}\"]\n")
}

fn mapped_uri(tenant: &str, role: &str) -> String {
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

fn parsed(text: &str) -> semel::server::Credentials {
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

fn claims(tenants: &Value, role: &str) -> Value {
    json!({
        "iss": "https://issuer.example", "aud": "semel", "sub": "somebody", "exp": at(3600), "nbf": at(-60),
        "semel_tenants": tenants, "access": { "roles": ["unrelated", role] },
    })
}

impl World {
    async fn new() -> Self {
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
    async fn channel(&self, shown: Option<&Pair>) -> Channel {
        let mut tls = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(&self.authority.pem));
        if let Some(pair) = shown {
            tls = tls.identity(Identity::from_pem(&pair.certificate, &pair.key));
        }
        let endpoint = Endpoint::from_shared(format!("https://{}", self.server.grpc)).unwrap();
        endpoint.tls_config(tls).unwrap().connect().await.unwrap()
    }

    async fn bearer(&self, token: &str) -> Caller {
        Caller { channel: self.channel(None).await, authorization: vec![format!("Bearer {token}")] }
    }

    async fn certificate(&self, uris: &[&str]) -> Caller {
        let pair = self.authority.client(uris);
        Caller { channel: self.channel(Some(&pair)).await, authorization: Vec::new() }
    }
}

/// A connection, and what is sent with each call.
#[derive(Clone)]
struct Caller {
    channel: Channel,
    authorization: Vec<String>,
}

/// How a call ended: `OK`, or the reason.
fn said(result: Result<(), Status>) -> String {
    match result {
        Ok(()) => "OK".to_owned(),
        Err(status) => {
            let reason = reason(&status);
            let code = match reason.as_str() {
                "CREDENTIAL_REQUIRED" | "CREDENTIAL_INVALID" => Code::Unauthenticated,
                "TENANT_NOT_ALLOWED" | "ROLE_REQUIRED" => Code::PermissionDenied,
                _ => status.code(),
            };
            assert_eq!(status.code(), code);
            reason
        }
    }
}

fn slot(error: Option<proto::ItemError>) -> String {
    error.map_or_else(|| "OK".to_owned(), |error| error.reason)
}

impl Caller {
    fn request<M>(&self, message: M) -> Request<M> {
        let mut request = Request::new(message);
        for value in &self.authorization {
            request.metadata_mut().append("authorization", value.parse().unwrap());
        }
        request
    }

    /// Calls `method` on the key `k` of `tenant`.
    async fn call(&self, method: &str, tenant: &str) -> String {
        let mut service = IdempotencyServiceClient::new(self.channel.clone());
        let mut operator = OperatorServiceClient::new(self.channel.clone());
        let key = Some(proto::Key { tenant: tenant.into(), ..key("k") });
        let begin = proto::BeginRequest { key: key.clone(), ..begin("k", 1) };
        let complete = proto::CompleteRequest { key: key.clone(), ..complete("k", 1, 1, "done") };
        let abort = proto::AbortRequest {
            key: key.clone(),
            ..abort("k", 1, 1, proto::abort_request::Disposition::Release)
        };
        let (fence, attempt_id) = (1, attempt_id(1));
        match method {
            "Begin" => said(service.begin(self.request(begin)).await.map(drop)),
            "Complete" => said(service.complete(self.request(complete)).await.map(drop)),
            "Abort" => said(service.abort(self.request(abort)).await.map(drop)),
            "Lookup" => said(service.lookup(self.request(proto::LookupRequest { key })).await.map(drop)),
            "Renew" => {
                let request = proto::RenewRequest { key, fence, attempt_id, lease: None };
                said(service.renew(self.request(request)).await.map(drop))
            }
            "SaveCheckpoint" => {
                let request = proto::SaveCheckpointRequest {
                    key,
                    fence,
                    attempt_id,
                    name: "n".into(),
                    value: "v".into(),
                };
                said(service.save_checkpoint(self.request(request)).await.map(drop))
            }
            "BatchBegin" => {
                let request = proto::BatchBeginRequest { requests: vec![begin] };
                match service.batch_begin(self.request(request)).await {
                    Ok(answer) => begun(answer.into_inner().items.remove(0)),
                    Err(status) => said(Err(status)),
                }
            }
            "BatchComplete" => {
                let request = proto::BatchCompleteRequest { requests: vec![complete] };
                match service.batch_complete(self.request(request)).await {
                    Ok(answer) => completed(answer.into_inner().items.remove(0)),
                    Err(status) => said(Err(status)),
                }
            }
            "ListRecords" => {
                let request = proto::ListRecordsRequest { tenant: tenant.into(), ..Default::default() };
                said(operator.list_records(self.request(request)).await.map(drop))
            }
            "ResolveRecord" => {
                let resolution = Some(Resolution::Release(true));
                let request = proto::ResolveRecordRequest { key, fence, resolution, ..Default::default() };
                said(operator.resolve_record(self.request(request)).await.map(drop))
            }
            "ForgetRecord" => {
                let request = proto::ForgetRecordRequest { key, fence, force: false };
                said(operator.forget_record(self.request(request)).await.map(drop))
            }
            "GetPolicy" => {
                let request = proto::GetPolicyRequest { tenant: tenant.into(), endpoint: "e".into() };
                said(operator.get_policy(self.request(request)).await.map(drop))
            }
            other => panic!("{other} is no method"),
        }
    }
}

fn begun(item: proto::batch_begin_response::Item) -> String {
    use proto::batch_begin_response::item::Outcome;
    slot(match item.outcome {
        Some(Outcome::Error(error)) => Some(error),
        _ => None,
    })
}

fn completed(item: proto::batch_complete_response::Item) -> String {
    use proto::batch_complete_response::item::Outcome;
    slot(match item.outcome {
        Some(Outcome::Error(error)) => Some(error),
        _ => None,
    })
}

const REFUSALS: [&str; 4] =
    ["CREDENTIAL_REQUIRED", "CREDENTIAL_INVALID", "TENANT_NOT_ALLOWED", "ROLE_REQUIRED"];

fn may_call(role: &str, method: &str) -> bool {
    match method {
        "Lookup" => true,
        "ListRecords" | "GetPolicy" => role != "client",
        "ResolveRecord" | "ForgetRecord" => role == "operator",
        _ => role == "client",
    }
}

/// N tenants by N credentials, by role, by kind of credential, by method; each call names each tenant, and none.
#[tokio::test]
async fn a_credential_reaches_its_tenant_in_its_role_and_nothing_else() {
    let world = World::new().await;
    let mut cases = 0;
    for tenant in TENANTS {
        for role in ROLES {
            let jwt = world.issuer.sign(&claims(&json!([tenant]), role));
            let callers = [
                ("token", world.bearer(&token(&format!("{tenant}-{role}"))).await),
                ("jwt", world.bearer(&jwt).await),
                (
                    "certificate",
                    world.certificate(&[&format!("spiffe://example.org/tenant/{tenant}/role/{role}")]).await,
                ),
                ("mapped certificate", world.certificate(&[&mapped_uri(tenant, role)]).await),
            ];
            for (kind, caller) in callers {
                for method in METHODS {
                    for named in TENANTS.into_iter().chain([""]) {
                        let said = caller.call(method, named).await;
                        let case =
                            format!("{method} of {named:?} by the {kind} of {tenant} as {role}: {said}");
                        if !may_call(role, method) {
                            assert_eq!(said, "ROLE_REQUIRED", "{case}");
                        } else if named.is_empty() || named == tenant {
                            assert!(!REFUSALS.contains(&said.as_str()) && said != "INVALID_KEY", "{case}");
                        } else {
                            assert_eq!(said, "TENANT_NOT_ALLOWED", "{case}");
                        }
                        cases += 1;
                    }
                }
            }
        }
        // What was begun without a tenant's name is of the credential's, and of nobody else's.
        let caller = world.bearer(&token(&format!("{tenant}-client"))).await;
        let unnamed = proto::Key { tenant: String::new(), ..key("k") };
        let request = caller.request(proto::LookupRequest { key: Some(unnamed) });
        let found = IdempotencyServiceClient::new(caller.channel.clone()).lookup(request).await.unwrap();
        assert_eq!(found.into_inner().record.unwrap().key.unwrap().tenant, tenant);
    }
    report::count("auth_cases", cases);
}

#[tokio::test]
async fn a_credential_of_several_tenants_has_to_name_one() {
    let world = World::new().await;
    for (name, covered) in [("two", &["alpha", "beta"][..]), ("all", &TENANTS[..]), ("some", &["alpha"][..])]
    {
        let caller = world.bearer(&token(name)).await;
        for tenant in TENANTS {
            let expected = if covered.contains(&tenant) { "OK" } else { "TENANT_NOT_ALLOWED" };
            assert_eq!(caller.call("Begin", tenant).await, expected, "{name} {tenant}");
        }
        assert_eq!(caller.call("Begin", "").await, "INVALID_KEY", "{name}");
    }
    // The items of a batch stand each for itself.
    let caller = world.bearer(&token("two")).await;
    let of = |tenant: &str| proto::BeginRequest {
        key: Some(proto::Key { tenant: tenant.into(), ..key("batch") }),
        ..begin("batch", 1)
    };
    let requests = ["alpha", "gamma", "beta", ""].map(of).to_vec();
    let request = caller.request(proto::BatchBeginRequest { requests });
    let answer = IdempotencyServiceClient::new(caller.channel.clone()).batch_begin(request).await.unwrap();
    let said: Vec<_> = answer.into_inner().items.into_iter().map(begun).collect();
    assert_eq!(said, ["OK", "TENANT_NOT_ALLOWED", "OK", "INVALID_KEY"]);
    // Whoever may not act for the tenant learns nothing else of the call.
    let wrong = proto::BeginRequest { attempt_id: String::new(), ..of("gamma") };
    let status =
        IdempotencyServiceClient::new(caller.channel.clone()).begin(caller.request(wrong)).await.unwrap_err();
    assert_eq!((reason(&status).as_str(), details(&status).fields), ("TENANT_NOT_ALLOWED", Vec::new()));
}

#[tokio::test]
async fn without_a_credential_there_is_health_and_nothing_else() {
    let world = World::new().await;
    let stranger = Caller { channel: world.channel(None).await, authorization: Vec::new() };
    for method in METHODS {
        assert_eq!(stranger.call(method, "alpha").await, "CREDENTIAL_REQUIRED", "{method}");
    }
    let mut health = HealthClient::new(stranger.channel.clone());
    health.check(HealthCheckRequest::default()).await.unwrap();
    let ask = || {
        let message_request = Some(MessageRequest::ListServices(String::new()));
        tokio_stream::once(ServerReflectionRequest { message_request, ..Default::default() })
    };
    let mut reflection = ServerReflectionClient::new(stranger.channel.clone());
    let refused = reflection.server_reflection_info(ask()).await.map(drop).unwrap_err();
    assert_eq!(reason(&refused), "CREDENTIAL_REQUIRED");
    let reader = world.bearer(&token("alpha-reader")).await;
    let mut reflection = ServerReflectionClient::new(reader.channel.clone());
    let answers = reflection.server_reflection_info(reader.request(ask())).await.unwrap();
    answers.into_inner().next().await.unwrap().unwrap();
}

#[tokio::test]
async fn the_first_credential_that_is_there_decides() {
    let world = World::new().await;
    let alpha = world.authority.client(&["spiffe://example.org/tenant/alpha/role/client"]);
    let channel = world.channel(Some(&alpha)).await;
    let with = |authorization: &[&str]| Caller {
        channel: channel.clone(),
        authorization: authorization.iter().map(|value| (*value).to_owned()).collect(),
    };
    let beta = format!("Bearer {}", token("beta-client"));
    assert_eq!(with(&[]).call("Begin", "alpha").await, "OK");
    assert_eq!(with(&[&beta]).call("Begin", "beta").await, "OK");
    assert_eq!(with(&[&beta]).call("Begin", "alpha").await, "TENANT_NOT_ALLOWED");
    // Whoever sends a token is not taken for the one whose connection it is.
    for wrong in [
        &["Bearer semel_nobody"][..],
        &["Bearer not-a-token"],
        &["Bearer"],
        &["Bearer "],
        &["Basic YWxwaGE6c2VjcmV0"],
        &[&beta, &beta],
        &[""],
    ] {
        assert_eq!(with(wrong).call("Begin", "alpha").await, "CREDENTIAL_INVALID", "{wrong:?}");
    }
    assert_eq!(with(&[&beta.replace("Bearer", "bearer")]).call("Begin", "beta").await, "OK");
}

#[tokio::test]
async fn a_token_ends_when_it_expires_or_is_revoked() {
    let log = Log::default();
    let _guard = log.capture();
    let world = World::new().await;
    let call = async |name: &str| world.bearer(&token(name)).await.call("Begin", "alpha").await;
    for name in ["expired", "revoked", "nobody"] {
        assert_eq!(call(name).await, "CREDENTIAL_INVALID", "{name}");
    }
    assert_eq!(call("expiring").await, "OK");
    world.server.clock.advance(Duration::from_hours(24));
    assert_eq!(call("expiring").await, "CREDENTIAL_INVALID");
    assert_eq!(call("alpha-client").await, "OK");

    // A file that has changed counts for the next call, on connections that are open, too.
    let open = world.bearer(&token("alpha-client")).await;
    let mapped = world.certificate(&[&mapped_uri("beta", "client")]).await;
    assert_eq!((open.call("Begin", "").await, mapped.call("Begin", "").await), ("OK".into(), "OK".into()));
    world.auth.replace_credentials(parsed(&token_table("late", "[\"alpha\"]", "client", "")));
    assert_eq!(open.call("Begin", "").await, "CREDENTIAL_INVALID");
    assert_eq!(mapped.call("Begin", "").await, "CREDENTIAL_INVALID");
    assert_eq!(call("late").await, "OK");

    let text = log.text();
    for (cause, who) in [
        ("expired", "token:expired"),
        ("revoked", "token:revoked"),
        ("unknown", ""),
        ("expired", "token:expiring"),
        ("its URI stands for nobody", &mapped_uri("beta", "client")),
    ] {
        let line = text.lines().find(|line| line.contains(cause) && line.contains(who));
        assert!(line.is_some_and(|line| line.contains("peer=127.0.0.1:")), "{cause} {who} in:\n{text}");
    }
    assert!(!text.contains("semel_"), "a token is in the log:\n{text}");
}

#[tokio::test]
async fn certificates_stand_for_somebody_only_in_the_form() {
    let log = Log::default();
    let _guard = log.capture();
    let world = World::new().await;
    let alpha = "spiffe://example.org/tenant/alpha/role/client";
    for (uris, expected) in [
        (&[alpha][..], "OK"),
        (&["spiffe://mesh.example/any/thing"], "OK"),
        (&[], "CREDENTIAL_INVALID"),
        (&[alpha, "spiffe://example.org/tenant/beta/role/client"], "CREDENTIAL_INVALID"),
        (&["spiffe://other.org/tenant/alpha/role/client"], "CREDENTIAL_INVALID"),
        (&["spiffe://example.org/tenant/alpha/role/admin"], "CREDENTIAL_INVALID"),
        (&["spiffe://mesh.example/anything"], "CREDENTIAL_INVALID"),
    ] {
        assert_eq!(world.certificate(uris).await.call("Begin", "alpha").await, expected, "{uris:?}");
    }
    // A connection may outlive the certificate that it began with.
    let short = world.authority.client_of(&[alpha], (2020, 2028));
    let caller = Caller { channel: world.channel(Some(&short)).await, authorization: Vec::new() };
    assert_eq!(caller.call("Begin", "alpha").await, "OK");
    world.server.clock.advance(Duration::from_hours(24 * 365));
    assert_eq!(caller.call("Begin", "alpha").await, "CREDENTIAL_INVALID");
    let text = log.text();
    for cause in
        ["has no URI", "more than one URI", "stands for nobody", "expired since the connection was made"]
    {
        assert!(text.contains(cause), "{cause} in:\n{text}");
    }
}

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

/// Refusals cost a stranger nothing, so what they fill must be bounded.
#[tokio::test]
async fn strangers_do_not_fill_the_log() {
    let log = Log::default();
    let _guard = log.capture();
    let world = World::new().await;
    let caller = world.bearer("semel_guess").await;
    for _ in 0..100 {
        assert_eq!(caller.call("Begin", "alpha").await, "CREDENTIAL_INVALID");
    }
    let lines = |text: &str, part: &str| text.lines().filter(|line| line.contains(part)).count();
    assert_eq!(lines(&log.text(), "a call was refused for its credential"), 20);
    world.server.clock.advance(Duration::from_secs(1));
    assert_eq!(caller.call("Begin", "alpha").await, "CREDENTIAL_INVALID");
    let text = log.text();
    assert_eq!(lines(&text, "a call was refused for its credential"), 21);
    assert!(text.contains("calls=80"), "{text}");
}
