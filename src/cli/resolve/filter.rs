//! Which records: `endpoint=payments.* age>1h label.order=42`.
//!
//! Terms stand between spaces, and all of them must hold. A value with spaces is quoted.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use crate::clock::SystemClock;
use crate::config::parse_duration;
use crate::domain::{Clock as _, Pattern};

const FORM: &str = "write terms such as endpoint=payments.* age>1h label.order=42 reason=OUTCOME_UNKNOWN; the fields are \
                    endpoint, key, detail, label.NAME, reason, state and age";

/// Records that read as unresolved, or whose lease is lost, and meet every term.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Filter {
    /// How the records read.
    pub(super) state: Waiting,
    terms: Vec<Term>,
}

/// How a record reads that an operator may settle without force.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Waiting {
    Unresolved,
    LeaseLost,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Term {
    Text { field: Field, pattern: Pattern, wanted: bool },
    Reason { reason: String, wanted: bool },
    Older(Duration),
    Younger(Duration),
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Field {
    Endpoint,
    Key,
    Detail,
    Label(String),
}

/// What a filter asks of a record.
#[derive(Debug)]
pub(super) struct Facts<'a> {
    pub(super) endpoint: &'a str,
    pub(super) key: &'a str,
    /// What the last owner said.
    pub(super) detail: &'a str,
    /// Why it is unresolved; empty where it is not.
    pub(super) reason: &'a str,
    pub(super) labels: &'a BTreeMap<String, String>,
    /// Since when nobody owns it.
    pub(super) since: Option<SystemTime>,
}

impl Filter {
    /// Reads one filter or several, all of which must hold.
    pub(super) fn parse<'a>(texts: impl IntoIterator<Item = &'a str>) -> Result<Self, String> {
        let mut states = Vec::new();
        let mut terms = Vec::new();
        for text in texts {
            for words in split(text)? {
                match read_term(&words)? {
                    Read::State(state) => states.push(state),
                    Read::Term(term) => terms.push(term),
                }
            }
        }
        let state = match states[..] {
            [] if terms.is_empty() => return Err(format!("--where says nothing; {FORM}")),
            [] => Waiting::Unresolved,
            [state] => state,
            _ => return Err("--where names more than one state; run the command once for each".to_owned()),
        };
        Ok(Self { state, terms })
    }

    /// The one endpoint that it admits, where it names one in full: the server looks at no other then.
    pub(super) fn endpoint(&self) -> Option<&str> {
        self.terms.iter().find_map(|term| match term {
            Term::Text { field: Field::Endpoint, pattern: Pattern::Exact(endpoint), wanted: true } => {
                Some(endpoint.as_str())
            }
            _ => None,
        })
    }

    /// Whether the record meets every term, by this machine's clock.
    pub(super) fn admits(&self, record: &Facts<'_>) -> bool {
        let now = SystemTime::UNIX_EPOCH + Duration::from_micros(SystemClock.now().as_micros());
        self.admits_at(record, now)
    }

    fn admits_at(&self, record: &Facts<'_>, now: SystemTime) -> bool {
        // What is in the future by this clock is not old at all.
        let age = record.since.map(|since| now.duration_since(since).unwrap_or_default());
        self.terms.iter().all(|term| match term {
            Term::Text { field, pattern, wanted } => {
                let text = match field {
                    Field::Endpoint => Some(record.endpoint),
                    Field::Key => Some(record.key),
                    Field::Detail => Some(record.detail),
                    Field::Label(name) => record.labels.get(name).map(String::as_str),
                };
                text.is_some_and(|text| pattern.matches(text)) == *wanted
            }
            Term::Reason { reason, wanted } => (record.reason == reason) == *wanted,
            Term::Older(length) => age.is_some_and(|age| age > *length),
            Term::Younger(length) => age.is_some_and(|age| age < *length),
        })
    }
}

