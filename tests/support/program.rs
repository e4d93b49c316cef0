//! The built `semel` as a server in a process of its own, and calls of the same program as its client.
#![allow(dead_code, reason = "each integration test compiles this module, and uses what it needs of it")]

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, ChildStderr, Command, ExitStatus, Output, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::support::semel;

/// How long something may take that always happens. Nothing is judged by how soon it does.
const AT_MOST: Duration = Duration::from_mins(2);

/// What a process has written to one of its outputs so far.
#[derive(Debug, Default)]
pub(crate) struct Heard {
    text: Mutex<String>,
    more: Condvar,
}

impl Heard {
    /// Listens to `from` until it ends.
    pub(crate) fn listen(mut from: impl Read + Send + 'static) -> Arc<Self> {
        let heard = Arc::new(Self::default());
        let listener = heard.clone();
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(length @ 1..) = from.read(&mut buffer) {
                listener.text.lock().unwrap().push_str(&String::from_utf8_lossy(&buffer[..length]));
                listener.more.notify_all();
            }
        });
        heard
    }

    pub(crate) fn text(&self) -> String {
        self.text.lock().unwrap().clone()
    }

    /// Waits until `what` has been written `times` times.
    pub(crate) fn wait_for(&self, what: &str, times: usize) {
        let until = Instant::now() + AT_MOST;
        let mut text = self.text.lock().unwrap();
        while text.matches(what).count() < times {
            let left = until.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "{what:?} did not come {times} times; there is only:\n{text}");
            text = self.more.wait_timeout(text, left).unwrap().0;
        }
    }
}

/// A server in a process of its own; it is killed when this is dropped.
#[derive(Debug)]
pub(crate) struct Program {
    process: Child,
    pub(crate) stdout: Arc<Heard>,
    pub(crate) log: Arc<Heard>,
    /// Where it takes gRPC calls.
    pub(crate) url: String,
}

impl Program {
    /// Starts `semel serve` on free ports, with `arguments` and data in `directory`.
    pub(crate) fn start(directory: &Path, arguments: &[&str]) -> Self {
        let mut command = semel();
        command.current_dir(directory).args(["serve", "--listen", "127.0.0.1:0"]);
        command
            .args(["--ops-listen", "127.0.0.1:0", "--data-dir"])
            .arg(directory.join("data"))
            .args(arguments);
        Self::run(command)
    }

    /// Runs a command that serves, and waits until it has said where.
    pub(crate) fn run(command: Command) -> Self {
        Self::run_heard_by(command, Heard::listen)
    }

    /// The same, whose log nobody reads.
    pub(crate) fn run_unheard(command: Command) -> (Self, ChildStderr) {
        let mut unread = None;
        let server = Self::run_heard_by(command, |log| {
            unread = Some(log);
            Arc::default()
        });
        (server, unread.expect("it has been started"))
    }

    fn run_heard_by(mut command: Command, hear: impl FnOnce(ChildStderr) -> Arc<Heard>) -> Self {
        let mut process =
            command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("semel starts");
        let stdout = Heard::listen(process.stdout.take().unwrap());
        let log = hear(process.stderr.take().unwrap());
        let until = Instant::now() + AT_MOST;
        while !stdout.text().ends_with("\n\n") || stdout.text().matches("\n\n").count() < 3 {
            if let Some(status) = process.try_wait().unwrap() {
                panic!("the server ended with {status}:\n{}\n{}", stdout.text(), log.text());
            }
            assert!(Instant::now() < until, "the server did not say where it listens:\n{}", log.text());
            std::thread::sleep(Duration::from_millis(5));
        }
        let text = stdout.text();
        let url = text.lines().find_map(|line| line.strip_prefix("gRPC")).expect("it says where").trim();
        Self { process, url: url.to_owned(), stdout, log }
    }

    /// The lines that the server prints to be pasted.
    pub(crate) fn lines_to_paste(&self) -> Vec<String> {
        let text = self.stdout.text();
        let (_, lines) = text.split_once("Paste these lines").expect("it says what to paste");
        lines.lines().skip(2).take_while(|line| !line.is_empty()).map(str::to_owned).collect()
    }

    /// Where its operations port is.
    pub(crate) fn operations(&self) -> String {
        let text = self.stdout.text();
        let line = text.lines().find(|line| line.starts_with("operations")).expect("it says where");
        line.split("http://").nth(1).unwrap().split('/').next().unwrap().to_owned()
    }

    /// Head, in small letters, and body of the answer of the operations port to a GET.
    pub(crate) fn get(&self, path: &str) -> (String, String) {
        let mut socket = TcpStream::connect(self.operations()).unwrap();
        write!(socket, "GET {path} HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        socket.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head.to_lowercase(), body.to_owned())
    }

    /// A command of the same program, which talks to this server.
    pub(crate) fn semel(&self, arguments: &[&str]) -> Command {
        let mut command = semel();
        command.env("SEMEL_SERVER", &self.url).args(arguments).stdin(Stdio::null());
        command
    }

    /// Runs such a command to its end.
    pub(crate) fn call(&self, arguments: &[&str]) -> Output {
        self.semel(arguments).output().expect("semel starts")
    }

    /// Runs such a command with JSON output: its exit status and what it printed.
    pub(crate) fn json(&self, arguments: &[&str]) -> (i32, serde_json::Value) {
        let output = self.semel(arguments).args(["--output", "json"]).output().expect("semel starts");
        let text = String::from_utf8(output.stdout).expect("JSON is UTF-8");
        let error = String::from_utf8_lossy(&output.stderr);
        let value = serde_json::from_str(&text).unwrap_or_else(|_| panic!("not JSON: {text:?}; {error}"));
        (output.status.code().expect("it exits"), value)
    }

    pub(crate) fn pid(&self) -> u32 {
        self.process.id()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        send(&self.process, signal);
    }

    /// Waits for the end of the server.
    pub(crate) fn wait(&mut self) -> ExitStatus {
        self.process.wait().expect("it can be waited for")
    }

    /// Stops the server in order.
    pub(crate) fn stop(mut self) -> ExitStatus {
        self.signal(Signal::SIGTERM);
        self.wait()
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        _ = self.process.kill();
        _ = self.process.wait();
    }
}

/// Sends a signal to a process that this test started and has not yet waited for.
pub(crate) fn send(process: &Child, signal: Signal) {
    kill(Pid::from_raw(process.id().try_into().unwrap()), signal).expect("the process is there");
}

/// Waits until `done` holds, which it always does in the end.
pub(crate) fn wait_until(what: &str, mut done: impl FnMut() -> bool) {
    let until = Instant::now() + AT_MOST;
    while !done() {
        assert!(Instant::now() < until, "this did not come about: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// What a process printed on standard output.
pub(crate) fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// What a process printed on standard error.
pub(crate) fn errors(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}
