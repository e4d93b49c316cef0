//! The policy file: `[defaults]` and `[[rule]]` tables, each rule laid over the defaults field by field.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use toml::Spanned;
use toml::de::{DeArray, DeString, DeTable, DeValue};

use super::problem::{Problem, Problems, did_you_mean, listed};
use super::toml_lines::{Source, kind};
use super::units::{format_duration, format_size, parse_duration, parse_size};
use crate::domain::{OnLostLease, Pattern, Policy, PolicyRules, Rule};

pub(super) const FIELDS: [&str; 14] = [
    "lease",
    "max_lease",
    "retention",
    "max_retention",
    "unresolved_retention",
    "max_wait",
    "max_retry_after",
    "max_attempts",
    "on_lost_lease",
    "fingerprint_required",
    "max_result_bytes",
    "requests_per_second",
    "burst",
    "max_open_keys",
];
const PATTERNS: [&str; 2] = ["tenant", "endpoint"];

/// Reads a policy file's text; `name` is what problems call the file. `clock_skew_allowance` is the server's own and
/// goes into every policy.
pub fn parse_policy(name: &str, text: &str, clock_skew_allowance: Duration) -> Result<PolicyRules, Problems> {
    read_policy(name, text, clock_skew_allowance).map(|(rules, _)| rules)
}

/// How long a policy lets a Begin be held, and where it says so.
#[derive(Clone, Debug)]
pub(super) struct Wait {
    longest: Duration,
    place: String,
}

impl Wait {
    /// What is odd about the waits of a policy on a server that ends every call after `request_timeout`.
    pub(super) fn warnings(waits: &[Self], request_timeout: Duration) -> Vec<String> {
        // A held Begin is answered before its deadline, by a tenth of it, as the coordinator has it.
        let most = request_timeout.saturating_sub((request_timeout / 10).max(Duration::from_millis(50)));
        let most = Duration::from_millis(u64::try_from(most.as_millis()).unwrap_or(u64::MAX));
        let cut = waits.iter().filter(|wait| wait.longest > most);
        cut.map(|Self { longest, place }| {
            format!(
                "{place}: max_wait = {} is never granted: limits.request_timeout is {}, which lets a Begin be held \
                 for {} at most",
                format_duration(*longest),
                format_duration(request_timeout),
                format_duration(most)
            )
        })
        .collect()
    }
}

/// As [`parse_policy`]; tells also how long Begins may be held, by the defaults and by each rule that says so itself.
pub(super) fn read_policy(
    name: &str,
    text: &str,
    clock_skew_allowance: Duration,
) -> Result<(PolicyRules, Vec<Wait>), Problems> {
    let source = Source { name, text };
    let mut problems = Vec::new();
    let root = source.parse(&mut problems);
    let base =
        Grants { policy: Policy { clock_skew_allowance, ..Policy::default() }, lines: BTreeMap::new() };
    let mut reader = Reader { source, problems, waits: Vec::new() };
    let (defaults, rules) = reader.read(root.get_ref(), base);
    let Reader { mut problems, mut waits, .. } = reader;
    if problems.is_empty() {
        let place = match defaults.lines.get("max_wait") {
            Some(line) => format!("{name}:{line}: defaults"),
            None => "built-in policy".to_owned(),
        };
        waits.insert(0, Wait { longest: defaults.policy.max_wait, place });
        return Ok((PolicyRules::new(defaults.policy, rules), waits));
    }
    problems.sort_by_key(|problem| problem.line);
    Err(Problems(problems))
}

/// A policy, and the line that set each field which a line did set.
#[derive(Clone)]
struct Grants {
    policy: Policy,
    lines: BTreeMap<String, usize>,
}

struct Reader<'a> {
    source: Source<'a>,
    problems: Vec<Problem>,
    waits: Vec<Wait>,
}

type Entry<'a> = (&'a Spanned<DeString<'a>>, &'a Spanned<DeValue<'a>>);

