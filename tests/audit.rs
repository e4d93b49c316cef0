//! The audit log: a line for every operator's call and for every change of what is in force, and none that is lost
//! without a word.

#[path = "support/program.rs"]
mod program;
#[path = "support/mod.rs"]
mod report;
mod support {
    pub(crate) mod log;
    pub(crate) mod scripted_store;
    pub(crate) mod server;
    pub(crate) use crate::report::semel;
}

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use nix::sys::signal::Signal;
use program::Program;
use semel::audit::Audit;
use semel::config::{PolicyWatch, Reload, parse_credentials, parse_policy};
use semel::domain::{Endpoint, IdempotencyKey, Key, Policy, PolicyRules, Tenant};
use semel::policies::Policies;
use semel::proto;
use semel::proto::abort_request::Disposition;
use semel::server::{Auth, Security, TokenHash};
use semel::telemetry::KeyHash;
use serde_json::{Value, json};
use support::log::Log;
use support::scripted_store::{Script, ScriptedStore};
use support::server::*;

/// In every key, result and note: no line may hold it.
const SECRET: &str = "hunter2-4242";

struct Audited {
    _directory: tempfile::TempDir,
    path: PathBuf,
}

impl Audited {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("audit.jsonl");
        Self { _directory: directory, path }
    }

    fn audit(&self) -> Audit {
        self.audit_at(TestClock::new())
    }

    fn audit_at(&self, clock: Arc<TestClock>) -> Audit {
        Audit::to_file(self.path.clone(), clock, KeyHash::new(b"test")).unwrap()
    }

    /// Each line, but for its time, which is the clock's.
    fn lines(&self) -> Vec<Value> {
        let text = std::fs::read_to_string(&self.path).unwrap();
        assert!(!text.contains(SECRET), "{text}");
        let line = |line: &str| {
            let mut line: Value =
                serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
            assert_eq!(
                line.as_object_mut().unwrap().remove("time"),
                Some(json!("2027-01-15T08:00:00.000000Z"))
            );
            line
        };
        text.lines().map(line).collect()
    }
}

fn key_of(name: &str) -> Key {
    Key {
        tenant: Tenant::new("shop").unwrap(),
        endpoint: Endpoint::new("POST /charges").unwrap(),
        idempotency_key: IdempotencyKey::new(name).unwrap(),
    }
}

fn hash(name: &str) -> String {
    KeyHash::new(b"test").name(&key_of(name))
}

fn resolve(
    name: &str,
    fence: i64,
    resolution: Option<proto::resolve_record_request::Resolution>,
) -> proto::ResolveRecordRequest {
    proto::ResolveRecordRequest { key: Some(key(name)), fence, resolution, note: SECRET.into(), force: false }
}

