//! Where settings come from: the file, the environment, the flags; later ones win. Everything that is wrong in any
//! of them is found, even where a later one wins.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::net::{IpAddr, SocketAddr};

use config::{ConfigError, Map, Value, ValueKind};
use toml::de::{DeTable, DeValue};

use super::problem::{Problem, did_you_mean, listed, meant};
use super::settings::{Kind, Parsed, SETTINGS, Setting};
use super::toml_lines::{Source, Span, kind};

/// Variables that the other commands take or print, and so may stand in the server's environment by right.
const VARIABLES_OF_COMMANDS: [&str; 14] = [
    "SEMEL_CONFIG",
    "SEMEL_SERVER",
    "SEMEL_TIMEOUT",
    "SEMEL_TLS_CA",
    "SEMEL_TLS_CERT",
    "SEMEL_TLS_KEY",
    "SEMEL_TOKEN_FILE",
    "SEMEL_TENANT",
    "SEMEL_ENDPOINT",
    "SEMEL_KEY",
    "SEMEL_FENCE",
    "SEMEL_ATTEMPT",
    "SEMEL_ATTEMPT_ID",
    "SEMEL_DECISION",
];

/// The settings of one source: what it holds for each, and where.
#[derive(Clone, Debug, Default)]
pub(crate) struct Layer(BTreeMap<&'static str, (String, String)>);

impl config::Source for Layer {
    fn clone_into_box(&self) -> Box<dyn config::Source + Send + Sync> {
        Box::new(self.clone())
    }

    fn collect(&self) -> Result<Map<String, Value>, ConfigError> {
        let value = |(text, origin): &(String, String)| Value::new(Some(origin), text.clone());
        Ok(self.0.iter().map(|(key, entry)| ((*key).to_owned(), value(entry))).collect())
    }
}

impl Layer {
    /// What holds where nothing is set.
    pub(crate) fn defaults() -> Self {
        let default = |setting: &'static Setting| {
            setting.default.map(|text| (setting.key, (text.to_owned(), "default".to_owned())))
        };
        Self(SETTINGS.iter().filter_map(default).collect())
    }

    /// What the file says.
    pub(crate) fn file(source: Source<'_>, problems: &mut Vec<Problem>) -> Self {
        let table = source.parse(problems);
        let mut layer = Self::default();
        let before = problems.len();
        layer.read_table(source, "", table.get_ref(), problems);
        problems[before..].sort_by_key(|problem| problem.line);
        layer
    }

    fn read_table(&mut self, source: Source<'_>, at: &str, table: &DeTable<'_>, problems: &mut Vec<Problem>) {
        for (name, value) in table {
            let key = format!("{at}{}", name.get_ref());
            let line = source.line(&name.span());
            if let Some(setting) = Setting::named(&key) {
                self.read_value(source, setting, (value.get_ref(), &value.span()), line, problems);
            } else if let DeValue::Table(inner) = value.get_ref()
                && SETTINGS.iter().any(|setting| setting.key.starts_with(&format!("{key}.")))
            {
                self.read_table(source, &format!("{key}."), inner, problems);
            } else {
                let field = |key: &str| key.rsplit('.').next().map(str::to_owned);
                let elsewhere = SETTINGS.iter().map(|setting| setting.key);
                let elsewhere: Vec<_> = elsewhere.filter(|known| field(known) == field(&key)).collect();
                let meant = if elsewhere.is_empty() {
                    did_you_mean(name.get_ref(), names_beside(at))
                } else {
                    format!("; did you mean {}?", elsewhere.join(" or "))
                };
                let known = listed(names_beside(at));
                let problem = format!("is not a setting{meant} (known here: {known})");
                let origin = source.name.to_owned();
                problems.push(Problem {
                    origin,
                    line: Some(line),
                    field: key.escape_debug().to_string(),
                    value: None,
                    problem,
                });
            }
        }
    }

    fn read_value(
        &mut self,
        source: Source<'_>,
        setting: &'static Setting,
        (value, span): (&DeValue<'_>, &Span),
        line: usize,
        problems: &mut Vec<Problem>,
    ) {
        let text = match (setting.kind, value) {
            (Kind::Flag, DeValue::Boolean(flag)) => Ok(flag.to_string()),
            (Kind::Flag, _) => Err("write true or false, without quotes"),
            (Kind::Count(..), DeValue::Integer(number)) => {
                Ok(i64::from_str_radix(number.as_str(), number.radix())
                    .map_or_else(|_| number.to_string(), |number| number.to_string()))
            }
            (Kind::Count(..), _) => Err("write a whole number, without quotes"),
            (Kind::Ratio, DeValue::Integer(number)) => Ok(number.to_string()),
            (Kind::Ratio, DeValue::Float(number)) => Ok(number.to_string()),
            (Kind::Ratio, _) => Err("write a number from 0 to 1, without quotes"),
            (_, DeValue::String(text)) => Ok(text.to_string()),
            (_, _) => Err("write a quoted text"),
        };
        match text {
            Ok(text) => self.take(setting, text, (source.name, Some(line)), problems),
            Err(right) => problems.push(Problem {
                origin: source.name.to_owned(),
                line: Some(line),
                field: setting.key.to_owned(),
                value: (!setting.is_secret()).then(|| source.written(span)),
                problem: format!("is {}; {right}", kind(value)),
            }),
        }
    }

    /// What the environment says. Warnings tell of variables that name no setting, but are none either.
    pub(crate) fn environment(
        variables: impl IntoIterator<Item = (OsString, OsString)>,
        problems: &mut Vec<Problem>,
        warnings: &mut Vec<String>,
    ) -> Self {
        let mut layer = Self::default();
        let mut variables: Vec<_> = variables
            .into_iter()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value)))
            .filter(|(name, value)| name.starts_with("SEMEL_") && !value.is_empty())
            .collect();
        variables.sort_unstable();
        for (name, value) in variables {
            let Some(setting) = SETTINGS.iter().find(|setting| setting.variable() == name) else {
                notice_unknown(name, &value.to_string_lossy(), problems, warnings);
                continue;
            };
            match value.into_string() {
                Ok(text) => layer.take(setting, text, (&name, None), problems),
                Err(_) => problems.push(Problem {
                    origin: name,
                    line: None,
                    field: setting.key.to_owned(),
                    value: None,
                    problem: "is not UTF-8".to_owned(),
                }),
            }
        }
        layer
    }

    /// What the flags say.
    pub(crate) fn flags(flags: &[(&'static Setting, String)], problems: &mut Vec<Problem>) -> Self {
        let mut layer = Self::default();
        for (setting, text) in flags {
            let origin = format!("--{}", setting.flag().unwrap_or_default());
            layer.take(setting, text.clone(), (&origin, None), problems);
        }
        layer
    }

    fn take(
        &mut self,
        setting: &'static Setting,
        text: String,
        (origin, line): (&str, Option<usize>),
        problems: &mut Vec<Problem>,
    ) {
        if let Err(problem) = setting.parse(&text) {
            let value = match setting.kind {
                Kind::Secret(_) => None,
                Kind::Flag | Kind::Count(..) | Kind::Ratio => Some(text.escape_debug().to_string()),
                _ => Some(format!("{text:?}")),
            };
            let (origin, field) = (origin.to_owned(), setting.key.to_owned());
            problems.push(Problem { origin, line, field, value, problem });
        } else {
            let origin = line.map_or_else(|| origin.to_owned(), |line| format!("{origin}:{line}"));
            self.0.insert(setting.key, (text, origin));
        }
    }
}

/// The fields of one table, by the names they have in it.
fn names_beside(at: &str) -> Vec<&'static str> {
    let names = SETTINGS.iter().filter_map(|setting| {
        setting.key.strip_prefix(at).map(|rest| rest.split_once('.').map_or(rest, |(table, _)| table))
    });
    let mut names: Vec<_> = names.collect();
    // The fields of a table stand together.
    names.dedup();
    names
}

