//! Which methods and tenants a credential reaches.

use semel::proto;
use semel::proto::idempotency_service_client::IdempotencyServiceClient;
use serde_json::json;
use tokio_stream::StreamExt as _;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;
use tonic_reflection::pb::v1::ServerReflectionRequest;
use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;

use crate::caller::{Caller, METHODS, begun};
use crate::report;
use crate::support::server::*;
use crate::world::{ROLES, TENANTS, World, claims, mapped_uri, token};

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