#[tokio::test]
#[allow(clippy::too_many_lines, reason = "a list of lines")]
async fn every_operators_call_is_written_down_with_who_what_before_and_after() {
    use proto::resolve_record_request::Resolution;

    let audited = Audited::new();
    let policy = Policy { on_lost_lease: semel::domain::OnLostLease::MarkUnknown, ..Policy::default() };
    let rules = PolicyRules::new(policy, Vec::new());
    let store = ScriptedStore::new();
    let start = Start { rules, audit: Some(audited.audit()), ..Start::on(store.clone()) };
    let server = start.serve().await;
    let (mut client, mut operator) = (server.client().await, server.operator().await);
    let (one, two) = (format!("{SECRET} 1"), format!("{SECRET} 2"));
    let mut fences = Vec::new();
    for name in [&one, &two] {
        let owner = started(client.begin(begin(name, 1)).await.unwrap());
        client.abort(abort(name, 1, owner.fence, Disposition::OutcomeUnknown)).await.unwrap();
        fences.push(owner.fence);
    }
    let (fence, other) = (fences[0], fences[1]);

    let page = proto::ListRecordsRequest {
        tenant: "shop".into(),
        state: proto::State::Unresolved.into(),
        ..proto::ListRecordsRequest::default()
    };
    operator.list_records(page).await.unwrap();
    operator.list_records(proto::ListRecordsRequest::default()).await.unwrap_err();
    let happened = || Some(Resolution::Result(success(SECRET)));
    operator.resolve_record(resolve(&one, fence + 1, happened())).await.unwrap_err();
    operator.resolve_record(resolve(&one, fence, happened())).await.unwrap();
    operator.resolve_record(resolve(&one, fence, happened())).await.unwrap();
    operator.resolve_record(resolve(&one, fence, Some(Resolution::Release(true)))).await.unwrap_err();
    operator.resolve_record(resolve(&two, other, Some(Resolution::Release(true)))).await.unwrap();
    operator.resolve_record(resolve(&two, 0, None)).await.unwrap_err();
    let forget = |name: &str, fence| proto::ForgetRecordRequest { key: Some(key(name)), fence, force: true };
    operator.forget_record(forget(&two, other)).await.unwrap();
    operator.forget_record(forget("never begun", 5)).await.unwrap_err();
    store.play(Script::Refuse);
    operator.forget_record(forget(&one, fence)).await.unwrap_err();
    store.play(Script::Work);
    let policy = proto::GetPolicyRequest { tenant: "shop".into(), endpoint: "e".into() };
    operator.get_policy(policy).await.unwrap();

    let record = |state: &str, fence: i64| json!({"state": state, "fence": fence});
    let of = |name: &str, line: Value| {
        let mut whole = json!({"who": "anonymous", "tenant": "shop", "endpoint": "POST /charges", "key_hash": hash(name)});
        whole.as_object_mut().unwrap().extend(line.as_object().unwrap().clone());
        whole
    };
    let asked = |fence: i64, resolution: &str| json!({"fence": fence.to_string(), "resolution": resolution, "force": "false"});
    let forgets = |fence: i64| json!({"fence": fence.to_string(), "force": "true"});
    let (unresolved, completed) = (record("UNRESOLVED", fence), record("COMPLETED", fence));
    let expected = [
        json!({"who": "anonymous", "action": "ListRecords", "tenant": "shop", "outcome": "OK",
            "asked": {"state": "UNRESOLVED", "page_size": "100", "records_told": "2"}}),
        json!({"who": "anonymous", "action": "ListRecords", "outcome": "INVALID_KEY"}),
        of(
            &one,
            json!({"action": "ResolveRecord", "asked": asked(fence + 1, "result"), "before": unresolved,
            "outcome": "FENCE_LOST"}),
        ),
        of(
            &one,
            json!({"action": "ResolveRecord", "asked": asked(fence, "result"), "before": unresolved,
            "after": completed, "outcome": "OK"}),
        ),
        of(
            &one,
            json!({"action": "ResolveRecord", "asked": asked(fence, "result"), "before": completed,
            "after": completed, "outcome": "OK"}),
        ),
        of(
            &one,
            json!({"action": "ResolveRecord", "asked": asked(fence, "release"), "before": completed,
            "outcome": "STATE_CONFLICT"}),
        ),
        of(
            &two,
            json!({"action": "ResolveRecord", "asked": asked(other, "release"),
            "before": record("UNRESOLVED", other), "after": record("RELEASED", other), "outcome": "OK"}),
        ),
        of(&two, json!({"action": "ResolveRecord", "outcome": "INVALID_FENCE"})),
        of(
            &two,
            json!({"action": "ForgetRecord", "asked": forgets(other), "before": record("RELEASED", other),
            "after": record("FORGOTTEN", other), "outcome": "OK"}),
        ),
        of(
            "never begun",
            json!({"action": "ForgetRecord", "asked": forgets(5), "before": {"state": "ABSENT"},
            "outcome": "KEY_NOT_FOUND"}),
        ),
        of(
            &one,
            json!({"action": "ForgetRecord", "asked": forgets(fence), "before": completed,
            "outcome": "STORE_UNAVAILABLE"}),
        ),
        json!({"who": "anonymous", "action": "GetPolicy", "tenant": "shop", "endpoint": "e", "outcome": "OK"}),
    ];
    let lines = audited.lines();
    for (line, expected) in lines.iter().zip(&expected) {
        assert_eq!(line, expected);
    }
    assert_eq!(lines.len(), expected.len());
}

/// Whoever left, or met a bug, may have changed something.
#[tokio::test]
async fn a_call_that_is_not_answered_is_written_down_too() {
    let audited = Audited::new();
    let store = ScriptedStore::new();
    let server = Start { audit: Some(audited.audit()), ..Start::on(store.clone()) }.serve().await;
    store.play(Script::Panic);
    let mut operator = server.operator().await;
    let forget = proto::ForgetRecordRequest { key: Some(key("k")), fence: 5, force: false };
    assert_eq!(reason(&operator.forget_record(forget).await.unwrap_err()), "INTERNAL");
    let lines = audited.lines();
    assert_eq!(lines.len(), 1);
    assert_eq!((&lines[0]["action"], &lines[0]["outcome"]), (&json!("ForgetRecord"), &json!("NOT_ANSWERED")));
}

