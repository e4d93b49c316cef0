//! The server's settings: where each comes from, and what is said of all that is wrong.

#[path = "support/program.rs"]
mod program;
mod support;

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use nix::sys::signal::Signal;
use program::{Heard, Program, errors, send, text, wait_until};
use semel::config::{self, Loaded, Problems, SETTINGS, Setting, Sources, StoreSettings};
use semel::coordinator;
use semel::server::Limits;
use support::semel;

/// Sources with one file of this text, these variables and these flags.
fn sources(file: &str, variables: &[(&str, &str)], flags: &[(&str, &str)]) -> (Sources, tempfile::TempDir) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("semel.toml");
    std::fs::write(&path, file).unwrap();
    let sources = Sources {
        file: Some(path),
        default_file: None,
        environment: variables.iter().map(|(name, value)| (name.into(), value.into())).collect(),
        flags: flags.iter().map(|(key, text)| (Setting::named(key).unwrap(), (*text).to_owned())).collect(),
    };
    (sources, directory)
}

fn load(file: &str, variables: &[(&str, &str)], flags: &[(&str, &str)]) -> Result<Loaded, Problems> {
    let (sources, _directory) = sources(file, variables, flags);
    config::load(sources)
}

/// What is wrong, a line each, the file called semel.toml.
fn problems(file: &str, variables: &[(&str, &str)], flags: &[(&str, &str)]) -> Vec<String> {
    let (sources, directory) = sources(file, variables, flags);
    let problems = config::load(sources).expect_err("something is wrong").to_string();
    let place = format!("{}/", directory.path().display());
    problems.lines().map(|line| line.replace(&place, "")).collect()
}

#[test]
fn defaults_are_those_of_the_parts() {
    let loaded = config::load(Sources::default()).unwrap();
    let config = loaded.config;
    assert_eq!(config.limits, Limits::default());
    let expected = coordinator::Settings::default();
    assert_eq!(format!("{:?}", config.coordinator), format!("{expected:?}"));
    let StoreSettings::Embedded(embedded) = config.store else { panic!("{:?}", config.store) };
    assert_eq!(embedded, semel::storage::embedded::Settings::new("./data"));
    assert!(!config.insecure);
    let policy = &loaded.policies.defaults().policy;
    assert_eq!(*policy, semel::domain::Policy::default());
    assert_eq!(config.clock_skew_allowance, policy.clock_skew_allowance);
}

#[test]
fn flags_win_over_variables_over_the_file_over_defaults() {
    let file = "max_waiters = 1\nreplay_cache_bytes = \"1MiB\"\nsettle_within = \"1s\"\n[limits]\nrequest_timeout = \"1h 30m\"\n";
    let variables = [
        ("SEMEL_MAX_WAITERS", "2"),
        ("SEMEL_REPLAY_CACHE_BYTES", "2MiB"),
        ("SEMEL_LIMITS_DRAIN_TIME", "7s"),
        ("SEMEL_STORE", ""),
    ];
    let loaded = load(file, &variables, &[("max_waiters", "3")]).unwrap();
    let config = &loaded.config;
    assert_eq!(config.coordinator.max_waiters, 3);
    assert_eq!(config.coordinator.replay_cache_bytes, 2 << 20);
    assert_eq!(config.coordinator.settle_within, Duration::from_secs(1));
    assert_eq!(config.limits.request_timeout, Duration::from_mins(90));
    assert_eq!(config.limits.drain_time, Duration::from_secs(7));
    let printed = loaded.print();
    for line in [
        "max_waiters = 3  # --max-waiters",
        "replay_cache_bytes = \"2MiB\"  # SEMEL_REPLAY_CACHE_BYTES",
        "request_timeout = \"1h 30m\"  # ",
        "drain_time = \"7s\"  # SEMEL_LIMITS_DRAIN_TIME",
        "store = \"embedded\"  # default",
        "# policy is not set",
    ] {
        assert!(printed.contains(line), "{line} in:\n{printed}");
    }
    assert!(
        printed.lines().any(|line| line.starts_with("settle_within") && line.ends_with("semel.toml:3")),
        "{printed}"
    );
    assert!(
        printed.lines().any(|line| line.starts_with("request_timeout") && line.ends_with("semel.toml:5")),
        "{printed}"
    );

    // What is printed is a file that says the same.
    let again = load(&printed, &[], &[]).unwrap();
    assert_eq!(format!("{:?}", again.config), format!("{config:?}"));
}

