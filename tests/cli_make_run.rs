//! What `make run` starts: the server says where it listens and what to paste, and what is pasted works.

#[path = "support/program.rs"]
mod program;
mod support;

use std::process::{Command, Stdio};

use program::{Program, errors, text};
use support::semel;

/// Runs the lines in bash as they are, and says the status and the decision after each.
fn paste(lines: &[String]) -> Vec<String> {
    let script = lines.iter().fold(String::new(), |script, line| {
        script + line + "\necho \"status $? decision $SEMEL_DECISION\"\necho =====\n"
    });
    let mut bash = Command::new("bash");
    for (variable, _) in std::env::vars_os() {
        if variable.to_string_lossy().starts_with("SEMEL_") {
            bash.env_remove(variable);
        }
    }
    // The other terminal may be set up for other work.
    bash.env("SEMEL_SERVER", "http://127.0.0.1:1").env("SEMEL_TENANT", "acme");
    let output = bash.arg("-c").arg(script).stdin(Stdio::null()).output().expect("bash starts");
    assert_eq!(errors(&output), "", "nothing is wrong");
    text(&output).split("=====\n").map(str::to_owned).collect()
}

#[test]
fn the_printed_lines_show_begin_duplicate_complete_and_replay() {
    let directory = tempfile::tempdir().unwrap();
    let server = Program::start(directory.path(), &[]);
    let lines = server.lines_to_paste();
    assert_eq!(lines.len(), 4, "{lines:?}");

    let said = paste(&lines);
    assert_eq!(said[0], "status 0 decision started\n");
    assert!(said[1].starts_with("in progress: another attempt owns the key"), "{}", said[1]);
    assert!(said[1].ends_with("status 102 decision started\n"), "{}", said[1]);
    assert!(said[2].starts_with("completed: "), "{}", said[2]);
    assert!(said[2].ends_with("status 0 decision started\n"), "{}", said[2]);
    assert!(said[3].starts_with("replayed: it already happened"), "{}", said[3]);
    assert!(said[3].contains("payload              charged 42 EUR\n"), "{}", said[3]);
    assert!(said[3].ends_with("status 100 decision started\n"), "{}", said[3]);

    assert!(server.stop().success());
    // The record outlives the process, and the next start shows the whole of it anew.
    let server = Program::start(directory.path(), &[]);
    let key = lines[3].split("--key ").nth(1).expect("the lines name the key");
    let replay = server.call(&["begin", "--tenant", "acme", "--endpoint", "demo/Charge", "--key", key]);
    assert_eq!(replay.status.code(), Some(100), "{}", errors(&replay));
    assert!(text(&replay).contains("charged 42 EUR"));
}

#[test]
fn the_lines_hold_a_program_path_that_needs_quotes() {
    let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let place = directory.path().join("it's a $place");
    std::fs::create_dir(&place).unwrap();
    let program = place.join("semel");
    std::fs::hard_link(env!("CARGO_BIN_EXE_semel"), &program).expect("both are in the target directory");
    let mut command = Command::new(&program);
    // What `semel()` leaves out of the environment, this leaves out too.
    for (name, _) in semel().get_envs() {
        command.env_remove(name);
    }
    command.current_dir(&place).args(["serve", "--store", "memory", "--listen", "127.0.0.1:0"]);
    let server = Program::run({
        command.args(["--ops-listen", "127.0.0.1:0"]);
        command
    });
    let said = paste(&server.lines_to_paste());
    assert_eq!(said[0], "status 0 decision started\n");
    assert!(said[3].contains("charged 42 EUR"), "{}", said[3]);
}

#[test]
fn the_server_listens_on_loopback_where_nothing_else_is_said() {
    let printed = semel().args(["config", "print"]).output().unwrap();
    assert!(text(&printed).contains("listen = \"127.0.0.1:7400\"  # default\n"), "{}", text(&printed));
    assert!(text(&printed).contains("ops_listen = \"127.0.0.1:7401\"  # default\n"));
    assert!(text(&printed).contains("store = \"embedded\"  # default\n"));
    assert!(text(&printed).contains("data_dir = \"./data\"  # default\n"));
}
