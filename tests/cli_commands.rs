//! Each command against a real server: what it prints for whom, and its exit status.

#[path = "support/program.rs"]
mod program;
mod support;

use std::io::Write as _;
use std::process::{Command, Stdio};

use nix::sys::signal::Signal;
use program::{Heard, Program, errors, send, text};
use serde_json::{Value, json};
use support::semel;

const KEY: [&str; 4] = ["--endpoint", "payments/Charge", "--key", "order-4711"];

fn server() -> (Program, tempfile::TempDir) {
    let directory = tempfile::tempdir().unwrap();
    (Program::start(directory.path(), &["--store", "memory"]), directory)
}

/// `command KEY flags`, with JSON output.
fn json(server: &Program, command: &str, flags: &[&str]) -> (i32, Value) {
    server.json(&[&[command], &KEY[..], flags].concat())
}

/// Begins, and gives the flags that name the attempt.
fn owner(server: &Program, flags: &[&str]) -> Vec<String> {
    let (exit, begun) = json(server, "begin", flags);
    assert_eq!((exit, &begun["decision"]), (0, &json!("started")), "{begun}");
    let attempt = begun["attempt_id"].as_str().unwrap();
    ["--fence", &begun["fence"].to_string(), "--attempt-id", attempt].map(str::to_owned).to_vec()
}

