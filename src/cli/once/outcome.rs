//! What became of a command, as it is stored and as it is replayed.

use bytes::Bytes;
use semel_client::proto::result::Outcome;
use semel_client::proto::{self, Header};

use super::child::Ended;
use super::outlet::Outlets;
use crate::cli::exit::Exit;
use crate::cli::failure::Failure;

/// Names the format of a stored command: its standard output is the payload, its exit status the code, and the
/// headers below hold the rest.
const FORMAT: &str = "semel-once";
const STDERR: &str = "semel-once-stderr";
const STDOUT_OMITTED: &str = "semel-once-stdout-omitted";
const STDERR_OMITTED: &str = "semel-once-stderr-omitted";

/// What is to be reported.
pub(super) enum Verdict {
    /// It ran, and this is replayed.
    Complete(proto::Result),
    /// It counts as not having happened.
    Release(String),
    /// It may have happened.
    Unknown(String),
}

/// Whether it was stored.
pub(super) enum Stored {
    /// It is stored; `cut`: without the output, which the policy does not allow.
    Yes { cut: bool },
    /// The server does not take it.
    Refused(Failure),
    /// Nobody knows whether the server took it.
    Unanswered(Failure),
}

impl Stored {
    /// For a message's end.
    pub(super) fn words(&self) -> String {
        match self {
            Self::Yes { .. } => "the key is given up as unknown".to_owned(),
            Self::Refused(failure) | Self::Unanswered(failure) => {
                format!("the key could not be given up: {failure}")
            }
        }
    }
}

/// A command that ended by itself, as a result.
pub(super) fn result(ended: &Ended) -> proto::Result {
    let code = ended.code().unwrap_or_default();
    let output = &ended.output;
    let number = |number: u64| Bytes::from(number.to_string());
    let mut headers = vec![header(FORMAT, Bytes::from_static(b"1"))];
    if !output.stderr.kept.is_empty() {
        headers.push(header(STDERR, output.stderr.kept.clone()));
    }
    for (name, stream) in [(STDOUT_OMITTED, &output.stdout), (STDERR_OMITTED, &output.stderr)] {
        if stream.omitted > 0 {
            headers.push(header(name, number(stream.omitted)));
        }
    }
    proto::Result {
        outcome: if code == 0 { Outcome::Success } else { Outcome::Failure }.into(),
        code,
        content_type: String::new(),
        headers,
        payload: output.stdout.kept.clone(),
        payload_omitted: output.omitted() > 0,
    }
}

/// The same result without any output.
pub(super) fn without_output(result: &proto::Result) -> proto::Result {
    let omitted = |of: usize, name: &str| {
        let before = find(result, name).and_then(|value| str::from_utf8(value).ok()?.parse::<u64>().ok());
        header(name, Bytes::from((before.unwrap_or(0) + of as u64).to_string()))
    };
    let stderr_bytes = find(result, STDERR).map_or(0, Bytes::len);
    proto::Result {
        headers: vec![
            header(FORMAT, Bytes::from_static(b"1")),
            omitted(result.payload.len(), STDOUT_OMITTED),
            omitted(stderr_bytes, STDERR_OMITTED),
        ],
        payload: Bytes::new(),
        payload_omitted: true,
        ..result.clone()
    }
}

/// The same result with nothing that counts, for a policy that allows next to nothing. A replay of it knows only whether
/// the command succeeded.
pub(super) fn without_headers(result: &proto::Result) -> proto::Result {
    proto::Result { headers: Vec::new(), payload: Bytes::new(), payload_omitted: true, ..result.clone() }
}

/// Gives the command's output again, and its exit status. A result that another program stored has no more than
/// a payload and a verdict.
pub(super) fn replay(result: &proto::Result, outlets: &Outlets) -> Exit {
    outlets.stdout.pass(result.payload.clone());
    outlets.stderr.pass(find(result, STDERR).cloned().unwrap_or_default());
    let omitted: Vec<_> = [("output", STDOUT_OMITTED), ("error output", STDERR_OMITTED)]
        .iter()
        .filter_map(|(what, name)| {
            let bytes = str::from_utf8(find(result, name)?).ok()?.to_owned();
            (bytes != "0").then(|| format!("{bytes} bytes of its {what}"))
        })
        .collect();
    if !omitted.is_empty() {
        outlets.say(&format!("the command ran before; {} were too large to keep", omitted.join(" and ")));
    } else if result.payload_omitted {
        outlets.say("it was done before; what it returned was too large to keep");
    }
    if find(result, FORMAT).is_some() {
        Exit::passed_on(u8::try_from(result.code).unwrap_or(u8::MAX))
    } else if result.outcome() == Outcome::Failure {
        Exit::FAILED
    } else {
        Exit::DONE
    }
}

fn header(name: &str, value: Bytes) -> Header {
    Header { name: name.to_owned(), value }
}

fn find<'a>(result: &'a proto::Result, name: &str) -> Option<&'a Bytes> {
    result.headers.iter().find(|header| header.name == name).map(|header| &header.value)
}
