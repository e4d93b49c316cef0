//! Files that change while a server or a command runs.

use std::path::Path;

use nix::sys::signal::Signal;
use serde_json::json;

use crate::authority::{Authority, TokenIssuer, jwks};
use crate::files::{Files, NOT_ALLOWED, UNAVAILABLE};
use crate::program::{text, wait_until};

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
    let begin_within = |timeout: &str, token: &str, ca: &str| {
        let arguments = ["begin", "--endpoint", "e", "--key", token, "--timeout", timeout, "--attempt-id"];
        let mut command = files.client(&server, &arguments);
        command.args(["00000000-0000-4000-8000-000000000001", "--token-file", token, "--tls-ca", ca]);
        command.output().unwrap().status.code()
    };
    // Time enough for whoever gets an answer.
    let begin = |token: &str, ca: &str| begin_within("20s", token, ca);
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
    server.log.wait_for("credentials.toml:1: token 1 has no sha256", 1);

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
    assert_eq!(begin_within("300ms", "late.token", "ca.pem"), UNAVAILABLE, "the old certificate is gone");
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