#[test]
fn everything_wrong_is_said_at_once_with_its_place() {
    let file = "listen = \"localhost\"\nmax_waiters = \"many\"\nclock_skew = \"1s\"\nreplay_cache_bytes = \"32\"\n\n[limits]\nmax_conections = 5\nrequest_timeout = 30\n";
    let variables = [("SEMEL_STORE", "postgres"), ("SEMEL_DATADIR", "/tmp"), ("SEMEL_LOG_LEVEL", "inof")];
    let flags = [("settle_within", "soon"), ("insecure", "maybe"), ("policy", "/no/such/policy.toml")];
    let said = problems(file, &variables, &flags);
    let expected = [
        "semel.toml:1: listen = \"localhost\" is not an IP address and a port",
        "semel.toml:2: max_waiters = \"many\" is a text; write a whole number, without quotes",
        "semel.toml:3: clock_skew is not a setting (known here: listen, ",
        "semel.toml:4: replay_cache_bytes = \"32\" has no unit; write a size such as \"256KiB\"",
        "semel.toml:7: limits.max_conections is not a setting; did you mean max_connections?",
        "semel.toml:8: limits.request_timeout = 30 is a number; write a quoted text",
        "SEMEL_DATADIR: names no setting; did you mean SEMEL_DATA_DIR?",
        "SEMEL_LOG_LEVEL: log_level = \"inof\" names no level in \"inof\"; write one of off, error",
        "SEMEL_STORE: store = \"postgres\" is none of: embedded, scylla, memory",
        "--settle-within: settle_within = \"soon\" is not a length of time",
        "--insecure: insecure = maybe is neither true nor false",
        "--policy: policy = \"/no/such/policy.toml\" cannot be read: No such file",
    ];
    for expected in expected {
        assert!(said.iter().any(|line| line.starts_with(expected)), "{expected}\nin:\n{}", said.join("\n"));
    }
    assert_eq!(said.len(), expected.len(), "{}", said.join("\n"));
}

#[test]
fn what_is_wrong_is_said_even_where_a_later_source_wins() {
    let said = problems("max_waiters = -5\n", &[("SEMEL_MAX_WAITERS", "5")], &[]);
    assert_eq!(said, ["semel.toml:1: max_waiters = -5 is not a whole number; write one from 0 to 10000000"]);
}

#[test]
fn broken_toml_is_said_with_its_line_and_the_rest_is_checked_too() {
    let said = problems("listen = 127.0.0.1\nmax_waiters = 0\n", &[("SEMEL_STORE", "x")], &[]);
    assert!(said[0].starts_with("semel.toml:1: is not TOML: "), "{said:?}");
    assert!(said.iter().any(|line| line.starts_with("SEMEL_STORE: ")), "{said:?}");
    assert!(
        problems("listen = \"a\"\nlisten = \"b\"\n", &[], &[])[0]
            .starts_with("semel.toml:2: is not TOML: duplicate")
    );
}

#[test]
fn a_setting_in_the_wrong_table_is_pointed_to_its_own() {
    let said = problems("request_timeout = \"1s\"\n[limits]\nlisten = \"127.0.0.1:1\"\n", &[], &[]);
    assert!(
        said[0].contains(
            "request_timeout is not a setting; did you mean scylla.request_timeout or limits.request_timeout?"
        ),
        "{said:?}"
    );
    assert!(said[1].contains("limits.listen is not a setting; did you mean listen?"), "{said:?}");
}

#[test]
fn bounds_are_kept() {
    for (key, text) in [
        ("clock_skew_allowance", "1h"),
        ("limits.max_request_bytes", "1MiB"),
        ("limits.max_connections", "0"),
        ("embedded.journal_bytes", "1MiB"),
        ("limits.keep_alive_interval", "0s"),
        ("data_dir", ""),
    ] {
        let said = problems("", &[], &[(key, text)]);
        assert!(said[0].replace('"', "").contains(&format!("{key} = {text} is ")), "{said:?}");
    }
}

