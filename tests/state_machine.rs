//! DESIGN's tables, cell by cell: what every command answers and stores in every state.
//!
//! `state_machine.txt` is the table, for people to read. Every state meets every command there; a state or a
//! command without its rows fails. `SEMEL_WRITE_TABLE=1 cargo test --test state_machine` writes the table anew
//! from the code: then read the difference, line by line, before it is committed.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use semel::domain::{
    Abort, AttemptId, Begin, BeginAnswer, Checkpoint, CheckpointName, Checkpoints, Command, Complete,
    Completed, Detail, Disposition, Fence, Fingerprint, Forget, Forgotten, GivenUp, Kept, Labels, Lookup,
    Note, OnLostLease, OperationResult, Outcome, Phase, Policy, PositiveDuration, Record, Refusal, Renew,
    Resolution, Resolve, SaveCheckpoint, Timestamp, Transition, UnresolvedReason, decide,
};
use uuid::Uuid;

const TABLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/state_machine.txt");
const SECOND: Duration = Duration::from_secs(1);
const NOW: Timestamp = Timestamp::from_micros(1_800_000_000_000_000);
/// Above the clock, so that the next fence shows whether it counts on from the known one.
const FENCE: i64 = 1_900_000_000_000_000;

fn policy() -> Policy {
    Policy {
        lease: 30 * SECOND,
        max_lease: 100 * SECOND,
        retention: 1000 * SECOND,
        max_retention: 5000 * SECOND,
        unresolved_retention: 9000 * SECOND,
        max_retry_after: 60 * SECOND,
        max_attempts: 3,
        clock_skew_allowance: SECOND,
        ..Policy::default()
    }
}

fn ago(seconds: u32) -> Timestamp {
    NOW.minus(seconds * SECOND)
}

fn ahead(seconds: u32) -> Timestamp {
    NOW.plus(seconds * SECOND)
}

fn attempt_id(n: u128) -> AttemptId {
    AttemptId::from_uuid(Uuid::from_u128(n))
}

fn fence(value: i64) -> Fence {
    Fence::new(value).unwrap()
}

fn result(payload: &'static str) -> Arc<OperationResult> {
    Arc::new(OperationResult {
        outcome: Outcome::Success,
        code: 0,
        content_type: String::new(),
        headers: Vec::new(),
        payload: Bytes::from_static(payload.as_bytes()),
        payload_omitted: false,
    })
}

fn checkpoint(name: &str, value: &'static str) -> Checkpoint {
    Checkpoint {
        name: CheckpointName::new(name).unwrap(),
        value: Bytes::from_static(value.as_bytes()),
        fence: fence(FENCE),
    }
}

fn kept(phase: Phase) -> Kept {
    Kept {
        fence: fence(FENCE),
        attempt: 1,
        attempt_id: attempt_id(1),
        attempts_before_budget: 0,
        fingerprint: Some(Fingerprint::new(b"request").unwrap()),
        first_seen_at: ago(500),
        changed_at: ago(50),
        expires_at: ahead(800),
        retention: 1000 * SECOND,
        checkpoints: Checkpoints::default(),
        labels: Labels::default(),
        traceparent: None,
        probe: None,
        phase,
    }
}

fn in_progress(lease_end: Timestamp, on_lost_lease: OnLostLease, given_up: Option<GivenUp>) -> Phase {
    Phase::InProgress { lease_end, lease: 40 * SECOND, on_lost_lease, given_up }
}

fn given_up(pause_until: Timestamp) -> GivenUp {
    GivenUp { at: ago(50), pause_until, detail: Detail::new("timeout".to_owned()).unwrap() }
}

fn released(pause_until: Timestamp, resolution: Option<Note>) -> Phase {
    Phase::Released { pause_until, detail: Detail::default(), resolution }
}

fn completed(resolution: Option<Note>) -> Phase {
    Phase::Completed { result: result("done"), resolution }
}

fn note() -> Note {
    Note::new("checked with the bank".to_owned()).unwrap()
}

