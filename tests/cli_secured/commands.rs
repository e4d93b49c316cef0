//! Every command as a client that shows a certificate or a token.

use std::process::Command;

use serde_json::Value;

use crate::authority::Authority;
use crate::files::{Files, NOT_ALLOWED, UNAVAILABLE};
use crate::program::{errors, text};
use crate::support::count;

#[derive(Clone, Copy, Debug)]
enum Shown {
    CertificateByFlags,
    CertificateByVariables,
    TokenByFlag,
    TokenByVariable,
}

impl Shown {
    fn by(self, role: &str, command: &mut Command) {
        let (certificate, key, token) =
            (format!("{role}.pem"), format!("{role}-key.pem"), format!("{role}.token"));
        match self {
            Self::CertificateByFlags => command.args(["--tls-cert", &certificate, "--tls-key", &key]),
            Self::CertificateByVariables => {
                command.env("SEMEL_TLS_CERT", &certificate).env("SEMEL_TLS_KEY", &key)
            }
            Self::TokenByFlag => command.args(["--token-file", &token]),
            Self::TokenByVariable => command.env("SEMEL_TOKEN_FILE", &token),
        };
    }
}

/// Every command that calls a server: its arguments on the key it is given, the role it needs, and its exit status.
fn commands() -> Vec<(&'static str, &'static [&'static str], &'static str, i32)> {
    vec![
        ("begin", &[], "client", 0),
        ("renew", &["--fence", "FENCE", "--attempt-id", "ATTEMPT"], "client", 0),
        (
            "checkpoint",
            &["--fence", "FENCE", "--attempt-id", "ATTEMPT", "--name", "n", "--value", "v"],
            "client",
            0,
        ),
        ("lookup", &[], "client", 0),
        ("abort", &["--fence", "FENCE", "--attempt-id", "ATTEMPT", "--unknown"], "client", 0),
        ("complete", &["--fence", "FENCE", "--attempt-id", "ATTEMPT", "--payload", "p"], "client", 0),
        ("list", &[], "operator", 0),
        ("policy", &[], "operator", 0),
        // The record is settled, and such calls were let through to hear it.
        ("resolve", &["--fence", "FENCE", "--release"], "operator", 108),
        ("forget", &["--fence", "FENCE"], "operator", 0),
        ("once", &[], "client", 0),
        ("bench", &["--lifecycles", "40", "--concurrency", "4"], "client", 0),
    ]
}

fn arguments(command: &str, more: &[&str], (key, fence, attempt): (&str, &str, &str)) -> Vec<String> {
    let mut all = vec![command.to_owned()];
    match command {
        "bench" | "list" => {}
        "policy" => all.extend(["--endpoint", "e"].map(str::to_owned)),
        _ => all.extend(["--endpoint", "e", "--key", key].map(str::to_owned)),
    }
    all.extend(more.iter().map(|text| match *text {
        "FENCE" => fence.to_owned(),
        "ATTEMPT" => attempt.to_owned(),
        other => other.to_owned(),
    }));
    all
}

#[test]
fn every_command_speaks_to_a_server_that_asks_for_certificates_and_to_one_that_asks_for_tokens() {
    let files = Files::new();
    let (by_certificate, by_token) = (files.serve_certificates(), files.serve_tokens());
    let program = env!("CARGO_BIN_EXE_semel");
    let mut made = 0;
    for (server, shown) in [
        (&by_certificate, Shown::CertificateByFlags),
        (&by_certificate, Shown::CertificateByVariables),
        (&by_token, Shown::TokenByFlag),
        (&by_token, Shown::TokenByVariable),
    ] {
        let key = format!("{shown:?}");
        let (mut fence, mut attempt) = (String::new(), String::new());
        for (name, more, role, expected) in commands() {
            let all = arguments(name, more, (&key, &fence, &attempt));
            let mut command = files.client(server, &all.iter().map(String::as_str).collect::<Vec<_>>());
            shown.by(role, &mut command);
            match name {
                // What it starts finds the server and the credential by itself.
                "once" => {
                    let inner = format!("exec {program} checkpoint --name inner --value v --output json");
                    command.args(["--", "sh", "-c", &inner]);
                }
                _ => {
                    command.args(["--output", "json"]);
                }
            }
            let output = command.output().unwrap();
            let case = format!("{name} {shown:?}: {}{}", text(&output), errors(&output));
            assert_eq!(output.status.code(), Some(expected), "{case}");
            if name == "begin" {
                let begun: Value = serde_json::from_str(&text(&output)).unwrap();
                fence = begun["fence"].to_string();
                attempt = begun["attempt_id"].as_str().unwrap().to_owned();
            }
            // The same without a credential, and with one of another role.
            let all = arguments(name, more, ("another", "1", "00000000-0000-4000-8000-000000000001"));
            let all: Vec<_> = all.iter().map(String::as_str).collect();
            let run = |mut command: Command| {
                if name == "once" {
                    command.args(["--", "true"]);
                }
                let output = command.output().unwrap();
                (output.status.code(), format!("{name} {shown:?}: {}", errors(&output)))
            };
            let mut stranger = files.client(server, &all);
            // Without a certificate there is no answer to be waited for.
            let timeout = match shown {
                Shown::CertificateByFlags | Shown::CertificateByVariables => "300ms",
                Shown::TokenByFlag | Shown::TokenByVariable => "20s",
            };
            stranger.args(["--timeout", timeout]);
            let (status, case) = run(stranger);
            let refused = match (shown, name) {
                // Its connections are made before the server says no, so it has a report.
                (_, "bench") => Some(113),
                (Shown::CertificateByFlags | Shown::CertificateByVariables, _) => UNAVAILABLE,
                _ => NOT_ALLOWED,
            };
            assert_eq!(status, refused, "without a credential: {case}");
            let mut other = files.client(server, &all);
            shown.by(if role == "client" { "operator" } else { "client" }, &mut other);
            let (status, case) = run(other);
            let refused = match name {
                "lookup" => Some(107),
                "bench" => Some(113),
                _ => NOT_ALLOWED,
            };
            assert_eq!(status, refused, "with another role: {case}");
            made += 3;
        }
    }
    count("secured_commands", made);
    // Another tenant's is not reached.
    let mut other = files.client(&by_token, &["begin", "--endpoint", "e", "--key", "k", "--tenant", "other"]);
    Shown::TokenByFlag.by("client", &mut other);
    let output = other.output().unwrap();
    assert_eq!(output.status.code(), NOT_ALLOWED);
    assert!(errors(&output).contains("TENANT_NOT_ALLOWED"), "{}", errors(&output));
    for server in [by_certificate, by_token] {
        for token in ["client", "operator"].map(|name| files.text(&format!("{name}.token"))) {
            assert!(!server.log.text().contains(token.trim()), "a token is in the log");
        }
        assert!(server.stop().success());
    }
}

#[test]
fn clients_say_what_is_wrong_with_their_files_and_with_the_server() {
    let files = Files::new();
    let server = files.serve_tokens();
    files.write("other-ca.pem", &Authority::new().pem);
    files.write("garbage", "not PEM, and two words");
    files.write("empty", "");
    let lookup = ["lookup", "--endpoint", "e", "--key", "k", "--timeout", "5s"];
    for (flags, status, part) in [
        (&["--tls-ca", "other-ca.pem"][..], UNAVAILABLE, "invalid peer certificate"),
        (&["--tls-ca", "missing.pem"], Some(2), "missing.pem cannot be read"),
        (&["--tls-ca", "garbage"], Some(2), "garbage holds no certificate in PEM form"),
        (&["--tls-cert", "client.pem"], Some(2), "needs both --tls-cert and --tls-key"),
        (&["--tls-cert", "client.pem", "--tls-key", "garbage"], Some(2), "cannot be used"),
        (&["--tls-cert", "client.pem", "--tls-key", "operator-key.pem"], Some(2), "cannot be used"),
        (&["--token-file", "missing"], Some(2), "missing cannot be read"),
        (&["--token-file", "empty"], Some(2), "does not hold one token"),
        (&["--token-file", "garbage"], Some(2), "does not hold one token"),
        (&["--server", "http://127.0.0.1:1"], Some(2), "of use for https:// alone"),
        (&["--server", "ftp://127.0.0.1:1"], Some(2), "neither an https:// nor an http:// address"),
        (&[], NOT_ALLOWED, "CREDENTIAL_REQUIRED"),
    ] {
        let mut command = files.client(&server, &lookup);
        let output = command.args(flags).output().unwrap();
        assert_eq!(output.status.code(), status, "{flags:?}: {}", errors(&output));
        assert!(errors(&output).contains(part), "{flags:?}: {}", errors(&output));
        assert!(!errors(&output).contains("two words"), "what a file holds is told: {}", errors(&output));
    }
}