/// A variable that looks like a misspelt setting is a problem; any other is somebody else's, and worth a warning
/// unless its origin is plain.
fn notice_unknown(name: String, value: &str, problems: &mut Vec<Problem>, warnings: &mut Vec<String>) {
    if VARIABLES_OF_COMMANDS.contains(&name.as_str()) || is_service_link(&name, value) {
        return;
    }
    let known: Vec<_> = SETTINGS.iter().map(Setting::variable).collect();
    match meant(&name, known.iter().map(String::as_str)) {
        Some(meant) => problems.push(Problem {
            problem: format!("names no setting; did you mean {meant}?"),
            origin: name,
            line: None,
            field: String::new(),
            value: None,
        }),
        None => warnings.push(format!("the environment variable {name} names no setting and has no effect")),
    }
}

/// Whether Kubernetes sets this for a Service called `semel` or `semel-…`, such as `SEMEL_PORT_7400_TCP_ADDR`: both the
/// name and the value have to be of its form.
fn is_service_link(name: &str, value: &str) -> bool {
    let is_number = |text: &str| text.parse::<u16>().is_ok();
    let is_address = |text: &str| text.parse::<IpAddr>().is_ok();
    let is_url = |text: &str| {
        text.split_once("://")
            .is_some_and(|(protocol, at)| is_protocol(protocol) && at.parse::<SocketAddr>().is_ok())
    };
    if name.ends_with("_SERVICE_HOST") {
        return is_address(value);
    }
    if name.ends_with("_SERVICE_PORT") || name.contains("_SERVICE_PORT_") {
        return is_number(value);
    }
    if let Some(service) = name.strip_suffix("_PORT")
        && is_url(value)
    {
        return !service.is_empty();
    }
    // …_PORT_7400_TCP, and what it is made of.
    let Some((_, port)) = name.split_once("_PORT_") else { return false };
    let mut parts = port.split('_');
    parts.next().is_some_and(is_number)
        && parts.next().is_some_and(is_protocol)
        && match (parts.next(), parts.next()) {
            (None, _) => is_url(value),
            (Some("PROTO"), None) => is_protocol(value),
            (Some("PORT"), None) => is_number(value),
            (Some("ADDR"), None) => is_address(value),
            _ => false,
        }
}

