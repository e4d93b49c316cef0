//! The server's configuration: every setting read and checked before anything starts, all errors told together.

mod credentials_file;
mod database;
mod effective;
mod encryption_keys;
mod file_watch;
mod layers;
mod policy_changes;
mod policy_file;
mod policy_watch;
mod problem;
mod security;
mod settings;
mod toml_lines;
mod units;

use std::ffi::OsString;
use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tracing_subscriber::filter::Targets;

use self::effective::Effective;
use self::layers::{Layer, merge};
use self::toml_lines::Source;
use crate::coordinator;
use crate::domain::PolicyRules;
use crate::server::Limits;
use crate::storage::{StoreName, embedded, memory, scylla};
use crate::telemetry;

pub use credentials_file::{CredentialsFile, TokenEntry, parse_credentials};
pub use encryption_keys::{EncryptionKeys, EncryptionKeysWatch, parse_encryption_keys};
pub use file_watch::{FileWatch, FromFiles, Reload};
pub use policy_file::parse_policy;
pub use policy_watch::{PolicyFile, PolicyWatch, kept_too_long};
pub use problem::{Problem, Problems};
pub use security::{Secured, SecurityWatch};
pub use settings::{Kind, SETTINGS, Setting};
pub use units::{format_duration, format_size, parse_duration, parse_size};

/// The file that is read where none is named, if it exists.
pub const DEFAULT_FILE: &str = "semel.toml";

/// Where the configuration is to be found.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    /// The file, where one is named: it has to exist then.
    pub file: Option<PathBuf>,
    /// The file to read where none is named; it need not exist.
    pub default_file: Option<PathBuf>,
    /// The environment.
    pub environment: Vec<(OsString, OsString)>,
    /// The flags that were given.
    pub flags: Vec<(&'static Setting, String)>,
}

/// Where records are kept.
#[derive(Clone, Debug)]
pub enum StoreSettings {
    /// In a directory of this machine.
    Embedded(embedded::Settings),
    /// In a database that many servers share.
    Scylla(Box<scylla::Settings>),
    /// In memory alone.
    Memory,
}

impl StoreSettings {
    /// How the store is named in traces.
    pub fn name(&self) -> StoreName {
        match self {
            Self::Embedded(_) => embedded::NAME,
            Self::Scylla(settings) => settings.name(),
            Self::Memory => memory::NAME,
        }
    }
}

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Human,
    /// One JSON object a line.
    Json,
}

/// A text that nothing shows.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// The secret's bytes.
    pub fn as_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(hidden)")
    }
}

/// The configuration of a server, checked.
#[derive(Clone, Debug)]
pub struct ServerConfig {
    /// Where gRPC calls come in.
    pub listen: SocketAddr,
    /// Where health is asked for over HTTP.
    pub ops_listen: SocketAddr,
    /// Listening beyond loopback is allowed, even where it is not encrypted or asks for no credential.
    pub insecure: bool,
    /// Where records are kept.
    pub store: StoreSettings,
    /// The policy file.
    pub policy: Option<PathBuf>,
    /// How far servers' clocks may differ.
    pub clock_skew_allowance: Duration,
    /// What keys are hashed under in logs; absent: a random one for each start.
    pub key_hash_secret: Option<Secret>,
    /// What is logged.
    pub log_level: Targets,
    /// How it is logged.
    pub log_format: LogFormat,
    /// The file of the audit log; absent: it is in the log.
    pub audit_log: Option<PathBuf>,
    /// How far the coordinator may go.
    pub coordinator: coordinator::Settings,
    /// What the transport accepts.
    pub limits: Limits,
    /// Who is told what calls come to.
    pub telemetry: telemetry::Settings,
}

/// A configuration, what it was made from, and what it names.
#[derive(Debug)]
pub struct Loaded {
    /// The settings.
    pub config: ServerConfig,
    /// The policy rules at the start.
    pub policies: PolicyRules,
    /// The policy file's text, where there is one.
    pub policy_text: Option<String>,
    /// The keys under which records are encrypted, where there are any.
    pub encryption: Option<EncryptionKeys>,
    /// Encryption and credentials, and what follows their files.
    pub secured: Secured,
    /// The file that was read, if one was.
    pub file: Option<PathBuf>,
    /// What is odd, but no error.
    pub warnings: Vec<String>,
    effective: Effective,
}

impl Loaded {
    /// The effective values as a TOML file, each with its origin in a comment; secrets hidden.
    pub fn print(&self) -> String {
        self.effective.print()
    }
}

