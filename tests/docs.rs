//! The documentation says what the code does, where a test can tell.

use semel::domain::Reason;

/// The text of a file of the repository.
fn read(path: &str) -> String {
    std::fs::read_to_string(format!("{}/{path}", env!("CARGO_MANIFEST_DIR"))).unwrap()
}

#[test]
fn semantics_has_a_section_for_each_reason_and_no_other() {
    let text = read("docs/SEMANTICS.md");
    let errors = text.split("\n## ").find(|section| section.starts_with("Errors\n")).unwrap();
    let headings: Vec<_> = errors.lines().filter_map(|line| line.strip_prefix("### ")).collect();
    let reasons: Vec<_> = Reason::ALL.iter().map(|reason| reason.as_str()).collect();
    assert_eq!(headings, reasons);
}

#[test]
fn each_alert_links_to_its_entry_in_the_runbook_and_no_entry_is_left_over() {
    let rules = read("deploy/prometheus/semel.rules.yml");
    let values = |field: &str| -> Vec<_> {
        rules.lines().filter_map(|line| line.trim().strip_prefix(field)).map(str::to_owned).collect()
    };
    let alerts = values("- alert: ");
    assert!(!alerts.is_empty());
    let text = read("docs/OPERATIONS.md");
    let (_, runbook) = text.split_once("\n### Runbook\n").unwrap();
    let runbook = runbook.split("\n## ").next().unwrap().split("\n### ").next().unwrap();
    let entries: Vec<_> = runbook.lines().filter_map(|line| line.strip_prefix("#### ")).collect();
    assert_eq!(entries, alerts);
    // A heading's anchor is its text in lower case.
    let links: Vec<_> =
        entries.iter().map(|entry| format!("docs/OPERATIONS.md#{}", entry.to_lowercase())).collect();
    assert_eq!(values("runbook_url: "), links);
    for entry in runbook.split("\n#### ").skip(1) {
        for what in ["**Means**", "**Hurts**", "**Look**", "**Do**", "**Over**"] {
            let said = entry.to_lowercase().contains(&what.to_lowercase());
            assert!(said, "{} does not say {what}", entry.lines().next().unwrap_or_default());
        }
    }
}
