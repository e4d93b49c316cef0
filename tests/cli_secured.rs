//! Servers that encrypt and ask for credentials, and every command as their client, as processes.

#[path = "support/authority.rs"]
mod authority;
#[path = "support/program.rs"]
mod program;
mod support;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use authority::{Authority, Pair, TokenIssuer, jwks};
use nix::sys::signal::Signal;
use program::{Program, errors, text, wait_until};
use serde_json::{Value, json};
use support::{count, semel};

/// What a client is, that is not allowed, or not believed, exits with.
const NOT_ALLOWED: Option<i32> = Some(112);
const UNAVAILABLE: Option<i32> = Some(110);

/// A directory of certificates, keys, credentials and tokens.
struct Files {
    directory: tempfile::TempDir,
    authority: Authority,
}

impl Files {
    fn new() -> Self {
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

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn text(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(name)).unwrap()
    }

    fn write(&self, name: &str, text: &str) {
        // In one step, as whoever rotates files should.
        let beside = self.path(&format!("{name}.beside"));
        std::fs::write(&beside, text).unwrap();
        std::fs::rename(beside, self.path(name)).unwrap();
    }

    fn write_pair(&self, name: &str, pair: &Pair) {
        self.write(&format!("{name}.pem"), &pair.certificate);
        self.write(&format!("{name}-key.pem"), &pair.key);
    }

    /// `semel token …` on the file of credentials.
    fn tokens(&self, arguments: &[&str]) -> Output {
        let mut command = semel();
        command.current_dir(self.directory.path()).arg("token").args(arguments);
        command.args(["--file", "credentials.toml", "--output", "json"]).output().unwrap()
    }

    /// Makes a token, and puts it into a file that is called like it.
    fn token(&self, name: &str, tenant: &str, role: &str) -> String {
        let made = self.tokens(&["create", "--name", name, "--tenant", tenant, "--role", role]);
        assert!(made.status.success(), "{}", errors(&made));
        let made: Value = serde_json::from_str(&text(&made)).unwrap();
        let token = made["token"].as_str().unwrap().to_owned();
        self.write(&format!("{name}.token"), &format!("{token}\n"));
        token
    }

    /// What `semel config check` says of these settings.
    fn check(&self, arguments: &[&str]) -> (Option<i32>, String) {
        let mut command = semel();
        command.current_dir(self.directory.path()).args(["config", "check"]).args(arguments);
        let output = command.output().unwrap();
        (output.status.code(), errors(&output))
    }

    fn serve(&self, arguments: &[&str]) -> Program {
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

    fn serve_certificates(&self) -> Program {
        self.serve(&[
            "--tls-client-ca-file",
            "ca.pem",
            "--tls-client-certificates",
            "required",
            "--auth-trust-domain",
            "example.org",
        ])
    }

    fn serve_tokens(&self) -> Program {
        self.serve(&["--auth-credentials-file", "credentials.toml"])
    }

    /// A command for `server`, which believes our authority.
    fn client(&self, server: &Program, arguments: &[&str]) -> Command {
        let mut command = server.semel(arguments);
        command.current_dir(self.directory.path()).env("SEMEL_TLS_CA", "ca.pem").env("SEMEL_TENANT", "acme");
        command
    }
}

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
            stranger.args(["--timeout", "300ms"]);
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

#[test]
fn tokens_are_made_listed_and_revoked() {
    use std::os::unix::fs::PermissionsExt as _;

    let files = Files::new();
    let path = files.path("credentials.toml");
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let made = files.text("credentials.toml");
    assert!(
        made.starts_with("# The credentials of semel's callers; ") && made.contains("\n\n[[token]]"),
        "{made}"
    );
    let by_hand = "\n# Written by hand.\n[[certificate]]\nuri = \"spiffe://mesh/x\" # a mesh\ntenants = [\"a\"]\nroles = [\"client\"]\n";
    files.write("credentials.toml", &(files.text("credentials.toml") + by_hand));
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
    let token = files.token("late", "acme*", "reader");
    assert!(token.starts_with("semel_") && token.len() == 49, "{token}");
    let written = files.text("credentials.toml");
    assert!(written.contains(by_hand), "{written}");
    assert!(!written.contains(&token) && !written.contains(&token[6..]), "the token is in the file");
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o640);