fn states() -> Vec<(&'static str, Option<Record>)> {
    use OnLostLease::{MarkUnknown, Rerun};
    let full: Vec<Checkpoint> = (0..64).map(|n| checkpoint(&format!("p{n}"), "v")).collect();
    let rows: Vec<(&str, Kept)> = vec![
        ("owned", kept(in_progress(ahead(20), Rerun, None))),
        ("owned, mark_unknown", kept(in_progress(ahead(20), MarkUnknown, None))),
        (
            "owned, no fingerprint, point charged",
            Kept {
                fingerprint: None,
                checkpoints: Checkpoints::from_stored(vec![checkpoint("charged", "yes")]).unwrap(),
                ..kept(in_progress(ahead(20), Rerun, None))
            },
        ),
        (
            "owned, 64 points",
            Kept {
                checkpoints: Checkpoints::from_stored(full).unwrap(),
                ..kept(in_progress(ahead(20), Rerun, None))
            },
        ),
        ("lease ended within the skew", kept(in_progress(ago(1), Rerun, None))),
        ("lease over", kept(in_progress(ago(2), Rerun, None))),
        ("lease over, attempts used up", Kept { attempt: 3, ..kept(in_progress(ago(2), Rerun, None)) }),
        (
            "lease over, attempt 3, new budget",
            Kept { attempt: 3, attempts_before_budget: 2, ..kept(in_progress(ago(2), Rerun, None)) },
        ),
        ("lease over, mark_unknown", kept(in_progress(ago(2), MarkUnknown, None))),
        ("given up", kept(in_progress(ahead(20), Rerun, Some(given_up(ago(50)))))),
        ("given up, pausing", kept(in_progress(ahead(20), Rerun, Some(given_up(ahead(10)))))),
        (
            "given up, attempts used up",
            Kept { attempt: 3, ..kept(in_progress(ahead(20), Rerun, Some(given_up(ago(50))))) },
        ),
        ("given up, mark_unknown", kept(in_progress(ahead(20), MarkUnknown, Some(given_up(ago(50)))))),
        ("completed", kept(completed(None))),
        ("completed by an operator", kept(completed(Some(note())))),
        ("released", Kept { fingerprint: None, ..kept(released(ago(50), None)) }),
        ("released, pausing", Kept { fingerprint: None, ..kept(released(ahead(10), None)) }),
        (
            "released, attempts used up",
            Kept { attempt: 3, fingerprint: None, ..kept(released(ago(50), None)) },
        ),
        (
            "released, point charged",
            Kept {
                checkpoints: Checkpoints::from_stored(vec![checkpoint("charged", "yes")]).unwrap(),
                ..kept(released(ago(50), None))
            },
        ),
        (
            "released by an operator",
            Kept {
                attempt: 3,
                attempts_before_budget: 3,
                fingerprint: None,
                ..kept(released(ago(50), Some(note())))
            },
        ),
        ("expired, in progress", Kept { expires_at: ago(10), ..kept(in_progress(ago(40), Rerun, None)) }),
        ("expired, completed", Kept { expires_at: ago(10), ..kept(completed(None)) }),
        ("expires now, completed", Kept { expires_at: NOW, ..kept(completed(None)) }),
        ("expired, released", Kept { expires_at: ago(10), ..kept(released(ago(50), None)) }),
    ];
    let forgotten = Forgotten { fence: fence(FENCE), changed_at: ago(50), reclaim_at: ahead(800) };
    let mut states = vec![("nothing", None), ("forgotten", Some(Record::Forgotten(forgotten)))];
    states.extend(rows.into_iter().map(|(name, kept)| (name, Some(Record::Kept(kept)))));
    states
}

/// A stored state whose kind is not among the fixtures does not compile here.
fn kind(record: Option<&Record>) -> &'static str {
    match record {
        None => "nothing",
        Some(Record::Forgotten(_)) => "forgotten",
        Some(Record::Kept(kept)) => match &kept.phase {
            Phase::InProgress { given_up: None, .. } => "in progress",
            Phase::InProgress { given_up: Some(_), .. } => "given up",
            Phase::Completed { .. } => "completed",
            Phase::Released { .. } => "released",
        },
    }
}

