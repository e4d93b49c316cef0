//! `semel once` around real commands, against a real server.

#[path = "support/program.rs"]
mod program;
#[path = "support/scene.rs"]
mod scene;
mod support;

use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};

use nix::sys::signal::Signal;
use program::{Heard, Program, errors, send, text, wait_until};
use scene::{RUN, Scene, code};
use support::count;
use tokio::signal::unix::{SignalKind, signal};

#[test]
fn a_second_start_gets_the_same_output_and_status_byte_for_byte() {
    let scene = Scene::with(&[]);
    let script =
        format!("{RUN} printf 'out \\001\\377\\000 bytes\\n'; printf 'err \\376\\n' >&2; echo ${{RANDOM}}$$");
    let first = scene.once("bytes", &[], &script);
    let second = scene.once("bytes", &[], &script);
    assert_eq!(code(&first), 0, "{}", errors(&first));
    assert!(first.stdout.starts_with(b"out \x01\xff\x00 bytes\n"), "{:?}", first.stdout);
    assert_eq!(first.stderr, b"err \xfe\n");
    assert_eq!(
        (first.stdout, first.stderr, 0),
        (second.stdout.clone(), second.stderr.clone(), code(&second))
    );
    assert_eq!(scene.runs(), 1);
}

#[test]
fn the_command_finds_its_attempt_in_the_environment() {
    let scene = Scene::new();
    let semel = env!("CARGO_BIN_EXE_semel");
    let script = format!(
        "{semel} checkpoint --name half --value done >&2 || exit 9; \
         echo $SEMEL_ENDPOINT $SEMEL_KEY $SEMEL_TENANT $SEMEL_ATTEMPT $SEMEL_FENCE $SEMEL_ATTEMPT_ID"
    );
    let output = scene.once("environment", &["--tenant", "acme"], &script);
    assert_eq!(code(&output), 0, "{}", errors(&output));
    let (_, record) = scene.server.json(&[
        "lookup",
        "--tenant",
        "acme",
        "--endpoint",
        "jobs/Nightly",
        "--key",
        "environment",
    ]);
    let said = text(&output);
    let said: Vec<_> = said.split_whitespace().collect();
    assert_eq!(said[..5], ["jobs/Nightly", "environment", "acme", "1", &record["fence"].to_string()]);
    assert_eq!(said[5].len(), 36);
    assert_eq!(record["checkpoints"][0]["value"], "done", "{record}");
}

#[test]
fn a_stored_failure_is_replayed() {
    let scene = Scene::new();
    for _ in 0..2 {
        let output = scene.once("fails", &["--on-failure", "store"], &format!("{RUN} echo no; exit 7"));
        assert_eq!((code(&output), text(&output).as_str(), errors(&output).as_str()), (7, "no\n", ""));
    }
    assert_eq!(scene.runs(), 1);
    assert_eq!(scene.lookup("fails")["outcome"], "failure");
}

#[test]
fn a_released_failure_lets_the_next_start_run() {
    let scene = Scene::new();
    let flags = ["--on-failure", "release"];
    let failed = scene.once("again", &flags, &format!("{RUN} exit 7"));
    assert_eq!(code(&failed), 7);
    assert!(errors(&failed).contains("the key is released"), "{}", errors(&failed));
    assert_eq!(scene.lookup("again")["state"], "released");
    let done = scene.once("again", &flags, &format!("{RUN} echo $SEMEL_ATTEMPT"));
    assert_eq!((code(&done), text(&done).as_str(), scene.runs()), (0, "2\n", 2));
}

/// A policy under which nothing runs again that may have happened.
fn mark_unknown(directory: &Path) -> PathBuf {
    let policy = directory.join("policy.toml");
    std::fs::write(&policy, "[defaults]\non_lost_lease = \"mark_unknown\"\n").unwrap();
    policy
}