/// Field, operator and value, as written.
#[derive(Debug, Default, PartialEq, Eq)]
struct Words {
    field: String,
    operator: String,
    value: String,
}

/// Takes a filter apart. Within quotes of either kind everything stands for itself, but for a backslash, which takes the
/// next character as it is.
fn split(text: &str) -> Result<Vec<Words>, String> {
    const OPERATORS: [char; 4] = ['=', '!', '<', '>'];
    let mut all = Vec::new();
    let mut chars = text.chars().peekable();
    loop {
        while chars.next_if(|c| c.is_whitespace()).is_some() {}
        if chars.peek().is_none() {
            return Ok(all);
        }
        let mut words = Words::default();
        while let Some(c) = chars.next_if(|c| !c.is_whitespace() && !OPERATORS.contains(c)) {
            words.field.push(c);
        }
        while let Some(c) = chars.next_if(|c| OPERATORS.contains(c)) {
            words.operator.push(c);
        }
        let mut quote = None;
        while let Some(c) = chars.next_if(|c| quote.is_some() || !c.is_whitespace()) {
            match (quote, c) {
                (Some(open), c) if c == open => quote = None,
                (Some(_), '\\') => words.value.extend(chars.next()),
                (None, '"' | '\'') => quote = Some(c),
                (_, c) => words.value.push(c),
            }
        }
        if let Some(quote) = quote {
            return Err(format!("--where has a {quote} that is not closed: {text}"));
        }
        all.push(words);
    }
}

enum Read {
    State(Waiting),
    Term(Term),
}