fn begin() -> Begin {
    Begin {
        attempt_id: attempt_id(2),
        fingerprint: Some(Fingerprint::new(b"request").unwrap()),
        lease: None,
        retention: None,
        first_sent: None,
        labels: Labels::default(),
        traceparent: None,
    }
}

fn complete() -> Complete {
    Complete { fence: fence(FENCE), attempt_id: attempt_id(1), result: result("done"), retention: None }
}

fn abort(disposition: Disposition) -> Abort {
    Abort {
        fence: fence(FENCE),
        attempt_id: attempt_id(1),
        disposition,
        detail: Detail::default(),
        retry_after: Duration::ZERO,
    }
}

fn renew() -> Renew {
    Renew { fence: fence(FENCE), attempt_id: attempt_id(1), lease: None }
}

fn save(name: &str, value: &'static str) -> SaveCheckpoint {
    SaveCheckpoint {
        fence: fence(FENCE),
        attempt_id: attempt_id(1),
        name: CheckpointName::new(name).unwrap(),
        value: Bytes::from_static(value.as_bytes()),
    }
}

fn resolve(resolution: Resolution, force: bool) -> Resolve {
    Resolve { fence: fence(FENCE), resolution, note: note(), force }
}

fn positive(length: Duration) -> PositiveDuration {
    PositiveDuration::new(length).unwrap()
}

type Cell = Box<dyn Fn(Option<&Record>) -> (String, Option<Record>)>;

fn row<C: Command + 'static>(command: C, say: impl Fn(C::Answer) -> String + 'static) -> Cell {
    Box::new(move |record| match decide(record, &command, &policy(), NOW) {
        Transition::Unchanged(Ok(answer)) => (say(answer), None),
        Transition::Unchanged(Err(refusal)) => (say_refusal(refusal), None),
        Transition::Change { next, answer } => (say(answer), Some(next)),
    })
}