fn with<'a>(owner: &'a [String], flags: &[&'a str]) -> Vec<&'a str> {
    owner.iter().map(String::as_str).chain(flags.iter().copied()).collect()
}

#[test]
fn begin_to_replay_with_every_field() {
    let (server, directory) = server();
    let request = directory.path().join("request.json");
    std::fs::write(&request, "{\"amount\":42}").unwrap();
    let begin = [
        "--fingerprint-of",
        request.to_str().unwrap(),
        "--lease",
        "45s",
        "--retention",
        "1h 30m",
        "--first-sent",
        "2100-01-01T00:00:00Z",
        "--label",
        "order=4711",
        "--label",
        "shop=north",
        "--traceparent",
        "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    ];
    let (exit, begun) = json(&server, "begin", &begin);
    assert_eq!(exit, 0);
    assert_eq!(
        (&begun["attempt"], &begun["lease_seconds"], &begun["key"]),
        (&json!(1), &json!(45), &json!("order-4711"))
    );
    let attempt = begun["attempt_id"].as_str().unwrap().to_owned();
    let fence = begun["fence"].to_string();

    let (exit, again) = json(&server, "begin", &["--attempt-id", &attempt, "--retry"]);
    assert_eq!((exit, &again["fence"]), (0, &begun["fence"]), "the same attempt, asked for again");
    let (exit, other) = json(&server, "begin", &["--wait", "0s"]);
    assert_eq!(
        (exit, &other["decision"], &other["backing_off"]),
        (102, &json!("in_progress"), &json!(false))
    );
    assert_eq!(
        other["original_traceparent"],
        json!("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
    );

    let (_, record) = json(&server, "lookup", &[]);
    assert_eq!(record["state"], json!("in_progress"));
    assert_eq!(record["labels"], json!({"order": "4711", "shop": "north"}));
    let sha256 = "f26e267ee03331ff5ce10b687a1ba1a9b49012ffb27694c922e17411b4b86e6c";
    assert_eq!(record["fingerprint"], json!(sha256));

    let owner = ["--fence", &fence, "--attempt-id", &attempt];
    let payload = directory.path().join("payload");
    std::fs::write(&payload, b"\x00\xff bytes").unwrap();
    let result = [
        "--payload-file",
        payload.to_str().unwrap(),
        "--content-type",
        "application/x-bytes",
        "--header",
        "location=/charges/1",
        "--header",
        "x=1=2",
        "--code",
        "201",
        "--retention",
        "2h",
    ];
    let complete = [&owner[..], &result[..]].concat();
    let (exit, done) = json(&server, "complete", &complete);
    assert_eq!((exit, &done["repeated_call"]), (0, &json!(false)));
    assert_eq!(json(&server, "complete", &complete).1["repeated_call"], json!(true));

    let (exit, replay) = json(&server, "begin", &[]);
    assert_eq!(exit, 100);
    assert_eq!(
        (&replay["decision"], &replay["outcome"], &replay["code"]),
        (&json!("replayed"), &json!("success"), &json!(201))
    );
    assert_eq!((&replay["payload_base64"], &replay["payload"]), (&json!("AP8gYnl0ZXM="), &Value::Null));
    assert_eq!(replay["headers"][1], json!({"name": "x", "value": "1=2", "value_base64": "MT0y"}));
    assert_eq!((&replay["original_fence"], replay.get("fence")), (&begun["fence"], None));
}

#[test]
fn a_payload_comes_from_standard_input_and_failures_are_replayed() {
    let (server, _directory) = server();
    let owner = owner(&server, &[]);
    let flags = with(&owner, &["--payload-file", "-", "--failure"]);
    let mut complete = server
        .semel(&[&["complete"], &KEY[..], &flags[..]].concat())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    complete.stdin.take().unwrap().write_all(b"declined").unwrap();
    assert!(complete.wait().unwrap().success());
    let (exit, replay) = json(&server, "begin", &[]);
    assert_eq!((exit, &replay["outcome"], &replay["payload"]), (101, &json!("failure"), &json!("declined")));
}

#[test]
fn abort_release_renew_checkpoint_and_unresolved() {
    let (server, _directory) = server();
    let first = owner(&server, &[]);
    let (exit, renewed) = json(&server, "renew", &with(&first, &["--lease", "10m"]));
    assert_eq!((exit, &renewed["lease_seconds"]), (0, &json!(600)));
    let save = |value| json(&server, "checkpoint", &with(&first, &["--name", "charged", "--value", value]));
    assert_eq!(save("ch_1"), (0, json!({"repeated_call": false})));
    assert_eq!(save("ch_1"), (0, json!({"repeated_call": true})));
    let (exit, conflict) = save("ch_2");
    assert_eq!((exit, &conflict["error"]["reason"]), (108, &json!("CHECKPOINT_CONFLICT")));

    let abort = with(&first, &["--unknown", "--detail", "power cut", "--retry-after", "1h"]);
    assert_eq!(json(&server, "abort", &abort).0, 0);
    let (exit, pause) = json(&server, "begin", &[]);
    assert_eq!((exit, &pause["backing_off"]), (102, &json!(true)));
    let (exit, ended) = json(&server, "renew", &with(&first, &[]));
    assert_eq!((exit, &ended["error"]["reason"]), (106, &json!("FENCE_LOST")));
    let (exit, missing) = server.json(&["lookup", "--endpoint", "payments/Charge", "--key", "another"]);
    assert_eq!((exit, &missing["error"]["reason"]), (107, &json!("KEY_NOT_FOUND")));
    let silent = server.call(&[&["abort"], &KEY[..], &with(&first, &[])[..]].concat());
    assert_eq!(silent.status.code(), Some(2), "what happened has to be said");
}

#[test]
fn operators_list_resolve_and_forget() {
    let (server, _directory) = server();
    let first = owner(&server, &["--lease", "1h"]);
    let fence = &first[1];
    let (exit, refused) = json(&server, "resolve", &["--fence", fence, "--completed", "--payload", "x"]);
    assert_eq!((exit, &refused["error"]["reason"]), (108, &json!("STATE_CONFLICT")));
    let resolve =
        ["--fence", fence, "--completed", "--payload", "by hand", "--note", "Ada saw the receipt", "--force"];
    let (exit, resolved) = json(&server, "resolve", &resolve);
    assert_eq!(exit, 0, "{resolved}");
    assert_eq!((&resolved["state"], &resolved["payload"]), (&json!("completed"), &json!("by hand")));
    assert_eq!(resolved["resolution_note"], json!("Ada saw the receipt"));
    let both =
        server.call(&[&["resolve"], &KEY[..], &["--fence", fence, "--release", "--code", "1"]].concat());
    assert_eq!((both.status.code(), text(&both).as_str()), (Some(2), ""));

    for number in 0..5 {
        let key = format!("key {number}");
        assert_eq!(server.json(&["begin", "--endpoint", "other", "--key", &key]).0, 0);
    }
    let list = |flags: &[&str]| {
        let output = server.semel(&["list", "--output", "json"]).args(flags).output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{}", errors(&output));
        text(&output).lines().map(|line| serde_json::from_str::<Value>(line).unwrap()).collect::<Vec<_>>()
    };
    assert_eq!(list(&["--endpoint", "other"]).len(), 5);
    assert_eq!(list(&["--state", "completed"]).len(), 1);
    assert_eq!(list(&["--all", "--page-size", "2"]).len(), 6);
    let page = list(&["--endpoint", "other", "--page-size", "2"]);
    let token = page.last().unwrap()["next_page_token"].as_str().expect("there are more");
    let rest = list(&["--endpoint", "other", "--page-token", token]);
    assert_eq!(rest.len(), 3);
    let people = server.call(&["list", "--endpoint", "other", "--all"]);
    assert!(text(&people).contains("in_progress"), "{}", text(&people));
    assert!(text(&people).ends_with("5 records\n"), "{}", text(&people));

    let (exit, stale) = json(&server, "forget", &["--fence", "1"]);
    assert_eq!((exit, &stale["error"]["reason"]), (106, &json!("FENCE_LOST")));
    assert_eq!(json(&server, "forget", &["--fence", fence]), (0, json!({"forgotten": true})));
    assert_eq!(json(&server, "lookup", &[]).0, 107);
    let (exit, anew) = json(&server, "begin", &[]);
    assert_eq!(exit, 0);
    assert!(anew["fence"].as_i64().unwrap() > fence.parse().unwrap(), "{anew}");
}

#[test]
fn answers_may_be_as_large_as_the_server_lets_them_be() {
    let directory = tempfile::tempdir().unwrap();
    let policy = directory.path().join("policy.toml");
    std::fs::write(&policy, "[defaults]\nmax_result_bytes = \"3MiB\"\n").unwrap();
    let policy = ["--store", "memory", "--policy", policy.to_str().unwrap()];
    let server =
        Program::start(directory.path(), &[&policy[..], &["--limits-max-response-bytes", "64MiB"]].concat());
    let payload = directory.path().join("payload");
    std::fs::write(&payload, "x".repeat(2 << 20)).unwrap();
    for number in 0..3 {
        let key = number.to_string();
        let key = ["--endpoint", "e", "--key", &key];
        let begun = server.json(&[&["begin"], &key[..]].concat()).1;
        let (fence, attempt) = (begun["fence"].to_string(), begun["attempt_id"].as_str().unwrap().to_owned());
        let complete = ["complete", "--fence", &fence, "--attempt-id", &attempt, "--payload-file"];
        let complete = [&complete[..], &[payload.to_str().unwrap()], &key[..]].concat();
        assert_eq!(server.json(&complete).0, 0);
    }
    let list = server.call(&["list", "--output", "json"]);
    assert_eq!((list.status.code(), text(&list).lines().count()), (Some(0), 3), "{}", errors(&list));
}

#[test]
fn policy_tells_what_is_in_force() {
    let directory = tempfile::tempdir().unwrap();
    let policy = directory.path().join("policy.toml");
    std::fs::write(&policy, "[[rule]]\nendpoint = \"payments/*\"\nlease = \"90s\"\nmax_attempts = 3\n")
        .unwrap();
    let server =
        Program::start(directory.path(), &["--store", "memory", "--policy", policy.to_str().unwrap()]);
    let (exit, policy) = server.json(&["policy", "--endpoint", "payments/Charge"]);
    assert_eq!((exit, &policy["lease_seconds"], &policy["max_attempts"]), (0, &json!(90), &json!(3)));
    assert_eq!(policy["source"], json!("tenant *, endpoint payments/*"));
    assert_eq!(server.json(&["policy", "--endpoint", "mail"]).1["source"], json!("defaults"));
}

#[test]
fn a_shell_gets_everything_quoted_and_nothing_stale() {
    let (server, _directory) = server();
    let key = "it's $HOME; `touch broken` \"q\" \\ \n end";
    let semel = env!("CARGO_BIN_EXE_semel");
    let script = r#"
        export SEMEL_FENCE=stale SEMEL_PAYLOAD_BASE64=stale
        eval "$("$semel" begin --endpoint e --key "$key" --output env)"; echo "$? $SEMEL_DECISION ${SEMEL_PAYLOAD_BASE64-unset}"
        [ "$SEMEL_KEY" = "$key" ] && echo same
        "$semel" complete --payload hello > /dev/null || echo failed
        eval "$("$semel" begin --endpoint e --key "$key" --output env)"; echo "$? $SEMEL_DECISION ${SEMEL_FENCE-unset} $SEMEL_PAYLOAD_BASE64"
        eval "$("$semel" begin --endpoint e --key x --server http://127.0.0.1:1 --timeout 100ms --output env 2> /dev/null)"
        echo "$? ${SEMEL_DECISION-unset} $SEMEL_ERROR"
    "#;
    for shell in ["bash", "sh"] {
        let key = format!("{shell} {key}");
        let mut command = Command::new(shell);
        command.args(["-c", script]).env("semel", semel).env("key", key).env("SEMEL_SERVER", &server.url);
        for variable in ["SEMEL_TENANT", "SEMEL_TIMEOUT"] {
            command.env_remove(variable);
        }
        let output = command.output().unwrap();
        assert_eq!(
            text(&output),
            "0 started unset\nsame\n100 replayed unset aGVsbG8=\n110 unset UNAVAILABLE\n",
            "{}",
            errors(&output)
        );
    }
}

#[test]
fn a_payload_of_any_size_leaves_the_shell_usable() {
    let (server, directory) = server();
    let payload = directory.path().join("payload");
    std::fs::write(&payload, "x".repeat(200 << 10)).unwrap();
    let script = r#"
        eval "$("$semel" begin --endpoint e --key large --output env)" || exit 1
        "$semel" complete --payload-file "$payload" > /dev/null || exit 2
        # Exported by whoever started the shell: it must not stay so.
        export SEMEL_PAYLOAD_BASE64=stale
        eval "$("$semel" begin --endpoint e --key large --output env)"; echo "$? ${#SEMEL_PAYLOAD_BASE64}"
        env true && echo usable
    "#;
    for shell in ["bash", "sh"] {
        let mut command = Command::new(shell);
        command.args(["-c", script.replace("large", shell).as_str()]).env("SEMEL_SERVER", &server.url);
        let output =
            command.env("semel", env!("CARGO_BIN_EXE_semel")).env("payload", &payload).output().unwrap();
        let expected = format!("100 {}\nusable\n", (200_usize << 10).div_ceil(3) * 4);
        assert_eq!(text(&output), expected, "{}", errors(&output));
    }
}

#[test]
fn what_follows_a_begin_reaches_its_tenant_and_its_server() {
    let (server, _directory) = server();
    let script = r#"
        eval "$("$semel" begin --tenant acme --server "$url" --endpoint e --key k --output env)" || exit 1
        "$semel" renew > /dev/null && "$semel" complete --payload hello > /dev/null && echo done
        "$semel" begin --tenant acme --endpoint e --key k > /dev/null; echo $?
        # Where the environment named the server already, nothing has to be said.
        "$semel" begin --endpoint e --key other --output env | grep -c SEMEL_SERVER
    "#;
    let mut command = Command::new("sh");
    command.args(["-c", script]).env("semel", env!("CARGO_BIN_EXE_semel")).env("url", &server.url);
    let output = command.env_remove("SEMEL_SERVER").env_remove("SEMEL_TENANT").output().unwrap();
    assert_eq!(text(&output), "done\n100\n0\n", "{}", errors(&output));
}

#[test]
fn errors_name_fields_and_hide_the_key() {
    let (server, _directory) = server();
    let secret = "personal-data-".repeat(20);
    let output = server.call(&["begin", "--endpoint", "", "--key", &secret, "--lease", "0s"]);
    assert_eq!((output.status.code(), text(&output).as_str()), (Some(109), ""));
    let said = errors(&output);
    assert!(said.starts_with("semel: INVALID_KEY: "), "{said}");
    for field in ["key.endpoint", "key.idempotency_key", "lease"] {
        assert!(said.contains(&format!("\n  {field} ")), "{said} names {field}");
    }
    assert!(!said.contains("personal-data"), "{said}");
    let one = server.call(&["begin", "--endpoint", "", "--key", "k"]);
    assert_eq!(errors(&one).matches("key.endpoint").count(), 1, "said once: {}", errors(&one));
    let (_, as_json) = server.json(&["begin", "--endpoint", "", "--key", &secret]);
    assert_eq!(as_json["error"]["exit"], json!(109));
    assert!(!as_json.to_string().contains("personal-data"), "{as_json}");

    let help = semel().args(["complete", "--help"]).env("SEMEL_KEY", &secret).output().unwrap();
    assert!(!text(&help).contains("personal-data"), "{}", text(&help));
}

#[test]
fn an_address_that_cannot_be_called_is_said_as_such() {
    for (server, expected, status) in [
        ("ftp://127.0.0.1:1", "is neither an https:// nor an http:// address", 2),
        ("https://127.0.0.1:1", "no answer from https://127.0.0.1:1 within", 110),
        ("http://", "is no address", 2),
        ("127.0.0.1:1", "no answer from http://127.0.0.1:1 within", 110),
    ] {
        let output = semel()
            .args(["lookup", "--endpoint", "e", "--key", "k", "--timeout", "50ms", "--server", server])
            .output();
        let output = output.unwrap();
        assert_eq!(output.status.code(), Some(status), "{}", errors(&output));
        assert!(errors(&output).contains(expected), "{}", errors(&output));
    }
}

#[test]
fn a_call_without_an_answer_is_sent_again_until_the_server_is_back() {
    let directory = tempfile::tempdir().unwrap();
    let server = Program::start(directory.path(), &[]);
    let address = server.url.trim_start_matches("http://").to_owned();
    assert!(server.stop().success());
    let mut begin = semel();
    begin.args(["begin", "--server", &address, "--timeout", "2m", "--output", "json"]).args(KEY);
    let begin = begin.stdout(Stdio::piped()).spawn().unwrap();
    let _server = Program::start(directory.path(), &["--listen", &address]);
    let output = begin.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    assert!(text(&output).contains("\"decision\":\"started\""), "{}", text(&output));
}

#[test]
fn terminals_are_not_steered_by_what_callers_sent() {
    let (server, _directory) = server();
    let key = "evil\x1b]0;title\x07";
    assert_eq!(server.json(&["begin", "--endpoint", "e", "--key", key]).0, 0);
    for arguments in [&["list"][..], &["lookup", "--endpoint", "e", "--key", key]] {
        let output = server.call(arguments);
        assert!(text(&output).contains("evil\\u{1b}]0;title"), "{}", text(&output));
        assert!(!output.stdout.contains(&0x1b));
    }
}

#[test]
fn help_lists_the_exit_statuses() {
    let help = semel().arg("--help").output().unwrap();
    for line in ["  103  begin, once: nobody knows", "  120  once: the command ran"] {
        assert!(text(&help).contains(line), "{}", text(&help));
    }
}

/// The completion script for a shell.
fn completions(shell: &str) -> String {
    let script = semel().args(["completions", shell]).output().unwrap();
    assert!(script.status.success(), "{}", errors(&script));
    text(&script)
}

#[test]
fn bash_completes_commands_flags_and_values() {
    let directory = tempfile::tempdir().unwrap();
    let script = directory.path().join("semel.bash");
    std::fs::write(&script, completions("bash")).unwrap();
    for (words, expected) in [
        (&["che"][..], "checkpoint"),
        (&["config", "p"], "print"),
        (&["once", "--max-o"], "--max-output"),
        (&["begin", "--output", "j"], "json"),
    ] {
        // As bash itself calls it: the command, the word to complete, the word before.
        let ask = r#"
            source "$1"; shift
            COMP_WORDS=(semel "$@"); COMP_CWORD=$#
            _semel semel "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD-1]}"
            printf '%s\n' "${COMPREPLY[@]}"
        "#;
        let mut bash = Command::new("bash");
        let output = bash.args(["-c", ask, "bash"]).arg(&script).args(words).output().unwrap();
        assert_eq!(text(&output), format!("{expected}\n"), "{words:?}: {}", errors(&output));
    }
}

#[test]
fn zsh_and_fish_complete_every_command() {
    let (zsh, fish) = (completions("zsh"), completions("fish"));
    assert!(zsh.starts_with("#compdef semel\n"), "{zsh}");
    for command in [
        "serve",
        "begin",
        "complete",
        "abort",
        "renew",
        "checkpoint",
        "lookup",
        "once",
        "list",
        "resolve",
        "forget",
        "policy",
        "bench",
        "config",
        "completions",
    ] {
        assert!(zsh.lines().any(|line| line.starts_with(&format!("'{command}:"))), "zsh: {command}");
        let first = format!("complete -c semel -n \"__fish_semel_needs_command\" -f -a \"{command}\" ");
        assert!(fish.lines().any(|line| line.starts_with(&first)), "fish: {command}");
    }
    assert!(zsh.contains("'--max-output=["), "zsh: a flag that takes a value");
    let flag = "complete -c semel -n \"__fish_semel_using_subcommand once\" -l max-output ";
    assert!(fish.lines().any(|line| line.starts_with(flag) && line.ends_with(" -r")), "fish: {fish}");
}

#[test]
fn bench_tells_of_its_progress_each_second_and_ends_when_told_to() {
    let (server, _directory) = server();
    let mut bench = server.semel(&["bench", "--duration", "1h", "--progress", "--concurrency", "2"]);
    let mut bench = bench.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let said = Heard::listen(bench.stderr.take().unwrap());
    said.wait_for(" violations\n", 2);
    send(&bench, Signal::SIGINT);
    let report = Heard::listen(bench.stdout.take().unwrap());
    bench.wait().unwrap();
    report.wait_for("lifecycles", 1);
    let line = said.text().lines().next().unwrap().to_owned();
    assert!(line.contains(" of 3600 s  ") && line.ends_with("  0 violations"), "{line}");
}