#[test]
fn listening_beyond_loopback_needs_insecure() {
    for address in ["0.0.0.0:7400", "[::]:7400", "192.0.2.1:7400"] {
        let said = problems("", &[("SEMEL_LISTEN", address)], &[]);
        assert!(
            said[0].starts_with(&format!(
                "SEMEL_LISTEN: listen = \"{address}\" would take calls from other machines"
            )),
            "{said:?}"
        );
        assert!(said[0].contains("set insecure"), "{said:?}");
        assert!(load("", &[("SEMEL_LISTEN", address)], &[("insecure", "true")]).is_ok());
    }
    assert!(problems("", &[], &[("ops_listen", "0.0.0.0:1")])[0].starts_with("--ops-listen: "));
    assert!(load("", &[], &[("listen", "[::1]:7400")]).is_ok());
    assert!(problems("", &[], &[("listen", "127.0.0.1:7401")])[0].contains("is the same as listen"));
}

#[test]
fn secrets_are_never_shown() {
    let secret = "correct horse battery";
    let loaded = load("", &[("SEMEL_KEY_HASH_SECRET", secret)], &[]).unwrap();
    assert_eq!(loaded.config.key_hash_secret.as_ref().unwrap().as_bytes(), secret.as_bytes());
    assert!(loaded.print().contains("# key_hash_secret is set, and hidden  # SEMEL_KEY_HASH_SECRET"));
    assert!(!format!("{loaded:?} {}", loaded.print()).contains(secret));

    let short = problems("key_hash_secret = \"hush hush\"\n", &[], &[]);
    assert_eq!(short, ["semel.toml:1: key_hash_secret is 9 bytes long; a secret needs at least 16"]);
    let number = problems("key_hash_secret = 1234512345123451\n", &[], &[]);
    assert_eq!(number, ["semel.toml:1: key_hash_secret is a number; write a quoted text"]);

    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("secret");
    std::fs::write(&file, format!("{secret}\n")).unwrap();
    let path = file.to_str().unwrap();
    let loaded = load("", &[], &[("key_hash_secret_file", path)]).unwrap();
    assert_eq!(loaded.config.key_hash_secret.unwrap().as_bytes(), secret.as_bytes());
    let both = problems("", &[("SEMEL_KEY_HASH_SECRET", secret)], &[("key_hash_secret_file", path)]);
    assert!(both[0].contains("is set as well as key_hash_secret"), "{both:?}");
    assert!(!both[0].contains(secret));
    let flag = semel().args(["config", "check", "--key-hash-secret", secret]).output().unwrap();
    assert_eq!(flag.status.code(), Some(2), "a flag would show it to every process");
}

#[test]
fn variables_of_others_are_left_alone() {
    let loaded = load(
        "",
        &[
            ("SEMEL_SERVER", "http://127.0.0.1:1"),
            ("SEMEL_KEY", "k"),
            ("SEMEL_PORT", "tcp://10.0.0.1:7400"),
            ("SEMEL_PORT_7400_TCP", "tcp://10.0.0.1:7400"),
            ("SEMEL_PORT_7400_TCP_PROTO", "tcp"),
            ("SEMEL_PORT_7400_TCP_PORT", "7400"),
            ("SEMEL_PORT_7400_TCP_ADDR", "10.0.0.1"),
            ("SEMEL_CANARY_PORT", "udp://[fd00::1]:7400"),
            ("SEMEL_SERVICE_PORT", "7400"),
            ("SEMEL_SERVICE_HOST", "10.0.0.1"),
            ("SEMEL_SERVICE_PORT_GRPC", "7400"),
            ("SEMEL_IMAGE_TAG", "v1"),
        ],
        &[],
    );
    assert_eq!(
        loaded.unwrap().warnings,
        ["the environment variable SEMEL_IMAGE_TAG names no setting and has no effect"]
    );
}