/// Every command, each in the forms that the tables tell apart. The first word is the command's type.
#[allow(clippy::too_many_lines, reason = "a table")]
fn commands() -> Vec<(&'static str, Cell)> {
    let other = Fingerprint::new(b"another request").unwrap();
    let unknown = Disposition::OutcomeUnknown;
    let pause = 7 * SECOND;
    let repeated = |repeated: bool| if repeated { "OK, repeated".to_owned() } else { "OK".to_owned() };
    vec![
        ("Begin by another attempt", row(begin(), say_begin)),
        ("Begin by the same attempt", row(Begin { attempt_id: attempt_id(1), ..begin() }, say_begin)),
        (
            "Begin with another fingerprint",
            row(Begin { fingerprint: Some(other.clone()), ..begin() }, say_begin),
        ),
        ("Begin without a fingerprint", row(Begin { fingerprint: None, ..begin() }, say_begin)),
        ("Begin first sent 5 s ago", row(Begin { first_sent: Some(ago(5)), ..begin() }, say_begin)),
        ("Begin first sent 20 s ago", row(Begin { first_sent: Some(ago(20)), ..begin() }, say_begin)),
        (
            "Begin first sent before its retention",
            row(
                Begin { first_sent: Some(ago(101)), retention: Some(positive(100 * SECOND)), ..begin() },
                say_begin,
            ),
        ),
        (
            "Begin asking for more lease and retention than allowed",
            row(
                Begin {
                    lease: Some(positive(999 * SECOND)),
                    retention: Some(positive(99_999 * SECOND)),
                    ..begin()
                },
                say_begin,
            ),
        ),
        ("Complete", row(complete(), say_complete)),
        (
            "Complete with another result",
            row(Complete { result: result("other"), ..complete() }, say_complete),
        ),
        (
            "Complete with a retention of its own",
            row(Complete { retention: Some(positive(2000 * SECOND)), ..complete() }, say_complete),
        ),
        (
            "Complete with an earlier fence",
            row(Complete { fence: fence(FENCE - 1), ..complete() }, say_complete),
        ),
        (
            "Complete with another attempt's id",
            row(Complete { attempt_id: attempt_id(2), ..complete() }, say_complete),
        ),
        ("Abort: release", row(abort(Disposition::Release), move |a| repeated(a.repeated))),
        (
            "Abort: release with a pause",
            row(Abort { retry_after: pause, ..abort(Disposition::Release) }, move |a| repeated(a.repeated)),
        ),
        ("Abort: outcome unknown", row(abort(unknown), move |a| repeated(a.repeated))),
        (
            "Abort: outcome unknown with a pause above the bound",
            row(Abort { retry_after: 999 * SECOND, ..abort(unknown) }, move |a| repeated(a.repeated)),
        ),
        (
            "Abort: release with an earlier fence",
            row(Abort { fence: fence(FENCE - 1), ..abort(Disposition::Release) }, move |a| {
                repeated(a.repeated)
            }),
        ),
        ("Renew", row(renew(), |a| format!("OK, lease {}", seconds(a.lease)))),
        (
            "Renew for less than remains",
            row(Renew { lease: Some(positive(5 * SECOND)), ..renew() }, |a| {
                format!("OK, lease {}", seconds(a.lease))
            }),
        ),
        (
            "Renew for more than allowed",
            row(Renew { lease: Some(positive(999 * SECOND)), ..renew() }, |a| {
                format!("OK, lease {}", seconds(a.lease))
            }),
        ),
        (
            "Renew with an earlier fence",
            row(Renew { fence: fence(FENCE - 1), ..renew() }, |a| format!("OK, lease {}", seconds(a.lease))),
        ),
        ("SaveCheckpoint charged=yes", row(save("charged", "yes"), move |a| repeated(a.repeated))),
        ("SaveCheckpoint charged=no", row(save("charged", "no"), move |a| repeated(a.repeated))),
        (
            "SaveCheckpoint with another attempt's id",
            row(SaveCheckpoint { attempt_id: attempt_id(2), ..save("charged", "yes") }, move |a| {
                repeated(a.repeated)
            }),
        ),
        ("Lookup", row(Lookup, |kept| say_kept(&kept, None))),
        (
            "Resolve: it happened",
            row(resolve(Resolution::Result(result("done")), false), |kept| say_kept(&kept, None)),
        ),
        (
            "Resolve: it happened, by force",
            row(resolve(Resolution::Result(result("done")), true), |kept| say_kept(&kept, None)),
        ),
        ("Resolve: release", row(resolve(Resolution::Release, false), |kept| say_kept(&kept, None))),
        ("Resolve: release, by force", row(resolve(Resolution::Release, true), |kept| say_kept(&kept, None))),
        (
            "Resolve with an earlier fence",
            row(Resolve { fence: fence(FENCE - 1), ..resolve(Resolution::Release, true) }, |kept| {
                say_kept(&kept, None)
            }),
        ),
        ("Forget", row(Forget { fence: fence(FENCE), force: false }, |()| "OK".to_owned())),
        ("Forget by force", row(Forget { fence: fence(FENCE), force: true }, |()| "OK".to_owned())),
        (
            "Forget with an earlier fence",
            row(Forget { fence: fence(FENCE - 1), force: true }, |()| "OK".to_owned()),
        ),
    ]
}

fn seconds(length: Duration) -> String {
    format!("{}s", length.as_secs_f64())
}

/// A moment as seconds from now.
fn at(moment: Timestamp) -> String {
    if moment >= NOW {
        format!("+{}s", moment.since(NOW).as_secs())
    } else {
        format!("-{}s", NOW.since(moment).as_secs())
    }
}

fn say_refusal(refusal: Refusal) -> String {
    match refusal {
        Refusal::FenceLost { superseded: true } => "FENCE_LOST to a later one".to_owned(),
        other => other.reason().to_string(),
    }
}

