//! Backups by `semel backup` and `semel restore`, of a running server or a directory.

use std::fs;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Output, Stdio};

use nix::sys::signal::Signal;
use semel::storage::backup::socket;
use semel::storage::conformance::{Samples, key};
use semel::storage::embedded::EmbeddedStore;

use crate::program::{Program, errors, text};
use crate::small_disk::SmallDisk;
use crate::stores::{open, versioned};
use crate::support::semel;

pub(crate) fn run(arguments: &[&str]) -> Output {
    semel().args(arguments).stdin(Stdio::null()).output().expect("semel starts")
}

pub(crate) fn exit(output: &Output) -> i32 {
    output.status.code().expect("it exits")
}

#[test]
fn a_record_that_cannot_be_read_is_left_out_and_said() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    let store = open(&data);
    let record = |n: u64| versioned(n.into(), Samples::any(n));
    store.load((0..5).map(|n| (key("t", n), record(n)))).unwrap();
    store.plant(&key("t", 3), &record(3), b"\x01garbage").unwrap();
    drop(store);
    let file = directory.path().join("backup");
    let output = run(&[
        "backup",
        "--data-dir",
        data.to_str().unwrap(),
        "--to",
        file.to_str().unwrap(),
        "--output",
        "json",
        "--embedded-free-space-reserve-bytes",
        "0B",
    ]);
    assert_eq!(exit(&output), 1, "{}", errors(&output));
    let report: serde_json::Value = serde_json::from_str(&text(&output)).unwrap();
    assert_eq!((&report["records"], &report["unreadable"]), (&4.into(), &1.into()));
    let output = run(&["restore", "--check", "--from", file.to_str().unwrap()]);
    assert_eq!(exit(&output), 0, "{}", errors(&output));
    assert!(text(&output).contains("4 records"), "{}", text(&output));
}

#[test]
fn a_file_is_never_half_a_backup() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    let store = open(&data);
    store
        .load((0..50).map(|n| (key("t", n), versioned(n.into(), Samples::completed_with(n, vec![7; 9000])))))
        .unwrap();
    drop(store);
    let program = Program::start(directory.path(), &[]);
    let data = data.to_str().unwrap();
    let back_up = |to: &Path| program.call(&["backup", "--data-dir", data, "--to", to.to_str().unwrap()]);

    let disk = SmallDisk::mount("size=256k");
    let full = disk.data();
    let output = back_up(&full);
    assert_eq!(exit(&output), 1, "{}", errors(&output));
    assert!(errors(&output).contains("No space left on device"), "{}", errors(&output));
    assert!(!full.exists() && !full.with_extension("partial").exists());
    assert_eq!(fs::read_dir(full.parent().unwrap()).unwrap().count(), 0);

    let whole = directory.path().join("whole");
    let output = back_up(&whole);
    assert_eq!(exit(&output), 0, "{}", errors(&output));
    // It holds what all tenants keep.
    let mode = std::os::unix::fs::PermissionsExt::mode(&fs::metadata(&whole).unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600);
    let output = back_up(&whole);
    assert_eq!(exit(&output), 2, "{}", errors(&output));
    assert!(errors(&output).contains("is there already"), "{}", errors(&output));

    // Nor is a directory on a full disk half a store.
    let place = full.join("restored");
    let output = run(&["restore", "--from", whole.to_str().unwrap(), "--data-dir", place.to_str().unwrap()]);
    assert_eq!(exit(&output), 1, "{}", errors(&output));
    assert!(errors(&output).contains("nothing was restored"), "{}", errors(&output));
    assert!(!EmbeddedStore::is_in(&place));
}

#[test]
fn backups_go_through_pipes_and_with_no_server() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    let store = open(&data);
    store.load((0..50).map(|n| (key("t", n), versioned(n.into(), Samples::any(n))))).unwrap();
    drop(store);
    let data = data.to_str().unwrap();
    let second = directory.path().join("second");
    let small = ["--embedded-free-space-reserve-bytes", "0B"];
    let pipe = |number: u32, server: &str| {
        let place = second.join(format!("{number}"));
        let mut making = semel()
            .args(["backup", "--data-dir", data, "--to", "-"])
            .args(small)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let backup = making.stdout.take().unwrap();
        let output = semel()
            .args(["restore", "--from", "-", "--data-dir", place.to_str().unwrap()])
            .args(small)
            .stdin(backup)
            .output()
            .unwrap();
        assert!(making.wait().unwrap().success(), "{server}");
        assert_eq!(exit(&output), 0, "{server}: {}", errors(&output));
        assert!(text(&output).contains("50 records"), "{server}: {}", text(&output));
    };
    pipe(1, "none");
    let program = Program::start(directory.path(), &[]);
    pipe(2, "running");
    // The socket is the owner's alone.
    let socket = socket::path(Path::new(data));
    let mode = std::os::unix::fs::PermissionsExt::mode(&fs::metadata(&socket).unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600);
    assert!(program.stop().success());
    assert!(!socket.exists());
    pipe(3, "stopped");

    let nowhere = directory.path().join("nowhere");
    let output = run(&["backup", "--data-dir", nowhere.to_str().unwrap(), "--to", "x"]);
    assert_eq!(exit(&output), 1);
    assert!(errors(&output).contains("there is no embedded store in"), "{}", errors(&output));
    assert!(!Path::new("x").exists() && !Path::new("x.partial").exists());
    let output = semel().env("SEMEL_STORE", "memory").args(["backup", "--to", "x"]).output().unwrap();
    assert_eq!(exit(&output), 3);
    assert!(errors(&output).contains("only the store embedded has"), "{}", errors(&output));
}

#[test]
fn one_backup_is_taken_at_a_time_and_none_holds_the_server_up() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    let store = open(&data);
    store
        .load(
            (0..200).map(|n| (key("t", n), versioned(n.into(), Samples::completed_with(n, vec![7; 50_000])))),
        )
        .unwrap();
    drop(store);
    let program = Program::start(directory.path(), &[]);
    // It takes nothing, and ten megabytes wait for it.
    let idle = UnixStream::connect(socket::path(&data)).unwrap();
    program.log.wait_for("a backup is being taken", 1);
    let file = directory.path().join("backup");
    let arguments = ["backup", "--data-dir", data.to_str().unwrap(), "--to", file.to_str().unwrap()];
    let output = program.call(&arguments);
    assert_eq!(exit(&output), 110, "{}", errors(&output));
    assert!(errors(&output).contains("another one is being taken"), "{}", errors(&output));
    assert!(!file.exists());
    drop(idle);
    program.log.wait_for("a backup was not taken whole", 1);
    let output = program.call(&arguments);
    assert_eq!(exit(&output), 0, "{}", errors(&output));
    // Told to stop, the server waits for nobody who takes nothing.
    let idle = UnixStream::connect(socket::path(&data)).unwrap();
    program.log.wait_for("a backup is being taken", 3);
    program.signal(Signal::SIGTERM);
    program.log.wait_for("stopped", 1);
    drop(idle);
}