#[test]
fn a_failure_is_unknown_where_nothing_else_is_said_and_the_policy_decides() {
    let scene = Scene::new();
    assert_eq!(code(&scene.once("rerun", &[], &format!("{RUN} exit 3"))), 3);
    assert_eq!(scene.lookup("rerun")["state"], "lease_lost");
    assert_eq!(code(&scene.once("rerun", &[], RUN)), 0);
    assert_eq!(scene.runs(), 2);

    let files = tempfile::tempdir().unwrap();
    let policy = mark_unknown(files.path());
    let scene = Scene::with(&["--store", "memory", "--policy", policy.to_str().unwrap()]);
    let failed = scene.once("once", &[], &format!("{RUN} exit 3"));
    assert_eq!(code(&failed), 3);
    let second = scene.once("once", &[], RUN);
    assert_eq!(code(&second), 103);
    assert!(errors(&second).contains("the command ended with exit status 3"), "{}", errors(&second));
    assert_eq!(scene.runs(), 1);
}

#[test]
fn a_command_that_a_signal_ends_leaves_the_outcome_unknown() {
    let files = tempfile::tempdir().unwrap();
    let policy = mark_unknown(files.path());
    let scene = Scene::with(&["--store", "memory", "--policy", policy.to_str().unwrap()]);
    let killed = scene.once("killed", &["--on-failure", "release"], &format!("{RUN} kill -KILL $$"));
    assert_eq!(code(&killed), 137);
    let record = scene.lookup("killed");
    assert_eq!(
        (record["state"].as_str(), record["reason"].as_str()),
        (Some("unresolved"), Some("OUTCOME_UNKNOWN"))
    );
    assert!(record["detail"].as_str().unwrap().contains("SIGKILL"), "{record}");
    assert_eq!(code(&scene.once("killed", &[], RUN)), 103);
    assert_eq!(scene.runs(), 1);
}

/// Handles those that whoever started the tests ignores, as a shell in the background does: what is started from here has the
/// default again, and is told of them.
fn ignored_by_nobody(kinds: &[SignalKind]) -> tokio::runtime::Runtime {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let _entered = runtime.enter();
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:")).unwrap();
    let ignored = u64::from_str_radix(ignored.trim(), 16).unwrap();
    for kind in kinds.iter().filter(|kind| (ignored >> (kind.as_raw_value() - 1)) & 1 == 1) {
        drop(signal(*kind).unwrap());
    }
    runtime
}

#[test]
fn signals_are_passed_on_to_the_command() {
    let _handled = ignored_by_nobody(&[SignalKind::interrupt(), SignalKind::hangup()]);
    let scene = Scene::new();
    let script = "trap 'echo usr1; exit 0' USR1; echo ready; while :; do sleep 0.01; done";
    let mut process = scene.command("usr1", &[], script).stdout(Stdio::piped()).spawn().unwrap();
    let heard = Heard::listen(process.stdout.take().unwrap());
    heard.wait_for("ready\n", 1);
    send(&process, Signal::SIGUSR1);
    assert_eq!(process.wait().unwrap().code(), Some(0));
    heard.wait_for("usr1\n", 1);
    assert_eq!(scene.lookup("usr1")["payload"], "ready\nusr1\n");

    for (signal, expected) in [(Signal::SIGTERM, 143), (Signal::SIGINT, 130), (Signal::SIGHUP, 129)] {
        let key = signal.to_string();
        // Whether bash dies of it or says so by its status, the command was interrupted.
        let script =
            format!("trap 'exit {expected}' {}; echo ready; while :; do sleep 0.01; done", &key[3..]);
        let flags = ["--on-failure", "release"];
        let mut process = scene.command(&key, &flags, &script).stdout(Stdio::piped()).spawn().unwrap();
        Heard::listen(process.stdout.take().unwrap()).wait_for("ready\n", 1);
        send(&process, signal);
        assert_eq!(process.wait().unwrap().code(), Some(expected));
        assert_eq!(scene.lookup(&key)["state"], "lease_lost", "unknown, not released");
    }
}

#[test]
fn a_start_that_waits_is_ended_by_a_signal_and_runs_nothing() {
    let scene = Scene::new();
    let args = ["begin", "--endpoint", "jobs/Nightly", "--key", "busy", "--lease", "1h"];
    assert_eq!(scene.server.json(&args).0, 0);
    let mut waiting = scene.command("busy", &["--wait", "1h"], RUN).stderr(Stdio::piped()).spawn().unwrap();
    // It takes over its signals before it calls the server; the handler is there once the mask says so.
    let status = format!("/proc/{}/status", waiting.id());
    let term = 1_u64 << (Signal::SIGTERM as u32 - 1);
    wait_until("SIGTERM is handled", || {
        let status = std::fs::read_to_string(&status).unwrap_or_default();
        let mask = status.lines().find_map(|line| line.strip_prefix("SigCgt:")).unwrap_or("0");
        u64::from_str_radix(mask.trim(), 16).unwrap() & term != 0
    });
    send(&waiting, Signal::SIGTERM);
    assert_eq!(waiting.wait().unwrap().code(), Some(143));
    assert_eq!(scene.runs(), 0);
    assert_eq!(scene.lookup("busy")["attempt"], 1);
}

