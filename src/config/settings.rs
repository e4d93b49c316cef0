//! Every setting of the server: its name, what it takes, its default, and what it is for.
//!
//! One table serves the file (`limits.request_timeout`), the environment (`SEMEL_LIMITS_REQUEST_TIMEOUT`) and the
//! flags (`--limits-request-timeout`).

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use tracing_subscriber::filter::Targets;

use super::problem::listed;
use super::units::{format_duration, format_size, parse_duration, parse_size};
use crate::storage::embedded;

/// One setting.
#[derive(Debug)]
pub struct Setting {
    /// Its name in the file; a dot parts the table from the field.
    pub key: &'static str,
    /// What it takes.
    pub kind: Kind,
    /// Its value where nobody sets it.
    pub default: Option<&'static str>,
    /// What it is for.
    pub help: &'static str,
}

/// What a setting takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// An IP address and a port.
    Address,
    /// true or false.
    Flag,
    /// One of these words.
    Choice(&'static [&'static str]),
    /// A file or a directory.
    Path,
    /// A length of time, at least and at most this long.
    Length(Duration, Duration),
    /// A size in bytes, at least and at most this much.
    Size(u64, u64),
    /// A whole number, at least and at most this.
    Count(u64, u64),
    /// A part of the whole, from 0 to 1.
    Ratio,
    /// Log levels: one for all, or some by target.
    Levels,
    /// A text.
    Text,
    /// Names or addresses of machines, each with a port or without, parted by commas.
    Hosts,
    /// A text that is never shown, and never taken as a flag, where other processes would see it; at least this many
    /// bytes.
    Secret(usize),
}

/// A setting's value, read.
#[derive(Clone)]
pub(crate) enum Parsed {
    Address(SocketAddr),
    Flag(bool),
    Path(PathBuf),
    Length(Duration),
    Number(u64),
    Ratio(f64),
    Text(String),
    Hosts(Vec<String>),
    /// As it was written, and as it is understood.
    Levels(String, Box<Targets>),
}

impl Parsed {
    /// The value as TOML writes it.
    pub(crate) fn to_toml(&self, setting: &Setting) -> String {
        let text = match self {
            Self::Address(address) => address.to_string(),
            Self::Flag(flag) => flag.to_string(),
            Self::Path(path) => path.display().to_string(),
            Self::Length(length) => format_duration(*length),
            Self::Number(number) if matches!(setting.kind, Kind::Size(..)) => format_size(*number),
            Self::Number(number) => number.to_string(),
            Self::Ratio(ratio) => ratio.to_string(),
            Self::Text(text) | Self::Levels(text, _) => text.clone(),
            Self::Hosts(hosts) => hosts.join(","),
        };
        match setting.kind {
            Kind::Flag | Kind::Count(..) | Kind::Ratio => text,
            _ => toml::Value::String(text).to_string(),
        }
    }
}

/// The shortest secret that makes hashes which nobody can undo by trying.
pub(crate) const LEAST_KEY_HASH_SECRET: usize = 16;
const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];
const SECOND: Duration = Duration::from_secs(1);
const YEAR: Duration = Duration::from_hours(365 * 24);
const HOUR: Duration = Duration::from_hours(1);
const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;
const TIB: u64 = 1 << 40;

impl Setting {
    /// Its environment variable.
    pub fn variable(&self) -> String {
        format!("SEMEL_{}", self.key.replace('.', "_").to_uppercase())
    }

    /// Its flag, without the dashes before it; none for a secret.
    pub fn flag(&self) -> Option<String> {
        (!self.is_secret()).then(|| self.key.replace(['.', '_'], "-"))
    }

    /// Whether nothing may show its value.
    pub const fn is_secret(&self) -> bool {
        matches!(self.kind, Kind::Secret(_))
    }