impl Reader<'_> {
    fn read(&mut self, root: &DeTable<'_>, base: Grants) -> (Grants, Vec<Rule>) {
        let mut defaults = base;
        for (name, value) in root {
            match (name.get_ref().as_ref(), value.get_ref()) {
                ("defaults", DeValue::Table(table)) => {
                    defaults = self.read_fields("defaults", table, defaults);
                    self.check(
                        "defaults",
                        self.source.line(&name.span()),
                        &defaults,
                        &defaults.lines.clone(),
                    );
                }
                ("defaults", other) => {
                    let problem = format!("is {}; write a [defaults] table", kind(other));
                    self.report("defaults", (name, value), problem);
                }
                ("rule", _) => {}
                (other, _) => {
                    let meant = if other == "rules" { "; did you mean rule?" } else { "" };
                    let problem = format!("is not known here{meant} (known: [defaults] and [[rule]] tables)");
                    self.report(other, (name, value), problem);
                }
            }
        }
        let mut rules = Vec::new();
        if let Some((name, value)) = root.get_key_value("rule") {
            match value.get_ref() {
                DeValue::Array(array) => self.read_rules(array, &defaults, &mut rules),
                other => {
                    let problem = format!("is {}; write [[rule]] tables", kind(other));
                    self.report("rule", (name, value), problem);
                }
            }
        }
        (defaults, rules)
    }

    fn read_rules(&mut self, array: &DeArray<'_>, defaults: &Grants, rules: &mut Vec<Rule>) {
        let mut lines_of_patterns = BTreeMap::new();
        for (index, element) in array.iter().enumerate() {
            let place = format!("rule {}", index + 1);
            let line = self.source.line(&element.span());
            let DeValue::Table(table) = element.get_ref() else {
                let problem = format!("is {}; write a [[rule]] table", kind(element.get_ref()));
                self.report_at(line, &place, None, problem);
                continue;
            };
            let tenant = self.read_pattern(&place, table, "tenant");
            let endpoint = self.read_pattern(&place, table, "endpoint");
            if let (Some(tenant), Some(endpoint)) = (&tenant, &endpoint)
                && let Some(first) =
                    lines_of_patterns.insert((tenant.to_string(), endpoint.to_string()), line)
            {
                let problem = format!(
                    "has the patterns of the rule at line {first} (tenant {tenant}, endpoint {endpoint}) \
                     and would never apply; join the two"
                );
                self.report_at(line, &place, None, problem);
            }
            let mut granted = self.read_fields(&place, table, defaults.clone());
            let own = table.keys().map(|name| name.get_ref().to_string()).collect::<BTreeSet<_>>();
            let own = granted.lines.iter().filter(|(name, _)| own.contains(*name));
            let own: BTreeMap<_, _> = own.map(|(name, line)| (name.clone(), *line)).collect();
            if let Some(line) = own.get("max_wait") {
                let place = format!("{}:{line}: {place}", self.source.name);
                self.waits.push(Wait { longest: granted.policy.max_wait, place });
            }
            let quotas = &mut granted.policy.quota_places;
            if own.contains_key("requests_per_second") || own.contains_key("burst") {
                quotas.rate = index + 1;
            }
            if own.contains_key("max_open_keys") {
                quotas.open_keys = index + 1;
            }
            self.check(&place, line, &granted, &own);
            if let (Some(tenant), Some(endpoint)) = (tenant, endpoint) {
                rules.push(Rule { tenant, endpoint, policy: granted.policy });
            }
        }
    }

    fn read_pattern(&mut self, place: &str, table: &DeTable<'_>, name: &str) -> Option<Pattern> {
        let Some(entry) = table.get_key_value(name) else { return Some(Pattern::parse("*")) };
        let problem = match entry.1.get_ref() {
            DeValue::String(text) if text.is_empty() => {
                "is empty and matches nothing; leave it out to match everything".to_owned()
            }
            DeValue::String(text) => match text.find('*') {
                Some(at) if at + 1 < text.len() => {
                    "has a * before its end; a pattern is an exact text, or one that ends in *".to_owned()
                }
                _ => return Some(Pattern::parse(text)),
            },
            other => format!("is {}; write a quoted text", kind(other)),
        };
        self.report(&format!("{place}: {name}"), entry, problem);
        None
    }

    /// Lays the table's fields over `granted`.
    fn read_fields(&mut self, place: &str, table: &DeTable<'_>, mut granted: Grants) -> Grants {
        for entry in table {
            let name: &str = entry.0.get_ref();
            let in_rule = place != "defaults";
            if in_rule && PATTERNS.contains(&name) {
                continue;
            }
            match set(&mut granted.policy, name, entry.1.get_ref()) {
                Some(Ok(())) => {
                    granted.lines.insert(name.to_owned(), self.source.line(&entry.0.span()));
                }
                Some(Err(problem)) => self.report(&format!("{place}: {name}"), entry, problem),
                None => {
                    let known = FIELDS.into_iter().chain(PATTERNS.into_iter().filter(|_| in_rule));
                    let problem = if PATTERNS.contains(&name) {
                        "belongs in a [[rule]]; the defaults hold for everybody".to_owned()
                    } else {
                        let meant = did_you_mean(name, known.clone());
                        format!("is not a policy field{meant} (known: {})", listed(known))
                    };
                    self.report(&format!("{place}: {name}"), entry, problem);
                }
            }
        }
        granted
    }

    /// Reports what the values break together, where `own` fields have a part in it.
    fn check(&mut self, place: &str, line: usize, granted: &Grants, own: &BTreeMap<String, usize>) {
        self.check_burst(place, granted, own);
        for problem in granted.policy.problems() {
            let words: BTreeSet<_> =
                problem.split(|c: char| !(c.is_alphanumeric() || c == '_')).map(str::to_owned).collect();
            let named = FIELDS.into_iter().filter(|field| words.contains(*field)).collect::<Vec<_>>();
            let own_line = named.iter().filter_map(|field| own.get(*field)).max();
            if own_line.is_none() && place != "defaults" {
                continue;
            }
            let values: Vec<_> = named
                .iter()
                .map(|field| {
                    let from = match granted.lines.get(*field) {
                        Some(line) => format!("line {line}"),
                        None => "built-in default".to_owned(),
                    };
                    format!("{field} = {} ({from})", shown(&granted.policy, field))
                })
                .collect();
            let problem = format!("{problem}; here {}", values.join(", "));
            self.report_at(own_line.copied().unwrap_or(line), place, None, problem);
        }
    }

    /// Says of a burst that nothing would come of it.
    fn check_burst(&mut self, place: &str, granted: &Grants, own: &BTreeMap<String, usize>) {
        if let (Some(line), true) = (own.get("burst"), granted.policy.requests_per_second == 0.0) {
            let problem = "has no effect while requests_per_second is 0; set that too, or leave burst out";
            self.report_at(*line, &format!("{place}: burst"), None, problem.to_owned());
        }
    }

    fn report(&mut self, field: &str, (name, value): Entry<'_>, problem: String) {
        let shown = match value.get_ref() {
            DeValue::Table(_) | DeValue::Array(_) => None,
            _ => Some(self.source.written(&value.span())),
        };
        self.report_at(self.source.line(&name.span()), field, shown, problem);
    }

    fn report_at(&mut self, line: usize, field: &str, value: Option<String>, problem: String) {
        self.problems.push(Problem {
            origin: self.source.name.to_owned(),
            line: Some(line),
            field: field.to_owned(),
            value,
            problem,
        });
    }
}

