//! What a command prints: for people, as one JSON object, or as lines for a shell's `eval`.

use std::fmt::Write as _;
use std::time::{Duration, SystemTime};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use clap::ValueEnum;
use serde_json::{Map, json};

use super::exit::Exit;
use super::failure::Failure;
use crate::config::format_duration;

/// For whom a command prints.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Output {
    /// For people; may change with any release
    #[default]
    Human,
    /// One JSON object on one line
    Json,
    /// Lines for a POSIX shell: eval "$(semel … --output env)"
    Env,
}

/// What came of a command.
#[derive(Clone, Debug)]
pub(crate) struct Report {
    /// The outcome in a few words, for people.
    pub(crate) headline: String,
    /// What is known, by name, in the order people read it.
    pub(crate) fields: Vec<Field>,
    /// The process's exit status.
    pub(crate) exit: Exit,
}

pub(crate) type Field = (&'static str, Value);

/// A field's value. An absent one is left out, and unset in a shell.
#[derive(Clone, Debug)]
pub(crate) enum Value {
    Absent,
    Text(String),
    Number(i64),
    Real(f64),
    Flag(bool),
    /// In JSON and in a shell a number of seconds, and `_seconds` after the name.
    Length(Duration),
    Time(SystemTime),
    /// In JSON and in a shell base64, and `_base64` after the name.
    Bytes(Bytes),
    /// In a shell as JSON.
    List(Vec<Self>),
    /// In a shell as JSON.
    Fields(Vec<Field>),
    /// In a shell as JSON.
    Pairs(Vec<(String, String)>),
}

impl Value {
    /// A text; an empty one is absent.
    pub(crate) fn text(text: impl Into<String>) -> Self {
        let text = text.into();
        if text.is_empty() { Self::Absent } else { Self::Text(text) }
    }

    /// A moment, where there is one.
    pub(crate) fn time(time: Option<prost_types::Timestamp>) -> Self {
        time.and_then(|time| SystemTime::try_from(time).ok()).map_or(Self::Absent, Self::Time)
    }

    /// A length of time, where there is one.
    pub(crate) fn length(length: Option<prost_types::Duration>) -> Self {
        length.and_then(|length| Duration::try_from(length).ok()).map_or(Self::Absent, Self::Length)
    }

    const fn suffix(&self) -> &'static str {
        match self {
            Self::Length(_) => "_seconds",
            Self::Bytes(_) => "_base64",
            _ => "",
        }
    }

    fn json(&self) -> serde_json::Value {
        match self {
            Self::Absent => serde_json::Value::Null,
            Self::Text(text) => json!(text),
            Self::Number(number) => json!(number),
            Self::Real(number) => json!(number),
            Self::Flag(flag) => json!(flag),
            Self::Length(length) => seconds(*length),
            Self::Time(time) => json!(time_text(*time)),
            Self::Bytes(bytes) => json!(BASE64.encode(bytes)),
            Self::List(values) => values.iter().map(Self::json).collect(),
            Self::Fields(fields) => json_object(fields),
            Self::Pairs(pairs) => pairs.iter().map(|(name, value)| (name.clone(), json!(value))).collect(),
        }
    }

    fn shell(&self) -> String {
        match self.json() {
            serde_json::Value::String(text) => text,
            other => other.to_string(),
        }
    }

    fn human(&self, f: &mut String, name: &str, indent: usize) {
        let text = match self {
            Self::Absent => return,
            Self::Length(length) => format_duration(*length),
            Self::Bytes(bytes) => return human_bytes(f, name, bytes, indent),
            Self::Text(text) => printable(text),
            Self::Number(_) | Self::Real(_) | Self::Flag(_) | Self::Time(_) => self.shell(),
            Self::List(values) => {
                for value in values {
                    value.human(f, name, indent);
                }
                return;
            }
            Self::Fields(fields) => {
                _ = writeln!(f, "{:indent$}{name}", "");
                f.push_str(&human_lines(fields, indent + 2));
                return;
            }
            Self::Pairs(pairs) => {
                let pairs = pairs.iter().map(|(name, value)| printable(&format!("{name}={value}")));
                pairs.collect::<Vec<_>>().join(", ")
            }
        };
        _ = writeln!(f, "{:indent$}{:<20} {text}", "", name.replace('_', " "));
    }
}

/// The fields as a JSON object, absent ones left out. Bytes that are text stand there as text, too.
pub(crate) fn json_object(fields: &[Field]) -> serde_json::Value {
    let mut object = Map::new();
    for (name, value) in fields {
        if let Value::Absent = value {
            continue;
        }
        if let Value::Bytes(bytes) = value
            && let Ok(text) = str::from_utf8(bytes)
        {
            object.insert((*name).to_owned(), json!(text));
        }
        object.insert(format!("{name}{}", value.suffix()), value.json());
    }
    object.into()
}

/// The fields as lines for people, indented.
pub(crate) fn human_lines(fields: &[Field], indent: usize) -> String {
    let mut text = String::new();
    for (name, value) in fields {
        value.human(&mut text, name, indent);
    }
    text
}

fn human_bytes(f: &mut String, name: &str, bytes: &Bytes, indent: usize) {
    let name = name.replace('_', " ");
    match str::from_utf8(bytes) {
        Ok(text) if !text.trim_end_matches('\n').contains('\n') => {
            _ = writeln!(f, "{:indent$}{name:<20} {}", "", printable(text.trim_end_matches('\n')));
        }
        Ok(text) => {
            _ = writeln!(f, "{:indent$}{name}", "");
            text.lines().for_each(|line| _ = writeln!(f, "{:indent$}  {}", "", printable(line)));
        }
        Err(_) => {
            _ = writeln!(
                f,
                "{:indent$}{name:<20} {} bytes, not text (--output json has them)",
                "",
                bytes.len()
            );
        }
    }
}

