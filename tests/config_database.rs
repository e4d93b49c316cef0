//! The settings of the store on a database, and the commands that take them, as far as no database is needed.

mod support;

use std::net::TcpListener;
use std::process::Output;
use std::time::Duration;

use semel::config::{self, Loaded, Problems, Setting, Sources, StoreSettings};
use semel::domain::{Policy, PolicyRules};
use semel::storage::scylla::{Listing, Ordering, Settings};
use support::semel;

fn load(file: &str, variables: &[(&str, &str)], flags: &[(&str, &str)]) -> Result<Loaded, Problems> {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("semel.toml");
    std::fs::write(&path, file).unwrap();
    config::load(Sources {
        file: Some(path),
        default_file: None,
        environment: variables.iter().map(|(name, value)| (name.into(), value.into())).collect(),
        flags: flags.iter().map(|(key, text)| (Setting::named(key).unwrap(), (*text).to_owned())).collect(),
    })
}

fn database(loaded: &Loaded) -> &Settings {
    let StoreSettings::Scylla(settings) = &loaded.config.store else { panic!("{:?}", loaded.config.store) };
    settings
}

fn problems(flags: &[(&str, &str)]) -> Vec<String> {
    let flags = [&[("store", "scylla")], flags].concat();
    load("", &[], &flags).expect_err("something is wrong").to_string().lines().map(str::to_owned).collect()
}

#[test]
fn the_defaults_are_the_store_s() {
    let loaded = load("", &[], &[("store", "scylla"), ("scylla.nodes", "a")]).unwrap();
    assert_eq!(
        format!("{:?}", database(&loaded)),
        format!("{:?}", Settings::new(vec!["a".to_owned()], "semel"))
    );
    // Held Begins ask a database that others write to.
    assert!(loaded.config.coordinator.poll.is_some());
    assert!(load("", &[], &[]).unwrap().config.coordinator.poll.is_none());
}

#[test]
fn every_setting_arrives_from_file_variables_and_flags() {
    let file = "store = \"scylla\"\n[scylla]\nnodes = \"10.0.0.1, db-2:9043,[fd00::1]:9042,fd00::2\"\nuser = \"semel\"\n\
                ordering = \"serial\"\nlisting = \"open\"\nconnections_per_shard = 3\n";
    let variables = [("SEMEL_SCYLLA_PASSWORD", "hunter2"), ("SEMEL_SCYLLA_REQUEST_TIMEOUT", "7s")];
    let flags = [("scylla.datacenter", "dc1"), ("scylla.keyspace", "ks"), ("scylla.connect_timeout", "2s")];
    let loaded = load(file, &variables, &flags).unwrap();
    let settings = database(&loaded);
    assert_eq!(settings.nodes, ["10.0.0.1", "db-2:9043", "[fd00::1]:9042", "fd00::2"]);
    assert_eq!((settings.datacenter.as_deref(), settings.keyspace.as_str()), (Some("dc1"), "ks"));
    let credentials = settings.credentials.as_ref().unwrap();
    assert_eq!((credentials.user.as_str(), credentials.password.as_str()), ("semel", "hunter2"));
    assert_eq!((settings.ordering, settings.listing), (Ordering::Serial, Listing::Open));
    let timeouts = (settings.connect_timeout, settings.request_timeout);
    assert_eq!(timeouts, (Duration::from_secs(2), Duration::from_secs(7)));
    assert_eq!(settings.connections.get(), 3);
    let printed = loaded.print();
    for line in [
        "nodes = \"10.0.0.1,db-2:9043,[fd00::1]:9042,fd00::2\"  # ",
        "# password is set, and hidden  # SEMEL_SCYLLA_PASSWORD",
        "datacenter = \"dc1\"  # --scylla-datacenter",
    ] {
        assert!(printed.contains(line), "{line} in:\n{printed}");
    }
    assert!(!format!("{loaded:?} {printed}").contains("hunter2"));
    let flag = semel().args(["config", "check", "--scylla-password", "hunter2"]).output().unwrap();
    assert_eq!(flag.status.code(), Some(2), "a flag would show it to every process");
}

