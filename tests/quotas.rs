//! What tenants may ask: requests a second, and open keys. Over a real socket, by a clock that only the test moves.

mod support {
    pub(crate) mod hinting_store;
    pub(crate) mod samples;
    pub(crate) mod server;
}
#[path = "support/mod.rs"]
mod report;

use std::sync::Arc;
use std::time::Duration;

use semel::config::parse_policy;
use semel::domain::{Clock as _, OnLostLease, Policy, PolicyRules, Tenant};
use semel::policies::Policies;
use semel::proto;
use semel::proto::abort_request::Disposition;
use semel::proto::idempotency_service_client::IdempotencyServiceClient;
use semel::quotas::{Quota, Quotas, Used};
use semel::storage::memory::{self, MemoryStore};
use semel::storage::{Scope, Store};
use semel::sweep::Sweep;
use semel::telemetry::{self, KeyHash, LabelBounds, Names, Telemetry};
use support::hinting_store::HintingStore;
use support::samples::Samples;
use support::server::*;
use tonic::transport::Channel;
use tonic::{Code, Status};
use tonic_types::StatusExt;

type Client = IdempotencyServiceClient<Channel>;

fn rules(text: &str) -> PolicyRules {
    parse_policy("policy.toml", text, Duration::from_secs(1)).unwrap_or_else(|problems| panic!("{problems}"))
}

async fn serve(policy: &str) -> RunningServer {
    Start { rules: rules(policy), ..Start::default() }.serve().await
}

/// A first Begin of a key of `tenant`.
fn begin_of(tenant: &str, endpoint: &str, name: &str) -> proto::BeginRequest {
    let key = proto::Key { tenant: tenant.into(), endpoint: endpoint.into(), ..key(name) };
    proto::BeginRequest { key: Some(key), ..begin(name, 1) }
}

/// The pause that a refusal tells, after it was checked to say whose bound was reached, and which.
fn quota_pause(status: &Status, tenant: &str, bound: &str) -> Duration {
    assert_eq!(status.code(), Code::ResourceExhausted, "{status:?}");
    let told = details(status);
    assert_eq!((told.reason.as_str(), told.domain.as_str()), ("QUOTA_EXCEEDED", "semel.v1"));
    let details = status.get_error_details();
    let violations = &details.quota_failure().expect("it says which quota").violations;
    assert_eq!(violations.len(), 1);
    assert_eq!(violations[0].subject, format!("tenant:{tenant}"));
    assert!(violations[0].description.contains(bound), "{violations:?}");
    assert!(status.message().contains(bound), "{status:?}");
    told.retry_after.expect("it says when to come again")
}

async fn refused(client: &mut Client, request: proto::BeginRequest, bound: &str) -> Duration {
    let tenant = request.key.as_ref().unwrap().tenant.clone();
    quota_pause(&client.begin(request).await.expect_err("refused"), &tenant, bound)
}

async fn start(client: &mut Client, name: &str) -> proto::Started {
    started(client.begin(begin(name, 1)).await.unwrap())
}

#[tokio::test]
async fn a_burst_is_taken_at_once_and_comes_back_with_time() {
    let server = serve("[defaults]\nrequests_per_second = 2\nburst = 3\n").await;
    let mut client = server.client().await;
    for name in ["a", "b", "c"] {
        start(&mut client, name).await;
    }
    let pause = refused(&mut client, begin("d", 1), "requests_per_second is 2 (burst 3)").await;
    assert!(pause > Duration::from_millis(499) && pause <= Duration::from_millis(501), "{pause:?}");

    server.clock.advance(pause);
    start(&mut client, "d").await;
    refused(&mut client, begin("e", 1), "requests_per_second").await;

    // However long nobody asks, no more than the burst is saved up.
    server.clock.advance(Duration::from_mins(1));
    for name in ["e", "f", "g"] {
        start(&mut client, name).await;
    }
    refused(&mut client, begin("h", 1), "requests_per_second").await;
}

#[tokio::test]
async fn a_tenant_at_its_limit_takes_nothing_from_another() {
    let server = serve("[defaults]\nrequests_per_second = 1\nburst = 5\n").await;
    let mut client = server.client().await;
    for n in 0..5 {
        client.begin(begin_of("loud", "e", &format!("{n}"))).await.unwrap();
    }
    for n in 0..5 {
        for m in 0..10 {
            refused(&mut client, begin_of("loud", "e", &format!("{n} {m}")), "requests_per_second").await;
        }
        client.begin(begin_of("quiet", "e", &format!("{n}"))).await.expect("it has its own");
    }
}

