//! The invariants of docs/ARCHITECTURE.md, as far as the sources show them.

use super::model::{File, Name, Trait};

/// Who may ask which clock what time it is, and why.
const CLOCKS: &[(&str, &str, &str)] = &[
    ("clock", "std::time::SystemTime", "it is the system's Clock"),
    ("bench", "std::time::Instant", "measures the latency of calls"),
    ("storage/metered", "std::time::Instant", "measures the time of store operations"),
    ("storage/embedded/committer", "std::time::Instant", "paces its attempts to reopen, on its own thread"),
];

/// What the domain may name of other crates.
const DOMAIN_CRATES: &[&str] = &["std", "core", "alloc", "bytes", "thiserror", "uuid"];

/// What the domain may not name even of the standard library: it is pure.
const IMPURE: &[&str] = &[
    "std::env",
    "std::fs",
    "std::future",
    "std::io",
    "std::net",
    "std::os",
    "std::process",
    "std::task",
    "std::thread",
    "std::time::Instant",
    "std::time::SystemTime",
    "std::time::UNIX_EPOCH",
];

/// Where randomness would come from if it did not come as an argument.
const RANDOM: &[&str] =
    &["rand::rng", "rand::random", "rand::rngs::ThreadRng", "rand::rngs::SysRng", "uuid::Uuid::new_v4"];

const DATABASES: &[&str] = &["fjall", "lsm_tree", "scylla"];

/// Who may change records: the coordinator, the copy of a whole store, and what stands between a caller and a store.
const WRITERS: &[&str] = &[
    "coordinator",
    "storage/copy",
    "storage/conformance",
    "storage/fault_injecting",
    "storage/metered",
    "storage/sealed",
];

const THREADS: &[&str] = &["std::thread::spawn", "std::thread::scope", "std::thread::Builder"];

/// Names that say nothing about what a module is for.
const EMPTY_NAMES: &[&str] = &["common", "helper", "helpers", "manager", "misc", "util", "utils"];

/// About 500 lines are enough for one concept; past this many a file is split by concept.
const MOST_LINES: usize = 650;

/// Everything in `files` that breaks a rule, one line each: file, what it does, why not.
pub(crate) fn violations(files: &[File]) -> Vec<String> {
    let mut found = Vec::new();
    for file in files {
        for rule in [domain, proto, databases, library, writes, clock, threads, coordinator, shape] {
            found.extend(rule(file).into_iter().map(|broken| format!("src/{}: {broken}", file.path)));
        }
    }
    found
}

fn domain(file: &File) -> Vec<String> {
    if !within(file, "domain") {
        return Vec::new();
    }
    let names = file.names.iter().filter(|name| match name[0].as_str() {
        "crate" => name.get(1).is_some_and(|module| module != "domain"),
        other => !DOMAIN_CRATES.contains(&other) || IMPURE.iter().any(|impure| starts_with(name, impure)),
    });
    let mut found: Vec<_> = names
        .map(|name| format!("names {}, and the domain is pure and stands alone", name.join("::")))
        .collect();
    if file.traits.contains(&Trait::Async) {
        found.push("is async, and the domain only computes".to_owned());
    }
    found
}

fn proto(file: &File) -> Vec<String> {
    let first = |module: &str| file.names.iter().find(|name| starts_with(name, module));
    match (first("crate::proto"), first("crate::domain")) {
        (Some(proto), Some(domain)) if !within(file, "server/convert") && !within(file, "server/status") => {
            vec![format!(
                "names both {} and {}; only server/convert and server/status see the two sides",
                proto.join("::"),
                domain.join("::")
            )]
        }
        _ => Vec::new(),
    }
}

fn databases(file: &File) -> Vec<String> {
    if file.path.starts_with("storage/") {
        return Vec::new();
    }
    named(file, DATABASES, "only storage/* know a database")
}

fn library(file: &File) -> Vec<String> {
    let mut found = Vec::new();
    if !within(file, "cli") {
        found.extend(named(file, &["semel_client"], "only the command line is a client"));
    } else if !within(file, "cli/serve") {
        let stubs = ["crate::proto::idempotency_service_client", "crate::proto::operator_service_client"];
        found.extend(named(file, &stubs, "the command line calls through clients/rust, which sends again"));
    }
    found
}