#[test]
fn what_only_looks_like_a_variable_of_kubernetes_is_warned_of() {
    let names = [
        "SEMEL_LISTEN_PORT",
        "SEMEL_OPS_PORT_HTTP",
        "SEMEL_TCP",
        "SEMEL_TCP_NODELAY",
        "SEMEL_TLS_SERVICE_HOST",
    ];
    let variables: Vec<_> = names.iter().map(|name| (*name, "yes")).collect();
    let warnings = load("", &variables, &[]).unwrap().warnings;
    let expected: Vec<_> = names
        .iter()
        .map(|name| format!("the environment variable {name} names no setting and has no effect"))
        .collect();
    assert_eq!(warnings, expected);
    assert_eq!(load("", &[("SEMEL_LISTEN_PORT", "7400")], &[]).unwrap().warnings.len(), 1);
}

#[test]
fn the_file_of_the_directory_is_read_unless_another_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let run = |arguments: &[&str], variable: Option<&str>| {
        let mut command = semel();
        command.current_dir(directory.path()).args(arguments);
        variable.map(|file| command.env("SEMEL_CONFIG", file));
        command.output().unwrap()
    };
    let none = run(&["config", "check"], None);
    assert_eq!(text(&none), "the configuration is sound (environment and flags)\n");
    let missing = run(&["config", "check", "--config", "named.toml"], None);
    assert_eq!(missing.status.code(), Some(3));
    assert_eq!(
        errors(&missing),
        "semel: the configuration has 1 error:\nnamed.toml: cannot be read: No such file or directory (os error 2)\n"
    );
    std::fs::write(directory.path().join("semel.toml"), "max_waiters = 11\n").unwrap();
    std::fs::write(directory.path().join("named.toml"), "max_waiters = 12\n").unwrap();
    assert!(text(&run(&["config", "print"], None)).contains("max_waiters = 11  # semel.toml:1\n"));
    assert!(
        text(&run(&["config", "print"], Some("named.toml"))).contains("max_waiters = 12  # named.toml:1\n")
    );
    let flag = run(&["config", "print", "--config", "named.toml", "--max-waiters", "13"], None);
    assert!(text(&flag).contains("max_waiters = 13  # --max-waiters\n"), "{}", text(&flag));
}

#[test]
fn log_levels_are_taken_as_they_are_meant_or_refused() {
    let directory = tempfile::tempdir().unwrap();
    let server = Program::start(directory.path(), &["--store", "memory", "--log-level", "off, semel = info"]);
    server.log.wait_for("settings are read", 1);
    for levels in ["semel[x]=info", "=info", "off,semel{a=b}=info", "semel cli=info", "off,", "5", "semel"] {
        let said = problems("", &[("SEMEL_LOG_LEVEL", levels)], &[]);
        assert_eq!(said.len(), 1, "{levels}: {said:?}");
        assert!(said[0].contains("write "), "{said:?}");
    }
}

#[test]
fn serve_starts_nothing_on_a_bad_configuration() {
    let directory = tempfile::tempdir().unwrap();
    let mut serve = semel();
    serve.current_dir(directory.path()).args(["serve", "--listen", "nowhere", "--store", "paper"]);
    let output = serve.output().unwrap();
    assert_eq!(output.status.code(), Some(3));
    assert!(
        errors(&output).starts_with("semel: the configuration has 2 errors:\n--listen: "),
        "{}",
        errors(&output)
    );
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0, "no data directory is made");
}

#[test]
fn insecure_is_said_out_loud() {
    let directory = tempfile::tempdir().unwrap();
    let server = Program::start(
        directory.path(),
        &["--store", "memory", "--insecure", "--listen", "0.0.0.0:0", "--log-format", "json"],
    );
    server.log.wait_for("INSECURE: listening beyond loopback", 1);
    for line in server.log.text().lines() {
        serde_json::from_str::<serde_json::Value>(line).expect("each line is JSON");
    }
    assert!(server.lines_to_paste()[0].contains("--server http://127.0.0.1:"));
}