/// Refusing what an owner says would leave its key open, and the work to be done again.
#[tokio::test]
async fn what_owners_say_counts_and_is_never_refused() {
    let server = serve("[defaults]\nrequests_per_second = 1\nburst = 4\n").await;
    let mut client = server.client().await;
    let (one, two) = (start(&mut client, "one").await.fence, start(&mut client, "two").await.fence);
    let renew = |fence| proto::RenewRequest {
        key: Some(key("one")),
        fence,
        attempt_id: attempt_id(1),
        lease: seconds(20),
    };
    client.renew(renew(one)).await.unwrap();
    let save = proto::SaveCheckpointRequest {
        key: Some(key("one")),
        fence: one,
        attempt_id: attempt_id(1),
        name: "charged".into(),
        value: "yes".into(),
    };
    client.save_checkpoint(save).await.unwrap();
    let lookup = || proto::LookupRequest { key: Some(key("one")) };
    quota_pause(&client.lookup(lookup()).await.expect_err("four were taken"), "shop", "requests_per_second");
    for _ in 0..20 {
        client.renew(renew(one)).await.unwrap();
    }
    client.complete(complete("one", 1, one, "done")).await.unwrap();
    client.abort(abort("two", 1, two, Disposition::Release)).await.unwrap();
    let requests = vec![complete("one", 1, one, "done"); 20];
    let batch = client.batch_complete(proto::BatchCompleteRequest { requests }).await.unwrap().into_inner();
    for item in batch.items {
        assert!(matches!(item.outcome, Some(proto::batch_complete_response::item::Outcome::Response(_))));
    }
    // What was not there to be taken is not owed either.
    server.clock.advance(Duration::from_secs(1));
    client.lookup(lookup()).await.unwrap();
}

#[tokio::test]
async fn each_item_of_a_batch_counts_and_is_refused_alone() {
    use proto::batch_begin_response::item::Outcome;

    let server = serve("[defaults]\nrequests_per_second = 1\nburst = 3\n").await;
    let mut client = server.client().await;
    let requests = ["a", "b", "c", "d", "e"].map(|name| begin(name, 1)).into();
    let batch = client.batch_begin(proto::BatchBeginRequest { requests }).await.unwrap().into_inner();
    let (mut taken, mut refused) = (0, 0);
    for item in batch.items {
        match item.outcome.unwrap() {
            Outcome::Response(_) => taken += 1,
            Outcome::Error(error) => {
                assert_eq!((error.code, &*error.reason), (Code::ResourceExhausted.into(), "QUOTA_EXCEEDED"));
                assert!(error.message.contains("after 1001 ms"), "{}", error.message);
                refused += 1;
            }
        }
    }
    assert_eq!((taken, refused), (3, 2));
}

/// What is granted once is used once: rules that say nothing of a rate share that of the defaults.
#[tokio::test]
async fn a_rate_belongs_to_where_it_is_written() {
    let policy = r#"
        [defaults]
        requests_per_second = 1
        burst = 2

        [[rule]]
        endpoint = "shares"
        lease = "10s"

        [[rule]]
        endpoint = "own"
        burst = 1

        [[rule]]
        endpoint = "free"
        requests_per_second = 0
    "#;
    let server = serve(policy).await;
    let mut client = server.client().await;
    client.begin(begin_of("t", "any", "1")).await.unwrap();
    client.begin(begin_of("t", "shares", "2")).await.unwrap();
    for endpoint in ["any", "shares", "another"] {
        refused(&mut client, begin_of("t", endpoint, "3"), "requests_per_second is 1 (burst 2)").await;
    }
    client.begin(begin_of("t", "own", "1")).await.unwrap();
    refused(&mut client, begin_of("t", "own", "2"), "requests_per_second is 1 (burst 1)").await;
    for n in 0..20 {
        client.begin(begin_of("t", "free", &format!("{n}"))).await.unwrap();
    }
}

#[tokio::test]
async fn a_policy_that_is_replaced_holds_from_the_next_call_on() {
    let server = serve("").await;
    let mut client = server.client().await;
    for n in 0..10 {
        start(&mut client, &format!("{n}")).await;
    }
    server.policies.replace(rules("[defaults]\nrequests_per_second = 1\nburst = 1\n"));
    start(&mut client, "bounded").await;
    refused(&mut client, begin("more", 1), "requests_per_second is 1 (burst 1)").await;
    server.policies.replace(rules("[defaults]\nrequests_per_second = 1\nburst = 2\n"));
    start(&mut client, "more").await;
    start(&mut client, "and more").await;
    refused(&mut client, begin("too many", 1), "requests_per_second is 1 (burst 2)").await;
    server.policies.replace(rules("[defaults]\nmax_open_keys = 1\n"));
    start(&mut client, "known since then").await;
    refused(&mut client, begin("too many", 1), "max_open_keys is 1").await;
    server.policies.replace(rules(""));
    start(&mut client, "too many").await;
}

