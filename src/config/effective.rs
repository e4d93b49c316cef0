//! The values in force, and what is wrong with them together.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use tracing_subscriber::filter::Targets;

use super::layers::InForce;
use super::policy_file::{Wait, read_policy};
use super::problem::Problem;
use super::settings::{LEAST_KEY_HASH_SECRET, Parsed, SETTINGS};
use super::{LogFormat, Secret, ServerConfig, StoreSettings};
use crate::coordinator::{self, Poll};
use crate::domain::PolicyRules;
use crate::server::Limits;
use crate::storage::embedded;
use crate::telemetry::{self, LabelBounds};

/// Every setting that has a value.
#[derive(Clone)]
pub(super) struct Effective(BTreeMap<&'static str, InForce>);

impl fmt::Debug for Effective {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.keys()).finish()
    }
}

impl Effective {
    pub(super) const fn new(values: BTreeMap<&'static str, InForce>) -> Self {
        Self(values)
    }

    /// The value of a setting that has a default.
    fn parsed(&self, key: &str) -> &Parsed {
        &self.0.get(key).unwrap_or_else(|| panic!("{key} is in SETTINGS with a default")).value
    }

    pub(super) fn value(&self, key: &str) -> Option<&Parsed> {
        self.0.get(key).map(|entry| &entry.value)
    }

