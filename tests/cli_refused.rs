//! The command line where a server, or a gateway before it, refuses what it should not, or loses an answer.

#[path = "support/front.rs"]
mod front;
#[path = "support/program.rs"]
mod program;
#[path = "support/scene.rs"]
mod scene;
mod support;

use std::time::Duration;

use front::{Front, Instead};
use program::{errors, text};
use scene::{RUN, Scene, code};
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};

/// A policy under which a result may be that large.
fn allowing(size: &str) -> (Scene, tempfile::TempDir) {
    let files = tempfile::tempdir().unwrap();
    let policy = files.path().join("policy.toml");
    std::fs::write(&policy, format!("[defaults]\nmax_result_bytes = \"{size}\"\n")).unwrap();
    (Scene::with(&["--store", "memory", "--policy", policy.to_str().unwrap()]), files)
}

/// `semel once` through the gateway.
fn once(scene: &Scene, front: &Front, key: &str, flags: &[&str], script: &str) -> std::process::Output {
    scene.command(key, flags, script).env("SEMEL_SERVER", &front.url).output().expect("semel starts")
}

#[test]
fn an_outcome_is_stored_where_its_output_is_too_large_for_a_message() {
    let scene = Scene::new();
    let front = Front::of(&scene.server.url);
    for (key, code_of_gateway) in [("one", Code::OutOfRange), ("two", Code::ResourceExhausted)] {
        front.answer("complete", Instead::Refused(Status::new(code_of_gateway, "message too large")));
        let first =
            once(&scene, &front, key, &["--on-failure", "store"], &format!("{RUN} echo said; exit 7"));
        assert_eq!((code(&first), text(&first).as_str()), (7, "said\n"), "{}", errors(&first));
        assert_eq!(errors(&first).matches("its output is not").count(), 1, "{}", errors(&first));
        let second = once(&scene, &front, key, &[], RUN);
        assert_eq!((code(&second), text(&second).as_str()), (7, ""), "{}", errors(&second));
        assert!(errors(&second).contains("5 bytes of its output were too large"), "{}", errors(&second));
    }
    assert_eq!(scene.runs(), 2);
}

#[test]
fn an_outcome_is_stored_where_the_policy_allows_nothing_but_itself() {
    let (scene, _files) = allowing("8B");
    let first = scene.once("tiny", &[], &format!("{RUN} echo a word"));
    assert_eq!((code(&first), text(&first).as_str()), (0, "a word\n"), "{}", errors(&first));
    let second = scene.once("tiny", &[], RUN);
    assert_eq!((code(&second), text(&second).as_str()), (0, ""), "{}", errors(&second));
    assert!(errors(&second).contains("too large to keep"), "{}", errors(&second));
    assert_eq!((scene.runs(), &scene.lookup("tiny")["payload_omitted"]), (1, &true.into()));
}

#[test]
fn no_more_output_is_asked_for_than_a_result_may_hold() {
    let scene = Scene::new();
    let asked = scene.once("much", &["--max-output", "4MiB"], RUN);
    assert_eq!((code(&asked), scene.runs()), (2, 0));
    assert!(errors(&asked).contains("3MiB"), "{}", errors(&asked));
    assert_eq!(code(&scene.once("much", &["--max-output", "3MiB"], RUN)), 0);
}

#[test]
fn the_owners_word_is_sent_again_after_errors_that_may_pass() {
    let scene = Scene::new();
    let front = Front::of(&scene.server.url);
    let busy = || {
        let details = ErrorDetails::with_retry_info(Some(Duration::from_millis(10)));
        Status::with_error_details(Code::ResourceExhausted, "too many requests", details)
    };
    for status in [Status::internal("a bug"), busy()] {
        front.answer("complete", Instead::Refused(status.clone()));
        front.answer("abort", Instead::Refused(status));
    }
    let done = once(&scene, &front, "done", &[], &format!("{RUN} echo said"));
    assert_eq!((code(&done), errors(&done).as_str()), (0, ""));
    assert_eq!(front.calls("complete"), 3);
    assert_eq!(scene.lookup("done")["payload"], "said\n");
    let failed = once(&scene, &front, "failed", &["--on-failure", "release"], "exit 3");
    assert_eq!((code(&failed), front.calls("abort")), (3, 3));
    assert_eq!(scene.lookup("failed")["state"], "released");

    // A begin is not: nothing is lost if it fails.
    front.answer("begin", Instead::Refused(Status::internal("a bug")));
    assert_eq!((code(&once(&scene, &front, "refused", &[], RUN)), front.calls("begin")), (1, 3));
    // What never passes is given up in the end, loudly.
    front.answer_until("never", "complete", Instead::Refused(Status::internal("a bug")));
    let lost = once(&scene, &front, "lost", &["--report-within", "300ms"], "exit 0");
    assert_eq!(code(&lost), 120);
    assert!(errors(&lost).contains("THE OUTCOME IS NOT STORED"), "{}", errors(&lost));
    assert!(errors(&lost).contains("Internal: a bug"), "{}", errors(&lost));
}

