//! The command line where what surrounds it fails: a server that is silent, a reader that is slow.

#[path = "support/program.rs"]
mod program;
#[path = "support/scene.rs"]
mod scene;
mod support;

use std::io::Read;
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use nix::sys::signal::Signal;
use program::{Heard, errors, send, wait_until};
use scene::{RUN, Scene, code};
use support::semel;
use tokio::net::{TcpListener, TcpSocket};

/// A port that neither takes a connection nor refuses one, as a machine that is gone does.
struct BlackHole {
    url: String,
    _runtime: tokio::runtime::Runtime,
    _listener: TcpListener,
    _queued: Vec<TcpStream>,
}

impl BlackHole {
    fn at(address: &str) -> Self {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let listener = {
            let _context = runtime.enter();
            let socket = TcpSocket::new_v4().unwrap();
            socket.set_reuseaddr(true).unwrap();
            socket.bind(address.parse().unwrap()).unwrap();
            socket.listen(0).unwrap()
        };
        let address: SocketAddr = listener.local_addr().unwrap();
        let mut queued = Vec::new();
        // Nobody accepts: once the queue is full, the kernel drops what comes.
        while let Ok(connection) = TcpStream::connect_timeout(&address, Duration::from_secs(1)) {
            queued.push(connection);
        }
        Self { url: format!("http://{address}"), _runtime: runtime, _listener: listener, _queued: queued }
    }
}

#[test]
fn a_call_of_a_silent_machine_ends_with_its_timeout() {
    let hole = BlackHole::at("127.0.0.1:0");
    for command in [
        &["lookup", "--endpoint", "e", "--key", "k"][..],
        &["begin", "--endpoint", "e", "--key", "k", "--wait", "100ms"],
        &["list"],
    ] {
        let output =
            semel().args(command).args(["--timeout", "300ms", "--server", &hole.url]).output().unwrap();
        assert_eq!(code(&output), 110, "{}", errors(&output));
        // It was this side that gave up, and not the kernel, minutes later.
        assert!(errors(&output).contains("no answer in time"), "{}", errors(&output));
    }
}

#[test]
fn a_machine_that_falls_silent_does_not_keep_the_command_past_its_lease() {
    let mut scene = Scene::new();
    let script = "echo $$ > guarded; echo ready; while :; do sleep 0.01; done";
    let flags = ["--lease", "3s", "--kill-after", "500ms", "--report-within", "1h"];
    let mut process = scene
        .command("silent", &flags, script)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    Heard::listen(process.stdout.take().unwrap()).wait_for("ready\n", 1);
    let heard = Heard::listen(process.stderr.take().unwrap());
    scene.server.signal(Signal::SIGKILL);
    scene.server.wait();
    let _hole = BlackHole::at(scene.server.url.trim_start_matches("http://"));
    let guarded = std::fs::read_to_string(scene.path("guarded")).unwrap();
    wait_until("the command is stopped", || !Path::new(&format!("/proc/{}", guarded.trim())).exists());
    // The outcome cannot be said for as long as the machine is silent, but whoever says so is obeyed.
    send(&process, Signal::SIGTERM);
    assert_eq!(process.wait().unwrap().code(), Some(120));
    heard.wait_for("SIGTERM: the outcome is not stored yet", 1);
    heard.wait_for("THE OUTCOME IS NOT STORED", 1);
    heard.wait_for("no answer in time", 1);
}

#[test]
fn a_signal_between_the_commands_end_and_the_report_is_obeyed() {
    let mut scene = Scene::new();
    // What it leaves behind talks on, so that its end and the report are apart.
    let script = "echo $$ > guarded; echo ready; until [ -e go ]; do sleep 0.01; done; \
                  (trap '' TERM; while echo left; do sleep 0.01; done) &";
    let flags = ["--lease", "10m", "--report-within", "1h"];
    let mut process = scene
        .command("between", &flags, script)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let output = Heard::listen(process.stdout.take().unwrap());
    output.wait_for("ready\n", 1);
    let heard = Heard::listen(process.stderr.take().unwrap());
    scene.server.signal(Signal::SIGKILL);
    scene.server.wait();
    let _hole = BlackHole::at(scene.server.url.trim_start_matches("http://"));
    let guarded = std::fs::read_to_string(scene.path("guarded")).unwrap();
    std::fs::write(scene.path("go"), "").unwrap();
    wait_until("the command has ended", || !Path::new(&format!("/proc/{}", guarded.trim())).exists());
    send(&process, Signal::SIGTERM);
    assert_eq!(process.wait().unwrap().code(), Some(120));
    heard.wait_for("SIGTERM: the outcome is not stored yet", 1);
}

/// As much as two pipes hold: the command ends, but what it printed cannot all be passed on before it is read.
const TWO_PIPES: usize = 131_000;

#[test]
fn an_outcome_is_stored_although_nobody_reads_the_output() {
    let scene = Scene::new();
    let script = format!("{RUN} head -c {TWO_PIPES} /dev/zero | tr '\\0' x");
    let mut process = scene.command("unread", &[], &script).stdout(Stdio::piped()).spawn().unwrap();
    let mut output = process.stdout.take().unwrap();
    wait_until("the result is stored", || {
        let record = scene.server.json(&["lookup", "--endpoint", "jobs/Nightly", "--key", "unread"]).1;
        record["state"] == "completed"
    });
    let replay = scene.once("unread", &[], &script);
    assert_eq!((code(&replay), replay.stdout.len(), scene.runs()), (0, TWO_PIPES, 1));
    let mut read = Vec::new();
    output.read_to_end(&mut read).unwrap();
    assert_eq!((process.wait().unwrap().code(), read.len()), (Some(0), TWO_PIPES));
}

#[test]
fn a_reader_that_stays_away_is_not_waited_for_without_end() {
    let scene = Scene::new();
    let script = format!("head -c {TWO_PIPES} /dev/zero | tr '\\0' x; exit 0");
    let begin = |key: &str, within: &str| {
        let mut once = scene.command(key, &["--report-within", within], &script);
        once.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    };
    let ends = |mut process: std::process::Child| {
        let heard = Heard::listen(process.stderr.take().unwrap());
        assert_eq!(process.wait().unwrap().code(), Some(0));
        heard.wait_for("bytes of the output", 1);
    };
    // Both run with a pipe that is never read: the first run, and a replay of it.
    for _ in 0..2 {
        ends(begin("bounded", "200ms"));
    }
    // Whoever has time is still told to end.
    let process = begin("told", "1h");
    wait_until("the result is stored", || {
        let record = scene.server.json(&["lookup", "--endpoint", "jobs/Nightly", "--key", "told"]).1;
        record["state"] == "completed"
    });
    send(&process, Signal::SIGTERM);
    ends(process);
}