#[test]
fn an_operator_who_takes_the_key_stops_the_command() {
    let scene = Scene::new();
    // The command ignores SIGTERM, and so does what it started: both have to go.
    let script = "trap '' TERM; sleep 1000 & echo $! > sleeper; echo ready; wait; sleep 1000";
    let flags = ["--lease", "6s", "--kill-after", "300ms"];
    let mut process =
        scene.command("taken", &flags, script).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    Heard::listen(process.stdout.take().unwrap()).wait_for("ready\n", 1);
    let heard = Heard::listen(process.stderr.take().unwrap());
    let fence = scene.lookup("taken")["fence"].to_string();
    let taken = scene.server.call(&[
        "resolve",
        "--endpoint",
        "jobs/Nightly",
        "--key",
        "taken",
        "--fence",
        &fence,
        "--release",
        "--force",
        "--note",
        "the machine is gone",
    ]);
    assert_eq!(code(&taken), 0, "{}", errors(&taken));
    assert_eq!(process.wait().unwrap().code(), Some(106));
    heard.wait_for("the key is not ours any more (FENCE_LOST", 1);
    heard.wait_for("its outcome is not stored", 1);
    let sleeper = std::fs::read_to_string(scene.path("sleeper")).unwrap();
    let process = format!("/proc/{}/stat", sleeper.trim());
    wait_until("what the command started is gone, too", || {
        std::fs::read_to_string(&process).is_ok_and(|stat| stat.contains(") Z "))
            || !Path::new(&process).exists()
    });
    assert_eq!(scene.lookup("taken")["state"], "released");

    let forgotten = scene.once("taken", &[], "echo next");
    assert_eq!((code(&forgotten), text(&forgotten).as_str()), (0, "next\n"));
}

#[test]
fn the_lease_is_renewed_while_the_command_runs() {
    let scene = Scene::new();
    // Whoever begins waits for as long as the first one owns the key: here until the command is told to end,
    // which is after several leases.
    let script = format!("{RUN} echo ready; until [ -e go ]; do sleep 0.01; done; echo done");
    let flags = ["--lease", "6s"];
    let mut first = scene.command("long", &flags, &script).stdout(Stdio::piped()).spawn().unwrap();
    Heard::listen(first.stdout.take().unwrap()).wait_for("ready\n", 1);
    let end = |record: &serde_json::Value| record["lease_expires_at"].as_str().unwrap().to_owned();
    let granted = end(&scene.lookup("long"));
    let mut ends = std::collections::BTreeSet::from([granted]);
    // Five different lease ends are more than a lease of run time: a renewal comes each third of a lease.
    wait_until("the lease is renewed again and again", || {
        ends.insert(end(&scene.lookup("long")));
        ends.len() >= 5
    });
    assert_eq!(code(&scene.once("long", &[], RUN)), 102);
    std::fs::write(scene.path("go"), "").unwrap();
    assert_eq!(first.wait().unwrap().code(), Some(0));
    let replay = scene.once("long", &[], RUN);
    assert_eq!((code(&replay), text(&replay).as_str(), scene.runs()), (0, "ready\ndone\n", 1));
}

#[test]
fn a_lease_that_cannot_be_renewed_stops_the_command_before_another_may_run() {
    let mut scene = Scene::new();
    let script = "echo $$ > guarded; echo ready; while :; do sleep 0.01; done";
    let flags = ["--lease", "2s", "--report-within", "1s"];
    let mut process = scene
        .command("cut off", &flags, script)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    Heard::listen(process.stdout.take().unwrap()).wait_for("ready\n", 1);
    let heard = Heard::listen(process.stderr.take().unwrap());
    scene.server.signal(Signal::SIGKILL);
    scene.server.wait();
    // The outcome is unknown, and could not be said.
    assert_eq!(process.wait().unwrap().code(), Some(120));
    heard.wait_for("THE OUTCOME IS NOT STORED", 1);
    let guarded = std::fs::read_to_string(scene.path("guarded")).unwrap();
    assert!(!Path::new(&format!("/proc/{}", guarded.trim())).exists(), "it has ended before this one");
}