/// The text without what could steer a terminal: it comes from whoever calls the server.
pub(crate) fn printable(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() { c.escape_default().to_string() } else { c.to_string() })
        .collect()
}

fn seconds(length: Duration) -> serde_json::Value {
    if length.subsec_nanos() == 0 { json!(length.as_secs()) } else { json!(length.as_secs_f64()) }
}

fn time_text(time: SystemTime) -> String {
    humantime::format_rfc3339_micros(time).to_string()
}

/// `text` as one word of a POSIX shell.
pub(crate) fn shell_quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

/// Prints what came of a command; `clears` names the fields that a shell must not keep from an earlier command.
pub(crate) fn print(report: &Result<Report, Failure>, output: Output, clears: &[&str]) -> Exit {
    let exit = match report {
        Ok(report) => report.exit,
        Err(failure) => failure.exit(),
    };
    if let Err(failure) = report {
        eprintln!("semel: {}", printable_lines(&failure.to_string()));
    }
    let text = match (report, output) {
        (Ok(report), Output::Human) => format!("{}\n{}", report.headline, human_lines(&report.fields, 2)),
        (Ok(report), Output::Json) => format!("{}\n", json_object(&report.fields)),
        (Ok(report), Output::Env) => shell_lines(&report.fields, exit, clears),
        (Err(_), Output::Human) => String::new(),
        (Err(failure), Output::Json) => format!("{}\n", json!({ "error": json_error(failure) })),
        (Err(failure), Output::Env) => {
            let mut fields = vec![("error", Value::text(error_name(failure)))];
            if let Failure::Unanswered { attempt_id, .. } = failure {
                fields.push(("attempt_id", Value::text(attempt_id)));
            }
            shell_lines(&fields, exit, clears)
        }
    };
    write_out(&text);
    exit
}

/// Writes to standard output; a reader that went away is no reason to fail.
pub(crate) fn write_out(text: &str) {
    use std::io::Write as _;
    let mut out = std::io::stdout().lock();
    _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

fn json_error(failure: &Failure) -> serde_json::Value {
    let mut error = Map::new();
    error.insert("reason".to_owned(), json!(error_name(failure)));
    error.insert("message".to_owned(), json!(failure.to_string()));
    error.insert("exit".to_owned(), json!(failure.exit().code()));
    let mut said = failure;
    if let Failure::Unanswered { attempt_id, failure } = failure {
        error.insert("attempt_id".to_owned(), json!(attempt_id));
        said = failure;
    }
    if let Failure::Refused(refusal) = said {
        if !refusal.fields.is_empty() {
            let fields: Map<_, _> =
                refusal.fields.iter().map(|(field, problem)| (field.clone(), json!(problem))).collect();
            error.insert("fields".to_owned(), fields.into());
        }
        if let Some(after) = refusal.retry_after {
            error.insert("retry_after_seconds".to_owned(), seconds(after));
        }
    }
    error.into()
}

/// The contract's reason, or one of UNAVAILABLE, USAGE, FAILED where the error is not the contract's.
fn error_name(failure: &Failure) -> &str {
    match failure {
        Failure::Refused(refusal) if refusal.reason.is_empty() => "FAILED",
        Failure::Refused(refusal) => &refusal.reason,
        Failure::Unreachable { .. } | Failure::Store { exit: Exit::UNAVAILABLE, .. } => "UNAVAILABLE",
        Failure::Unanswered { failure, .. } => error_name(failure),
        Failure::Usage(_) => "USAGE",
        Failure::Store { .. } | Failure::Local(_) => "FAILED",
    }
}

/// What later commands read from the environment. Nothing else is exported: the kernel starts no program with a
/// variable of more than 128 KiB, and a payload may be larger.
const EXPORTED: [&str; 6] =
    ["SEMEL_SERVER", "SEMEL_TENANT", "SEMEL_ENDPOINT", "SEMEL_KEY", "SEMEL_FENCE", "SEMEL_ATTEMPT_ID"];

/// Lines for `eval`: what is not known is unset, and the status of the `eval` is this command's.
fn shell_lines(fields: &[Field], exit: Exit, clears: &[&str]) -> String {
    let present: Vec<_> = fields
        .iter()
        .filter(|(_, value)| !matches!(value, Value::Absent))
        .map(|(name, value)| (format!("SEMEL_{name}{}", value.suffix()).to_uppercase(), value))
        .collect();
    let mut unset: Vec<_> =
        clears.iter().chain(&["error"]).map(|name| format!("SEMEL_{name}").to_uppercase()).collect();
    // Whoever started the shell may have exported a variable of that name, and an assignment would keep it so.
    unset.extend(present.iter().map(|(name, _)| name.clone()));
    unset.sort_unstable();
    unset.dedup();
    let mut lines = format!("unset {}\n", unset.join(" "));
    for (name, value) in present {
        let export = if EXPORTED.contains(&name.as_str()) { "export " } else { "" };
        _ = writeln!(lines, "{export}{name}={}", shell_quoted(&value.shell()));
    }
    _ = writeln!(lines, "(exit {})", exit.code());
    lines
}

fn printable_lines(text: &str) -> String {
    text.lines().map(printable).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shell_words_hold_anything() {
        assert_eq!(shell_quoted("a b"), "'a b'");
        assert_eq!(shell_quoted("it's $HOME `x` \"y\" \\"), r#"'it'\''s $HOME `x` "y" \'"#);
    }

    #[test]
    fn terminals_are_not_steered() {
        assert_eq!(printable("a\x1b[2Jb\r\u{9b}c"), "a\\u{1b}[2Jb\\r\\u{9b}c");
    }
}