fn say_begin(answer: BeginAnswer) -> String {
    match answer {
        BeginAnswer::Started(started) => {
            let fence = if started.fence.get() == FENCE { "same fence" } else { "next fence" };
            let points = match started.checkpoints.len() {
                0 => String::new(),
                n => format!(", {n} points"),
            };
            format!("Started attempt {}, {fence}, lease {}{points}", started.attempt, seconds(started.lease))
        }
        BeginAnswer::Replayed(replayed) => format!("Replayed {}", payload(&replayed.result)),
        BeginAnswer::InProgress(running) => {
            let backing_off = if running.backing_off() { ", backing off" } else { "" };
            format!("InProgress, again in {}{backing_off}", seconds(running.retry_after))
        }
        BeginAnswer::Unresolved(unresolved) => {
            let reason = match unresolved.reason {
                UnresolvedReason::OutcomeUnknown => "OUTCOME_UNKNOWN",
                UnresolvedReason::AttemptsExhausted => "ATTEMPTS_EXHAUSTED",
            };
            let detail =
                if unresolved.detail.is_empty() { String::new() } else { format!(": {}", unresolved.detail) };
            format!("Unresolved {reason} since {}{detail}", at(unresolved.since))
        }
    }
}

#[allow(clippy::needless_pass_by_value, reason = "it takes an answer, as its siblings do")]
fn say_complete(completed: Completed) -> String {
    let repeated = if completed.repeated { ", repeated" } else { "" };
    format!("OK{repeated}, expires {}", at(completed.expires_at))
}

fn payload(result: &OperationResult) -> &str {
    str::from_utf8(&result.payload).unwrap()
}

fn say_kept(kept: &Kept, before: Option<&Kept>) -> String {
    let mut text = match &kept.phase {
        Phase::InProgress { lease_end, given_up: None, on_lost_lease, .. } => {
            let mark = if *on_lost_lease == OnLostLease::MarkUnknown { ", mark_unknown" } else { "" };
            format!("owned until {}{mark}", at(*lease_end))
        }
        Phase::InProgress { given_up: Some(given_up), .. } => {
            format!("given up {}, pause until {}", at(given_up.at), at(given_up.pause_until))
        }
        Phase::Completed { result, resolution } => {
            let by = if resolution.is_some() { " by an operator" } else { "" };
            format!("completed{by} {}", payload(result))
        }
        Phase::Released { pause_until, resolution, .. } => {
            let by = if resolution.is_some() { " by an operator" } else { "" };
            format!("released{by}, pause until {}", at(*pause_until))
        }
    };
    let fence = match kept.fence.get() {
        FENCE => "same fence",
        value if value == FENCE + 1 => "next fence",
        value if value == i64::try_from(NOW.as_micros()).unwrap() => "fence by the clock",
        _ => "WRONG FENCE",
    };
    let _ = write!(text, "; attempt {}, {fence}", kept.attempt);
    if kept.attempts_before_budget > 0 {
        let _ = write!(text, ", {} before the budget", kept.attempts_before_budget);
    }
    let _ = write!(text, ", expires {}", at(kept.expires_at));
    if kept.fingerprint.is_none() {
        text.push_str(", no fingerprint");
    }
    if !kept.checkpoints.is_empty() {
        let _ = write!(text, ", {} points", kept.checkpoints.as_slice().len());
    }
    if let Some(before) = before {
        assert_eq!(kept.changed_at, NOW, "a change carries its moment");
        if kept.attempt != 1 {
            assert_eq!(kept.first_seen_at, before.first_seen_at, "the first attempt is remembered");
        }
    }
    text
}

fn say_stored(before: Option<&Record>, next: Option<&Record>) -> String {
    match next {
        None => "unchanged".to_owned(),
        Some(Record::Forgotten(forgotten)) => {
            assert_eq!(forgotten.fence.get(), FENCE);
            format!("forgotten; same fence, row until {}", at(forgotten.reclaim_at))
        }
        Some(Record::Kept(kept)) => {
            let before = match before {
                Some(Record::Kept(before)) => Some(before),
                _ => None,
            };
            say_kept(kept, before)
        }
    }
}

/// State, answer, what is stored; for each command.
type Table = Vec<(&'static str, Vec<(&'static str, String, String)>)>;

fn actual() -> Table {
    let states = states();
    commands()
        .into_iter()
        .map(|(command, cell)| {
            let rows = states
                .iter()
                .map(|(state, record)| {
                    let (answer, next) = cell(record.as_ref());
                    (*state, answer, say_stored(record.as_ref(), next.as_ref()))
                })
                .collect();
            (command, rows)
        })
        .collect()
}

