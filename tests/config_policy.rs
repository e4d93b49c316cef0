//! The policy file: what it grants, and what is said of all that is wrong with it.

use std::path::Path;
use std::time::Duration;

use semel::config::parse_policy;
use semel::domain::{Endpoint, OnLostLease, Policy, PolicyRules, QuotaPlaces, Tenant};

fn parse(text: &str) -> PolicyRules {
    parse_policy("policy.toml", text, Duration::from_secs(1)).unwrap_or_else(|problems| panic!("{problems}"))
}

fn problems(text: &str) -> Vec<String> {
    let problems = parse_policy("policy.toml", text, Duration::from_secs(1)).expect_err("something is wrong");
    problems.to_string().lines().map(str::to_owned).collect()
}

fn policy(rules: &PolicyRules, tenant: &str, endpoint: &str) -> (Policy, String) {
    let found = rules.select(&Tenant::new(tenant).unwrap(), &Endpoint::new(endpoint).unwrap());
    (found.policy.clone(), found.source.clone())
}

#[test]
fn an_empty_file_grants_the_defaults() {
    let (granted, source) = policy(&parse("# nothing\n"), "t", "e");
    assert_eq!((granted, source.as_str()), (Policy::default(), "defaults"));
}

#[test]
fn every_field_is_taken_and_rules_override_field_by_field() {
    let rules = parse(
        r#"
        [defaults]
        lease = "45s"
        max_lease = "2h"
        retention = "48h"
        max_retention = "60d"
        unresolved_retention = "90d"
        max_wait = "10s"
        max_retry_after = "30m"
        max_attempts = 5
        on_lost_lease = "mark_unknown"
        fingerprint_required = true
        max_result_bytes = "1MiB"
        requests_per_second = 0.5
        burst = 20
        max_open_keys = 1000

        [[rule]]
        tenant = "acme"
        endpoint = "mail/*"
        on_lost_lease = "rerun"
        max_attempts = 0

        [[rule]]
        endpoint = "mail/Send"
        lease = "5m"
        "#,
    );
    let defaults = Policy {
        lease: Duration::from_secs(45),
        max_lease: Duration::from_hours(2),
        retention: Duration::from_hours(48),
        max_retention: Duration::from_hours(60 * 24),
        unresolved_retention: Duration::from_hours(90 * 24),
        max_wait: Duration::from_secs(10),
        max_retry_after: Duration::from_mins(30),
        max_attempts: 5,
        on_lost_lease: OnLostLease::MarkUnknown,
        fingerprint_required: true,
        max_result_bytes: 1 << 20,
        requests_per_second: 0.5,
        burst: 20,
        max_open_keys: 1000,
        quota_places: QuotaPlaces::default(),
        clock_skew_allowance: Duration::from_secs(1),
    };
    assert_eq!(policy(&rules, "other", "sms").0, defaults);
    let acme = Policy { on_lost_lease: OnLostLease::Rerun, max_attempts: 0, ..defaults.clone() };
    assert_eq!(policy(&rules, "acme", "mail/Send"), (acme, "tenant acme, endpoint mail/*".to_owned()));
    let send = Policy { lease: Duration::from_mins(5), ..defaults };
    assert_eq!(policy(&rules, "other", "mail/Send"), (send, "tenant *, endpoint mail/Send".to_owned()));
}

#[test]
fn everything_wrong_is_said_at_once_with_line_rule_field_and_value() {
    let said = problems(
        r#"[defaults]
lease = 30
max_wait = "soon"
leese = "30s"
tenant = "acme"

[[rule]]
endpoint = "a*b"
max_result_bytes = "256"
burst = 5

[[rule]]
tenant = ""
on_lost_lease = "retry"
max_attempts = -1
fingerprint_required = "yes"

[rules]
"#,
    );
    let expected = [
        "policy.toml:2: defaults: lease = 30 is a number; write a quoted length of time such as \"30s\"",
        "policy.toml:3: defaults: max_wait = \"soon\" is not a length of time",
        "policy.toml:4: defaults: leese = \"30s\" is not a policy field; did you mean lease? (known: lease, ",
        "policy.toml:5: defaults: tenant = \"acme\" belongs in a [[rule]]",
        "policy.toml:8: rule 1: endpoint = \"a*b\" has a * before its end",
        "policy.toml:9: rule 1: max_result_bytes = \"256\" has no unit; write a size",
        "policy.toml:10: rule 1: burst has no effect while requests_per_second is 0; set that too",
        "policy.toml:13: rule 2: tenant = \"\" is empty and matches nothing",
        "policy.toml:14: rule 2: on_lost_lease = \"retry\" is neither \"rerun\" nor \"mark_unknown\"",
        "policy.toml:15: rule 2: max_attempts = -1 is out of bounds; write 0 (no bound) to 4294967295",
        "policy.toml:16: rule 2: fingerprint_required = \"yes\" is a text; write true or false, without quotes",
        "policy.toml:18: rules is not known here; did you mean rule?",
    ];
    for (said, expected) in said.iter().zip(expected) {
        assert!(said.starts_with(expected), "{said}\nis not\n{expected}");
    }
    assert_eq!(said.len(), expected.len(), "{}", said.join("\n"));
}