fn is_protocol(text: &str) -> bool {
    ["tcp", "udp", "sctp"].iter().any(|protocol| text.eq_ignore_ascii_case(protocol))
}

/// A setting's value in force and where it comes from.
#[derive(Clone)]
pub(crate) struct InForce {
    pub(crate) value: Parsed,
    pub(crate) origin: String,
}

/// Lays the layers over each other, the first below all others.
pub(crate) fn merge(layers: Vec<Layer>) -> Result<BTreeMap<&'static str, InForce>, ConfigError> {
    let mut builder = config::Config::builder();
    for layer in layers {
        builder = builder.add_source(layer);
    }
    let merged = builder.build()?;
    let mut in_force = BTreeMap::new();
    for setting in SETTINGS {
        let Some((text, origin)) = entry(&merged.cache, setting.key) else { continue };
        let value = setting.parse(&text).map_err(ConfigError::Message)?;
        in_force.insert(setting.key, InForce { value, origin });
    }
    Ok(in_force)
}

fn entry(root: &Value, key: &str) -> Option<(String, String)> {
    let value = key.split('.').try_fold(root, |at, name| match &at.kind {
        ValueKind::Table(table) => table.get(name),
        _ => None,
    })?;
    match &value.kind {
        ValueKind::String(text) => Some((text.clone(), value.origin().unwrap_or_default().to_owned())),
        _ => None,
    }
}
