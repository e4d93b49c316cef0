//! The operations port of the built program: what it shows, and to whom.

#[path = "support/program.rs"]
mod program;
#[path = "support/samples.rs"]
mod samples;
#[path = "support/mod.rs"]
mod support;

use program::Program;
use samples::Samples;

#[test]
fn the_port_shows_metrics_and_the_configuration_without_secrets() {
    const SECRET: &str = "a-secret-that-nobody-may-see";
    let directory = tempfile::tempdir().unwrap();
    let mut command = support::semel();
    command.current_dir(directory.path()).env("SEMEL_KEY_HASH_SECRET", SECRET);
    command.args(["serve", "--listen", "127.0.0.1:0", "--ops-listen", "127.0.0.1:0", "--store", "memory"]);
    let server = Program::run(command);
    server.call(&["begin", "--endpoint", "jobs/Nightly", "--key", "k"]);
    server.call(&["begin", "--endpoint", "jobs/Nightly", "--key", "k"]);

    let (head, text) = server.get("/metrics");
    assert!(head.starts_with("http/1.1 200"), "{head}");
    assert!(head.contains("content-type: text/plain; version=0.0.4; charset=utf-8"), "{head}");
    let samples = Samples::read(&text);
    let decisions = |word: &str| {
        samples.of(&format!(
            r#"semel_decisions_total{{decision="{word}",endpoint="jobs/Nightly",tenant="default"}}"#
        ))
    };
    assert_eq!((decisions("started"), decisions("in_progress")), (1, 1));
    assert!(samples.of(r#"semel_store_seconds_count{operation="compare_and_put",outcome="ok"}"#) >= 1);
    let target = samples.series().find(|series| series.starts_with("target_info")).unwrap();
    assert!(target.contains(r#"service_name="semel""#), "{target}");
    for sample in text.lines().filter(|line| line.starts_with("# TYPE semel_")) {
        let name = sample.split(' ').nth(2).unwrap();
        assert!(text.contains(&format!("# HELP {name} ")), "{name} is not explained");
    }

    let (head, page) = server.get("/debug");
    assert!(head.starts_with("http/1.1 200"), "{head}");
    assert!(page.starts_with(&format!("# semel {} for ", env!("CARGO_PKG_VERSION"))), "{page}");
    let settings: toml::Table = page.parse().expect("it is a settings file");
    assert_eq!(settings["store"].as_str(), Some("memory"));
    assert!(page.contains("# key_hash_secret is set, and hidden  # SEMEL_KEY_HASH_SECRET"), "{page}");
    for shown in [&text, &page, &server.log.text(), &server.stdout.text()] {
        assert!(!shown.contains(SECRET), "{shown}");
    }
    assert!(server.get("/readyz").0.starts_with("http/1.1 200"));
    assert!(server.get("/nothing").0.starts_with("http/1.1 404"));
    assert!(server.stop().success());
}

/// Whoever reaches the port reads the configuration, so nobody but this machine does, unless that is asked for.
#[test]
fn the_port_is_not_public_unless_that_is_said_out_loud() {
    let directory = tempfile::tempdir().unwrap();
    let refused = support::semel()
        .current_dir(directory.path())
        .args(["serve", "--store", "memory", "--listen", "127.0.0.1:0", "--ops-listen", "0.0.0.0:0"])
        .output()
        .unwrap();
    assert_eq!(refused.status.code(), Some(3));
    let errors = String::from_utf8_lossy(&refused.stderr);
    assert!(errors.contains("ops_listen") && errors.contains("insecure"), "{errors}");
    let default = semel::config::SETTINGS.iter().find(|setting| setting.key == "ops_listen").unwrap().default;
    let address: std::net::SocketAddr = default.unwrap().parse().unwrap();
    assert!(address.ip().is_loopback());
}