#[test]
fn a_quota_belongs_to_the_table_that_writes_it() {
    let rules = parse(
        "[defaults]\nrequests_per_second = 5\n\n[[rule]]\ntenant = \"a\"\nlease = \"1s\"\n\n\
         [[rule]]\ntenant = \"b\"\nburst = 7\n\n[[rule]]\ntenant = \"c\"\nmax_open_keys = 1\n",
    );
    for (tenant, rate, open_keys, burst) in
        [("other", 0, 0, 5), ("a", 0, 0, 5), ("b", 2, 0, 7), ("c", 0, 3, 5)]
    {
        let (policy, _) = policy(&rules, tenant, "e");
        assert_eq!(policy.quota_places, QuotaPlaces { rate, open_keys }, "{tenant}");
        assert_eq!(policy.rate().map(|rate| rate.burst.get()), Some(burst), "{tenant}");
    }
    assert_eq!(
        policy(&parse("[defaults]\nrequests_per_second = 0.25\n"), "t", "e").0.rate().unwrap().burst.get(),
        1
    );
    for (value, problem) in [
        (
            "-1",
            "requests_per_second must be 0 (no bound), or 0.001 to 1000000; here requests_per_second = -1 (line 2)",
        ),
        ("0.0001", "requests_per_second must be 0"),
        ("nan", "requests_per_second must be 0"),
        ("inf", "requests_per_second must be 0"),
        ("\"5\"", "is a text; write a number without quotes, 0 for no bound"),
        ("0x10", "is a number; write a number without quotes"),
    ] {
        let said = problems(&format!("[defaults]\nrequests_per_second = {value}\n"));
        assert!(said.len() == 1 && said[0].contains(problem), "{said:?}");
    }
}

#[test]
fn values_that_do_not_go_together_are_said_with_where_each_comes_from() {
    let said = problems("[defaults]\nlease = \"2h\"\n");
    assert_eq!(
        said,
        ["policy.toml:2: defaults lease must not exceed max_lease; \
          here lease = 2h (line 2), max_lease = 1h (built-in default)"]
    );
    let said =
        problems("[defaults]\nretention = \"2d\"\n\n[[rule]]\ntenant = \"acme\"\nmax_retention = \"1d\"\n");
    assert_eq!(
        said,
        ["policy.toml:6: rule 1 retention must not exceed max_retention; \
          here retention = 2d (line 2), max_retention = 1d (line 6)"]
    );
    for (text, problem) in [
        ("unresolved_retention = \"1h\"", "unresolved_retention must not be below retention"),
        ("lease = \"0s\"", "lease must be more than zero"),
        ("max_result_bytes = \"4MiB\"", "max_result_bytes must not exceed 3MiB"),
    ] {
        let said = problems(&format!("[defaults]\n{text}\n"));
        assert!(said[0].contains(problem), "{said:?}");
    }
    // A bad default is said once, not again for each rule that inherits it.
    assert_eq!(
        problems("[defaults]\nlease = \"2h\"\n[[rule]]\ntenant = \"a\"\n[[rule]]\ntenant = \"b\"\n").len(),
        1
    );
}

#[test]
fn a_rule_that_would_never_apply_is_refused() {
    let said =
        problems("[[rule]]\ntenant = \"a\"\nlease = \"1s\"\n\n[[rule]]\nendpoint = \"*\"\ntenant = \"a\"\n");
    assert_eq!(said.len(), 1, "{said:?}");
    assert!(said[0].starts_with("policy.toml:5: rule 2 has the patterns of the rule at line 1"), "{said:?}");
}

#[test]
fn broken_toml_is_said_with_its_line() {
    let said = problems("[defaults]\nlease = \"30s\nmax_wait = \"1s\"\n");
    assert!(said[0].starts_with("policy.toml:2: is not TOML: "), "{said:?}");
    assert!(
        problems("defaults = 5\nrule = 5\n")[1]
            .starts_with("policy.toml:2: rule = 5 is a number; write [[rule]] tables")
    );
    assert!(problems("rule = [5]\n")[0].contains("rule 1 is a number; write a [[rule]] table"));
}

#[test]
fn the_example_file_is_sound_and_shows_every_field() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("policy.example.toml");
    let text = std::fs::read_to_string(path).unwrap();
    let rules = parse(&text);
    assert_eq!(
        rules.defaults().policy,
        Policy::default(),
        "the defaults that it shows are the built-in ones"
    );
    let shown = text.lines().filter(|line| !line.starts_with('#') && line.contains(" = ")).count();
    assert!(shown >= 14 + 2, "{shown} lines with values");
}