fn read_term(words: &Words) -> Result<Read, String> {
    let Words { field, operator, value } = words;
    let written = format!("{field}{operator}{value}");
    let wrong = |what: &str| Err(format!("--where {written}: {what}"));
    if operator.is_empty() {
        return wrong(&format!("no operator (=, !=, < or >); {FORM}"));
    }
    let text_of = |field: Field| {
        let wanted = match operator.as_str() {
            "=" => true,
            "!=" => false,
            _ => return wrong("texts are compared by = and !="),
        };
        Ok(Read::Term(Term::Text { field, pattern: Pattern::parse(value), wanted }))
    };
    match field.as_str() {
        "endpoint" => text_of(Field::Endpoint),
        "key" => text_of(Field::Key),
        "detail" => text_of(Field::Detail),
        "tenant" => wrong("tenants are named by --tenant, which may be given again"),
        "state" if operator == "=" => match value.to_lowercase().as_str() {
            "unresolved" => Ok(Read::State(Waiting::Unresolved)),
            "lease_lost" | "lease-lost" => Ok(Read::State(Waiting::LeaseLost)),
            _ => wrong("only unresolved and lease_lost records can be settled many at a time"),
        },
        "reason" if operator == "=" || operator == "!=" => {
            let reason = value.to_uppercase().replace('-', "_");
            if !["OUTCOME_UNKNOWN", "ATTEMPTS_EXHAUSTED"].contains(&reason.as_str()) {
                return wrong("the reasons are OUTCOME_UNKNOWN and ATTEMPTS_EXHAUSTED");
            }
            Ok(Read::Term(Term::Reason { reason, wanted: operator == "=" }))
        }
        "age" => match (operator.as_str(), parse_duration(value)) {
            (_, Err(problem)) => wrong(&format!("the age {problem}")),
            (">", Ok(length)) => Ok(Read::Term(Term::Older(length))),
            ("<", Ok(length)) => Ok(Read::Term(Term::Younger(length))),
            _ => wrong("an age is compared by > and <"),
        },
        "state" | "reason" => wrong("it is compared by = (a reason also by !=)"),
        label => match label.strip_prefix("label.") {
            Some(name) if !name.is_empty() => text_of(Field::Label(name.to_owned())),
            _ => wrong(&format!("no such field; {FORM}")),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn admits(filter: &str) -> bool {
        let labels = BTreeMap::from([("order".to_owned(), "42".to_owned())]);
        let now = SystemTime::UNIX_EPOCH + Duration::from_hours(500_000);
        let record = Facts {
            endpoint: "POST /v1/charges",
            key: "order-42",
            detail: "connection reset by the bank",
            reason: "OUTCOME_UNKNOWN",
            labels: &labels,
            since: Some(now - Duration::from_mins(90)),
        };
        Filter::parse([filter]).unwrap_or_else(|error| panic!("{filter}: {error}")).admits_at(&record, now)
    }

    #[test]
    fn every_term_holds_or_does_not() {
        for (filter, expected) in [
            (r#"endpoint="POST /v1/charges""#, true),
            (r"endpoint='POST /v1/*'", true),
            ("endpoint=POST*", true),
            ("endpoint=POST", false),
            ("endpoint!=payments.*", true),
            ("endpoint!=POST*", false),
            ("key=order-42", true),
            ("key=order-4*", true),
            ("key=order-4", false),
            ("detail='connection reset*'", true),
            ("detail=timeout*", false),
            ("label.order=42", true),
            ("label.order=4*", true),
            ("label.order!=42", false),
            ("label.order!=43", true),
            ("label.shop=42", false),
            ("label.shop!=42", true),
            ("label.shop=*", false),
            ("reason=OUTCOME_UNKNOWN", true),
            ("reason=outcome-unknown", true),
            ("reason!=OUTCOME_UNKNOWN", false),
            ("reason=ATTEMPTS_EXHAUSTED", false),
            ("age>1h", true),
            ("age>90m", false),
            ("age<90m", false),
            ("age<2h", true),
            ("age>'1h 29m'", true),
            ("state=unresolved", true),
            ("  key=order-42   age>1h ", true),
            ("key=order-42 age>2h", false),
        ] {
            assert_eq!(admits(filter), expected, "{filter}");
        }
    }

    #[test]
    fn several_filters_must_all_hold() {
        let both = Filter::parse(["key=a", "age>1h"]).unwrap();
        assert_eq!(both, Filter::parse(["key=a age>1h"]).unwrap());
        assert_eq!(both.state, Waiting::Unresolved);
        assert_eq!(Filter::parse(["state=lease_lost key=a"]).unwrap().state, Waiting::LeaseLost);
    }

    #[test]
    fn an_exact_endpoint_is_known() {
        let endpoint = |filter: &str| Filter::parse([filter]).unwrap().endpoint().map(str::to_owned);
        assert_eq!(endpoint("age>1h endpoint=a").as_deref(), Some("a"));
        assert_eq!(endpoint("endpoint=a*"), None);
        assert_eq!(endpoint("endpoint!=a"), None);
    }

    #[test]
    fn a_record_without_a_moment_has_no_age() {
        let labels = BTreeMap::new();
        let record = Facts { endpoint: "", key: "", detail: "", reason: "", labels: &labels, since: None };
        for filter in ["age>0", "age<1000d"] {
            assert!(!Filter::parse([filter]).unwrap().admits(&record), "{filter}");
        }
    }

    #[test]
    fn what_is_wrong_is_said() {
        for (filter, part) in [
            ("", "says nothing"),
            ("payments", "no operator"),
            ("owner=me", "no such field"),
            ("label.=1", "no such field"),
            ("tenant=acme", "--tenant"),
            ("endpoint>a", "= and !="),
            ("endpoint==a", "= and !="),
            ("age=1h", "> and <"),
            ("age>soon", "is not a length of time"),
            ("reason=lost", "OUTCOME_UNKNOWN"),
            ("state=completed", "lease_lost"),
            ("state!=unresolved", "compared by ="),
            ("state=unresolved state=lease_lost", "more than one state"),
            ("endpoint=\"POST", "not closed"),
        ] {
            let error = Filter::parse([filter]).unwrap_err();
            assert!(error.contains(part), "{filter}: {error}");
        }
    }
}