fn writes(file: &File) -> Vec<String> {
    let write = "compare_and_put";
    let calls = file.methods.contains(write)
        || file.names.iter().any(|name| name.last().is_some_and(|last| last == write));
    if calls && !WRITERS.iter().any(|place| within(file, place)) {
        return vec![format!(
            "calls {write}, which only the coordinator, storage/copy and wrappers of stores do"
        )];
    }
    Vec::new()
}

fn clock(file: &File) -> Vec<String> {
    let may_ask =
        |name: &Name| CLOCKS.iter().any(|(place, clock, _)| within(file, place) && starts_with(name, clock));
    let names = file.names.iter().filter(|name| {
        let asks = matches!(name.last().map(String::as_str), Some("now" | "now_utc" | "now_local"));
        let clock = ["std", "chrono", "jiff", "time"].contains(&&*name[0]);
        starts_with(name, "nix::time") || (asks && clock && !may_ask(name))
    });
    let mut found: Vec<_> =
        names.map(|name| format!("calls {}; what time it is comes from a Clock", name.join("::"))).collect();
    if file.traits.contains(&Trait::AsksTheEpoch) {
        found.push("calls UNIX_EPOCH.elapsed(); what time it is comes from a Clock".to_owned());
    }
    found
}

fn threads(file: &File) -> Vec<String> {
    if within(file, "storage/embedded") || within(file, "cli/serve/log_queue") {
        return Vec::new();
    }
    named(file, THREADS, "only the embedded store and the log have threads of their own")
}

fn coordinator(file: &File) -> Vec<String> {
    if !within(file, "coordinator") {
        return Vec::new();
    }
    let time = ["std::time::Instant", "std::time::SystemTime", "std::time::UNIX_EPOCH"];
    let threads = [
        "std::thread",
        "tokio::runtime::Builder",
        "tokio::runtime::Runtime",
        "tokio::task::block_in_place",
        "tokio::task::spawn_blocking",
    ];
    let mut found = named(file, &time, "the coordinator uses tokio's time, which a test can pause");
    found.extend(named(file, &threads, "the coordinator starts no thread"));
    if file.methods.contains("spawn_blocking") {
        found.push("calls spawn_blocking; the coordinator starts no thread".to_owned());
    }
    found.extend(named(file, RANDOM, "the coordinator's randomness is an argument: one seed, one history"));
    found
}

fn shape(file: &File) -> Vec<String> {
    let mut found = Vec::new();
    if file.lines > MOST_LINES {
        found.push(format!("has {} lines, more than {MOST_LINES}; split it by concept", file.lines));
    }
    if let Some(name) = file.path.trim_end_matches(".rs").split('/').find(|name| EMPTY_NAMES.contains(name)) {
        found.push(format!("is named {name}, which does not say what it is for"));
    }
    if file.traits.contains(&Trait::HidesSource) {
        found.push(
            "has source that this test cannot read: #[path], include! or an unreadable import".to_owned(),
        );
    }
    if file.traits.contains(&Trait::Orphan) {
        found.push("is declared by no module, so it is dead".to_owned());
    }
    found
}

/// The names of `file` that start with one of `forbidden`.
fn named(file: &File, forbidden: &[&str], reason: &str) -> Vec<String> {
    let hits = file.names.iter().filter(|name| forbidden.iter().any(|prefix| starts_with(name, prefix)));
    hits.map(|name| format!("names {}; {reason}", name.join("::"))).collect()
}

/// Whether `file` is the module at `place` or below it: `domain` has domain.rs and domain/key.rs.
fn within(file: &File, place: &str) -> bool {
    file.path.strip_prefix(place).is_some_and(|rest| rest == ".rs" || rest.starts_with('/'))
}

fn starts_with(name: &Name, prefix: &str) -> bool {
    let mut segments = name.iter();
    prefix.split("::").all(|wanted| segments.next().is_some_and(|segment| segment == wanted))
}