    /// The setting of that name.
    pub fn named(key: &str) -> Option<&'static Self> {
        SETTINGS.iter().find(|setting| setting.key == key)
    }

    /// Reads `text`, or says what is wrong with it and what would be right.
    pub(crate) fn parse(&self, text: &str) -> Result<Parsed, String> {
        match self.kind {
            Kind::Address => text.parse().map(Parsed::Address).map_err(|_| {
                r#"is not an IP address and a port; write one such as "127.0.0.1:7400" or "[::1]:7400""#
                    .to_owned()
            }),
            Kind::Flag => text.parse().map(Parsed::Flag).map_err(|_| "is neither true nor false".to_owned()),
            Kind::Choice(words) if words.contains(&text) => Ok(Parsed::Text(text.to_owned())),
            Kind::Choice(words) => Err(format!("is none of: {}", listed(words.iter().copied()))),
            Kind::Path if text.is_empty() => Err("is empty; write a path".to_owned()),
            Kind::Path => Ok(Parsed::Path(text.into())),
            Kind::Length(least, most) => {
                let length = parse_duration(text)?;
                if length < least || length > most {
                    let (least, most) = (format_duration(least), format_duration(most));
                    return Err(format!("is out of bounds; write {least} to {most}"));
                }
                Ok(Parsed::Length(length))
            }
            Kind::Size(least, most) => {
                let size = parse_size(text)?;
                if size < least || size > most {
                    let (least, most) = (format_size(least), format_size(most));
                    return Err(format!("is out of bounds; write {least} to {most}"));
                }
                Ok(Parsed::Number(size))
            }
            Kind::Count(least, most) => match text.parse::<u64>() {
                Ok(count) if (least..=most).contains(&count) => Ok(Parsed::Number(count)),
                Ok(_) => Err(format!("is out of bounds; write {least} to {most}")),
                Err(_) => Err(format!("is not a whole number; write one from {least} to {most}")),
            },
            Kind::Ratio => match text.parse::<f64>() {
                Ok(ratio) if (0.0..=1.0).contains(&ratio) => Ok(Parsed::Ratio(ratio)),
                Ok(_) => Err("is out of bounds; write 0 to 1".to_owned()),
                Err(_) => Err("is not a number; write one from 0 to 1, such as 0.1".to_owned()),
            },
            Kind::Levels => {
                parse_levels(text).map(|levels| Parsed::Levels(text.to_owned(), Box::new(levels)))
            }
            Kind::Text if text.is_empty() => Err("is empty; write a text".to_owned()),
            Kind::Hosts => parse_hosts(text).map(Parsed::Hosts),
            Kind::Secret(least) if text.len() < least => {
                Err(format!("is {} bytes long; a secret needs at least {least}", text.len()))
            }
            Kind::Text | Kind::Secret(_) => Ok(Parsed::Text(text.to_owned())),
        }
    }

    /// What the setting takes, for people.
    pub(crate) const fn takes(&self) -> &'static str {
        match self.kind {
            Kind::Address => "IP:PORT",
            Kind::Flag => "true|false",
            Kind::Choice(_) => "WORD",
            Kind::Path => "PATH",
            Kind::Length(..) => "TIME",
            Kind::Size(..) => "SIZE",
            Kind::Count(..) => "NUMBER",
            Kind::Ratio => "0…1",
            Kind::Levels => "LEVEL",
            Kind::Text => "TEXT",
            Kind::Hosts => "HOST[:PORT],…",
            Kind::Secret(_) => "SECRET",
        }
    }
}

