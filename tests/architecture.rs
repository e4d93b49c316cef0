//! The invariants of the architecture hold in `src`, and the checker of them catches what breaks them.

mod architecture {
    pub(crate) mod model;
    pub(crate) mod rules;
}

use std::collections::BTreeSet;
use std::path::Path;

use architecture::model::{self, Source};
use architecture::rules;

/// What is broken in a tree of these files (path in `src`, text).
fn broken(files: &[(&str, &str)]) -> Vec<String> {
    let sources: Vec<_> = files
        .iter()
        .map(|(path, text)| Source { path: (*path).to_owned(), text: (*text).to_owned() })
        .collect();
    let files = model::read(&sources, "semel", &crates()).expect("the sample parses");
    rules::violations(&files)
}

/// The crates that `src` can name: the standard ones and those of Cargo.toml.
fn crates() -> BTreeSet<String> {
    let manifest: toml::Table = include_str!("../Cargo.toml").parse().expect("Cargo.toml is TOML");
    let tables = ["dependencies", "dev-dependencies", "build-dependencies"];
    let declared = tables.iter().filter_map(|table| manifest[*table].as_table()).flat_map(toml::Table::keys);
    let standard = ["alloc", "core", "std"].into_iter().map(String::from);
    declared.map(|name| name.replace('-', "_")).chain(standard).collect()
}

#[test]
fn the_sources_keep_the_architecture() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut sources = Vec::new();
    for entry in walkdir::WalkDir::new(&src).sort_by_file_name() {
        let entry = entry.expect("src is readable");
        if entry.path().extension().is_some_and(|extension| extension == "rs") {
            let path = entry.path().strip_prefix(&src).expect("it was found below src");
            let path = path.to_str().expect("our paths are ASCII").replace('\\', "/");
            sources.push(Source { path, text: std::fs::read_to_string(entry.path()).expect("readable") });
        }
    }
    for expected in ["lib.rs", "domain.rs", "storage.rs", "coordinator.rs", "clock.rs", "proto.rs"] {
        assert!(
            sources.iter().any(|source| source.path == expected),
            "src/{expected} is gone; these rules name it"
        );
    }
    let files = model::read(&sources, "semel", &crates()).expect("src parses");
    // A checker that resolved nothing would find nothing: these are known to be there.
    let names = |path: &str, name: &str| {
        let file = files.iter().find(|file| file.path == path).expect("listed above");
        file.names.iter().any(|found| found.join("::") == name)
    };
    assert!(names("clock.rs", "std::time::SystemTime::now"));
    assert!(names("coordinator.rs", "crate::domain::Clock"));
    let violations = rules::violations(&files);
    assert!(violations.is_empty(), "\n{}\n", violations.join("\n"));
}

/// The modules that the samples below import from.
const TREE: &[(&str, &str)] = &[
    (
        "lib.rs",
        "pub mod cli; pub mod clock; pub mod coordinator; pub mod domain; pub mod proto; pub mod server; pub mod storage;",
    ),
    ("cli.rs", "mod serve;"),
    ("cli/serve.rs", "mod log_queue;"),
    ("cli/serve/log_queue.rs", ""),
    ("domain.rs", "mod key; pub use key::Key;"),
    ("domain/key.rs", "use std::fmt; use super::Key as Same; pub struct Key;"),
    (
        "proto.rs",
        "mod generated { tonic::include_proto!(\"semel.v1\"); pub struct BeginRequest; } pub use generated::*;",
    ),
    ("storage.rs", "pub mod memory; pub trait Store { fn compare_and_put(&self); }"),
    (
        "storage/memory.rs",
        "use super::Store; impl Store for Memory { fn compare_and_put(&self) {} } pub struct Memory;",
    ),
    ("server.rs", "mod convert; mod idempotency;"),
    ("server/convert.rs", "use crate::{domain::Key, proto::BeginRequest};"),
    ("server/idempotency.rs", "use super::convert; use crate::proto::BeginRequest;"),
    (
        "coordinator.rs",
        "use tokio::time::Instant; pub use crate::domain::Key; fn f() { store.compare_and_put(); Instant::now(); }",
    ),
    ("clock.rs", "fn f() { std::time::SystemTime::now(); }"),
];

/// What is broken once the file at `path` has `text` too, declared by `parent` where it is new.
fn broken_by(path: &str, text: &str) -> Vec<String> {
    let mut files: Vec<(&str, String)> =
        TREE.iter().map(|(path, text)| (*path, (*text).to_owned())).collect();
    if let Some((_, present)) = files.iter_mut().find(|(known, _)| *known == path) {
        present.push_str(text);
    } else {
        let (parent, name) =
            path.trim_end_matches(".rs").rsplit_once('/').unwrap_or(("lib", path.trim_end_matches(".rs")));
        let parent = format!("{parent}.rs");
        let (_, declaring) =
            files.iter_mut().find(|(known, _)| *known == parent).expect("the parent is in TREE");
        declaring.extend([" mod ", name, ";"]);
        files.push((path, text.to_owned()));
    }
    let borrowed: Vec<_> = files.iter().map(|(path, text)| (*path, &**text)).collect();
    broken(&borrowed)
}

