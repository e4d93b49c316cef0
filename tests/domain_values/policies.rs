//! Policies: which values go together, what they come to, and which one is in force where.

use std::num::NonZeroU32;
use std::time::Duration;

use semel::domain::{Endpoint, OnLostLease, Pattern, Policy, PolicyRules, QuotaPlaces, Rate, Rule, Tenant};

use crate::{DAY, HOUR, SECOND};

const MICROSECOND: Duration = Duration::from_micros(1);

#[test]
fn the_defaults_are_those_of_the_documentation() {
    let defaults = Policy {
        lease: 30 * SECOND,
        max_lease: HOUR,
        retention: DAY,
        max_retention: 30 * DAY,
        unresolved_retention: 30 * DAY,
        max_wait: 30 * SECOND,
        max_retry_after: HOUR,
        max_attempts: 0,
        on_lost_lease: OnLostLease::Rerun,
        fingerprint_required: false,
        max_result_bytes: 262_144,
        requests_per_second: 0.0,
        burst: 0,
        max_open_keys: 0,
        quota_places: QuotaPlaces { rate: 0, open_keys: 0 },
        clock_skew_allowance: SECOND,
    };
    assert_eq!(Policy::default(), defaults);
    assert_eq!(Policy::RESULT_BYTES_LIMIT, 3_145_728);
    assert_eq!(Policy::LONGEST, 3650 * DAY);
}

/// Each value that may just be, and the next one, which may not.
#[test]
fn values_that_do_not_go_together_are_told_one_by_one() {
    let usual = Policy::default;
    let longest = Policy::LONGEST;
    let kept_long = || Policy { unresolved_retention: longest, ..usual() };
    let cases = [
        (
            Policy { lease: MICROSECOND, ..usual() },
            Policy { lease: Duration::ZERO, ..usual() },
            "lease must be more than zero",
        ),
        (
            Policy { retention: MICROSECOND, ..usual() },
            Policy { retention: Duration::ZERO, ..usual() },
            "retention must be more than zero",
        ),
        (
            Policy { lease: HOUR, ..usual() },
            Policy { lease: HOUR + MICROSECOND, ..usual() },
            "lease must not exceed max_lease",
        ),
        (
            Policy { retention: 30 * DAY, ..usual() },
            Policy { retention: 30 * DAY + MICROSECOND, ..kept_long() },
            "retention must not exceed max_retention",
        ),
        (
            Policy { unresolved_retention: DAY, ..usual() },
            Policy { retention: DAY + MICROSECOND, unresolved_retention: DAY, ..usual() },
            "unresolved_retention must not be below retention",
        ),
        (
            Policy { max_lease: 30 * DAY, ..usual() },
            Policy { max_lease: 30 * DAY + MICROSECOND, ..usual() },
            "unresolved_retention must not be below max_lease",
        ),
        (
            Policy { clock_skew_allowance: 30 * DAY, ..usual() },
            Policy { clock_skew_allowance: 30 * DAY + MICROSECOND, ..usual() },
            "unresolved_retention must not be below clock_skew_allowance",
        ),
        (
            Policy { max_result_bytes: 3_145_728, ..usual() },
            Policy { max_result_bytes: 3_145_729, ..usual() },
            "max_result_bytes must not exceed 3MiB",
        ),
        (
            Policy { requests_per_second: 0.001, ..usual() },
            Policy { requests_per_second: 0.0009, ..usual() },
            "requests_per_second must be 0 (no bound), or 0.001 to 1000000",
        ),
        (
            Policy { requests_per_second: 1_000_000.0, ..usual() },
            Policy { requests_per_second: 1_000_001.0, ..usual() },
            "requests_per_second must be 0 (no bound), or 0.001 to 1000000",
        ),
        (
            Policy { max_lease: longest, ..kept_long() },
            Policy { max_lease: longest + MICROSECOND, unresolved_retention: 2 * longest, ..usual() },
            "max_lease must not exceed 3650d",
        ),
        (
            Policy { max_retention: longest, ..usual() },
            Policy { max_retention: longest + MICROSECOND, ..usual() },
            "max_retention must not exceed 3650d",
        ),
        (
            kept_long(),
            Policy { unresolved_retention: longest + MICROSECOND, ..usual() },
            "unresolved_retention must not exceed 3650d",
        ),
        (
            Policy { max_wait: longest, ..usual() },
            Policy { max_wait: longest + MICROSECOND, ..usual() },
            "max_wait must not exceed 3650d",
        ),
        (
            Policy { max_retry_after: longest, ..usual() },
            Policy { max_retry_after: longest + MICROSECOND, ..usual() },
            "max_retry_after must not exceed 3650d",
        ),
    ];
    assert_eq!(usual().problems(), Vec::<String>::new());
    for (good, bad, problem) in cases {
        assert_eq!(good.problems(), Vec::<String>::new(), "{problem}");
        let said = bad.problems();
        assert!(said.iter().any(|said| said.starts_with(problem)), "{said:?}, and not {problem}");
    }
}

