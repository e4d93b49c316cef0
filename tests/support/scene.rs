//! Commands guarded by `semel once`, a server, and what the commands leave behind.
#![allow(dead_code, reason = "each integration test compiles this module, and uses what it needs of it")]

use std::path::PathBuf;
use std::process::{Command, Output};

use crate::program::Program;

/// A server, and a directory for what commands leave behind.
pub(crate) struct Scene {
    pub(crate) server: Program,
    pub(crate) directory: tempfile::TempDir,
}

impl Scene {
    pub(crate) fn new() -> Self {
        Self::with(&["--store", "memory"])
    }

    pub(crate) fn with(arguments: &[&str]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let server = Program::start(directory.path(), arguments);
        Self { server, directory }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// How often the guarded command ran: each run appends a line.
    pub(crate) fn runs(&self) -> usize {
        std::fs::read_to_string(self.path("runs")).unwrap_or_default().lines().count()
    }

    /// Runs a bash script under `key`.
    pub(crate) fn once(&self, key: &str, flags: &[&str], script: &str) -> Output {
        self.command(key, flags, script).output().expect("semel starts")
    }

    pub(crate) fn command(&self, key: &str, flags: &[&str], script: &str) -> Command {
        let mut command = self.server.semel(&["once", "--endpoint", "jobs/Nightly", "--key", key]);
        command.args(flags).args(["--", "bash", "-c", script]).current_dir(self.directory.path());
        command
    }

    pub(crate) fn lookup(&self, key: &str) -> serde_json::Value {
        let (exit, record) = self.server.json(&["lookup", "--endpoint", "jobs/Nightly", "--key", key]);
        assert_eq!(exit, 0, "{record}");
        record
    }
}

/// Its exit status.
pub(crate) fn code(output: &Output) -> i32 {
    output.status.code().expect("it exits by itself")
}

/// Says in a script that it ran.
pub(crate) const RUN: &str = "echo run >> runs; ";