/// A bound on open keys refuses what would open one more, and nothing else.
#[tokio::test]
async fn a_tenant_with_all_its_keys_open_opens_no_other() {
    let server = serve("[defaults]\nmax_open_keys = 3\nlease = \"10s\"\n").await;
    let (mut client, mut operator) = (server.client().await, server.operator().await);
    let done = start(&mut client, "done").await;
    client.complete(complete("done", 1, done.fence, "result")).await.unwrap();
    let mine = start(&mut client, "mine").await;
    let lost = start(&mut client, "lost").await;
    let released = start(&mut client, "released").await;
    client.abort(abort("released", 1, released.fence, Disposition::Release)).await.unwrap();

    let pause = refused(&mut client, begin("one more", 1), "max_open_keys is 3").await;
    assert_eq!(pause, Duration::from_secs(1));
    client.begin(begin_of("another tenant", "e", "k")).await.expect("it has its own");
    let again = started(client.begin(begin("mine", 1)).await.expect("its own key is open already"));
    assert_eq!((again.fence, again.attempt), (mine.fence, 1));
    in_progress(client.begin(begin("mine", 2)).await.unwrap());
    assert_eq!(replayed(client.begin(begin("done", 2)).await.unwrap()).fence, done.fence);
    server.clock.advance(Duration::from_secs(12));
    let taken_over = started(client.begin(begin("lost", 2)).await.expect("a takeover opens none"));
    assert_eq!(taken_over.attempt, 2);
    assert!(taken_over.fence > lost.fence);
    started(client.begin(begin("released", 2)).await.expect("nor does a second attempt"));
    refused(&mut client, begin("one more", 1), "max_open_keys is 3").await;

    // Each end makes room for one.
    client.complete(complete("lost", 2, taken_over.fence, "")).await.unwrap();
    let one_more = start(&mut client, "one more").await;
    refused(&mut client, begin("and another", 1), "max_open_keys is 3").await;
    let forget =
        proto::ForgetRecordRequest { key: Some(key("one more")), fence: one_more.fence, force: true };
    operator.forget_record(forget).await.unwrap();
    let resolve = proto::ResolveRecordRequest {
        key: Some(key("mine")),
        fence: mine.fence,
        resolution: Some(proto::resolve_record_request::Resolution::Result(success(""))),
        note: String::new(),
        force: true,
    };
    operator.resolve_record(resolve).await.unwrap();
    start(&mut client, "one more").await;
    start(&mut client, "and another").await;
    refused(&mut client, begin("too many", 1), "max_open_keys is 3").await;
}

async fn swept(server: &RunningServer, store: &Arc<dyn Store>) {
    let sweep =
        Sweep::new(store.clone(), server.policies.clone(), server.clock.clone(), KeyHash::new(b"secret"));
    sweep.counting_for(server.quotas.clone()).once().await.unwrap();
}

/// What other servers opened, and this one before it was started, is known from the first sweep on.
#[tokio::test]
async fn a_sweep_counts_what_other_servers_opened() {
    let policy = "[defaults]\nmax_open_keys = 3\n[[rule]]\nendpoint = \"own\"\nmax_open_keys = 1\n";
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
    let on_it = || Start { rules: rules(policy), ..Start::on(store.clone()) };
    let (one, other) = (on_it().serve().await, on_it().serve().await);
    let (mut client, mut elsewhere) = (one.client().await, other.client().await);
    let first = start(&mut client, "1").await;
    start(&mut client, "2").await;
    client.begin(begin_of("shop", "own", "k")).await.unwrap();
    start(&mut elsewhere, "3").await;
    swept(&other, &store).await;
    refused(&mut elsewhere, begin("4", 1), "max_open_keys is 3").await;
    refused(&mut elsewhere, begin_of("shop", "own", "4"), "max_open_keys is 1").await;

    // Ended elsewhere, it counts until the next sweep.
    client.complete(complete("1", 1, first.fence, "")).await.unwrap();
    refused(&mut elsewhere, begin("4", 1), "max_open_keys is 3").await;
    swept(&other, &store).await;
    start(&mut elsewhere, "4").await;
    refused(&mut elsewhere, begin("5", 1), "max_open_keys is 3").await;
    swept(&other, &store).await;
    refused(&mut elsewhere, begin("5", 1), "max_open_keys is 3").await;
}

