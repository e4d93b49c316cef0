//! `semel resolve --where`: many records of several tenants, on a real server.

#[path = "support/program.rs"]
mod program;
mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead as _, BufReader};
use std::process::{Child, ChildStdout, Stdio};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use nix::fcntl::{FcntlArg, fcntl};
use program::{Program, errors, text};
use semel::domain::{
    AttemptId, Checkpoints, Detail, Endpoint, Fence, GivenUp, IdempotencyKey, Kept, Key, Labels, OnLostLease,
    Phase, Record, Tenant, Timestamp,
};
use semel::storage::conformance::Samples;
use semel::storage::embedded::{EmbeddedStore, Settings};
use semel::storage::{Versioned, WriteId};
use serde_json::{Value, json};
use support::{count, size};
use uuid::Uuid;

const TENANTS: [&str; 2] = ["acme", "globex"];
const BOTH: [&str; 4] = ["--tenant", "acme", "--tenant", "globex"];
const POLICY: &str = "[[rule]]\nendpoint = \"mail.*\"\nmax_attempts = 1\n";

/// One of the records that wait: every third is old, each endpoint its own, labels in turn.
fn waiting(n: u64, now: Timestamp) -> Kept {
    let age = if n.is_multiple_of(3) { Duration::from_hours(3) } else { Duration::from_mins(10) };
    let endpoint_reruns = n % 4 == 3;
    let at = now.minus(age);
    let given_up =
        GivenUp { at, pause_until: at, detail: Detail::new(format!("timeout {}", n % 5)).unwrap() };
    Kept {
        fence: Fence::next(None, at.plus(Duration::from_micros(n))),
        attempt: 1,
        attempt_id: AttemptId::from_uuid(Uuid::from_u128(n.into())),
        attempts_before_budget: 0,
        fingerprint: None,
        first_seen_at: at,
        changed_at: at,
        expires_at: now.plus(Duration::from_hours(24)),
        retention: Duration::from_hours(24),
        checkpoints: Checkpoints::default(),
        labels: Labels::new([("order".to_owned(), (n % 50).to_string())]).unwrap(),
        traceparent: None,
        probe: None,
        phase: Phase::InProgress {
            lease_end: at,
            lease: Duration::from_secs(30),
            on_lost_lease: if endpoint_reruns { OnLostLease::Rerun } else { OnLostLease::MarkUnknown },
            given_up: Some(given_up),
        },
    }
}

fn endpoint(n: u64) -> &'static str {
    // Of the last, attempts are used up.
    ["payments.charge", "payments.refund", "POST /v1/orders", "mail.send"][usize::try_from(n % 4).unwrap()]
}

fn key(tenant: &str, n: u64) -> Key {
    Key {
        tenant: Tenant::new(tenant).unwrap(),
        endpoint: Endpoint::new(endpoint(n)).unwrap(),
        idempotency_key: IdempotencyKey::new(&format!("key-{n:05}")).unwrap(),
    }
}

/// A server with that many waiting records of each tenant, and some that are none of the command's business.
fn serve(each: u64) -> (Program, tempfile::TempDir) {
    let directory = tempfile::tempdir().unwrap();
    let store = EmbeddedStore::open(Settings {
        free_space_reserve_bytes: 0,
        ..Settings::new(directory.path().join("data"))
    })
    .unwrap();
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    let now = Timestamp::from_micros(u64::try_from(now.as_micros()).unwrap());
    let versioned = |record| Versioned::new(WriteId(Uuid::new_v4()), Arc::new(record));
    let mut records = Vec::new();
    for tenant in ["acme", "globex", "initech"] {
        for n in 0..each {
            records.push((key(tenant, n), versioned(Record::Kept(waiting(n, now)))));
        }
        records.push((key(tenant, 90_000), versioned(Samples::completed_with(1, vec![1]))));
        let mut running = waiting(90_001, now);
        running.phase = Phase::InProgress {
            lease_end: now.plus(Duration::from_hours(1)),
            lease: Duration::from_hours(1),
            on_lost_lease: OnLostLease::MarkUnknown,
            given_up: None,
        };
        records.push((key(tenant, 90_001), versioned(Record::Kept(running))));
    }
    store.load(records).unwrap();
    drop(store);
    let policy = directory.path().join("policy.toml");
    std::fs::write(&policy, POLICY).unwrap();
    (Program::start(directory.path(), &["--policy", policy.to_str().unwrap()]), directory)
}