#[test]
fn a_rate_has_a_burst_of_one_second_where_none_is_said() {
    let rate = |requests_per_second, burst| Policy { requests_per_second, burst, ..Policy::default() }.rate();
    let of = |per_second, burst| Some(Rate { per_second, burst: NonZeroU32::new(burst).unwrap() });
    assert_eq!(rate(0.0, 7), None);
    assert_eq!(rate(0.5, 0), of(0.5, 1));
    assert_eq!(rate(2.5, 0), of(2.5, 3));
    assert_eq!(rate(2.5, 7), of(2.5, 7));
}

#[test]
fn a_row_may_be_kept_as_long_as_the_longest_of_its_ways() {
    let brief = Policy {
        max_lease: 4 * SECOND,
        max_retry_after: 3 * SECOND,
        unresolved_retention: 10 * SECOND,
        max_retention: SECOND,
        ..Policy::default()
    };
    assert_eq!(brief.longest_kept(), 14 * SECOND + HOUR);
    let pausing = Policy { max_retry_after: 5 * SECOND, ..brief.clone() };
    assert_eq!(pausing.longest_kept(), 15 * SECOND + HOUR);
    let retained = Policy { max_retention: 20 * SECOND, ..brief };
    assert_eq!(retained.longest_kept(), 23 * SECOND + HOUR);
}

#[test]
fn patterns_are_exact_or_prefixes() {
    let (exact, prefix, all) = (Pattern::parse("ab"), Pattern::parse("ab*"), Pattern::parse("*"));
    assert_eq!((&exact, &prefix), (&Pattern::Exact("ab".to_owned()), &Pattern::Prefix("ab".to_owned())));
    assert_eq!([&exact, &prefix, &all].map(ToString::to_string), ["ab", "ab*", "*"]);
    for (text, matches) in
        [("ab", [true, true, true]), ("abc", [false, true, true]), ("a", [false, false, true])]
    {
        assert_eq!([&exact, &prefix, &all].map(|pattern| pattern.matches(text)), matches, "{text}");
    }
}

fn rule(tenant: &str, endpoint: &str) -> Rule {
    Rule {
        tenant: Pattern::parse(tenant),
        endpoint: Pattern::parse(endpoint),
        policy: Policy { max_open_keys: 1, ..Policy::default() },
    }
}

/// Whatever their order in the file: the exact tenant first, then the exact endpoint, then the longest prefix of the endpoint,
/// then that of the tenant.
#[test]
fn the_rule_in_force_is_the_most_exact_one() {
    let ordered = [
        ("acme", "mail/Send"),
        ("acme", "mail/*"),
        ("acme", "*"),
        ("ac*", "mail/Send"),
        ("a*", "mail/Send"),
        ("*", "mail/Send"),
        ("ac*", "mail/S*"),
        ("ac*", "m*"),
        ("a*", "m*"),
        ("ac*", "*"),
        ("*", "*"),
    ];
    let source = |(tenant, endpoint): (&str, &str)| format!("tenant {tenant}, endpoint {endpoint}");
    for first in 0..ordered.len() {
        let mut rules: Vec<_> =
            ordered[first..].iter().map(|(tenant, endpoint)| rule(tenant, endpoint)).collect();
        for _ in 0..2 {
            rules.reverse();
            let rules = PolicyRules::new(Policy::default(), rules.clone());
            let sources: Vec<_> = rules.all().map(|in_force| in_force.source.clone()).collect();
            let expected = ordered[first..].iter().map(|parts| source(*parts));
            assert_eq!(sources, expected.chain(["defaults".to_owned()]).collect::<Vec<_>>());
            let (tenant, endpoint) = (Tenant::new("acme").unwrap(), Endpoint::new("mail/Send").unwrap());
            assert_eq!(rules.select(&tenant, &endpoint).source, source(ordered[first]));
        }
    }
}

#[test]
fn a_rule_is_for_its_tenants_and_its_endpoints_alone() {
    let rules = PolicyRules::new(Policy::default(), vec![rule("a*", "m*")]);
    let source = |tenant: &str, endpoint: &str| {
        rules.select(&Tenant::new(tenant).unwrap(), &Endpoint::new(endpoint).unwrap()).source.clone()
    };
    assert_eq!(source("a", "m"), "tenant a*, endpoint m*");
    assert_eq!([source("a", "x"), source("x", "m"), source("x", "x")], ["defaults"; 3].map(str::to_owned));
    assert_eq!(rules.defaults().source, "defaults");
}

#[test]
fn rules_know_what_any_of_them_does() {
    let unbounded = Policy::default();
    let bounded = Policy { max_open_keys: 1, ..Policy::default() };
    let with = |defaults: &Policy, policy: &Policy| {
        PolicyRules::new(defaults.clone(), vec![Rule { policy: policy.clone(), ..rule("t", "e") }])
    };
    assert!(!PolicyRules::default().bounds_open_keys() && !with(&unbounded, &unbounded).bounds_open_keys());
    assert!(with(&unbounded, &bounded).bounds_open_keys() && with(&bounded, &unbounded).bounds_open_keys());
    let longer = Policy { unresolved_retention: 90 * DAY, ..Policy::default() };
    let longest = longer.longest_kept();
    assert!(longest > unbounded.longest_kept());
    assert_eq!(with(&unbounded, &longer).longest_kept(), longest);
    assert_eq!(with(&longer, &unbounded).longest_kept(), longest);
    assert_eq!(PolicyRules::default().longest_kept(), unbounded.longest_kept());
}