/// Where a store lists no more than what may end unresolved, that is what a sweep knows of.
#[tokio::test]
async fn where_open_keys_are_not_listed_those_that_may_end_unresolved_count() {
    let policy =
        "[defaults]\nmax_open_keys = 2\n[[rule]]\nendpoint = \"POST /*\"\non_lost_lease = \"mark_unknown\"\n";
    let store: Arc<dyn Store> = Arc::new(HintingStore::new(Scope::Unresolved, TestClock::new()));
    let server = Start { rules: rules(policy), ..Start::on(store.clone()) }.serve().await;
    let mut client = server.client().await;
    start(&mut client, "may end unresolved").await;
    client.begin(begin_of("shop", "rerun", "k")).await.unwrap();
    refused(&mut client, begin("one more", 1), "max_open_keys is 2").await;
    swept(&server, &store).await;
    start(&mut client, "one more").await;
    swept(&server, &store).await;
    refused(&mut client, begin("too many", 1), "max_open_keys is 2").await;
}

#[tokio::test]
async fn the_part_of_a_bound_that_is_used_is_known_for_each_tenant() {
    let policy = "[defaults]\nrequests_per_second = 10\nburst = 600\nmax_open_keys = 40\n";
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
    let labels = LabelBounds { pairs: 3, ..LabelBounds::default() };
    let names = Names { key_hash: KeyHash::new(b"test"), store: memory::NAME };
    let settings = telemetry::Settings { labels, ..telemetry::Settings::default() };
    let telemetry = Telemetry::start(&settings, names, TestClock::new());
    let telemetry = Arc::new(telemetry.unwrap());
    let server = Start { rules: rules(policy), telemetry, ..Start::on(store.clone()) }.serve().await;
    server.telemetry.metrics().unwrap().show_quotas(server.quotas.clone());
    let mut client = server.client().await;
    client.begin(begin_of("a", "e", "k")).await.unwrap();
    for n in 0..30 {
        client.begin(begin_of("b", "e", &format!("{n}"))).await.unwrap();
    }
    server.clock.advance(Duration::from_secs(10));
    swept(&server, &store).await;
    let used = |tenant: &str, quota, ratio| Used { tenant: Tenant::new(tenant).unwrap(), quota, ratio };
    let (requests, open_keys) = (Quota::Requests, Quota::OpenKeys);
    assert_eq!(
        server.quotas.used(),
        [
            used("a", requests, 0.01),
            used("a", open_keys, 0.025),
            used("b", requests, 0.3),
            used("b", open_keys, 0.75)
        ]
    );
    let (_, text) = server.get("/metrics").await;
    let samples = Samples::read(&text);
    for (tenant, quota, ratio) in [
        ("b", "open_keys", 0.75),
        ("b", "requests", 0.3),
        ("a", "open_keys", 0.025),
        ("other", "requests", 0.01),
    ] {
        let series = format!(r#"semel_quota_used_ratio{{quota="{quota}",tenant="{tenant}"}}"#);
        assert!((samples.number(&series) - ratio).abs() < 1e-9, "{series}");
    }
    assert_eq!(samples.series().filter(|series| series.starts_with("semel_quota_used_ratio")).count(), 4);

    server.clock.advance(Duration::from_secs(10));
    swept(&server, &store).await;
    assert_eq!(server.quotas.used(), [used("a", open_keys, 0.025), used("b", open_keys, 0.75)]);
    // All of them have expired.
    server.clock.advance(Duration::from_hours(31 * 24));
    swept(&server, &store).await;
    assert_eq!(server.quotas.used(), []);
}

/// Whoever may name any tenant may name a great many.
#[test]
fn what_is_known_of_tenants_is_bounded() {
    let clock = TestClock::new();
    let ticking = clock.clone();
    let elapsed = move || Duration::from_micros(ticking.now().as_micros() - START);
    let quotas = Quotas::timed_by(Arc::new(Policies::default()), elapsed);
    let policy = Policy { requests_per_second: 1.0, on_lost_lease: OnLostLease::Rerun, ..Policy::default() };
    let tenants = 200_000;
    for n in 0..tenants {
        quotas.ask(&Tenant::new(&n.to_string()).unwrap(), &policy).unwrap();
    }
    clock.advance(Duration::from_secs(1));
    quotas.recounted(quotas.recount());
    let known = quotas.used().len();
    assert!((1_000..=65_536).contains(&known), "{known}");
    report::count("quota_tenants", tenants);
}