#[tokio::test]
async fn without_a_file_the_lines_are_in_the_log() {
    let log = Log::default();
    let _captured = log.capture();
    let server = Start::default().serve().await;
    let policy = proto::GetPolicyRequest { tenant: "shop".into(), endpoint: "e".into() };
    server.operator().await.get_policy(policy).await.unwrap();
    let text = log.text();
    let line = text.lines().find(|line| line.contains("semel::audit")).unwrap_or_else(|| panic!("{text}"));
    assert!(line.contains("INFO") && line.contains("GetPolicy") && line.contains("anonymous"), "{line}");
}

/// Who may not call leaves a line all the same: who, as far as that is known, what, and why not.
#[tokio::test]
async fn an_operators_call_that_may_not_be_made_is_written_down() {
    let (audited, clock) = (Audited::new(), TestClock::new());
    let table = |name: &str, tenant: &str, role: &str, more: &str| {
        let sha256 = TokenHash::of(&format!("semel_{SECRET}{name}"));
        format!(
            "[[token]]\nname = \"{name}\"\nsha256 = \"{sha256}\"\ntenants = [\"{tenant}\"]\nroles = [\"{role}\"]\n{more}\n"
        )
    };
    let credentials = [
        table("ann", "shop", "operator", ""),
        table("bob", "shop", "client", ""),
        table("cid", "shop", "operator", "expires = 2027-01-01"),
    ];
    let credentials = parse_credentials("credentials.toml", &credentials.concat()).unwrap().credentials();
    let auth = Arc::new(Auth::new(clock.clone()).with_credentials(credentials));
    let start = Start {
        security: Security { tls: None, auth: Some(auth) },
        audit: Some(audited.audit_at(clock.clone())),
        clock: clock.clone(),
        ..Start::default()
    };
    let server = start.serve().await;
    let mut operator = server.operator().await;
    let mut ask = async |name: Option<&str>, tenant: &str| {
        let message = proto::ForgetRecordRequest {
            key: Some(proto::Key { tenant: tenant.into(), ..key(SECRET) }),
            fence: 5,
            force: false,
        };
        let mut request = tonic::Request::new(message);
        if let Some(name) = name {
            let header = format!("Bearer semel_{SECRET}{name}").parse().unwrap();
            request.metadata_mut().insert("authorization", header);
        }
        reason(&operator.forget_record(request).await.unwrap_err())
    };
    assert_eq!(ask(None, "shop").await, "CREDENTIAL_REQUIRED");
    assert_eq!(ask(Some("nobody"), "shop").await, "CREDENTIAL_INVALID");
    assert_eq!(ask(Some("cid"), "shop").await, "CREDENTIAL_INVALID");
    assert_eq!(ask(Some("bob"), "shop").await, "ROLE_REQUIRED");
    assert_eq!(ask(Some("ann"), "other").await, "TENANT_NOT_ALLOWED");
    // What is no operator's is in the server's log.
    server.client().await.begin(begin("k", 1)).await.unwrap_err();

    let other = Key { tenant: Tenant::new("other").unwrap(), ..key_of(SECRET) };
    let mut lines = audited.lines();
    for line in &mut lines[..4] {
        let peer = line.as_object_mut().unwrap().remove("peer").unwrap();
        assert!(peer.as_str().unwrap().starts_with("127.0.0.1:"), "{peer}");
    }
    assert_eq!(
        lines,
        [
            json!({"who": "unknown", "action": "ForgetRecord", "outcome": "CREDENTIAL_REQUIRED",
                "cause": "no credential was shown"}),
            json!({"who": "unknown", "action": "ForgetRecord", "outcome": "CREDENTIAL_INVALID",
                "cause": "token: unknown"}),
            json!({"who": "token:cid", "action": "ForgetRecord", "outcome": "CREDENTIAL_INVALID",
                "cause": "token: expired"}),
            json!({"who": "token:bob", "action": "ForgetRecord", "outcome": "ROLE_REQUIRED",
                "cause": "role: lacks the role for the method"}),
            json!({"who": "token:ann", "action": "ForgetRecord", "outcome": "TENANT_NOT_ALLOWED",
                "tenant": "other", "endpoint": "POST /charges", "key_hash": KeyHash::new(b"test").name(&other)}),
        ]
    );

    // Strangers fill no disk; of those whose credential is good, each has its line.
    for _ in 0..30 {
        ask(None, "shop").await;
    }
    assert_eq!(audited.lines().len(), 5 + 17);
    for _ in 0..30 {
        ask(Some("bob"), "shop").await;
    }
    assert_eq!(audited.lines().len(), 5 + 17 + 30);
    clock.advance(Duration::from_secs(1));
    ask(None, "shop").await;
    let text = std::fs::read_to_string(&audited.path).unwrap();
    let last: Value = serde_json::from_str(text.lines().last().unwrap()).unwrap();
    assert_eq!(last["left_out"], 13);
}