/// What a command needs that works on stores, and runs no server.
#[derive(Debug)]
pub struct Stores {
    /// The database; none where no node of one is named.
    pub scylla: Option<scylla::Settings>,
    /// The keyspace that is named, whether a database is or not.
    pub keyspace: String,
    /// What an embedded store may use; its directory is the server's.
    pub embedded: embedded::Settings,
    /// What is odd, but no error.
    pub warnings: Vec<String>,
}

/// What a command needs that works on the directory of an embedded store, and runs no server.
#[derive(Debug)]
pub struct OwnDirectory {
    /// The store's settings, its directory among them.
    pub settings: embedded::Settings,
    /// The policy rules of its server.
    pub policies: PolicyRules,
    /// What is odd, but no error.
    pub warnings: Vec<String>,
}

/// Reads and checks everything.
pub fn load(sources: Sources) -> Result<Loaded, Problems> {
    let mut read = read(sources)?;
    let (effective, problems) = (read.effective, &mut read.problems);
    let key_hash_secret = effective.key_hash_secret(problems);
    let store = effective.store(problems);
    let secured = effective.secured(problems, &mut read.warnings);
    effective.check_listeners(problems);
    effective.check_limits(problems);
    let (policies, policy_text) = effective.read_policy(problems, &mut read.warnings);
    let encryption = effective.encryption_keys(problems, &mut read.warnings);
    match store {
        Some(store) if problems.is_empty() => {
            let config = effective.config(store, key_hash_secret);
            let (file, warnings) = (read.file, read.warnings);
            Ok(Loaded { config, policies, policy_text, encryption, secured, file, warnings, effective })
        }
        _ => Err(Problems(read.problems)),
    }
}

/// Reads everything, and checks what concerns stores: the rest is a server's.
pub fn load_stores(sources: Sources) -> Result<Stores, Problems> {
    let mut read = read(sources)?;
    let scylla =
        if read.effective.is_set("scylla.nodes") { read.effective.scylla(&mut read.problems) } else { None };
    if read.problems.is_empty() {
        let keyspace = read.effective.text("scylla.keyspace").to_owned();
        Ok(Stores { scylla, keyspace, embedded: read.effective.embedded(), warnings: read.warnings })
    } else {
        Err(Problems(read.problems))
    }
}

/// Reads everything, and checks what concerns the directory of an embedded store.
pub fn load_directory(sources: Sources) -> Result<OwnDirectory, Problems> {
    let mut read = read(sources)?;
    let kind = read.effective.text("store");
    if kind != "embedded" {
        let (value, problem) =
            (Some(format!("\"{kind}\"")), "has no directory of its own; only the store embedded has");
        read.problems.push(read.effective.problem("store", value, problem));
    }
    let (policies, _) = read.effective.read_policy(&mut read.problems, &mut read.warnings);
    if read.problems.is_empty() {
        Ok(OwnDirectory { settings: read.effective.embedded(), policies, warnings: read.warnings })
    } else {
        Err(Problems(read.problems))
    }
}

/// What the sources say, layer over layer, and what is wrong with each.
struct Read {
    effective: Effective,
    file: Option<PathBuf>,
    problems: Vec<Problem>,
    warnings: Vec<String>,
}

fn read(sources: Sources) -> Result<Read, Problems> {
    let mut problems = Vec::new();
    let mut warnings = Vec::new();
    let (file, text) = read_file(&sources, &mut problems);
    let mut layers = vec![Layer::defaults()];
    if let Some(file) = &file {
        let name = file.display().to_string();
        layers.push(Layer::file(Source { name: &name, text: &text }, &mut problems));
    }
    layers.push(Layer::environment(sources.environment, &mut problems, &mut warnings));
    layers.push(Layer::flags(&sources.flags, &mut problems));
    match merge(layers) {
        Ok(values) => Ok(Read { effective: Effective::new(values), file, problems, warnings }),
        Err(error) => {
            let problem = error.to_string();
            let origin = "settings".to_owned();
            problems.push(Problem { origin, line: None, field: String::new(), value: None, problem });
            Err(Problems(problems))
        }
    }
}

fn read_file(sources: &Sources, problems: &mut Vec<Problem>) -> (Option<PathBuf>, String) {
    let named = sources.file.as_ref();
    let Some(path) = named.or(sources.default_file.as_ref()) else { return (None, String::new()) };
    match std::fs::read_to_string(path) {
        Ok(text) => (Some(path.clone()), text),
        Err(error) if named.is_none() && error.kind() == std::io::ErrorKind::NotFound => {
            (None, String::new())
        }
        Err(error) => {
            problems.push(unreadable(path, &error));
            (None, String::new())
        }
    }
}

fn unreadable(path: &Path, error: &std::io::Error) -> Problem {
    Problem {
        origin: path.display().to_string(),
        line: None,
        field: String::new(),
        value: None,
        problem: format!("cannot be read: {error}"),
    }
}