    let short = files.tokens(&[
        "create",
        "--name",
        "short",
        "--tenant",
        "a",
        "--role",
        "client",
        "--expires-in",
        "0s",
    ]);
    assert!(short.status.success());
    let forever = files.tokens(&[
        "create",
        "--name",
        "for ever",
        "--tenant",
        "a",
        "--tenant",
        "b",
        "--role",
        "client",
        "--role",
        "reader",
        "--never-expires",
    ]);
    assert!(forever.status.success(), "{}", errors(&forever));
    for expected in [json!(false), json!(true)] {
        let revoked: Value =
            serde_json::from_str(&text(&files.tokens(&["revoke", "--name", "client"]))).unwrap();
        assert_eq!(revoked["repeated_call"], expected);
    }
    let listed: Value = serde_json::from_str(&text(&files.tokens(&["list"]))).unwrap();
    let states: Vec<_> = listed["tokens"]
        .as_array()
        .unwrap()
        .iter()
        .map(|token| (token["name"].as_str().unwrap(), token["state"].as_str().unwrap()))
        .collect();
    assert_eq!(
        states,
        [
            ("client", "revoked"),
            ("operator", "active"),
            ("late", "active"),
            ("short", "expired"),
            ("for ever", "active")
        ]
    );
    assert_eq!(listed["tokens"][4]["tenants"], json!(["a", "b"]));
    assert_eq!(listed["tokens"][4]["roles"], json!(["client", "reader"]));
    assert!(listed["tokens"][4].get("expires_at").is_none());