fn sha256(path: &Path) -> String {
    use sha2::{Digest, Sha256};
    let digest: [u8; 32] = Sha256::digest(std::fs::read(path).unwrap()).into();
    digest.iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"))
}

#[tokio::test]
async fn every_change_of_policy_is_written_down_field_by_field() {
    let audited = Audited::new();
    let policy = audited.path.with_file_name("policy.toml");
    let first = "[defaults]\nlease = \"10s\"\n[[rule]]\nendpoint = \"gone\"\nmax_attempts = 2\n";
    std::fs::write(&policy, first).unwrap();
    let skew = Duration::from_secs(1);
    let policies = Arc::new(Policies::new(parse_policy("policy.toml", first, skew).unwrap()));
    let watch = PolicyWatch::new(policy.clone(), first.to_owned(), (skew, Duration::from_mins(1)), policies);
    let mut watch = watch.audited(Arc::new(audited.audit()));
    let files = |digest: &str| json!({"sha256": {(policy.display().to_string()): digest}});
    let was = sha256(&policy);

    std::fs::write(&policy, "[defaults]\nlease = \"soon\"\n").unwrap();
    let bad = sha256(&policy);
    assert!(matches!(watch.reload(), Reload::Refused(_)));
    std::fs::write(&policy, "[defaults]\nlease = \"20s\"\n[[rule]]\ntenant = \"acme\"\nmax_open_keys = 7\n")
        .unwrap();
    let is = sha256(&policy);
    assert_eq!(watch.reload(), Reload::Applied);
    assert_eq!(watch.reload(), Reload::Unchanged);

    let who = "whoever wrote the files";
    assert_eq!(
        audited.lines(),
        [
            json!({"who": who, "action": "load the policy file", "after": files(&was), "outcome": "OK"}),
            json!({"who": who, "action": "reload the policy file", "before": files(&was), "after": files(&bad),
                "outcome": "REFUSED"}),
            json!({"who": who, "action": "reload the policy file", "before": files(&was), "after": files(&is),
            "outcome": "OK", "changes": [
                {"of": "defaults", "field": "lease", "before": "10s", "after": "20s"},
                {"of": "tenant *, endpoint gone", "field": "rule", "before": "removed"},
                {"of": "tenant *, endpoint gone", "field": "max_attempts", "before": "2"},
                {"of": "tenant acme, endpoint *", "field": "rule", "after": "added"},
                {"of": "tenant acme, endpoint *", "field": "max_open_keys", "after": "7"},
            ]}),
        ]
    );
}