#[test]
fn a_result_that_cannot_be_delivered_is_said_loudly() {
    let mut scene = Scene::new();
    let script = "echo ready; until [ -e go ]; do sleep 0.01; done; exit 0";
    let mut process = scene
        .command("undelivered", &["--report-within", "500ms"], script)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    Heard::listen(process.stdout.take().unwrap()).wait_for("ready\n", 1);
    let heard = Heard::listen(process.stderr.take().unwrap());
    scene.server.signal(Signal::SIGKILL);
    scene.server.wait();
    std::fs::write(scene.path("go"), "").unwrap();
    assert_eq!(process.wait().unwrap().code(), Some(120));
    heard.wait_for("THE OUTCOME IS NOT STORED", 1);
    heard.wait_for("the command ended with exit status 0", 1);
}

#[test]
fn a_result_waits_for_the_server_to_come_back() {
    let data = tempfile::tempdir().unwrap();
    let first = Program::start(data.path(), &[]);
    let address = first.url.trim_start_matches("http://").to_owned();
    let mut scene = Scene { server: first, directory: tempfile::tempdir().unwrap() };
    let script = format!("{RUN} echo ready; until [ -e go ]; do sleep 0.01; done; echo done");
    let mut process =
        scene.command("comes back", &["--lease", "1h"], &script).stdout(Stdio::piped()).spawn().unwrap();
    Heard::listen(process.stdout.take().unwrap()).wait_for("ready\n", 1);
    scene.server.signal(Signal::SIGKILL);
    scene.server.wait();
    std::fs::write(scene.path("go"), "").unwrap();
    scene.server = Program::start(data.path(), &["--listen", &address]);
    assert_eq!(process.wait().unwrap().code(), Some(0));
    let replay = scene.once("comes back", &[], RUN);
    assert_eq!((code(&replay), text(&replay).as_str(), scene.runs()), (0, "ready\ndone\n", 1));
}

#[test]
fn output_beyond_the_bound_is_passed_on_but_not_stored() {
    let scene = Scene::new();
    let script = format!("{RUN} head -c 100000 /dev/zero | tr '\\0' x; echo end");
    let flags = ["--max-output", "1KiB"];
    let first = scene.once("large", &flags, &script);
    assert_eq!((code(&first), first.stdout.len()), (0, 100_004));
    assert!(errors(&first).contains("its last 98980 bytes are not stored"), "{}", errors(&first));
    let second = scene.once("large", &flags, &script);
    assert_eq!((code(&second), second.stdout.len()), (0, 1024));
    assert!(
        errors(&second).contains("98980 bytes of its output were too large to keep"),
        "{}",
        errors(&second)
    );
    assert_eq!(scene.lookup("large")["payload_omitted"], true);
    assert_eq!(scene.runs(), 1);
}

#[test]
fn output_beyond_the_policy_is_left_out() {
    let files = tempfile::tempdir().unwrap();
    let policy = files.path().join("policy.toml");
    std::fs::write(&policy, "[defaults]\nmax_result_bytes = \"1KiB\"\n").unwrap();
    let scene = Scene::with(&["--store", "memory", "--policy", policy.to_str().unwrap()]);
    let script = "head -c 2000 /dev/zero | tr '\\0' x; exit 0";
    let first = scene.once("policy", &[], script);
    assert_eq!((code(&first), first.stdout.len()), (0, 2000));
    assert!(errors(&first).contains("larger than the policy or the server allows"), "{}", errors(&first));
    let second = scene.once("policy", &[], script);
    assert_eq!((code(&second), second.stdout.len()), (0, 0));
    assert!(errors(&second).contains("2000 bytes of its output"), "{}", errors(&second));
}

