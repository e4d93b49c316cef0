//! The policy in force follows its file, as long as the file is sound.

#[path = "support/program.rs"]
mod program;
mod support;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use nix::sys::signal::Signal;
use program::Program;
use semel::config::{PolicyWatch, Reload, parse_policy};
use semel::policies::Policies;
use serde_json::json;

struct Watched {
    _directory: tempfile::TempDir,
    path: PathBuf,
    policies: Arc<Policies>,
    watch: PolicyWatch,
}

fn lease(length: &str) -> String {
    format!("[defaults]\nlease = \"{length}\"\n")
}

impl Watched {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("policy.toml");
        let text = lease("10s");
        std::fs::write(&path, &text).unwrap();
        let allowance = Duration::from_secs(1);
        let policies = Arc::new(Policies::new(parse_policy("policy.toml", &text, allowance).unwrap()));
        let watch =
            PolicyWatch::new(path.clone(), text, (allowance, Duration::from_mins(1)), policies.clone());
        Self { _directory: directory, path, policies, watch }
    }

    fn write(&self, text: &str) {
        std::fs::write(&self.path, text).unwrap();
    }

    fn lease(&self) -> u64 {
        self.policies.current().defaults().policy.lease.as_secs()
    }
}

#[test]
fn a_change_counts_once_it_was_seen_twice() {
    let mut watched = Watched::new();
    assert_eq!(watched.watch.look(), Reload::Unchanged);
    watched.write(&lease("20s"));
    assert_eq!((watched.watch.look(), watched.lease()), (Reload::Settling, 10));
    watched.write(&lease("30s"));
    assert_eq!((watched.watch.look(), watched.lease()), (Reload::Settling, 10));
    assert_eq!((watched.watch.look(), watched.lease()), (Reload::Applied, 30));
    assert_eq!(watched.watch.look(), Reload::Unchanged);
}

#[test]
fn a_bad_file_is_refused_as_a_whole_and_once() {
    let mut watched = Watched::new();
    // One good change and one bad one: neither counts.
    watched.write("[defaults]\nlease = \"20s\"\nmax_wait = \"soon\"\nbursts = 1\n");
    assert_eq!(watched.watch.look(), Reload::Settling);
    let Reload::Refused(problems) = watched.watch.look() else { panic!("it is refused") };
    assert_eq!(problems.0.len(), 2, "{problems}");
    assert_eq!((watched.watch.look(), watched.lease()), (Reload::Unchanged, 10));
    watched.write(&lease("20s"));
    watched.watch.look();
    assert_eq!((watched.watch.look(), watched.lease()), (Reload::Applied, 20));
}

#[test]
fn a_file_that_goes_away_leaves_the_policy_as_it_was() {
    let mut watched = Watched::new();
    std::fs::remove_file(&watched.path).unwrap();
    assert_eq!(watched.watch.look(), Reload::Settling);
    assert!(matches!(watched.watch.look(), Reload::Refused(_)));
    assert_eq!((watched.watch.look(), watched.lease()), (Reload::Unchanged, 10));
    watched.write(&lease("10s"));
    watched.watch.look();
    assert_eq!((watched.watch.look(), watched.lease()), (Reload::Applied, 10));
}

#[test]
fn a_reload_that_was_asked_for_counts_at_once() {
    let mut watched = Watched::new();
    assert_eq!(watched.watch.reload(), Reload::Unchanged);
    watched.write(&lease("20s"));
    assert_eq!((watched.watch.reload(), watched.lease()), (Reload::Applied, 20));
    watched.write("lease");
    assert!(matches!(watched.watch.reload(), Reload::Refused(_)));
    assert_eq!(watched.lease(), 20);
}

/// The lease that a running server grants.
fn granted(server: &Program) -> serde_json::Value {
    server.json(&["policy", "--endpoint", "e"]).1["lease_seconds"].clone()
}