    pub(super) fn is_set(&self, key: &str) -> bool {
        self.0.contains_key(key)
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

    pub(super) fn length(&self, key: &str) -> Duration {
        match self.parsed(key) {
            Parsed::Length(length) => *length,
            _ => unreachable!("{key} is a length of time in SETTINGS"),
        }
    }

    pub(super) fn number(&self, key: &str) -> u64 {
        match self.parsed(key) {
            Parsed::Number(number) => *number,
            _ => unreachable!("{key} is a number in SETTINGS"),
        }
    }

    /// A number that fits whatever takes it, because its bounds in SETTINGS do.
    pub(super) fn fitting<N: TryFrom<u64>>(&self, key: &str) -> N {
        N::try_from(self.number(key)).unwrap_or_else(|_| unreachable!("{key} is bounded in SETTINGS"))
    }

    fn ratio(&self, key: &str) -> f64 {
        match self.parsed(key) {
            Parsed::Ratio(ratio) => *ratio,
            _ => unreachable!("{key} is a ratio in SETTINGS"),
        }
    }

    pub(super) fn text(&self, key: &str) -> &str {
        match self.parsed(key) {
            Parsed::Text(text) => text,
            _ => unreachable!("{key} is a text in SETTINGS"),
        }
    }

    fn levels(&self, key: &str) -> Targets {
        match self.parsed(key) {
            Parsed::Levels(_, levels) => levels.as_ref().clone(),
            _ => unreachable!("{key} holds log levels in SETTINGS"),
        }
    }

    pub(super) fn path(&self, key: &str) -> Option<&PathBuf> {
        match &self.0.get(key)?.value {
            Parsed::Path(path) => Some(path),
            _ => unreachable!("{key} is a path in SETTINGS"),
        }
    }

    pub(super) fn problem(
        &self,
        key: &'static str,
        value: Option<String>,
        problem: impl Into<String>,
    ) -> Problem {
        let origin = self.0.get(key).map_or_else(|| "default".to_owned(), |entry| entry.origin.clone());
        Problem { origin, line: None, field: key.to_owned(), value, problem: problem.into() }
    }

    pub(super) fn key_hash_secret(&self, problems: &mut Vec<Problem>) -> Option<Secret> {
        self.text_or_file("key_hash_secret", "key_hash_secret_file", LEAST_KEY_HASH_SECRET, problems)
            .map(Secret)
    }

    /// The text of `key`, or what the file that `file_key` names holds.
    pub(super) fn text_or_file(
        &self,
        key: &'static str,
        file_key: &'static str,
        least: usize,
        problems: &mut Vec<Problem>,
    ) -> Option<String> {
        let direct = self.is_set(key).then(|| self.text(key).to_owned());
        let Some(file) = self.path(file_key) else { return direct };
        let mut refuse = |problem: String| {
            let value = Some(format!("{:?}", file.display().to_string()));
            problems.push(self.problem(file_key, value, problem));
            None
        };
        if direct.is_some() {
            return refuse(format!("is set as well as {key}; set one of them"));
        }
        match std::fs::read_to_string(file) {
            Ok(text) => {
                let text = text.trim_end_matches(['\r', '\n']);
                if text.len() < least {
                    let length = text.len();
                    return refuse(format!("names a file of {length} bytes; {key} needs at least {least}"));
                }
                Some(text.to_owned())
            }
            Err(error) => refuse(format!("cannot be read: {error}")),
        }
    }

    /// Listening beyond loopback takes encryption and credentials, or somebody who says that it does not.
    pub(super) fn check_listeners(&self, problems: &mut Vec<Problem>) {
        let (listen, ops_listen) = (self.address("listen"), self.address("ops_listen"));
        let lacks = match (self.encrypts(), self.asks_for_credentials()) {
            (true, true) => None,
            (true, false) => Some(
                "and asks for no credential (auth.credentials_file, auth.jwks_file, or tls.client_ca_file); set one",
            ),
            (false, true) => Some("and does not encrypt them (tls.certificate_file, tls.key_file); set both"),
            (false, false) => Some(
                "and neither encrypts them (tls.certificate_file, tls.key_file) nor asks for a credential \
                 (auth.credentials_file, auth.jwks_file, or tls.client_ca_file); set them",
            ),
        };
        let plain = Some("and is never encrypted, nor asks for a credential");
        for (key, address, lacks) in [("listen", listen, lacks), ("ops_listen", ops_listen, plain)] {
            if let Some(lacks) = lacks
                && !address.ip().is_loopback()
                && !self.flag("insecure")
            {
                let problem = format!(
                    "would take calls from other machines, {lacks}; listen on 127.0.0.1 or [::1], or set insecure if \
                     the network is trusted"
                );
                problems.push(self.problem(key, Some(format!("\"{address}\"")), problem));
            }
        }
        if listen == ops_listen && listen.port() != 0 {
            let value = Some(format!("\"{ops_listen}\""));
            problems.push(self.problem("ops_listen", value, "is the same as listen; write another port"));
        }
    }

    pub(super) fn read_policy(
        &self,
        problems: &mut Vec<Problem>,
        warnings: &mut Vec<String>,
    ) -> (PolicyRules, Option<String>) {
        let (name, text) = match self.path("policy") {
            None => ("built-in policy".to_owned(), None),
            Some(path) => match std::fs::read_to_string(path) {
                Ok(text) => (path.display().to_string(), Some(text)),
                Err(error) => {
                    let value = Some(format!("{:?}", path.display().to_string()));
                    problems.push(self.problem("policy", value, format!("cannot be read: {error}")));
                    return (PolicyRules::default(), None);
                }
            },
        };
        let read =
            read_policy(&name, text.as_deref().unwrap_or_default(), self.length("clock_skew_allowance"));
        let rules = match read {
            Ok((rules, waits)) => {
                warnings.extend(Wait::warnings(&waits, self.length("limits.request_timeout")));
                rules
            }
            Err(found) => {
                problems.extend(found.0);
                PolicyRules::default()
            }
        };
        (rules, text)
    }

    pub(super) fn embedded(&self) -> embedded::Settings {
        embedded::Settings {
            cache_bytes: self.number("embedded.cache_bytes"),
            write_buffer_bytes: self.number("embedded.write_buffer_bytes"),
            journal_bytes: self.number("embedded.journal_bytes"),
            free_space_reserve_bytes: self.number("embedded.free_space_reserve_bytes"),
            ..embedded::Settings::new(self.path("data_dir").cloned().unwrap_or_default())
        }
    }

    /// Where records are kept; `None` where problems say why not.
    pub(super) fn store(&self, problems: &mut Vec<Problem>) -> Option<StoreSettings> {
        match self.text("store") {
            "memory" => Some(StoreSettings::Memory),
            "scylla" => self.scylla(problems).map(Box::new).map(StoreSettings::Scylla),
            _ => Some(StoreSettings::Embedded(self.embedded())),
        }
    }

    pub(super) fn config(&self, store: StoreSettings, key_hash_secret: Option<Secret>) -> ServerConfig {
        let poll = matches!(store, StoreSettings::Scylla(_)).then(Poll::default);
        ServerConfig {
            listen: self.address("listen"),
            ops_listen: self.address("ops_listen"),
            insecure: self.flag("insecure"),
            store,
            policy: self.path("policy").cloned(),
            clock_skew_allowance: self.length("clock_skew_allowance"),
            key_hash_secret,
            log_level: self.levels("log_level"),
            log_format: if self.text("log_format") == "json" { LogFormat::Json } else { LogFormat::Human },
            audit_log: self.path("audit_log").cloned(),
            coordinator: coordinator::Settings {
                max_waiters: self.fitting("max_waiters"),
                replay_cache_bytes: self.number("replay_cache_bytes"),
                replay_cache_max_age: self.length("replay_cache_max_age"),
                recent_bytes: self.number("recent_bytes"),
                settle_within: self.length("settle_within"),
                observer: None,
                poll,
            },
            limits: self.limits(),
            telemetry: self.telemetry(),
        }
    }

    fn telemetry(&self) -> telemetry::Settings {
        let labels = LabelBounds {
            pairs: self.fitting("telemetry.label_pairs"),
            endpoints: self.fitting("telemetry.label_endpoints"),
        };
        let correlation_label = self.is_set("telemetry.correlation_label");
        telemetry::Settings {
            labels,
            decision_log: self.flag("telemetry.decision_log"),
            replay_log_ratio: self.ratio("telemetry.replay_log_ratio"),
            correlation_label: correlation_label.then(|| self.text("telemetry.correlation_label").to_owned()),
            trace_all_but_first: self.flag("telemetry.trace_all_but_first"),
        }
    }

    fn limits(&self) -> Limits {
        Limits {
            max_request_bytes: self.fitting("limits.max_request_bytes"),
            max_response_bytes: self.fitting("limits.max_response_bytes"),
            max_bytes_under_way: self.fitting("limits.max_bytes_under_way"),
            max_connections: self.fitting("limits.max_connections"),
            greeting_time: self.length("limits.greeting_time"),
            max_concurrent_streams: self.fitting("limits.max_concurrent_streams"),
            max_header_list_bytes: self.fitting("limits.max_header_list_bytes"),
            max_pending_reset_streams: self.fitting("limits.max_pending_reset_streams"),
            max_error_reset_streams: self.fitting("limits.max_error_reset_streams"),
            keep_alive_interval: self.length("limits.keep_alive_interval"),
            keep_alive_timeout: self.length("limits.keep_alive_timeout"),
            max_connection_age: self.length("limits.max_connection_age"),
            max_connection_age_grace: self.length("limits.max_connection_age_grace"),
            request_timeout: self.length("limits.request_timeout"),
            drain_time: self.length("limits.drain_time"),
        }
    }

    /// What the transport's limits break together.
    pub(super) fn check_limits(&self, problems: &mut Vec<Problem>) {
        problems.extend(self.limits().problems().into_iter().map(|problem| Problem {
            origin: "settings".to_owned(),
            line: None,
            field: "limits:".to_owned(),
            value: None,
            problem,
        }));
    }

    /// As a TOML file, each value with its origin in a comment.
    pub(super) fn print(&self) -> String {
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
                Some(entry) if setting.is_secret() => {
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