    let before = files.text("credentials.toml");
    for (arguments, status, part) in [
        (&["create", "--name", "client", "--tenant", "a", "--role", "client"][..], 2, "choose another name"),
        (&["create", "--name", "new", "--tenant", "a", "--role", "admin"], 2, "client, reader, operator"),
        (&["create", "--name", "new", "--tenant", "a*b", "--role", "client"], 1, "has a * before the end"),
        (&["create", "--name", "new", "--tenant", "", "--role", "client"], 1, "tenants"),
        (&["create", "--name", "new", "--role", "client"], 2, "--tenant"),
        (
            &["revoke", "--name", "nobody"],
            2,
            "there is no token called \"nobody\" (there are: client, operator",
        ),
    ] {
        let output = files.tokens(arguments);
        assert_eq!(output.status.code(), Some(status), "{arguments:?}: {}", errors(&output));
        assert!(errors(&output).contains(part), "{arguments:?}: {}", errors(&output));
        assert_eq!(files.text("credentials.toml"), before, "{arguments:?}");
    }
    files.write("credentials.toml", "[[token]]\nname = 5\n");
    let output = files.tokens(&["create", "--name", "new", "--tenant", "a", "--role", "client"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(errors(&output).contains("credentials.toml:2: token 1: name is a number"), "{}", errors(&output));
    assert_eq!(files.text("credentials.toml"), "[[token]]\nname = 5\n");
}

/// Whoever changes the file at the same time waits: no token is lost.
#[test]
fn tokens_made_at_once_are_all_kept() {
    let files = Files::new();
    let children: Vec<_> = (0..8)
        .map(|number| {
            let mut command = semel();
            command
                .current_dir(files.directory.path())
                .args(["token", "create", "--tenant", "a", "--role", "client"]);
            command.args(["--file", "credentials.toml", "--name", &format!("token {number}")]);
            command.stdout(std::process::Stdio::null()).spawn().unwrap()
        })
        .collect();
    for mut child in children {
        assert!(child.wait().unwrap().success());
    }
    let listed: Value = serde_json::from_str(&text(&files.tokens(&["list"]))).unwrap();
    assert_eq!(listed["tokens"].as_array().unwrap().len(), 10);
}

/// Each file is followed while the server serves, and a bad one leaves what was in force.
#[test]
fn files_are_followed_while_the_server_serves() {
    let files = Files::new();
    let issuer = TokenIssuer::new("one");
    files.write("jwks.json", &jwks(&[issuer.jwk()]));
    let claims = json!({
        "iss": "issuer", "aud": "semel", "sub": "s", "exp": 4_000_000_000_u64, "semel_tenants": "acme",
        "semel_roles": "client",
    });
    files.write("jwt.token", &issuer.sign(&claims));
    let server = files.serve(&[
        "--auth-credentials-file",
        "credentials.toml",
        "--auth-jwks-file",
        "jwks.json",
        "--auth-jwt-algorithms",
        "ES256",
        "--auth-jwt-issuer",
        "issuer",
        "--auth-jwt-audience",
        "semel",
    ]);
    let begin = |token: &str, ca: &str| {
        let arguments = ["begin", "--endpoint", "e", "--key", token, "--timeout", "300ms", "--attempt-id"];
        let mut command = files.client(&server, &arguments);
        command.args(["00000000-0000-4000-8000-000000000001", "--token-file", token, "--tls-ca", ca]);
        command.output().unwrap().status.code()
    };
    assert_eq!((begin("client.token", "ca.pem"), begin("jwt.token", "ca.pem")), (Some(0), Some(0)));

    // What cannot be used is told, and changes nothing.
    let (credentials, key) = (files.text("credentials.toml"), files.text("server-key.pem"));
    files.write("credentials.toml", "[[token]]\nname = \"x\"\n");
    files.write("jwks.json", "{}");
    files.write("server-key.pem", "garbage");
    for refused in [
        "the credentials file is refused; the set of credentials in force stays as it was",
        "the JWKS file is refused; the set of keys in force stays as it was",
        "the TLS certificate is refused; the certificate in force stays as it was",
    ] {
        server.log.wait_for(refused, 1);
    }
    assert_eq!((begin("client.token", "ca.pem"), begin("jwt.token", "ca.pem")), (Some(0), Some(0)));
    assert!(server.log.text().contains("credentials.toml:1: token 1 has no sha256"), "{}", server.log.text());

    // Repaired, and changed.
    files.write("credentials.toml", &credentials);
    files.token("late", "acme", "client");
    assert!(files.tokens(&["revoke", "--name", "client"]).status.success());
    let two = TokenIssuer::new("two");
    files.write("jwks.json", &jwks(&[two.jwk()]));
    let new = Authority::new();
    files.write("new-ca.pem", &new.pem);
    files.write("server-key.pem", &key);
    let pair = new.server();
    files.write("server-key.pem", &pair.key);
    files.write("server.pem", &pair.certificate);
    for applied in
        ["the credentials file has changed", "the JWKS file has changed", "the TLS certificate has changed"]
    {
        server.log.wait_for(applied, 1);
    }
    wait_until("all that was written is in force", || {
        server.signal(Signal::SIGHUP);
        begin("late.token", "new-ca.pem") == Some(0) && begin("client.token", "new-ca.pem") == NOT_ALLOWED
    });
    assert_eq!(begin("late.token", "ca.pem"), UNAVAILABLE, "the old certificate is gone");
    assert_eq!(begin("jwt.token", "new-ca.pem"), NOT_ALLOWED);
    files.write("jwt.token", &two.sign(&claims));
    assert_eq!(begin("jwt.token", "new-ca.pem"), Some(0));

    // A file that is gone is told of, too.
    std::fs::remove_file(files.path("credentials.toml")).unwrap();
    server.log.wait_for("credentials.toml: cannot be read: No such file", 1);
    assert_eq!(begin("late.token", "new-ca.pem"), Some(0));
}

/// A long run outlives its first token.
#[test]
fn once_reads_its_token_again() {
    let files = Files::new();
    let server = files.serve_tokens();
    let (started, go_on) = (files.path("started"), files.path("go-on"));
    let inner = "touch started; while ! test -e go-on; do sleep 0.05; done; echo done";
    let mut once =
        files.client(&server, &["once", "--endpoint", "e", "--key", "long", "--token-file", "client.token"]);
    let once = once.args(["--", "sh", "-c", inner]).stdout(std::process::Stdio::piped()).spawn().unwrap();
    wait_until("the command runs", || Path::new(&started).exists());
    assert!(files.tokens(&["revoke", "--name", "client"]).status.success());
    server.log.wait_for("the credentials file has changed and is in force", 1);
    std::fs::write(go_on, "").unwrap();
    // Its report is refused, and yet not lost.
    server.log.wait_for("cause=\"revoked\"", 1);
    let token = files.token("second", "acme", "client");
    files.write("client.token", &token);
    let output = once.wait_with_output().unwrap();
    assert_eq!((output.status.code(), text(&output).as_str()), (Some(0), "done\n"));
}

#[test]
fn everything_wrong_with_encryption_and_credentials_is_said_at_once() {
    let files = Files::new();
    files.write("garbage", "two words of garbage");
    files.write(
        "bad.toml",
        "[[token]]\nname = \"a\"\nsha256 = \"semel_secret\"\ntenants = []\nroles = [\"admin\"]\nexpires = \"soon\"\n\
         [[certificate]]\nuri = \"a*b\"\ntenants = [\"t\"]\nroles = [\"client\"]\nnmae = \"x\"\n[tokens]\n",
    );
    let (status, said) = files.check(&[
        "--tls-certificate-file",
        "garbage",
        "--tls-key-file",
        "missing",
        "--tls-client-ca-file",
        "server-key.pem",
        "--auth-credentials-file",
        "bad.toml",
        "--auth-trust-domain",
        "a/b",
        "--auth-jwks-file",
        "garbage",
        "--auth-jwt-algorithms",
        "ES256,HS256",
        "--auth-jwt-issuer",
        "i",
        "--max-waiters",
        "many",
    ]);
    assert_eq!(status, Some(3), "{said}");
    for part in [
        "--tls-key-file: tls.key_file = \"missing\" cannot be read: No such file",
        "--auth-trust-domain: auth.trust_domain = \"a/b\" is no SPIFFE trust domain",
        "--auth-jwks-file: auth.jwks_file = \"garbage\" is not JSON",
        "--auth-jwks-file: auth.jwks_file is set, and auth.jwt_audience is not; set both",
        "--auth-jwt-algorithms: auth.jwt_algorithms = \"ES256,HS256\" must name some of: RS256, ",
        "--max-waiters: max_waiters = many is not a whole number",
        "bad.toml:3: token 1: sha256 is not the 64 hexadecimal digits",
        "bad.toml:4: token 1: tenants must be a list of texts, and not empty",
        "bad.toml:5: token 1: roles has \"admin\", which is no role (known: client, reader, operator)",
        "bad.toml:6: token 1: expires is no moment in UTC",
        "bad.toml:8: certificate 1: uri has a * before its end",
        "bad.toml:11: certificate 1: nmae is not known here",
        "bad.toml:12: tokens is not known here; did you mean token?",
    ] {
        assert!(said.contains(part), "{part}\nin:\n{said}");
    }
    assert!(
        !said.contains("semel_secret") && !said.contains("two words"),
        "what a file holds is told:\n{said}"
    );
}

#[test]
fn files_that_do_not_fit_and_settings_that_need_others_are_refused() {
    let files = Files::new();
    files.write("garbage", "two words of garbage");
    // Files that can be read, and are not what they should be.
    let (_, said) = files.check(&[
        "--tls-certificate-file",
        "garbage",
        "--tls-key-file",
        "ca.pem",
        "--tls-client-ca-file",
        "server-key.pem",
        "--auth-trust-domain",
        "a",
    ]);
    for part in [
        "tls.certificate_file = \"garbage\" holds no certificate in PEM form",
        "tls.key_file = \"ca.pem\" holds no private key in PEM form",
        "tls.client_ca_file = \"server-key.pem\" holds no certificate in PEM form",
    ] {
        assert!(said.contains(part), "{part}\nin:\n{said}");
    }
    for (arguments, part) in [
        (
            &["--tls-certificate-file", "server.pem"][..],
            "tls.certificate_file is set, and tls.key_file is not",
        ),
        (&["--tls-key-file", "server-key.pem"], "tls.key_file is set, and tls.certificate_file is not"),
        (&["--tls-client-certificates", "required"], "is required, and tls.client_ca_file is not set"),
        (&["--auth-trust-domain", "a"], "auth.trust_domain is set, and tls.client_ca_file is not"),
        (&["--auth-jwt-issuer", "a"], "auth.jwt_issuer is set, and auth.jwks_file is not"),
        (
            &["--tls-certificate-file", "server.pem", "--tls-key-file", "client-key.pem"],
            "tls.key_file = \"client-key.pem\" does not belong to the certificate",
        ),
        (
            &[
                "--tls-certificate-file",
                "server.pem",
                "--tls-key-file",
                "server-key.pem",
                "--tls-client-ca-file",
                "ca.pem",
            ],
            "no certificate would stand for anybody",
        ),
    ] {
        let (status, said) = files.check(arguments);
        assert_eq!(status, Some(3), "{arguments:?}: {said}");
        assert!(said.contains(part), "{part}\nin:\n{said}");
    }
}

/// Beyond loopback: both, or somebody who says that neither is needed.
#[test]
fn listening_beyond_loopback_takes_encryption_and_credentials() {
    let files = Files::new();
    let encrypted = ["--tls-certificate-file", "server.pem", "--tls-key-file", "server-key.pem"];
    let credentials = ["--auth-credentials-file", "credentials.toml"];
    let public = ["--listen", "0.0.0.0:7400"];
    for (arguments, part) in [
        ([&public[..], &encrypted[..]].concat(), "asks for no credential"),
        ([&public[..], &credentials[..]].concat(), "does not encrypt them"),
        (public.to_vec(), "neither encrypts them"),
        (
            [&["--ops-listen", "0.0.0.0:1"][..], &encrypted[..], &credentials[..]].concat(),
            "is never encrypted",
        ),
    ] {
        let (status, said) = files.check(&arguments);
        assert!(status == Some(3) && said.contains(part), "{arguments:?}: {said}");
        assert_eq!(files.check(&[&arguments[..], &["--insecure"][..]].concat()).0, Some(0));
    }
    assert_eq!(files.check(&[&public[..], &encrypted[..], &credentials[..]].concat()).0, Some(0));
}

/// Whoever replaces it needs no restart then.
#[test]
fn an_expired_certificate_is_no_reason_not_to_start() {
    let files = Files::new();
    files.write_pair("expired", &files.authority.server_of((1990, 2020)));
    let expired = ["--tls-certificate-file", "expired.pem", "--tls-key-file", "expired-key.pem"];
    let (status, said) = files.check(&expired);
    assert_eq!(status, Some(0));
    assert!(said.contains("expired at") && said.contains("callers will refuse it"), "{said}");
}