/// Reads hosts parted by commas. Whether a host is there is for the network to say.
fn parse_hosts(text: &str) -> Result<Vec<String>, String> {
    let host = |part: &str| {
        let part = part.trim();
        let (name, port) = match part.rsplit_once(':') {
            // An IPv6 address has colons of its own; with a port it stands in brackets.
            Some((name, port)) if !name.contains(':') || name.ends_with(']') => (name, Some(port)),
            _ => (part, None),
        };
        let plain = |c: char| c.is_alphanumeric() || matches!(c, '.' | '-' | '_' | ':' | '[' | ']');
        if name.is_empty() || !name.chars().all(plain) {
            return Err(format!(r#"names no host in "{part}"; write some, such as "10.0.0.1,db-2:9042""#));
        }
        match port.map(str::parse::<u16>) {
            Some(Err(_)) => Err(format!(r#"names no port in "{part}"; write one of 1 to 65535 after the :"#)),
            _ => Ok(part.to_owned()),
        }
    };
    text.split(',').map(host).collect()
}

/// Reads one level for all, and `target=level` for some, parted by commas.
fn parse_levels(text: &str) -> Result<Targets, String> {
    let mut parts = Vec::new();
    for part in text.split(',') {
        let (target, level) = match part.split_once('=') {
            Some((target, level)) => (Some(target.trim()), level.trim()),
            None => (None, part.trim()),
        };
        if !LEVELS.contains(&level) {
            return Err(format!(
                r#"names no level in "{part}"; write one of {}, or also some by target, such as "info,semel=debug""#,
                listed(LEVELS)
            ));
        }
        // A target is a module's path. Anything else would match nothing, and silence what it was meant to show.
        let is_path = |target: &str| {
            !target.is_empty()
                && target.chars().all(|c| c.is_alphanumeric() || matches!(c, '_' | ':' | '-' | '.'))
        };
        if target.is_some_and(|target| !is_path(target)) {
            return Err(format!(
                r#"names no target in "{part}"; write a module's path before the =, such as "semel=debug""#
            ));
        }
        parts.push(target.map_or_else(|| level.to_owned(), |target| format!("{target}={level}")));
    }
    parts.join(",").parse().map_err(|error| format!("is not taken as log levels: {error}"))
}

macro_rules! settings {
    ($($key:literal: $kind:expr, $default:expr, $help:literal;)+) => {
        /// Every setting, in the order of the example file.
        pub const SETTINGS: &[Setting] =
            &[$(Setting { key: $key, kind: $kind, default: $default, help: $help }),+];
    };
}

settings! {
    "listen": Kind::Address, Some("127.0.0.1:7400"),
        "Where gRPC calls come in.";
    "ops_listen": Kind::Address, Some("127.0.0.1:7401"),
        "Where /livez, /readyz, /metrics and /debug are answered, over HTTP.";
    "insecure": Kind::Flag, Some("false"),
        "Allows listening beyond loopback, although calls are not encrypted, or callers not authenticated.";
    "store": Kind::Choice(&["embedded", "scylla", "memory"]), Some("embedded"),
        "Where records are kept: embedded (in data_dir, durable), scylla (in ScyllaDB or Apache Cassandra, shared by many servers), or memory (gone when the server stops).";
    "data_dir": Kind::Path, Some("./data"),
        "The directory of the embedded store. One server owns it at a time.";
    "policy": Kind::Path, None,
        "The policy file. Without one, the built-in defaults hold for everybody.";
    "clock_skew_allowance": Kind::Length(Duration::ZERO, Duration::from_mins(10)), Some("1s"),
        "How far the clocks of servers on one store may differ. A lease counts as over only this much after its end.";
    "key_hash_secret": Kind::Secret(LEAST_KEY_HASH_SECRET), None,
        "Makes the hashes that stand for keys in logs comparable over restarts and servers. Without one, each start makes its own.";
    "key_hash_secret_file": Kind::Path, None,
        "A file that holds key_hash_secret.";
    "encryption_key_file": Kind::Path, None,
        "The keys under which what callers wrote is encrypted in the store: results, checkpoints, labels, remarks, fingerprints. Without it nothing is, and what was encrypted cannot be read.";
    "log_level": Kind::Levels, Some("info,fjall=warn,lsm_tree=warn,scylla=warn"),
        "What is logged: off, error, warn, info, debug or trace; also by target, such as info,semel=debug.";
    "log_format": Kind::Choice(&["human", "json"]), Some("human"),
        "How it is logged, on standard error.";
    "audit_log": Kind::Path, None,
        "A file to which operators' calls, and changes of policy, keys and credentials, are appended as JSON lines. Without it they are in the log, with the target semel::audit, whatever log_level says.";
    "max_waiters": Kind::Count(0, 10_000_000), Some("10000"),
        "How many Begins may be held at a time while another attempt runs.";
    "replay_cache_bytes": Kind::Size(0, TIB), Some("32MiB"),
        "Memory for completed records, which are replayed without asking the store.";
    "replay_cache_max_age": Kind::Length(Duration::ZERO, HOUR), Some("30s"),
        "How long a completed record is replayed without asking the store. Other servers may replay a forgotten result for as long.";
    "recent_bytes": Kind::Size(0, TIB), Some("32MiB"),
        "Memory for records that this server wrote last, which saves a read before the next write.";
    "settle_within": Kind::Length(Duration::from_millis(10), Duration::from_mins(5)), Some("10s"),
        "How long a write of unknown outcome is sent again before the caller is told that it is unknown.";

    "embedded.cache_bytes": Kind::Size(MIB, TIB), Some("64MiB"),
        "Memory for what was read or written lately.";
    "embedded.write_buffer_bytes": Kind::Size(MIB, 64 * GIB), Some("16MiB"),
        "Memory for writes that are in the journal and not yet in tables, for each of three keyspaces; up to three times as much while the disk falls behind.";
    "embedded.journal_bytes": Kind::Size(embedded::Settings::LEAST_JOURNAL_BYTES, TIB), Some("64MiB"),
        "How much journal may be on disk. A start reads it, so this bounds the time a start takes.";
    "embedded.free_space_reserve_bytes": Kind::Size(0, 1024 * TIB), Some("256MiB"),
        "Writes are refused while the file system has less room than this.";

    "scylla.nodes": Kind::Hosts, None,
        "Where to meet the database: some of its nodes, parted by commas, port 9042 unless one says otherwise. The others are learned from these.";
    "scylla.datacenter": Kind::Text, None,
        "The datacenter that this server is in: its nodes are spoken to. May be left out where the cluster has one alone.";
    "scylla.keyspace": Kind::Text, Some("semel"),
        "The keyspace that holds the tables; `semel schema apply` makes it.";
    "scylla.user": Kind::Text, None,
        "Who connects, where the database asks.";
    "scylla.user_file": Kind::Path, None,
        "A file that holds scylla.user, such as a mounted Kubernetes secret.";
    "scylla.password": Kind::Secret(1), None,
        "The password of scylla.user.";
    "scylla.password_file": Kind::Path, None,
        "A file that holds scylla.password.";
    "scylla.tls_ca_file": Kind::Path, None,
        "The certificates, in PEM form, of the authorities that sign the nodes' certificates. Without it, connections are not encrypted.";
    "scylla.tls_certificate_file": Kind::Path, None,
        "semel's own certificate in PEM form, where the nodes ask for one, with those between it and the authority.";
    "scylla.tls_key_file": Kind::Path, None,
        "The private key of scylla.tls_certificate_file, in PEM form.";
    "scylla.connections_per_shard": Kind::Count(1, 1000), Some("1"),
        "Connections to each shard of a ScyllaDB node, or to each Cassandra node.";
    "scylla.connect_timeout": Kind::Length(Duration::from_millis(100), Duration::from_mins(5)), Some("5s"),
        "How long a connection may take to be made.";
    "scylla.request_timeout": Kind::Length(Duration::from_millis(100), Duration::from_mins(5)), Some("10s"),
        "How long an answer of the database is awaited. It must exceed the database's own timeouts, so that its word is heard where it has one.";
    "scylla.ordering": Kind::Choice(&["local_serial", "serial"]), Some("local_serial"),
        "Where writes of one key are put in order: local_serial (within the datacenter: a key must be used in one alone), or serial (across all of them, at the price of their distance).";
    "scylla.listing": Kind::Choice(&["unresolved", "open"]), Some("unresolved"),
        "Which records List and the sweep can show: unresolved (those that nobody may rerun), or open (all that are not completed, at one more plain write for each Begin).";

    "telemetry.label_pairs": Kind::Count(0, 10_000), Some("500"),
        "How many pairs of tenant and endpoint have labels of their own in metrics; what is past it is counted as other.";
    "telemetry.label_endpoints": Kind::Count(0, 10_000), Some("100"),
        "How many endpoints of one tenant have labels of their own in metrics.";
    "telemetry.decision_log": Kind::Flag, Some("true"),
        "Whether each decision has a line in the log, under the target semel::decision.";
    "telemetry.replay_log_ratio": Kind::Ratio, Some("1"),
        "The part of the replays that has a line in the log, such as 0.01. Replays of failures always have one.";
    "telemetry.correlation_label": Kind::Text, None,
        "The label of a Begin whose value is shown in the log and in traces, such as order. Its values must be fit to be seen.";
    "telemetry.trace_all_but_first": Kind::Flag, Some("true"),
        "Whether every decision that is not an operation's first is traced, whatever OTEL_TRACES_SAMPLER says: replays, retries, takeovers, refusals. Traces are sent where OTEL_EXPORTER_OTLP_ENDPOINT says.";

    "tls.certificate_file": Kind::Path, None,
        "The server's certificate in PEM form, with those between it and its authority. With it, gRPC calls are encrypted. Read again when it changes, as are the next two.";
    "tls.key_file": Kind::Path, None,
        "The private key of tls.certificate_file, in PEM form.";
    "tls.client_ca_file": Kind::Path, None,
        "The certificates, in PEM form, of the authorities whose clients' certificates are credentials. Without it, clients are asked for none.";
    "tls.client_certificates": Kind::Choice(&["optional", "required"]), Some("optional"),
        "Whether a connection without a client's certificate is taken: optional (its calls need another credential, but for health), or required.";

    "auth.credentials_file": Kind::Path, None,
        "The file of bearer tokens, which `semel token` writes, and of whom certificates stand for. Read again when it changes.";
    "auth.trust_domain": Kind::Text, None,
        "Certificates with the URI spiffe://TRUST_DOMAIN/tenant/TENANT/role/ROLE stand for that tenant in that role.";
    "auth.jwks_file": Kind::Path, None,
        "The public keys, as a JWKS, of the issuer whose JSON Web Tokens are credentials. Read again when it changes.";
    "auth.jwt_algorithms": Kind::Text, None,
        "The only signatures accepted of it: some of RS256, RS384, RS512, PS256, PS384, PS512, ES256, ES384, EdDSA, parted by commas.";
    "auth.jwt_issuer": Kind::Text, None,
        "Who has to have issued a token (iss).";
    "auth.jwt_audience": Kind::Text, None,
        "Whom a token has to be for (aud).";
    "auth.jwt_subject_claim": Kind::Text, Some("sub"),
        "The claim that names the caller, for logs. A name that begins with / is a JSON pointer; so for the next two.";
    "auth.jwt_tenants_claim": Kind::Text, Some("semel_tenants"),
        "The claim that names the tenants: a text or a list; one that ends in * is every tenant that begins so.";
    "auth.jwt_roles_claim": Kind::Text, Some("semel_roles"),
        "The claim that names the roles: client, reader or operator; others are passed over.";
    "auth.jwt_leeway": Kind::Length(Duration::ZERO, Duration::from_mins(5)), Some("30s"),
        "How far the issuer's clock may differ from the server's.";

    "limits.max_request_bytes": Kind::Size(4 * MIB, GIB), Some("4MiB"),
        "The largest request message.";
    "limits.max_response_bytes": Kind::Size(4 * MIB, GIB), Some("4MiB"),
        "The largest response message; answers to batches and pages are cut to fit it.";
    "limits.max_bytes_under_way": Kind::Size(8 * MIB, 1024 * GIB), Some("256MiB"),
        "What requests that arrive and answers that are not taken yet may take together, those up to 64 KiB left out; the oldest give way.";
    "limits.max_connections": Kind::Count(1, 10_000_000), Some("10000"),
        "The most gRPC connections at a time; one more is closed as soon as it is accepted.";
    "limits.greeting_time": Kind::Length(Duration::from_millis(10), HOUR), Some("10s"),
        "How long a client may take from connecting to the greeting that HTTP/2 begins with.";
    "limits.max_concurrent_streams": Kind::Count(1, 1_000_000), Some("1024"),
        "The most calls at a time on one connection.";
    "limits.max_header_list_bytes": Kind::Size(4 * KIB, MIB), Some("16KiB"),
        "The largest header list of a request; it bounds CONTINUATION frames too.";
    "limits.max_pending_reset_streams": Kind::Count(0, 1_000_000), Some("20"),
        "How many streams a client may have reset before the server took them up; one more closes the connection (rapid reset).";
    "limits.max_error_reset_streams": Kind::Count(0, 1_000_000), Some("1024"),
        "How many streams of a connection the server may have to reset for protocol errors; one more closes it (MadeYouReset).";
    "limits.keep_alive_interval": Kind::Length(SECOND, YEAR), Some("1m"),
        "How long a connection may be silent before the server sends it a ping.";
    "limits.keep_alive_timeout": Kind::Length(SECOND, YEAR), Some("20s"),
        "How long the answer to that ping may take before the connection is closed.";
    "limits.max_connection_age": Kind::Length(Duration::ZERO, YEAR), Some("1h"),
        "After this long a connection is asked to go, so that clients spread over servers anew; 0s for never.";
    "limits.max_connection_age_grace": Kind::Length(Duration::ZERO, YEAR), Some("1m"),
        "How long the calls of such a connection may take to end before it is closed.";
    "limits.request_timeout": Kind::Length(Duration::from_millis(100), YEAR), Some("1m"),
        "The longest that any call may take; a caller's own deadline may be shorter.";
    "limits.drain_time": Kind::Length(Duration::ZERO, YEAR), Some("20s"),
        "How long the calls under way may take to end once the server was told to stop.";
}