#[track_caller]
fn refused(path: &str, texts: &[&str], because: &str) {
    for text in texts {
        let found = broken_by(path, text);
        assert!(
            found.iter().any(|line| line.starts_with(&format!("src/{path}: ")) && line.contains(because)),
            "{path} with `{text}` should be refused because `{because}`, and is: {found:?}"
        );
    }
}

#[track_caller]
fn allowed(path: &str, texts: &[&str]) {
    for text in texts {
        let found = broken_by(path, text);
        assert!(found.is_empty(), "{path} with `{text}` should be allowed, and is: {found:?}");
    }
}

#[test]
fn a_tree_that_keeps_the_rules_is_allowed() {
    assert_eq!(broken(TREE), Vec::<String>::new());
}

#[test]
fn the_domain_stands_alone() {
    refused(
        "domain/key.rs",
        &[
            "use crate::storage::Store;",
            "use crate::{storage::{Store, memory}};",
            "use super::super::storage as s; fn f(x: s::Memory) {}",
            "fn f(x: &dyn crate::storage::Store) {}",
            "use semel::storage::Store;",
            "use tokio::time::Duration;",
            "use tonic as t;",
            "fn f() { ::prost::encode(); }",
            "#[async_trait::async_trait] trait T {}",
            "#[derive(prost::Message)] struct S;",
            "mod inner { use crate::coordinator; }",
            "fn f() { use crate::clock::SystemClock; }",
            "fn f() { debug_assert!(crate::storage::ok()); }",
            "macro_rules! m { () => { $crate::storage::f() } }",
            "use std::fs;",
            "use std::time::{Duration, Instant};",
            "fn f() { std::env::var(\"X\"); }",
            "extern crate fjall as database;",
        ],
        "the domain is pure",
    );
    refused(
        "domain/key.rs",
        &["async fn f() {}", "fn f() { async {}; }", "fn f() { m!(x.await); }"],
        "is async",
    );
    refused("domain.rs", &["use crate::proto::BeginRequest;"], "the domain is pure");
    allowed(
        "domain/key.rs",
        &[
            "use bytes::Bytes; use uuid::Uuid; use thiserror::Error; use std::time::Duration;",
            "use crate::domain::Key as K; fn f(k: K) -> Self { Self::new(k) }",
            "fn f(tokio: u8, config: u8) -> u8 { tokio + config } // names of values, not of crates",
            "/// Never `tokio::spawn`.\nconst S: &str = \"use crate::storage::Store\";",
            "#[cfg(test)] mod tests { use crate::storage::Store; use proptest::prelude::*; }",
        ],
    );
}

#[test]
fn only_the_converters_see_proto_and_domain() {
    refused(
        "server/idempotency.rs",
        &[
            "use crate::domain::Key;",
            "use crate::domain as d; fn f(x: d::Key) {}",
            "use crate::domain::*;",
            "fn f(key: crate::domain::Key) {}",
            "use crate::coordinator::Key; // a re-export of the domain's",
            "use crate::{coordinator::{self as c}}; fn f(x: c::Key) {}",
            "fn f() { tracing::info!(key = ?crate::domain::Key); }",
        ],
        "see the two sides",
    );
    refused(
        "coordinator.rs",
        &["use crate::proto::*;", "type Wire = crate::proto::BeginRequest;"],
        "see the two sides",
    );
    refused("main.rs", &["use semel::{domain::Key, proto::BeginRequest};"], "see the two sides");
    allowed("server/status.rs", &["use crate::{domain::Key, proto::BeginRequest};"]);
    allowed("server/convert/time.rs", &["use crate::{domain::Key, proto::BeginRequest};"]);
    allowed(
        "server/limits.rs",
        &["use crate::domain::Key;", "use crate::proto::BeginRequest; use crate::storage;"],
    );
}

#[test]
fn only_storage_knows_a_database() {
    let texts =
        ["use fjall::Keyspace;", "fn f() { fjall::open(); }", "use lsm_tree::Tree;", "use scylla as db;"];
    // A crate that is not in Cargo.toml cannot be named at all; until it is there, the compiler keeps the rule.
    let named: Vec<_> =
        texts.into_iter().filter(|text| crates().iter().any(|name| text.contains(&**name))).collect();
    assert!(named.len() >= 2);
    refused("coordinator.rs", &named, "only storage/* know a database");
    refused("storage.rs", &named, "only storage/* know a database");
    allowed("storage/embedded.rs", &named);
}

#[test]
fn only_the_command_line_is_a_client_and_by_the_library() {
    let library = ["use semel_client::Client;", "fn f() { semel_client::proto::Key::default(); }"];
    refused("server/limits.rs", &library, "only the command line is a client");
    refused("coordinator.rs", &library, "only the command line is a client");
    allowed("cli/once.rs", &library);
    let stubs = [
        "use crate::proto::idempotency_service_client::IdempotencyServiceClient;",
        "use crate::proto as p; fn f() { p::operator_service_client::OperatorServiceClient::new(); }",
    ];
    refused("cli/once.rs", &stubs, "calls through clients/rust");
}