fn lines(text: &str) -> Vec<Value> {
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("not JSON: {line}")))
        .collect()
}

/// Whether a record with this number is meant.
type Wanted = fn(u64) -> bool;

/// What List says of a tenant's unresolved records.
fn unresolved(server: &Program, tenant: &str) -> Vec<Value> {
    let output = server.call(&[
        "list",
        "--tenant",
        tenant,
        "--state",
        "unresolved",
        "--all",
        "--page-size",
        "1000",
        "--output",
        "json",
    ]);
    assert!(output.status.success(), "{}", errors(&output));
    lines(&text(&output))
}

/// Runs `resolve` to its end: the lines, and the summary.
fn resolve(server: &Program, flags: &[&str]) -> (Vec<Value>, Value) {
    let output = server.call(&[&["resolve"], flags, &["--output", "json"]].concat());
    assert!(output.status.success(), "{flags:?}: {}", errors(&output));
    let mut lines = lines(&text(&output));
    let summary = lines.pop().unwrap()["summary"].take();
    (lines, summary)
}

fn name(record: &Value) -> (String, String, String) {
    let text = |field: &str| record[field].as_str().unwrap().to_owned();
    (text("tenant"), text("endpoint"), text("key"))
}

/// A run that prints into a pipe which is soon full: it gets no further than some tens of records.
fn start_and_read_one_line(server: &Program, flags: &[&str]) -> (Child, BufReader<ChildStdout>, Value) {
    let mut process = server
        .semel(&[&["resolve", "--parallel", "1", "--output", "json"], flags].concat())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let stdout = process.stdout.take().unwrap();
    let room = fcntl(&stdout, FcntlArg::F_SETPIPE_SZ(4096)).expect("a pipe's size can be set");
    assert!(room <= 4096, "the pipe takes {room} bytes");
    let mut stdout = BufReader::with_capacity(256, stdout);
    let mut line = String::new();
    stdout.read_line(&mut line).unwrap();
    (process, stdout, serde_json::from_str(&line).unwrap())
}