/// A policy file as Kubernetes mounts one: a link to a link to a directory, which is swapped.
fn mount(directory: &Path, generation: &str, text: &str) -> PathBuf {
    let place = directory.join(generation);
    std::fs::create_dir(&place).unwrap();
    std::fs::write(place.join("policy.toml"), text).unwrap();
    let next = directory.join("..data_tmp");
    std::os::unix::fs::symlink(&place, &next).unwrap();
    std::fs::rename(&next, directory.join("..data")).unwrap();
    let path = directory.join("policy.toml");
    if std::fs::symlink_metadata(&path).is_err() {
        std::os::unix::fs::symlink("..data/policy.toml", &path).unwrap();
    }
    path
}

#[test]
fn a_running_server_follows_its_file_and_sighup() {
    const IN_FORCE: &str = "the policy file has changed and is in force";
    const REFUSED: &str = "the policy file is refused; the policy in force stays as it was";
    let directory = tempfile::tempdir().unwrap();
    let path = mount(directory.path(), "..one", &lease("11s"));
    let server = Program::start(directory.path(), &["--store", "memory", "--policy", path.to_str().unwrap()]);
    assert_eq!(granted(&server), json!(11));

    mount(directory.path(), "..two", &lease("12s"));
    server.log.wait_for(IN_FORCE, 1);
    assert_eq!(granted(&server), json!(12));

    mount(directory.path(), "..three", "[defaults]\nlease = \"13s\"\nlaese = 5\n");
    server.log.wait_for(REFUSED, 1);
    server.log.wait_for("policy.toml:3: defaults: laese = 5 is not a policy field; did you mean lease?", 1);
    assert_eq!(granted(&server), json!(12));
    // Whoever asks is told again, and not that all is as it was.
    server.signal(Signal::SIGHUP);
    server.log.wait_for(REFUSED, 2);
    assert!(!server.log.text().contains("unchanged"), "{}", server.log.text());

    mount(directory.path(), "..four", &lease("14s"));
    server.signal(Signal::SIGHUP);
    server.log.wait_for(IN_FORCE, 2);
    assert_eq!(granted(&server), json!(14));
    server.signal(Signal::SIGHUP);
    server.log.wait_for("the policy file is unchanged", 1);
    assert!(server.stop().success());
}

#[test]
fn a_wait_that_is_never_granted_is_warned_of() {
    const WARNING: &str =
        "is never granted: limits.request_timeout is 10s, which lets a Begin be held for 9s at most";
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("policy.toml");
    let policy = path.to_str().unwrap();
    let text = "[defaults]\nmax_wait = \"9s\"\n[[rule]]\nendpoint = \"slow\"\nmax_wait = \"9001ms\"\n[[rule]]\ntenant = \"a\"\nlease = \"1s\"\n";
    std::fs::write(&path, text).unwrap();
    let limit = ["--limits-request-timeout", "10s", "--policy", policy];
    let check = support::semel().args(["config", "check"]).args(limit).output().unwrap();
    assert_eq!(check.status.code(), Some(0));
    assert_eq!(program::errors(&check), format!("semel: {policy}:5: rule 1: max_wait = 9s 1ms {WARNING}\n"));

    let server = Program::start(directory.path(), &[&["--store", "memory"], &limit[..]].concat());
    server.log.wait_for(WARNING, 1);
    std::fs::write(&path, "[defaults]\nmax_wait = \"1m\"\n").unwrap();
    server.signal(Signal::SIGHUP);
    server.log.wait_for("policy.toml:2: defaults: max_wait = 1m is never granted", 1);

    let built_in =
        support::semel().args(["config", "check", "--limits-request-timeout", "20s"]).output().unwrap();
    let said = program::errors(&built_in);
    assert!(said.starts_with("semel: built-in policy: max_wait = 30s is never granted"), "{said}");
}

#[test]
fn sighup_without_a_policy_file_does_no_harm() {
    let directory = tempfile::tempdir().unwrap();
    let server = Program::start(directory.path(), &["--store", "memory"]);
    server.signal(Signal::SIGHUP);
    server.log.wait_for("there is nothing to reload", 1);
    assert_eq!(granted(&server), json!(30));
}