fn lost() -> Instead {
    Instead::Lost(Status::unavailable("the connection broke"))
}

#[test]
fn a_key_whose_grant_was_not_learnt_is_given_back() {
    let scene = Scene::new();
    let front = Front::of(&scene.server.url);
    let flags = ["--lease", "1h", "--timeout", "1s"];
    front.answer_until("lookup", "begin", lost());
    let output = once(&scene, &front, "granted", &flags, RUN);
    assert_eq!((code(&output), scene.runs()), (110, 0), "{}", errors(&output));
    assert!(errors(&output).contains("nothing ran"), "{}", errors(&output));
    assert_eq!(scene.lookup("granted")["state"], "released", "{}", errors(&output));

    // It cannot be given back: then it is said whose it may be, and that tells.
    front.answer_until("never", "begin", lost());
    let output = once(&scene, &front, "held", &flags, RUN);
    assert_eq!((code(&output), scene.runs()), (110, 0), "{}", errors(&output));
    let said = errors(&output);
    let (_, attempt) = said.split_once("granted to attempt ").unwrap_or_else(|| panic!("{said}"));
    let key = ["--endpoint", "jobs/Nightly", "--key", "held", "--attempt-id", &attempt[..36]];
    let (exit, mine) = scene.server.json(&[&["begin"], &key[..]].concat());
    assert_eq!((exit, &mine["decision"], &mine["attempt"]), (0, &"started".into(), &1.into()));
}

#[test]
fn an_attempt_that_never_began_is_not_used_up() {
    let scene = Scene::new();
    let front = Front::of(&scene.server.url);
    front.answer_until("lookup", "begin", Instead::Refused(Status::unavailable("the connection broke")));
    let output = once(&scene, &front, "free", &["--timeout", "1s"], RUN);
    assert_eq!((code(&output), scene.runs()), (110, 0), "{}", errors(&output));
    let (exit, _) = scene.server.json(&["lookup", "--endpoint", "jobs/Nightly", "--key", "free"]);
    assert_eq!(exit, 107, "nothing is known of the key");
}

#[test]
fn a_begin_without_an_answer_says_which_attempt_may_own_the_key() {
    let scene = Scene::new();
    let front = Front::of(&scene.server.url);
    let begin = ["begin", "--endpoint", "e", "--key", "k", "--timeout", "1s", "--server", &front.url];
    front.answer_until("never", "begin", lost());
    let (exit, error) = scene.server.json(&begin);
    let attempt = error["error"]["attempt_id"].as_str().unwrap_or_else(|| panic!("{error}"));
    assert_eq!(exit, 110);
    let again = ["begin", "--endpoint", "e", "--key", "k", "--attempt-id", attempt];
    assert_eq!(scene.server.json(&again).0, 0, "it is the owner");

    let output = scene.server.semel(&begin).args(["--output", "env"]).output().unwrap();
    let (_, attempt) =
        text(&output).split_once("SEMEL_ATTEMPT_ID='").map(|(a, b)| (a.len(), b.to_owned())).unwrap();
    assert!(errors(&output).contains(&attempt[..36]), "{}", errors(&output));
    // Whom the server refused for good owns nothing.
    let (_, refused) = scene.server.json(&["begin", "--endpoint", "", "--key", "k"]);
    assert_eq!(refused["error"].get("attempt_id"), None, "{refused}");
}
