//! The documentation says what the code does, where a test can tell.

use semel::domain::Reason;

#[test]
fn semantics_has_a_section_for_each_reason_and_no_other() {
    let text = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/SEMANTICS.md")).unwrap();
    let errors = text.split("\n## ").find(|section| section.starts_with("Errors\n")).unwrap();
    let headings: Vec<_> = errors.lines().filter_map(|line| line.strip_prefix("### ")).collect();
    let reasons: Vec<_> = Reason::ALL.iter().map(|reason| reason.as_str()).collect();
    assert_eq!(headings, reasons);
}