#[test]
#[allow(clippy::too_many_lines, reason = "one incident, from the look at it to its end")]
fn a_thousand_records_of_two_tenants_are_settled_once_each() {
    let each = size("SEMEL_RESOLVED_RECORDS", 1_000) / 2;
    let (server, _directory) = serve(each);
    let before: Vec<_> = TENANTS.iter().flat_map(|tenant| unresolved(&server, tenant)).collect();
    assert_eq!(before.len() as u64, 2 * each);
    let others = unresolved(&server, "initech");

    // Each filter finds what it says, and changes nothing.
    let number = |record: &Value| name(record).2.trim_start_matches("key-").parse::<u64>().unwrap();
    let filters: [(&str, Wanted); 9] = [
        ("state=unresolved", |_| true),
        ("endpoint=payments.*", |n| n % 4 < 2),
        ("endpoint=payments.charge", |n| n.is_multiple_of(4)),
        (r#"endpoint="POST /v1/*""#, |n| n % 4 == 2),
        ("endpoint!=payments.* age>1h", |n| n % 4 >= 2 && n.is_multiple_of(3)),
        ("label.order=42 age<1h", |n| n % 50 == 42 && !n.is_multiple_of(3)),
        ("reason=ATTEMPTS_EXHAUSTED", |n| n % 4 == 3),
        ("detail='timeout 3'", |n| n % 5 == 3),
        ("key=key-0000*", |n| n < 10),
    ];
    for (filter, wanted) in filters {
        let (found, summary) =
            resolve(&server, &[&["--where", filter, "--release", "--dry-run"], &BOTH[..]].concat());
        let expected: BTreeSet<_> = before.iter().filter(|record| wanted(number(record))).map(name).collect();
        assert!(!expected.is_empty());
        assert_eq!(found.iter().map(name).collect::<BTreeSet<_>>(), expected, "{filter}");
        assert!(found.iter().all(|line| line["action"] == "would_release"), "{filter}");
        let all = expected.len();
        let nothing_done =
            json!({"matched": all, "settled": all, "skipped": 0, "failed": 0, "dry_run": true});
        assert_eq!(summary, nothing_done, "{filter}");
    }
    let (first, summary) = resolve(
        &server,
        &["--where", "age>1h", "--release", "--dry-run", "--limit", "7", "--tenant", "acme"],
    );
    assert_eq!((first.len(), &summary["matched"]), (7, &json!(7)));
    let after: Vec<_> = TENANTS.iter().flat_map(|tenant| unresolved(&server, tenant)).collect();
    assert_eq!(before, after, "a dry run changed something");

    // Killed half-way.
    let release =
        [&["--where", "endpoint=payments.*", "--release", "--note", "bank says no"], &BOTH[..]].concat();
    let (mut process, _stdout, first) = start_and_read_one_line(&server, &release);
    assert_eq!((&first["action"], &first["state"]), (&json!("released"), &json!("released")));
    process.kill().unwrap();
    process.wait().unwrap();
    let payments = before.iter().filter(|record| number(record) % 4 < 2).count();
    let is_payment = |record: &Value| name(record).1.starts_with("payments.");
    let left: Vec<_> =
        TENANTS.iter().flat_map(|tenant| unresolved(&server, tenant)).filter(is_payment).collect();
    assert!(!left.is_empty() && left.len() < payments, "{} of {payments} are left", left.len());

    // Run again, while two records that it has listed come to something else.
    let (mut process, stdout, _) = start_and_read_one_line(&server, &release);
    // Further than the pipe has room for, and on the page that the first line came from.
    let (late, begun) = (&left[30], &left[31]);
    let (tenant, endpoint, key) = name(late);
    let of = ["--tenant", &tenant, "--endpoint", &endpoint, "--key", &key];
    let fence = late["fence"].to_string();
    let (exit, _) = server.json(
        &[&["resolve", "--fence", &fence, "--completed", "--payload", "the late truth"], &of[..]].concat(),
    );
    assert_eq!(exit, 0);
    let (tenant, endpoint, key) = name(begun);
    let of = ["--tenant", &tenant, "--endpoint", &endpoint, "--key", &key];
    let fence = begun["fence"].to_string();
    let forgotten = server.call(&[&["forget", "--fence", &fence], &of[..]].concat());
    assert!(forgotten.status.success(), "{}", errors(&forgotten));
    let (exit, again) = server.json(&[&["begin", "--lease", "1h"], &of[..]].concat());
    assert_eq!((exit, &again["decision"]), (0, &json!("started")));
    let mut rest: Vec<Value> =
        stdout.lines().map(|line| serde_json::from_str(&line.unwrap()).unwrap()).collect();
    assert!(process.wait().unwrap().success());
    let summary = rest.pop().unwrap()["summary"].take();
    let resumed = left.len();
    assert_eq!(
        summary,
        json!({"matched": resumed, "settled": resumed - 2, "skipped": 2, "failed": 0, "dry_run": false})
    );
    let skipped: BTreeMap<_, _> = rest
        .iter()
        .filter(|line| line["action"] == "skipped")
        .map(|line| (name(line), line["error"].as_str().unwrap()))
        .collect();
    assert_eq!(skipped, BTreeMap::from([(name(late), "STATE_CONFLICT"), (name(begun), "FENCE_LOST")]));
    let look = |record: &Value| {
        let (tenant, endpoint, key) = name(record);
        let (exit, found) =
            server.json(&["lookup", "--tenant", &tenant, "--endpoint", &endpoint, "--key", &key]);
        assert_eq!(exit, 0);
        found
    };
    assert_eq!(look(late)["payload"], "the late truth");
    assert_eq!((&look(begun)["state"], &look(begun)["fence"]), (&json!("in_progress"), &again["fence"]));
    for record in before.iter().filter(|record| is_payment(record)) {
        if ![name(late), name(begun)].contains(&name(record)) {
            let found = look(record);
            assert_eq!((&found["state"], &found["fence"]), (&json!("released"), &record["fence"]));
            assert_eq!(found["resolution_note"], "bank says no");
        }
    }

    // All others, with a result.
    let complete = ["--where", "state=unresolved", "--completed", "--payload", "settled by hand"];
    let (done, summary) = resolve(&server, &[&complete[..], &BOTH[..]].concat());
    assert_eq!(summary["settled"], json!(before.len() - payments));
    assert!(done.iter().all(|line| line["action"] == "completed" && line["payload"] == "settled by hand"));
    let (none, summary) = resolve(&server, &[&complete[..], &BOTH[..]].concat());
    assert_eq!((none.len(), &summary["matched"]), (0, &json!(0)));
    assert_eq!(unresolved(&server, "initech"), others, "nobody named that tenant");
    count("resolved_records", before.len() as u64 - 2);
}

#[test]
fn lost_leases_are_settled_too_and_people_can_read_it() {
    let (server, _directory) = serve(8);
    // Under rerun and no bound of attempts: not unresolved, and not forgotten either.
    let (exit, begun) = server.json(&[
        "begin",
        "--tenant",
        "acme",
        "--endpoint",
        "free",
        "--key",
        "k",
        "--lease",
        "1ms",
        "--label",
        "order=7",
    ]);
    assert_eq!(exit, 0, "{begun}");
    let flags = ["resolve", "--tenant", "acme", "--where", "state=lease_lost", "--where", "label.order=7"];
    program::wait_until("the lease is over", || {
        let output = server.call(&[&flags[..], &["--release", "--dry-run"]].concat());
        text(&output).contains("1 records match: 1 would be released; nothing was changed")
    });
    let output = server.call(&[&flags[..], &["--release", "--note", "gone"]].concat());
    assert!(output.status.success(), "{}", errors(&output));
    let printed = text(&output);
    assert!(printed.starts_with("WHAT "), "{printed}");
    assert!(printed.contains("acme  free  k\n"), "{printed}");
    assert!(printed.ends_with("1 records match: 1 released\n"), "{printed}");
}

#[test]
fn what_cannot_be_done_is_refused_before_anything_is() {
    let (server, _directory) = serve(8);
    let one = ["--endpoint", "mail.send", "--key", "key-00003"];
    for (flags, exit, part) in [
        (&["--where", "age=1h", "--release"][..], 2, "> and <"),
        (&["--where", "age>1h", "--release", "--force"], 2, "--force"),
        (&["--where", "age>1h", "--release", "--payload", "x"], 2, "has no result"),
        (&["--where", "age>1h"], 2, "--completed"),
        (&["--where", "age>1h", "--release", "--output", "env"], 2, "--output json"),
        (&["--where", "age>1h", "--release", "--fence", "1"], 2, "--fence"),
        (&["--where", "age>1h", "--release", "--parallel", "0"], 2, "--parallel"),
        (&["--release", "--dry-run", "--fence", "1", one[0], one[1], one[2], one[3]], 2, "--where"),
        (
            &["--release", "--fence", "1", one[0], one[1], one[2], one[3], "--tenant", "a", "--tenant", "b"],
            2,
            "one --tenant",
        ),
        (&["--release", one[0], one[1]], 2, "--key"),
    ] {
        let output = server.call(&[&["resolve"], flags].concat());
        assert_eq!(output.status.code(), Some(exit), "{flags:?}: {}", errors(&output));
        assert!(errors(&output).contains(part), "{flags:?}: {}", errors(&output));
    }
    // A server that is gone is a failure, and says how far it came.
    let url = server.url.clone();
    drop(server);
    let output = support::semel()
        .args([
            "resolve",
            "--server",
            &url,
            "--timeout",
            "1s",
            "--where",
            "age>1h",
            "--release",
            "--output",
            "json",
        ])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(110));
    let said = lines(&text(&output));
    assert_eq!(said[0]["summary"]["matched"], 0);
    assert_eq!(said[1]["error"]["reason"], "UNAVAILABLE");
}
