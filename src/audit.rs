//! Who did what: a line of JSON for every operator's call, and for every change of what is in force.

mod file;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use serde::Serialize;
use tracing::{error, info};

use self::file::AuditFile;
use crate::domain::{Clock, Endpoint, Key, Tenant};
use crate::telemetry::KeyHash;

/// The log target of the lines, where no file takes them.
pub const TARGET: &str = "semel::audit";

/// What stands for a call that was never answered: its caller left, or it failed by a bug. It may have taken effect.
const NOT_ANSWERED: &str = "NOT_ANSWERED";
/// What stands for a call that did what it was to do.
const OK: &str = "OK";
/// Who calls without a credential that could be told.
const UNKNOWN: &str = "unknown";
/// Who changes what is in force by writing a file.
const BY_FILE: &str = "whoever wrote the files";

/// Takes the lines.
#[derive(Debug)]
pub struct Audit {
    clock: Arc<dyn Clock>,
    key_hash: KeyHash,
    file: Option<AuditFile>,
}

/// What a line says. Absent values are left out.
#[derive(Debug, Default, Serialize)]
struct Line {
    time: String,
    who: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    peer: Option<String>,
    action: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    tenant: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    endpoint: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    key_hash: Option<String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    asked: BTreeMap<&'static str, String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    before: Option<State>,
    #[serde(skip_serializing_if = "Option::is_none")]
    after: Option<State>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    changes: Vec<Change>,
    outcome: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    cause: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    left_out: Option<u64>,
}

/// How something stood.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum State {
    /// A record.
    Record {
        /// How it read.
        state: &'static str,
        /// Its fence, where one is known.
        #[serde(skip_serializing_if = "Option::is_none")]
        fence: Option<i64>,
    },
    /// Files, by their SHA-256.
    Files {
        /// Of each file: of one that could not be read, why.
        sha256: BTreeMap<String, String>,
    },
}

/// An operator's call that its caller may not make.
#[derive(Debug)]
pub(crate) struct Refused<'a> {
    /// Whose credential it is, as far as that is known.
    pub(crate) who: Option<&'a str>,
    /// Where the call came from.
    pub(crate) peer: Option<SocketAddr>,
    /// The method.
    pub(crate) action: &'a str,
    /// Why, in more words than its caller is told.
    pub(crate) cause: &'a str,
    /// The reason that its caller is told.
    pub(crate) outcome: &'a str,
    /// So many before it have no line.
    pub(crate) left_out: u64,
}

/// What is in force now, and was not before.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Change {
    /// Of what.
    pub of: String,
    /// Which value.
    pub field: String,
    /// As it was; absent where there was none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub before: Option<String>,
    /// As it is; absent where there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after: Option<String>,
}

/// What something consists of: each value by what it is of, and its field.
pub(crate) type Values = BTreeMap<(String, String), String>;

impl Change {
    /// Every value that is not what it was.
    pub(crate) fn between(before: &Values, after: &Values) -> Vec<Self> {
        let all: BTreeSet<_> = before.keys().chain(after.keys()).collect();
        all.into_iter()
            .filter(|name| before.get(*name) != after.get(*name))
            .map(|name| Self {
                of: name.0.clone(),
                field: name.1.clone(),
                before: before.get(name).cloned(),
                after: after.get(name).cloned(),
            })
            .collect()
    }
}

/// The audit file cannot be written.
#[derive(Debug, thiserror::Error)]
#[error("cannot write the audit log {}: {error}; name a file that semel may write, or leave audit_log out", path.display())]
pub struct CannotWrite {
    path: PathBuf,
    error: std::io::Error,
}

impl Audit {
    /// Puts its lines into the log.
    pub const fn to_log(clock: Arc<dyn Clock>, key_hash: KeyHash) -> Self {
        Self { clock, key_hash, file: None }
    }

    /// Appends its lines to the file at `path`, which is made where it is not there.
    pub fn to_file(path: PathBuf, clock: Arc<dyn Clock>, key_hash: KeyHash) -> Result<Self, CannotWrite> {
        match AuditFile::open(path.clone()) {
            Ok(file) => Ok(Self { clock, key_hash, file: Some(file) }),
            Err(error) => Err(CannotWrite { path, error }),
        }
    }