/// Sets one field; `None` where no field has that name.
fn set(policy: &mut Policy, name: &str, value: &DeValue<'_>) -> Option<Result<(), String>> {
    let result = match name {
        "lease" => length(value).map(|length| policy.lease = length),
        "max_lease" => length(value).map(|length| policy.max_lease = length),
        "retention" => length(value).map(|length| policy.retention = length),
        "max_retention" => length(value).map(|length| policy.max_retention = length),
        "unresolved_retention" => length(value).map(|length| policy.unresolved_retention = length),
        "max_wait" => length(value).map(|length| policy.max_wait = length),
        "max_retry_after" => length(value).map(|length| policy.max_retry_after = length),
        "max_attempts" => bound(value).map(|attempts| policy.max_attempts = attempts),
        "on_lost_lease" => on_lost_lease(value).map(|then| policy.on_lost_lease = then),
        "fingerprint_required" => flag(value).map(|required| policy.fingerprint_required = required),
        "max_result_bytes" => size(value).map(|size| policy.max_result_bytes = size),
        "requests_per_second" => rate(value).map(|rate| policy.requests_per_second = rate),
        "burst" => bound(value).map(|burst| policy.burst = burst),
        "max_open_keys" => bound(value).map(|keys: u32| policy.max_open_keys = keys.into()),
        _ => return None,
    };
    Some(result)
}