#[test]
fn nothing_runs_where_it_must_not() {
    let scene = Scene::new();
    let once = |key: &str, flags: &[&str]| scene.once(key, flags, RUN);

    let busy = ["begin", "--endpoint", "jobs/Nightly", "--key", "busy"];
    assert_eq!(scene.server.json(&busy).0, 0);
    assert_eq!(code(&once("busy", &[])), 102);

    assert_eq!(code(&scene.once("print", &["--fingerprint", "0a0b"], "true")), 0);
    assert_eq!(code(&once("print", &["--fingerprint", "0a0c"])), 105);

    assert_eq!(code(&once("late", &["--first-sent", "2020-01-01T00:00:00Z"])), 104);
    assert_eq!(code(&once("", &[])), 109);
    let nowhere = once("any", &["--server", "http://127.0.0.1:1", "--timeout", "300ms"]);
    assert_eq!(code(&nowhere), 110);
    assert!(errors(&nowhere).contains("no answer from http://127.0.0.1:1 within"), "{}", errors(&nowhere));
    assert_eq!(code(&scene.server.call(&["once", "--endpoint", "e", "--key", "k"])), 2, "no command");
    assert_eq!(scene.runs(), 0);
}

#[test]
fn a_command_that_does_not_start_releases_its_key() {
    let scene = Scene::new();
    let start = |command: &str| {
        let arguments = ["once", "--endpoint", "jobs/Nightly", "--key", "broken", "--", command];
        code(&scene.server.call(&arguments))
    };
    assert_eq!(start("/no/such/command"), 127);
    assert_eq!(start("/etc/passwd"), 126);
    assert_eq!(scene.lookup("broken")["state"], "released");
    assert_eq!(code(&scene.once("broken", &[], RUN)), 0);
    assert_eq!(scene.runs(), 1);
}

#[test]
fn what_another_program_completed_is_replayed_as_far_as_it_goes() {
    let scene = Scene::new();
    for (key, flag, expected) in [("good", None, 0), ("bad", Some("--failure"), 1)] {
        let key = ["--endpoint", "jobs/Nightly", "--key", key];
        let (_, begun) = scene.server.json(&[&["begin"], &key[..]].concat());
        let (fence, attempt) = (begun["fence"].to_string(), begun["attempt_id"].as_str().unwrap().to_owned());
        let mut complete =
            vec!["complete", "--fence", &fence, "--attempt-id", &attempt, "--payload", "theirs"];
        complete.extend(key);
        complete.extend(flag);
        assert_eq!(scene.server.json(&complete).0, 0);
        let replay = scene.once(key[3], &[], RUN);
        assert_eq!((code(&replay), text(&replay).as_str()), (expected, "theirs"));
    }
    assert_eq!(scene.runs(), 0);
}

#[test]
fn a_background_process_that_keeps_the_output_open_does_not_hold_the_report() {
    let scene = Scene::new();
    let script = "sleep 1000 & echo $! > background; echo said";
    let output = scene.command("background", &[], script).stdout(Stdio::piped()).spawn().unwrap();
    let output = output.wait_with_output().unwrap();
    assert_eq!((code(&output), text(&output).as_str()), (0, "said\n"));
    let background = std::fs::read_to_string(scene.path("background")).unwrap();
    let pid = nix::unistd::Pid::from_raw(background.trim().parse().unwrap());
    nix::sys::signal::kill(pid, Signal::SIGKILL).expect("it was left alone");
}

#[test]
fn two_hundred_starts_by_twenty_processes_at_once_run_the_command_once() {
    const PROCESSES: usize = 20;
    const STARTS: usize = 10;
    let scene = Scene::with(&[]);
    let barrier = std::sync::Barrier::new(PROCESSES);
    let script = "echo $$ >> runs; sleep 0.2; echo result $$";
    let outputs: Vec<Output> = std::thread::scope(|scope| {
        let starter = || {
            barrier.wait();
            (0..STARTS).map(|_| scene.once("main job", &["--wait", "2m"], script)).collect::<Vec<_>>()
        };
        let starters: Vec<_> = (0..PROCESSES).map(|_| scope.spawn(starter)).collect();
        starters.into_iter().flat_map(|starter| starter.join().unwrap()).collect()
    });
    assert_eq!(scene.runs(), 1, "the guarded command ran once");
    let pid = std::fs::read_to_string(scene.path("runs")).unwrap();
    for output in &outputs {
        assert_eq!(code(output), 0, "{}", errors(output));
        assert_eq!(text(output), format!("result {}\n", pid.trim()));
        assert_eq!(errors(output), "");
    }
    count("once_runs", outputs.len() as u64);
}
