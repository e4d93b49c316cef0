//! `semel token`: the file of credentials.

use serde_json::{Value, json};

use crate::files::Files;
use crate::program::{errors, text};
use crate::support::semel;

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