/// A field's value, as the file would write it.
pub(super) fn shown(policy: &Policy, field: &str) -> String {
    let length = match field {
        "lease" => policy.lease,
        "max_lease" => policy.max_lease,
        "retention" => policy.retention,
        "max_retention" => policy.max_retention,
        "unresolved_retention" => policy.unresolved_retention,
        "max_wait" => policy.max_wait,
        "max_retry_after" => policy.max_retry_after,
        "max_attempts" => return policy.max_attempts.to_string(),
        "fingerprint_required" => return policy.fingerprint_required.to_string(),
        "max_result_bytes" => return format_size(policy.max_result_bytes as u64),
        "requests_per_second" => return policy.requests_per_second.to_string(),
        "burst" => return policy.burst.to_string(),
        "max_open_keys" => return policy.max_open_keys.to_string(),
        _ => {
            return match policy.on_lost_lease {
                OnLostLease::Rerun => "\"rerun\"".to_owned(),
                OnLostLease::MarkUnknown => "\"mark_unknown\"".to_owned(),
            };
        }
    };
    format_duration(length)
}

fn length(value: &DeValue<'_>) -> Result<Duration, String> {
    match value {
        DeValue::String(text) => parse_duration(text),
        other => Err(format!("is {}; write a quoted length of time such as \"30s\" or \"24h\"", kind(other))),
    }
}

fn size(value: &DeValue<'_>) -> Result<usize, String> {
    match value {
        DeValue::String(text) => parse_size(text).and_then(|size| {
            usize::try_from(size).map_err(|_| "is more than this machine can hold".to_owned())
        }),
        other => Err(format!("is {}; write a quoted size such as \"256KiB\"", kind(other))),
    }
}

fn bound(value: &DeValue<'_>) -> Result<u32, String> {
    match value {
        DeValue::Integer(number) => u32::from_str_radix(number.as_str(), number.radix())
            .map_err(|_| format!("is out of bounds; write 0 (no bound) to {}", u32::MAX)),
        other => Err(format!("is {}; write a whole number without quotes, 0 for no bound", kind(other))),
    }
}

fn rate(value: &DeValue<'_>) -> Result<f64, String> {
    let text = match value {
        DeValue::Integer(number) if number.radix() == 10 => number.as_str(),
        DeValue::Float(number) => number.as_str(),
        other => return Err(format!("is {}; write a number without quotes, 0 for no bound", kind(other))),
    };
    text.parse().map_err(|_| "is not a number that can be counted by; write one such as 50 or 0.5".to_owned())
}

fn flag(value: &DeValue<'_>) -> Result<bool, String> {
    match value {
        DeValue::Boolean(flag) => Ok(*flag),
        other => Err(format!("is {}; write true or false, without quotes", kind(other))),
    }
}

fn on_lost_lease(value: &DeValue<'_>) -> Result<OnLostLease, String> {
    match value {
        DeValue::String(text) if text == "rerun" => Ok(OnLostLease::Rerun),
        DeValue::String(text) if text == "mark_unknown" => Ok(OnLostLease::MarkUnknown),
        _ => Err(r#"is neither "rerun" nor "mark_unknown""#.to_owned()),
    }
}
