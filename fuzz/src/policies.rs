//! Policy files: refused with the place of what is wrong, or rules that go together.

use std::time::Duration;

use semel::config::parse_policy;
use semel::domain::{Endpoint, Tenant};

use super::input::text;

/// Reads the bytes as a policy file.
pub fn run(data: &[u8]) {
    match parse_policy("policy.toml", text(data), Duration::from_secs(1)) {
        Ok(rules) => {
            for in_force in rules.all() {
                assert_eq!(in_force.policy.problems(), Vec::<String>::new(), "taken all the same");
                let _ = (in_force.policy.rate(), in_force.policy.longest_kept());
            }
            for (tenant, endpoint) in [("acme", "POST /charges"), ("t", "e")] {
                let (Ok(tenant), Ok(endpoint)) = (Tenant::new(tenant), Endpoint::new(endpoint)) else {
                    continue;
                };
                let in_force = rules.select(&tenant, &endpoint);
                assert!(rules.all().any(|known| known.source == in_force.source));
            }
        }
        Err(problems) => {
            assert!(problems.to_string().starts_with("policy.toml"), "{problems}");
        }
    }
}

/// The example of the project, and one of each kind of mistake.
pub fn seeds() -> Vec<Vec<u8>> {
    let example = include_str!("../../policy.example.toml");
    // What it shows commented out is as good.
    let active: Vec<_> = example.lines().map(|line| line.strip_prefix("# ").unwrap_or(line)).collect();
    let active = active.join("\n");
    [
        example,
        &active,
        "[defaults]\nlease = \"45s\"\nmax_attempts = 5\non_lost_lease = \"mark_unknown\"\n[[rule]]\ntenant = \"acme\"\n\
         endpoint = \"mail/*\"\nmax_result_bytes = \"1MiB\"\nrequests_per_second = 0.5\nburst = 20\nmax_open_keys = 9\n",
        "[defaults]\nlease = 30\nleese = \"30s\"\n[[rule]]\nendpoint = \"a*b\"\nfingerprint_required = \"yes\"\n",
    ]
    .map(|text| text.as_bytes().to_vec())
    .to_vec()
}
