//! Flags that describe a result.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use clap::Args;
use semel_client::proto::result::Outcome;
use semel_client::proto::{self, Header};

use super::begin::parse_pair;
use super::failure::Failure;

/// A result: what is replayed to everyone who asks later.
#[derive(Debug, Args)]
pub(crate) struct ResultArgs {
    /// What the operation returned
    #[arg(long, value_name = "TEXT")]
    payload: Option<String>,
    /// A file that holds what the operation returned; - for standard input
    #[arg(long, value_name = "FILE", conflicts_with = "payload")]
    payload_file: Option<PathBuf>,
    /// The work was done, but what it returned is too large to keep
    #[arg(long, conflicts_with_all = ["payload", "payload_file"])]
    payload_omitted: bool,
    /// The payload's media type
    #[arg(long, value_name = "TYPE", default_value = "")]
    content_type: String,
    /// A header of the response; may be given again, and keeps its order
    #[arg(long, value_name = "NAME=VALUE", value_parser = parse_pair)]
    header: Vec<(String, String)>,
    /// The operation's own status, such as an HTTP status
    #[arg(long, value_name = "NUMBER", default_value_t = 0, allow_negative_numbers = true)]
    code: i32,
    /// It failed for good, and the failure is to be replayed
    #[arg(long)]
    failure: bool,
}

impl ResultArgs {
    /// Whether any of the flags was given.
    pub(crate) fn is_given(&self) -> bool {
        self.payload.is_some()
            || self.payload_file.is_some()
            || self.payload_omitted
            || !self.content_type.is_empty()
            || !self.header.is_empty()
            || self.code != 0
            || self.failure
    }

    pub(crate) fn result(&self) -> Result<proto::Result, Failure> {
        let payload = match (&self.payload, &self.payload_file) {
            (Some(text), _) => Bytes::from(text.clone()),
            (None, Some(file)) => read_input(file)?,
            (None, None) => Bytes::new(),
        };
        let header = |(name, value): &(String, String)| Header {
            name: name.clone(),
            value: Bytes::from(value.clone()),
        };
        Ok(proto::Result {
            outcome: if self.failure { Outcome::Failure } else { Outcome::Success }.into(),
            code: self.code,
            content_type: self.content_type.clone(),
            headers: self.header.iter().map(header).collect(),
            payload,
            payload_omitted: self.payload_omitted,
        })
    }
}

/// Reads a file whole, or standard input where it is called `-`.
pub(crate) fn read_input(file: &Path) -> Result<Bytes, Failure> {
    let read = if file == Path::new("-") {
        let mut bytes = Vec::new();
        std::io::stdin().lock().read_to_end(&mut bytes).map(|_| bytes)
    } else {
        std::fs::read(file)
    };
    read.map(Bytes::from).map_err(|error| Failure::Local(format!("cannot read {}: {error}", file.display())))
}
