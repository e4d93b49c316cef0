//! The server's configuration: every setting read and checked before anything starts, all errors told together.

mod layers;
mod policy_file;
mod policy_watch;
mod problem;
mod settings;
mod toml_lines;
mod units;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use self::layers::{InForce, Layer, merge};
use self::settings::Parsed;
use self::toml_lines::Source;
use crate::coordinator;
use crate::domain::PolicyRules;

pub use policy_file::parse_policy;
pub use policy_watch::{PolicyWatch, Reload};
pub use problem::{Problem, Problems};
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
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StoreKind {
    /// In a directory of this machine.
    Embedded,
    /// In memory alone.
    Memory,
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
    /// Listening beyond loopback is allowed, without encryption and credentials.
    pub insecure: bool,
    /// Where records are kept.
    pub store: StoreKind,
    /// The directory of the embedded store.
    pub data_dir: PathBuf,
    /// The policy file.
    pub policy: Option<PathBuf>,
    /// How far servers' clocks may differ.
    pub clock_skew_allowance: Duration,
    /// What keys are hashed under in logs; absent: a random one for each start.
    pub key_hash_secret: Option<Secret>,
    /// What is logged, as `level` and `target=level`, parted by commas.
    pub log_level: String,
    /// How it is logged.
    pub log_format: LogFormat,
    /// How far the coordinator may go.
    pub coordinator: coordinator::Settings,
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

/// Reads and checks everything.
pub fn load(sources: Sources) -> Result<Loaded, Problems> {
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
    let effective = match merge(layers) {
        Ok(values) => Effective(values),
        Err(error) => {
            let problem = error.to_string();
            let origin = "settings".to_owned();
            problems.push(Problem { origin, line: None, field: String::new(), value: None, problem });
            return Err(Problems(problems));
        }
    };
    let key_hash_secret = effective.key_hash_secret(&mut problems);
    effective.check_listeners(&mut problems);
    let (policies, policy_text) = effective.read_policy(&mut problems);
    if !problems.is_empty() {
        return Err(Problems(problems));
    }
    let config = effective.config(key_hash_secret);
    Ok(Loaded { config, policies, policy_text, file, warnings, effective })
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

/// Every setting that has a value.
#[derive(Clone)]
struct Effective(BTreeMap<&'static str, InForce>);

impl fmt::Debug for Effective {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.keys()).finish()
    }
}

impl Effective {
    /// The value of a setting that has a default.
    fn parsed(&self, key: &str) -> &Parsed {
        &self.0.get(key).unwrap_or_else(|| panic!("{key} is in SETTINGS with a default")).value
    }

    fn address(&self, key: &str) -> SocketAddr {
        match self.parsed(key) {
            Parsed::Address(address) => *address,
            _ => unreachable!("{key} is an address in SETTINGS"),
        }
    }

    fn flag(&self, key: &str) -> bool {
        match self.parsed(key) {
            Parsed::Flag(flag) => *flag,
            _ => unreachable!("{key} is a flag in SETTINGS"),
        }
    }

    fn length(&self, key: &str) -> Duration {
        match self.parsed(key) {
            Parsed::Length(length) => *length,
            _ => unreachable!("{key} is a length of time in SETTINGS"),
        }
    }

    fn number(&self, key: &str) -> u64 {
        match self.parsed(key) {
            Parsed::Number(number) => *number,
            _ => unreachable!("{key} is a number in SETTINGS"),
        }
    }

    fn text(&self, key: &str) -> &str {
        match self.parsed(key) {
            Parsed::Text(text) => text,
            _ => unreachable!("{key} is a text in SETTINGS"),
        }
    }

    fn path(&self, key: &str) -> Option<&PathBuf> {
        match &self.0.get(key)?.value {
            Parsed::Path(path) => Some(path),
            _ => unreachable!("{key} is a path in SETTINGS"),
        }
    }

    fn problem(&self, key: &'static str, value: Option<String>, problem: impl Into<String>) -> Problem {
        let origin = self.0.get(key).map_or_else(|| "default".to_owned(), |entry| entry.origin.clone());
        Problem { origin, line: None, field: key.to_owned(), value, problem: problem.into() }
    }

    fn key_hash_secret(&self, problems: &mut Vec<Problem>) -> Option<Secret> {
        const KEY: &str = "key_hash_secret";
        const FILE: &str = "key_hash_secret_file";
        let direct = self.0.contains_key(KEY).then(|| Secret(self.text(KEY).to_owned()));
        let Some(file) = self.path(FILE) else { return direct };
        if direct.is_some() {
            let problem = format!("is set as well as {KEY}; set one of them");
            problems.push(self.problem(FILE, Some(format!("{:?}", file.display().to_string())), problem));
            return None;
        }
        match std::fs::read_to_string(file) {
            Ok(text) => {
                let secret = text.trim_end_matches(['\r', '\n']);
                if secret.len() < Setting::LEAST_SECRET_BYTES {
                    let problem = format!(
                        "names a file of {} bytes; a secret needs at least {}",
                        secret.len(),
                        Setting::LEAST_SECRET_BYTES
                    );
                    problems.push(self.problem(
                        FILE,
                        Some(format!("{:?}", file.display().to_string())),
                        problem,
                    ));
                    return None;
                }
                Some(Secret(secret.to_owned()))
            }
            Err(error) => {
                let problem = format!("cannot be read: {error}");
                problems.push(self.problem(FILE, Some(format!("{:?}", file.display().to_string())), problem));
                None
            }
        }
    }

    fn check_listeners(&self, problems: &mut Vec<Problem>) {
        let (listen, ops_listen) = (self.address("listen"), self.address("ops_listen"));
        for (key, address) in [("listen", listen), ("ops_listen", ops_listen)] {
            if !address.ip().is_loopback() && !self.flag("insecure") {
                problems.push(self.problem(
                    key,
                    Some(format!("\"{address}\"")),
                    "would take calls from other machines, which this release neither encrypts nor \
                     authenticates; listen on 127.0.0.1 or [::1], or set insecure if the network is trusted",
                ));
            }
        }
        if listen == ops_listen && listen.port() != 0 {
            let value = Some(format!("\"{ops_listen}\""));
            problems.push(self.problem("ops_listen", value, "is the same as listen; write another port"));
        }
    }

    fn read_policy(&self, problems: &mut Vec<Problem>) -> (PolicyRules, Option<String>) {
        let allowance = self.length("clock_skew_allowance");
        let Some(path) = self.path("policy") else {
            let name = "built-in policy".to_owned();
            return (parse_policy(&name, "", allowance).unwrap_or_default(), None);
        };
        let text = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) => {
                let value = Some(format!("{:?}", path.display().to_string()));
                problems.push(self.problem("policy", value, format!("cannot be read: {error}")));
                return (PolicyRules::default(), None);
            }
        };
        let rules = parse_policy(&path.display().to_string(), &text, allowance).unwrap_or_else(|found| {
            problems.extend(found.0);
            PolicyRules::default()
        });
        (rules, Some(text))
    }

    fn config(&self, key_hash_secret: Option<Secret>) -> ServerConfig {
        ServerConfig {
            listen: self.address("listen"),
            ops_listen: self.address("ops_listen"),
            insecure: self.flag("insecure"),
            store: if self.text("store") == "memory" { StoreKind::Memory } else { StoreKind::Embedded },
            data_dir: self.path("data_dir").cloned().unwrap_or_default(),
            policy: self.path("policy").cloned(),
            clock_skew_allowance: self.length("clock_skew_allowance"),
            key_hash_secret,
            log_level: self.text("log_level").to_owned(),
            log_format: if self.text("log_format") == "json" { LogFormat::Json } else { LogFormat::Human },
            coordinator: coordinator::Settings {
                max_waiters: usize::try_from(self.number("max_waiters")).unwrap_or(usize::MAX),
                replay_cache_bytes: self.number("replay_cache_bytes"),
                replay_cache_max_age: self.length("replay_cache_max_age"),
                recent_bytes: self.number("recent_bytes"),
                settle_within: self.length("settle_within"),
                poll: None,
            },
        }
    }

    fn print(&self) -> String {
        let mut printed = String::new();
        let mut table = "";
        for setting in SETTINGS {
            let (at, name) = setting.key.split_once('.').unwrap_or(("", setting.key));
            if at != table {
                printed.extend(["\n[", at, "]\n"]);
                table = at;
            }
            let line = match self.0.get(setting.key) {
                None => format!("# {name} is not set"),
                Some(entry) if setting.kind == Kind::Secret => {
                    format!("# {name} is set, and hidden  # {}", entry.origin)
                }
                Some(entry) => format!("{name} = {}  # {}", entry.value.to_toml(setting), entry.origin),
            };
            printed.push_str(&line);
            printed.push('\n');
        }
        printed
    }
}