/// On a real server, whose credentials change as an operator changes them.
#[test]
fn every_change_of_credentials_is_written_down_with_the_digests_of_the_file() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("credentials.toml");
    let token = |arguments: &[&str]| {
        let mut command = support::semel();
        let output = command.arg("token").args(arguments).arg("--file").arg(&path).output().unwrap();
        assert!(output.status.success(), "{}", program::errors(&output));
        sha256(&path)
    };
    let create = |name| token(&["create", "--name", name, "--tenant", "shop", "--role", "client"]);
    let first = create("ann");
    let written = path.display().to_string();
    let server = Program::start(
        directory.path(),
        &["--store", "memory", "--audit-log", "audit.jsonl", "--auth-credentials-file", &written],
    );
    let reload = |what: &str| {
        server.signal(Signal::SIGHUP);
        server.log.wait_for(what, 1);
    };
    let second = create("bob");
    reload("has changed and is in force");
    std::fs::write(&path, "[[token]]\nname = 3\n").unwrap();
    let broken = sha256(&path);
    reload("is refused");
    std::fs::write(&path, format!("{}\n", certificate_table())).unwrap();
    let third = sha256(&path);
    server.signal(Signal::SIGHUP);
    server.log.wait_for("has changed and is in force", 2);
    assert!(server.stop().success());

    let text = std::fs::read_to_string(directory.path().join("audit.jsonl")).unwrap();
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let files = |digest: &str| json!({"sha256": {(&written): digest}});
    let told: Vec<_> = lines.iter().map(|line| [&line["action"], &line["outcome"]]).collect();
    let (load, reload) = (json!("load the credentials file"), json!("reload the credentials file"));
    let (ok, refused) = (json!("OK"), json!("REFUSED"));
    assert_eq!(told, [[&load, &ok], [&reload, &ok], [&reload, &refused], [&reload, &ok]]);
    assert!(lines.iter().all(|line| line["who"] == "whoever wrote the files"));
    assert_eq!(lines[0]["after"], files(&first));
    for (line, before, after) in [(1, &first, &second), (2, &second, &broken), (3, &second, &third)] {
        assert_eq!((&lines[line]["before"], &lines[line]["after"]), (&files(before), &files(after)));
    }
    let changed = |line: &Value| -> Vec<String> {
        let changes = line["changes"].as_array().unwrap();
        changes
            .iter()
            .map(|change| format!("{} {}", change["of"], change["field"]).replace('"', ""))
            .collect()
    };
    let of_token =
        |name: &str| ["expires", "roles", "sha256", "tenants"].map(|field| format!("token {name} {field}"));
    assert_eq!(changed(&lines[1]), of_token("bob"));
    assert_eq!(lines[1]["changes"][3]["after"], "shop");
    let gone = ["ann", "bob"].map(of_token);
    let uri = "certificate spiffe://mesh.example/ann";
    let expected = [vec![format!("{uri} roles"), format!("{uri} tenants")], gone.concat()].concat();
    assert_eq!(changed(&lines[3]), expected);
}

fn certificate_table() -> &'static str {
    "[[certificate]]\nuri = \"spiffe://mesh.example/ann\"\ntenants = [\"shop\"]\nroles = [\"reader\"]"
}

/// Rotated by whoever rotates logs; and where it cannot be written, what it was to say is in the log.
#[tokio::test]
async fn a_file_that_is_moved_away_is_made_anew_and_one_that_cannot_be_written_is_reported() {
    let log = Log::default();
    let _captured = log.capture();
    let audited = Audited::new();
    let server = Start { audit: Some(audited.audit()), ..Start::default() }.serve().await;
    let mut operator = server.operator().await;
    let mut ask = async |endpoint: &str| {
        let policy = proto::GetPolicyRequest { tenant: "shop".into(), endpoint: endpoint.into() };
        operator.get_policy(policy).await.expect("the call itself is answered");
    };
    ask("one").await;
    let rotated = audited.path.with_file_name("audit.jsonl.1");
    std::fs::rename(&audited.path, &rotated).unwrap();
    ask("two").await;
    assert_eq!(std::fs::read_to_string(&rotated).unwrap().lines().count(), 1);
    assert_eq!(audited.lines()[0]["endpoint"], "two");

    let directory = audited.path.parent().unwrap();
    let aside = directory.with_extension("aside");
    std::fs::rename(directory, &aside).unwrap();
    ask("three").await;
    let text = log.text();
    let line =
        text.lines().find(|line| line.contains("cannot be written")).unwrap_or_else(|| panic!("{text}"));
    assert!(line.contains("ERROR") && line.contains("three"), "{line}");
    std::fs::rename(&aside, directory).unwrap();
    ask("four").await;
    assert_eq!(audited.lines().last().unwrap()["endpoint"], "four");
}

#[test]
fn a_file_that_cannot_be_opened_is_said_with_what_to_do() {
    let error =
        Audit::to_file("/proc/nowhere/audit".into(), TestClock::new(), KeyHash::new(b"test")).unwrap_err();
    let said = error.to_string();
    assert!(said.starts_with("cannot write the audit log /proc/nowhere/audit: "), "{said}");
    assert!(said.ends_with("name a file that semel may write, or leave audit_log out"), "{said}");
}