#[test]
fn credentials_come_from_files_too() {
    let directory = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = directory.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let (user, password, empty) =
        (file("user", "semel\n"), file("password", "hunter2\r\n"), file("empty", "\n"));
    let base = [("store", "scylla"), ("scylla.nodes", "a")];
    let with = |more: &[(&'static str, &str)]| load("", &[], &[&base[..], more].concat());
    let loaded = with(&[("scylla.user_file", &user), ("scylla.password_file", &password)]).unwrap();
    let credentials = database(&loaded).credentials.as_ref().unwrap();
    assert_eq!((credentials.user.as_str(), credentials.password.as_str()), ("semel", "hunter2"));

    for (settings, expected) in [
        (
            &[("scylla.user", "u")][..],
            "scylla.user is set, and neither scylla.password nor scylla.password_file",
        ),
        (&[("scylla.password_file", &password)], "scylla.password_file is set, and neither scylla.user nor"),
        (
            &[("scylla.user", "u"), ("scylla.user_file", &user)],
            "is set as well as scylla.user; set one of them",
        ),
        (
            &[("scylla.user", "u"), ("scylla.password_file", &empty)],
            "names a file of 0 bytes; scylla.password needs",
        ),
        (
            &[("scylla.user", "u"), ("scylla.password_file", "/no/such")],
            "\"/no/such\" cannot be read: No such file",
        ),
    ] {
        let said = with(settings).expect_err("it is refused").to_string();
        assert!(said.contains(expected) && said.lines().count() == 1, "{expected}\nin:\n{said}");
        assert!(!said.contains("hunter2"), "{said}");
    }
}

#[test]
fn all_that_is_wrong_is_said_at_once() {
    let directory = tempfile::tempdir().unwrap();
    let garbage = directory.path().join("garbage.pem");
    std::fs::write(&garbage, "no certificate").unwrap();
    let said = problems(&[
        ("scylla.keyspace", "a-b"),
        ("scylla.nodes", "a,,b"),
        ("scylla.request_timeout", "1ms"),
        ("scylla.user", "u"),
        ("scylla.tls_ca_file", garbage.to_str().unwrap()),
        ("scylla.tls_certificate_file", "/no/such.pem"),
        ("scylla.tls_key_file", "/no/such.key"),
    ]);
    for expected in [
        "--scylla-keyspace: scylla.keyspace = \"a-b\" must be 1 to 48 letters",
        "--scylla-nodes: scylla.nodes = \"a,,b\" names no host in \"\"",
        "--scylla-request-timeout: scylla.request_timeout = \"1ms\" is out of bounds",
        "--scylla-user: scylla.user is set, and neither scylla.password",
        "garbage.pem\" holds no certificate in PEM form",
        "--scylla-tls-certificate-file: scylla.tls_certificate_file = \"/no/such.pem\" cannot be read as a certificate",
        "--scylla-tls-key-file: scylla.tls_key_file = \"/no/such.key\" cannot be read as a private key",
    ] {
        assert!(said.iter().any(|line| line.contains(expected)), "{expected}\nin:\n{}", said.join("\n"));
    }
    // Of nodes that cannot be read it is also said that there are none.
    assert_eq!(said.len(), 8, "{}", said.join("\n"));
    assert_eq!(
        problems(&[("scylla.nodes", "a"), ("scylla.tls_key_file", "k")]),
        [
            "--scylla-tls-key-file: scylla.tls_key_file is set, and scylla.tls_certificate_file is not; set both"
        ]
    );
    assert!(problems(&[])[0].contains("scylla.nodes is not set; name some nodes"));
    for nodes in ["a:b", "a:70000", "http://a", "a b"] {
        assert!(problems(&[("scylla.nodes", nodes)])[0].starts_with("--scylla-nodes: "), "{nodes}");
    }
    // Another store needs none of it.
    assert!(load("[scylla]\nkeyspace = \"a-b\"\nuser = \"u\"\n", &[], &[]).is_ok());
}

#[test]
fn what_the_database_cannot_keep_so_long_is_named() {
    let day = Duration::from_hours(24);
    let policy = Policy { max_retention: 1000 * day, ..Policy::default() };
    assert_eq!(policy.longest_kept(), 1000 * day + 2 * Duration::from_hours(1));
    let unresolved = Policy { unresolved_retention: 2000 * day, max_lease: 5 * day, ..policy.clone() };
    assert_eq!(unresolved.longest_kept(), 2005 * day + Duration::from_hours(1));
    let rules = PolicyRules::new(unresolved, Vec::new());
    assert_eq!(config::kept_too_long(&rules, 2006 * day), Vec::<String>::new());
    let warnings = config::kept_too_long(&rules, 2004 * day);
    assert_eq!(warnings.len(), 1);
    for part in ["policy of defaults", "2005d 1h", "unresolved_retention = 2000d", "no more than 2004d"] {
        assert!(warnings[0].contains(part), "{part} in {}", warnings[0]);
    }
}

fn run(arguments: &[&str]) -> (Output, String) {
    let directory = tempfile::tempdir().unwrap();
    let output = semel().current_dir(directory.path()).args(arguments).output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    (output, errors)
}

#[test]
fn a_schema_is_printed_without_a_cluster() {
    let (output, errors) = run(&[
        "schema",
        "print",
        "--replication",
        "dc1=3, dc2=2",
        "--database",
        "cassandra:5.0",
        "--scylla-keyspace",
        "ks",
    ]);
    assert_eq!(output.status.code(), Some(0), "{errors}");
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.lines().all(|line| line.ends_with(';')), "{text}");
    assert!(text.contains("'dc1': 3, 'dc2': 2") && text.contains("\"ks\".record"), "{text}");
    let (output, _) = run(&[
        "schema",
        "print",
        "--replication",
        "a=1",
        "--database",
        "scylladb:2025.4",
        "--output",
        "json",
    ]);
    let told: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let statements = told["statements"].as_array().unwrap();
    assert!(
        statements.iter().any(|statement| statement.as_str().unwrap().contains("paxos_grace_seconds")),
        "{told}"
    );
}

#[test]
fn exit_statuses_say_what_is_wrong() {
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let print = ["schema", "print", "--database"];
    for (arguments, status, part) in [
        (&["schema", "check"][..], 3, "--scylla-nodes"),
        (&["schema", "check", "--scylla-nodes", "a b"], 3, "names no host"),
        (&["schema", "check", "--scylla-nodes", &nobody], 110, "can be reached"),
        (&["schema", "apply", "--replication", "dc1"], 2, "DATACENTER=COUNT"),
        (&["schema", "apply", "--replication", "dc1=0"], 2, "DATACENTER=COUNT"),
        (&["schema", "apply", "--replication", "dc1=1,dc1=2"], 2, "twice"),
        (&[&print[..], &["postgres:17", "--replication", "a=1"]].concat(), 2, "names no database"),
        (&[&print[..], &["cassandra", "--replication", "a=1"]].concat(), 2, "no version"),
        (&["schema", "print", "--replication", "a=1"], 2, "which database?"),
        // A server's settings are not these commands'.
        (&["schema", "check", "--listen", "127.0.0.1:1"], 2, "--listen"),
    ] {
        let (output, errors) = run(arguments);
        assert_eq!(output.status.code(), Some(status), "{arguments:?}: {errors}");
        assert!(errors.contains(part), "{part} in {errors}");
    }
}