#[test]
fn only_the_coordinator_writes() {
    refused(
        "server/idempotency.rs",
        &[
            "async fn f(store: S) { store.compare_and_put(w).await; }",
            "fn f(store: S) { crate::storage::Store::compare_and_put(&store); }",
            "use crate::storage::Store; fn f(s: S) { Store::compare_and_put(&s); let g = <S as Store>::compare_and_put; }",
            "fn f() { tokio::select! { a = store.compare_and_put(w) => {} } }",
        ],
        "calls compare_and_put",
    );
    let calls = ["async fn f(store: S) { store.compare_and_put(w).await; }"];
    for store in ["storage.rs", "storage/memory.rs", "storage/scylla.rs", "storage/embedded.rs", "server.rs"]
    {
        refused(store, &calls, "calls compare_and_put");
    }
    allowed("storage/copy.rs", &calls);
    allowed("server/idempotency.rs", &["/// Never compare_and_put.\nfn compare_and_put() {}"]);
    allowed("storage/metered.rs", &["fn f(s: S) { s.inner.compare_and_put(); }"]);
    allowed("coordinator/batch.rs", &["fn f(s: S) { s.compare_and_put(); }"]);
}

#[test]
fn time_comes_from_a_clock() {
    refused(
        "server/limits.rs",
        &[
            "use std::time::SystemTime; fn f() { SystemTime::now(); }",
            "use std::time::Instant as I; fn f() { I::now(); }",
            "use std::time; fn f() { time::Instant::now(); }",
            "use std::{time::{self as t}}; fn f() { t::Instant::now(); }",
            "use std::time::*; fn f() { Instant::now(); }",
            "fn f() { x.unwrap_or_else(std::time::Instant::now); }",
            "fn f() { <std::time::Instant>::now(); }",
            "type I = std::time::Instant; fn f() { I::now(); }",
            "use std::time::Instant; mod inner { use super::*; fn f() { Instant::now(); } }",
            "use std::time::Instant; fn f() { tracing::info!(now = ?Instant::now()); }",
            "use std::time::UNIX_EPOCH; fn f() { UNIX_EPOCH.elapsed(); }",
            "fn f() { nix::time::clock_gettime(c); }",
        ],
        "comes from a Clock",
    );
    allowed("server/limits.rs", &["use tokio::time::Instant; fn f(c: C) { Instant::now(); c.clock.now(); }"]);
    allowed(
        "server/limits.rs",
        &["use std::time::SystemTime; fn f(t: SystemTime) { SystemTime::UNIX_EPOCH + d; }"],
    );
    allowed("storage/metered.rs", &["use std::time::Instant; fn f() { Instant::now(); }"]);
    refused("storage/metered.rs", &["fn f() { std::time::SystemTime::now(); }"], "comes from a Clock");
}

#[test]
fn threads_are_the_embedded_stores_and_the_logs() {
    let texts = [
        "fn f() { std::thread::spawn(g); }",
        "use std::thread; fn f() { thread::Builder::new(); }",
        "use std::thread::{self as t, scope}; fn f() { scope(g); }",
    ];
    refused("server/limits.rs", &texts, "only the embedded store and the log have threads");
    refused("storage/memory.rs", &texts, "only the embedded store and the log have threads");
    allowed("storage/embedded.rs", &texts);
    allowed("cli/serve/log_queue.rs", &texts);
    allowed(
        "server/limits.rs",
        &["use std::thread; fn f() { thread::available_parallelism(); tokio::spawn(x); }"],
    );
}

#[test]
fn the_coordinator_can_be_simulated() {
    refused("coordinator/waiters.rs", &["use std::time::{Duration, Instant};"], "tokio's time");
    refused(
        "coordinator/waiters.rs",
        &[
            "fn f() { tokio::task::spawn_blocking(g); }",
            "fn f(h: tokio::runtime::Handle) { h.spawn_blocking(g); }",
        ],
        "starts no thread",
    );
    allowed("coordinator/waiters.rs", &["fn f() { tokio::runtime::Handle::try_current(); }"]);
    refused(
        "coordinator/waiters.rs",
        &["use uuid::Uuid; fn f() { Uuid::new_v4(); }", "use rand::rng; fn f() { rng(); }"],
        "one seed, one history",
    );
    allowed(
        "coordinator/waiters.rs",
        &["use rand::rngs::StdRng; use std::time::Duration; fn f() { tokio::spawn(x); }"],
    );
}

#[test]
fn files_are_small_named_and_in_sight() {
    let long = "// line\n".repeat(651);
    refused("server/limits.rs", &[&long], "split it by concept");
    allowed("server/limits.rs", &[&format!("fn f() {{}}\n#[cfg(test)]\nmod tests {{\n{long}}}\n")]);
    refused("server/util.rs", &[""], "does not say what it is for");
    refused(
        "server/limits.rs",
        &["#[path = \"../hidden.rs\"] mod hidden;", "include!(\"x.in\");"],
        "cannot read",
    );
    let orphan = [TREE, &[("server/forgotten.rs", "")]].concat();
    assert_eq!(broken(&orphan), ["src/server/forgotten.rs: is declared by no module, so it is dead"]);
}
