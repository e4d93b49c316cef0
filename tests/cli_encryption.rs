//! Encryption as an operator uses it: a key is made, checked, put in force, rotated while the server runs, and missed.

#[path = "support/program.rs"]
mod program;
mod support;

use std::path::Path;

use nix::sys::signal::Signal;
use program::{Program, errors, text};
use support::semel;

fn create(id: &str) -> String {
    let made = semel().args(["encryption-key", "create", "--id", id]).output().unwrap();
    assert!(made.status.success(), "{}", errors(&made));
    text(&made)
}

fn file(current: &str, keys: &[&str]) -> String {
    format!("current = \"{current}\"\n[keys]\n{}", keys.concat())
}

fn run(server: &Program, name: &str) {
    let begin = ["begin", "--endpoint", "e", "--key", name];
    let (status, begun) = server.json(&begin);
    assert_eq!((status, &begun["decision"]), (0, &"started".into()), "{begun}");
    let (fence, attempt) = (begun["fence"].to_string(), begun["attempt_id"].as_str().unwrap());
    let complete = ["complete", "--endpoint", "e", "--key", name, "--fence", &fence, "--attempt-id", attempt];
    assert_eq!(server.json(&[&complete[..], &["--payload", "done"]].concat()).0, 0);
}

fn is_replayed(server: &Program, name: &str) {
    let (status, told) = server.json(&["begin", "--endpoint", "e", "--key", name]);
    assert_eq!((status, &told["payload"]), (100, &"done".into()), "{told}");
}

fn serve(directory: &Path, keys: &Path) -> Program {
    Program::start(directory, &["--encryption-key-file", keys.to_str().unwrap()])
}

#[test]
fn a_server_encrypts_rotates_and_refuses_what_it_has_no_key_for() {
    let directory = tempfile::tempdir().unwrap();
    let keys = directory.path().join("keys.toml");
    let (first, second) = (create("first"), create("second"));
    std::fs::write(&keys, file("first", &[&first])).unwrap();

    let check = || {
        let mut check = semel();
        check.current_dir(directory.path()).args(["config", "check", "--encryption-key-file"]).arg(&keys);
        check.output().unwrap()
    };
    assert!(check().status.success(), "{}", errors(&check()));
    assert!(errors(&check()).contains("everybody on this machine may read it: chmod o-r"));
    std::fs::write(&keys, file("second", &[&first])).unwrap();
    assert_eq!(check().status.code(), Some(3));
    assert!(errors(&check()).contains("keys.toml:1: current names a key that is not among [keys]"));
    let secret = first.split('"').nth(3).unwrap();
    assert!(!errors(&check()).contains(secret));

    std::fs::write(&keys, file("first", &[&first])).unwrap();
    let server = serve(directory.path(), &keys);
    run(&server, "one");
    std::fs::write(&keys, "current = \"first\"\n").unwrap();
    server.signal(Signal::SIGHUP);
    server.log.wait_for("the key file is refused; the set of encryption keys in force stays as it was", 1);
    is_replayed(&server, "one");
    std::fs::write(&keys, file("second", &[&first, &second])).unwrap();
    server.signal(Signal::SIGHUP);
    server.log.wait_for("the key file has changed and is in force", 1);
    run(&server, "two");
    let log = server.log.clone();
    assert!(server.stop().success());
    log.wait_for("stopped", 1);
    let log = log.text();
    assert!(log.contains("semel::audit") && log.contains("reload the key file"), "{log}");
    assert!(!log.contains(secret), "{log}");

    // Only with the keys is anything read, and nothing runs again without them.
    std::fs::write(&keys, file("second", &[&second])).unwrap();
    let server = serve(directory.path(), &keys);
    is_replayed(&server, "two");
    let refused = ["begin", "--endpoint", "e", "--key", "one", "--timeout", "1s"];
    let (status, told) = server.json(&refused);
    assert_eq!((status, &told["error"]["reason"]), (110, &"STORE_UNAVAILABLE".into()), "{told}");
    server.log.wait_for("it is encrypted under the key first, which this server's key file does not have", 1);
    assert!(server.stop().success());
    let without = Program::start(directory.path(), &[]);
    let (status, told) = without.json(&refused);
    assert_eq!((status, &told["error"]["reason"]), (110, &"STORE_UNAVAILABLE".into()), "{told}");
    without.log.wait_for(
        "a record is encrypted, and this server has no key for it (see the setting encryption_key_file)",
        1,
    );
    assert!(without.stop().success());

    std::fs::write(&keys, file("second", &[&first, &second])).unwrap();
    let server = serve(directory.path(), &keys);
    is_replayed(&server, "one");
    is_replayed(&server, "two");
}

#[test]
fn keys_have_names_and_are_made_anew_each_time() {
    assert_ne!(create("a"), create("a"));
    let random = text(&semel().args(["encryption-key", "create"]).output().unwrap());
    assert!(random.starts_with("\"key-") && random.lines().count() == 1, "{random}");
    for id in ["none", "two words", ""] {
        let refused = semel().args(["encryption-key", "create", "--id", id]).output().unwrap();
        assert_eq!(refused.status.code(), Some(2), "{id:?}");
    }
}