fn written(table: &Table) -> String {
    let mut text = String::from(
        "What every command answers and stores in every state. Times are seconds from now. The policy: lease 30,\n\
         at most 100; retention 1000, at most 5000; unresolved_retention 9000; max_retry_after 60; 3 attempts;\n\
         skew allowance 1; on_lost_lease rerun. Records, where nothing else is said: attempt 1 of three, a\n\
         fingerprint that fits, lease 40, retention 1000. Each line: state | answer | what is stored.\n",
    );
    for (command, rows) in table {
        let _ = writeln!(text, "\n== {command}");
        for (state, answer, stored) in rows {
            let _ = writeln!(text, "{state:<37}| {answer:<55}| {stored}");
        }
    }
    text
}

type Rows = BTreeMap<(String, String), (String, String)>;

fn parsed(text: &str) -> Rows {
    let mut rows = Rows::new();
    let mut command = None;
    for line in text.lines() {
        if let Some(name) = line.strip_prefix("== ") {
            command = Some(name.to_owned());
        } else if let Some(command) = &command
            && !line.is_empty()
        {
            let mut cells = line.split('|').map(|cell| cell.trim().to_owned());
            let mut cell = || cells.next().unwrap_or_else(|| panic!("not a row: {line}"));
            let (state, answer, stored) = (cell(), cell(), cell());
            assert!(
                rows.insert((command.clone(), state), (answer, stored)).is_none(),
                "a row stands twice: {line}"
            );
        }
    }
    rows
}

#[test]
fn every_command_in_every_state_does_what_the_table_says() {
    let actual = actual();
    if std::env::var_os("SEMEL_WRITE_TABLE").is_some() {
        std::fs::write(TABLE, written(&actual)).unwrap();
    }
    let mut expected = parsed(&std::fs::read_to_string(TABLE).unwrap());
    let mut wrong = String::new();
    for (command, rows) in actual {
        for (state, answer, stored) in rows {
            let got = (answer, stored);
            match expected.remove(&(command.to_owned(), state.to_owned())) {
                Some(wanted) if wanted == got => {}
                Some(wanted) => {
                    let _ = writeln!(wrong, "{command} in «{state}»:\n  table {wanted:?}\n  code  {got:?}");
                }
                None => {
                    let _ = writeln!(wrong, "{command} in «{state}» has no row; the code: {got:?}");
                }
            }
        }
    }
    for (command, state) in expected.keys() {
        let _ = writeln!(wrong, "the table has a row that nothing produces: {command} in «{state}»");
    }
    assert!(wrong.is_empty(), "\n{wrong}");
}

#[test]
fn every_kind_of_record_is_among_the_states() {
    let kinds: BTreeSet<_> = states().iter().map(|(_, record)| kind(record.as_ref())).collect();
    let all = ["nothing", "forgotten", "in progress", "given up", "completed", "released"];
    assert_eq!(kinds, BTreeSet::from(all));
}

#[test]
fn every_command_of_the_domain_is_in_the_table() {
    let mut in_domain = BTreeSet::new();
    let domain = concat!(env!("CARGO_MANIFEST_DIR"), "/src/domain");
    for file in walkdir::WalkDir::new(domain).into_iter().map(Result::unwrap) {
        if file.path().extension().is_some_and(|extension| extension == "rs") {
            let source = syn::parse_file(&std::fs::read_to_string(file.path()).unwrap()).unwrap();
            for item in source.items {
                if let syn::Item::Impl(item) = item
                    && let Some((path, _)) = item.trait_
                    && path.is_ident("Command")
                    && let syn::Type::Path(command) = *item.self_ty
                {
                    in_domain.insert(command.path.segments.last().unwrap().ident.to_string());
                }
            }
        }
    }
    let in_table: BTreeSet<_> = commands()
        .iter()
        .map(|(name, _)| name.split([' ', ':']).next().unwrap_or_default().to_owned())
        .collect();
    assert_eq!(in_domain, in_table);
}