#[test]
fn signals_stop_the_server_in_order_and_a_second_start_waits_for_nothing() {
    let directory = tempfile::tempdir().unwrap();
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        let mut server = Program::start(directory.path(), &[]);
        let mut second = semel();
        second.current_dir(directory.path()).args([
            "serve",
            "--listen",
            "127.0.0.1:0",
            "--ops-listen",
            "127.0.0.1:0",
        ]);
        let second = second.output().unwrap();
        assert_eq!(second.status.code(), Some(1));
        assert!(errors(&second).contains("cannot open the embedded store"), "{}", errors(&second));
        server.signal(signal);
        assert_eq!(server.wait().code(), Some(0));
        server.log.wait_for("stopped", 1);
    }
    let server = Program::start(directory.path(), &[]);
    let taken = server.url.trim_start_matches("http://");
    let mut second = semel();
    second.current_dir(directory.path()).args(["serve", "--store", "memory", "--listen", taken]);
    let second = second.args(["--ops-listen", taken]).args(["--ops-listen", "127.0.0.1:0"]).output().unwrap();
    assert_eq!(second.status.code(), Some(1));
    assert!(errors(&second).contains("cannot listen there"), "{}", errors(&second));
}

#[test]
fn the_example_file_shows_every_setting_with_its_default() {
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("semel.example.toml");
    let text = std::fs::read_to_string(&example).unwrap();
    let loaded =
        config::load(Sources { file: Some(example), ..Sources::default() }).expect("it is sound as it is");
    assert_eq!(
        format!("{:?}", loaded.config),
        format!("{:?}", config::load(Sources::default()).unwrap().config)
    );
    let mut table = String::new();
    let mut shown = Vec::new();
    for line in text.lines() {
        if let Some(name) = line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
            table = format!("{name}.");
        } else if let Some((name, value)) = line.trim_start_matches('#').split_once(" = ") {
            let key = format!("{table}{}", name.trim());
            let setting = Setting::named(&key).unwrap_or_else(|| panic!("{key} is no setting"));
            if let Some(default) = setting.default {
                assert_eq!(value.trim_matches('"'), default, "{key}");
            }
            shown.push(key);
        }
    }
    assert_eq!(shown, SETTINGS.iter().map(|setting| setting.key).collect::<Vec<_>>());
    // Every name is usable in all three places.
    let mut variables: Vec<_> = SETTINGS.iter().map(Setting::variable).collect();
    variables.sort_unstable();
    variables.dedup();
    assert_eq!(variables.len(), SETTINGS.len());
    assert!(variables.iter().all(|name| !name.ends_with("_PORT")), "Kubernetes sets such variables");
}

#[test]
fn a_server_that_opens_its_store_can_be_told_to_stop() {
    let directory = tempfile::tempdir().unwrap();
    assert!(Program::start(directory.path(), &[]).stop().success());
    // A journal that cannot be read to its end: a pipe that nobody writes.
    let engine = directory.path().join("data/engine");
    let journal = std::fs::read_dir(engine).unwrap().map(|entry| entry.unwrap().path());
    let journal = journal.filter(|path| path.extension().is_some_and(|kind| kind == "jnl")).min().unwrap();
    std::fs::remove_file(&journal).unwrap();
    nix::unistd::mkfifo(&journal, nix::sys::stat::Mode::S_IRWXU).unwrap();
    let mut serve = semel();
    serve.current_dir(directory.path()).args(["serve", "--listen", "127.0.0.1:0"]);
    serve.args(["--ops-listen", "127.0.0.1:0"]).stderr(Stdio::piped()).stdout(Stdio::null());
    let mut serve = serve.spawn().unwrap();
    let log = Heard::listen(serve.stderr.take().unwrap());
    let status = format!("/proc/{}/status", serve.id());
    wait_until("SIGTERM is handled", || {
        let status = std::fs::read_to_string(&status).unwrap_or_default();
        let mask = status.lines().find_map(|line| line.strip_prefix("SigCgt:")).unwrap_or("0");
        u64::from_str_radix(mask.trim(), 16).unwrap() & 1 << (Signal::SIGTERM as u32 - 1) != 0
    });
    send(&serve, Signal::SIGTERM);
    log.wait_for("told to stop before the store was open", 1);
    assert_eq!(serve.wait().unwrap().code(), Some(0), "{}", log.text());
}
