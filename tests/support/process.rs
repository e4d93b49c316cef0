//! `semel serve` as a process of its own, on ports of its own.

#![allow(dead_code, reason = "each integration test compiles this module, and none uses all of it")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, ChildStdout, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::support;

/// What the image sets, so that large messages go back to the system: docs/adr/0024.
pub(crate) const ALLOCATOR: (&str, &str) = ("MALLOC_MMAP_THRESHOLD_", "131072");

/// A server, killed when this is dropped.
#[derive(Debug)]
pub(crate) struct ServerProcess {
    child: Child,
    /// Kept open, so that the server may print.
    _stdout: BufReader<ChildStdout>,
    /// `127.0.0.1:PORT` of the gRPC port.
    pub(crate) grpc: String,
    /// The same of the operations port.
    pub(crate) operations: String,
    /// From when the process was started until /readyz said yes.
    pub(crate) ready_after: Duration,
}

impl ServerProcess {
    /// Starts a server on `data`, and waits until it is ready.
    pub(crate) fn start(data: &Path, arguments: &[&str]) -> Self {
        let started = Instant::now();
        let mut child = support::semel()
            .args(["serve", "--listen", "127.0.0.1:0", "--ops-listen", "127.0.0.1:0", "--log-level", "warn"])
            .arg("--data-dir")
            .arg(data)
            .args(arguments)
            .env(ALLOCATOR.0, ALLOCATOR.1)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let mut printed = String::new();
        let mut address = |name: &str| loop {
            let mut line = String::new();
            assert_ne!(stdout.read_line(&mut line).unwrap(), 0, "semel serve printed no {name}: {printed}");
            printed.push_str(&line);
            if let Some(url) = line.strip_prefix(name) {
                let (_, address) = url.trim().split_once("://").expect("it is a URL");
                return address.split('/').next().unwrap().to_owned();
            }
        };
        let (grpc, operations) = (address("gRPC"), address("operations"));
        let mut server = Self { child, _stdout: stdout, grpc, operations, ready_after: Duration::ZERO };
        while !server.is_ready() {
            assert_eq!(server.child.try_wait().unwrap(), None, "semel serve ended");
            thread::sleep(Duration::from_millis(5));
        }
        server.ready_after = started.elapsed();
        server
    }

    /// The most that was resident of the process since it began, or since [`Self::forget_peak`], in bytes.
    pub(crate) fn peak_resident_bytes(&self) -> u64 {
        self.status("VmHWM:")
    }

    /// What is resident of the process, in bytes.
    pub(crate) fn resident_bytes(&self) -> u64 {
        self.status("VmRSS:")
    }

    fn status(&self, field: &str) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix(field)).expect("Linux tells it");
        line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
    }

    /// From now on the peak is that of what comes.
    pub(crate) fn forget_peak(&self) {
        // proc_pid_clear_refs(5): 5 resets the peak resident set.
        std::fs::write(format!("/proc/{}/clear_refs", self.child.id()), "5").unwrap();
    }

    /// How many files and sockets it has open.
    pub(crate) fn descriptors(&self) -> usize {
        std::fs::read_dir(format!("/proc/{}/fd", self.child.id())).unwrap().count()
    }

    /// Ends the server as a crash would.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Tells the server to stop, and gives its exit status.
    pub(crate) fn terminate(mut self) -> ExitStatus {
        kill(Pid::from_raw(i32::try_from(self.child.id()).unwrap()), Signal::SIGTERM).unwrap();
        self.child.wait().unwrap()
    }

    fn is_ready(&self) -> bool {
        let Ok(mut socket) = TcpStream::connect(&self.operations) else { return false };
        socket.write_all(b"GET /readyz HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        socket.read_to_string(&mut answer).unwrap();
        answer.starts_with("HTTP/1.1 200")
    }
}

impl Drop for ServerProcess {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
