//! A directory of what servers and clients need, and the programs that use it.

use std::path::PathBuf;
use std::process::{Command, Output};

use serde_json::Value;

use crate::authority::{Authority, Pair};
use crate::program::{Program, errors, text};
use crate::support::semel;

/// What a client is, that is not allowed, or not believed, exits with.
pub(crate) const NOT_ALLOWED: Option<i32> = Some(112);
pub(crate) const UNAVAILABLE: Option<i32> = Some(110);

/// A directory of certificates, keys, credentials and tokens.
pub(crate) struct Files {
    pub(crate) directory: tempfile::TempDir,
    pub(crate) authority: Authority,
}

impl Files {
    pub(crate) fn new() -> Self {
        let files = Self { directory: tempfile::tempdir().unwrap(), authority: Authority::new() };
        files.write("ca.pem", &files.authority.pem);
        files.write_pair("server", &files.authority.server());
        for role in ["client", "operator"] {
            let uri = format!("spiffe://example.org/tenant/acme/role/{role}");
            files.write_pair(role, &files.authority.client(&[&uri]));
            files.token(role, "acme", role);
        }
        files
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub(crate) fn text(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(name)).unwrap()
    }

    pub(crate) fn write(&self, name: &str, text: &str) {
        // In one step, as whoever rotates files should.
        let beside = self.path(&format!("{name}.beside"));
        std::fs::write(&beside, text).unwrap();
        std::fs::rename(beside, self.path(name)).unwrap();
    }

    pub(crate) fn write_pair(&self, name: &str, pair: &Pair) {
        self.write(&format!("{name}.pem"), &pair.certificate);
        self.write(&format!("{name}-key.pem"), &pair.key);
    }

    /// `semel token …` on the file of credentials.
    pub(crate) fn tokens(&self, arguments: &[&str]) -> Output {
        let mut command = semel();
        command.current_dir(self.directory.path()).arg("token").args(arguments);
        command.args(["--file", "credentials.toml", "--output", "json"]).output().unwrap()
    }

    /// Makes a token, and puts it into a file that is called like it.
    pub(crate) fn token(&self, name: &str, tenant: &str, role: &str) -> String {
        let made = self.tokens(&["create", "--name", name, "--tenant", tenant, "--role", role]);
        assert!(made.status.success(), "{}", errors(&made));
        let made: Value = serde_json::from_str(&text(&made)).unwrap();
        let token = made["token"].as_str().unwrap().to_owned();
        self.write(&format!("{name}.token"), &format!("{token}\n"));
        token
    }

    /// What `semel config check` says of these settings.
    pub(crate) fn check(&self, arguments: &[&str]) -> (Option<i32>, String) {
        let mut command = semel();
        command.current_dir(self.directory.path()).args(["config", "check"]).args(arguments);
        let output = command.output().unwrap();
        (output.status.code(), errors(&output))
    }

    pub(crate) fn serve(&self, arguments: &[&str]) -> Program {
        let mut all = vec![
            "--store",
            "memory",
            "--tls-certificate-file",
            "server.pem",
            "--tls-key-file",
            "server-key.pem",
        ];
        all.extend(arguments);
        Program::start(self.directory.path(), &all)
    }

    pub(crate) fn serve_certificates(&self) -> Program {
        self.serve(&[
            "--tls-client-ca-file",
            "ca.pem",
            "--tls-client-certificates",
            "required",
            "--auth-trust-domain",
            "example.org",
        ])
    }

    pub(crate) fn serve_tokens(&self) -> Program {
        self.serve(&["--auth-credentials-file", "credentials.toml"])
    }

    /// A command for `server`, which believes our authority.
    pub(crate) fn client(&self, server: &Program, arguments: &[&str]) -> Command {
        let mut command = server.semel(arguments);
        command.current_dir(self.directory.path()).env("SEMEL_TLS_CA", "ca.pem").env("SEMEL_TENANT", "acme");
        command
    }
}