    /// A call that begins now.
    pub fn begin(&self, who: &str, action: &str) -> AuditedCall<'_> {
        let line = Line {
            who: who.to_owned(),
            action: action.to_owned(),
            outcome: NOT_ANSWERED.to_owned(),
            ..Line::default()
        };
        AuditedCall { audit: self, line }
    }

    /// An operator's call that is refused before its arguments are read.
    pub(crate) fn refused(&self, refused: &Refused<'_>) {
        self.write(Line {
            who: refused.who.unwrap_or(UNKNOWN).to_owned(),
            peer: refused.peer.map(|peer| peer.to_string()),
            action: refused.action.to_owned(),
            outcome: refused.outcome.to_owned(),
            cause: Some(refused.cause.to_owned()),
            left_out: (refused.left_out > 0).then_some(refused.left_out),
            ..Line::default()
        });
    }

    /// What the lines' times are of.
    pub(crate) fn clock(&self) -> &dyn Clock {
        &*self.clock
    }

    /// What is in force since the start.
    pub(crate) fn loaded(&self, what: &str, files: BTreeMap<String, String>) {
        self.write(Line {
            who: BY_FILE.to_owned(),
            action: format!("load {what}"),
            after: Some(State::Files { sha256: files }),
            outcome: OK.to_owned(),
            ..Line::default()
        });
    }

    /// What files say has changed, and is in force, or was refused.
    pub(crate) fn reloaded(
        &self,
        what: &str,
        (before, after): (BTreeMap<String, String>, BTreeMap<String, String>),
        changes: Vec<Change>,
        refused: bool,
    ) {
        self.write(Line {
            who: BY_FILE.to_owned(),
            action: format!("reload {what}"),
            before: Some(State::Files { sha256: before }),
            after: Some(State::Files { sha256: after }),
            changes,
            outcome: if refused { "REFUSED" } else { OK }.to_owned(),
            ..Line::default()
        });
    }

    fn write(&self, mut line: Line) {
        line.time = moment(self.clock.now().as_micros());
        // Texts and numbers alone: there is nothing in it that JSON cannot say.
        let text = serde_json::to_string(&line).unwrap_or_else(|error| format!("{{\"error\":\"{error}\"}}"));
        let Some(file) = &self.file else {
            info!(target: TARGET, record = text, "audit");
            return;
        };
        if let Err(error) = file.append(&text) {
            let path = file.path().display();
            error!(target: TARGET, %error, %path, record = text, "an audit record cannot be written: it is here instead");
        }
    }
}

/// A moment as lines have it.
pub(crate) fn moment(micros: u64) -> String {
    humantime::format_rfc3339_micros(UNIX_EPOCH + Duration::from_micros(micros)).to_string()
}

/// An operator's call, whose line is written when this is dropped: however the call ends.
pub struct AuditedCall<'a> {
    audit: &'a Audit,
    line: Line,
}

impl AuditedCall<'_> {
    /// About which record.
    pub fn about(&mut self, key: &Key) {
        self.of(&key.tenant, Some(&key.endpoint));
        self.line.key_hash = Some(self.audit.key_hash.name(key));
    }

    /// About which tenant's records.
    pub fn of(&mut self, tenant: &Tenant, endpoint: Option<&Endpoint>) {
        self.line.tenant = Some(tenant.as_str().to_owned());
        self.line.endpoint = endpoint.map(|endpoint| endpoint.as_str().to_owned());
    }

    /// What was asked beside that.
    pub fn asked(&mut self, asked: impl IntoIterator<Item = (&'static str, String)>) {
        self.line.asked.extend(asked);
    }

    /// How the record stood when it was decided on, and how it stands if the call took effect.
    pub fn found(&mut self, before: Option<State>, after: Option<State>) {
        self.line.before = before;
        self.line.after = after;
    }

    /// What the call came to: done, or the reason of its error.
    pub fn ended(&mut self, refused: Option<&str>) {
        refused.unwrap_or(OK).clone_into(&mut self.line.outcome);
        if refused.is_some() {
            self.line.after = None;
        }
    }
}

impl Drop for AuditedCall<'_> {
    fn drop(&mut self) {
        self.audit.write(std::mem::take(&mut self.line));
    }
}

impl fmt::Debug for AuditedCall<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AuditedCall").field("line", &self.line).finish_non_exhaustive()
    }
}
