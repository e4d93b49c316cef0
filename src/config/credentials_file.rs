//! The credentials file: `[[token]]` and `[[certificate]]` tables, each with the tenants and the roles of its bearer.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::UNIX_EPOCH;

use toml::Spanned;
use toml::de::{DeArray, DeString, DeTable, DeValue};

use super::problem::{Problem, Problems, did_you_mean, listed};
use super::toml_lines::{Source, kind};
use crate::audit::{self, Values};
use crate::domain::{Pattern, Tenant, Timestamp};
use crate::server::{Credentials, Identity, Role, Token, TokenHash};

const OF_TOKENS: &[&str] = &["name", "sha256", "tenants", "roles", "created", "expires", "revoked"];
const OF_CERTIFICATES: &[&str] = &["uri", "tenants", "roles"];

/// A token as the file has it.
#[derive(Clone, Debug)]
pub struct TokenEntry {
    /// What people call it; unique in the file.
    pub name: String,
    /// What it is found by.
    pub hash: TokenHash,
    /// Whom it stands for, and until when.
    pub token: Token,
    /// Its tenants, as written.
    pub tenants: Vec<String>,
    /// Its roles.
    pub roles: Vec<Role>,
    /// When it was made, where that is said.
    pub created: Option<Timestamp>,
}

/// What a credentials file says.
#[derive(Debug, Default)]
pub struct CredentialsFile {
    /// In the order of the file.
    pub tokens: Vec<TokenEntry>,
    certificates: Vec<CertificateEntry>,
}

/// Certificates as the file has them.
#[derive(Debug)]
struct CertificateEntry {
    /// As written; it may end in `*`.
    uri: String,
    identity: Arc<Identity>,
    tenants: Vec<String>,
    roles: Vec<Role>,
}

impl CredentialsFile {
    /// As the server looks them up.
    pub fn credentials(&self) -> Credentials {
        let tokens = self.tokens.iter().map(|entry| (entry.hash, entry.token.clone()));
        let certificates =
            self.certificates.iter().map(|entry| (Pattern::parse(&entry.uri), entry.identity.clone()));
        Credentials::new(tokens.collect::<HashMap<_, _>>(), certificates.collect())
    }

    /// What the file says, for the audit log: of a token its hash, which tells nothing of it.
    pub(super) fn values(&self) -> Values {
        let mut values = Values::new();
        let mut say = |of: &str, field: &str, value: String| {
            // Of two certificates of one name the first counts.
            values.entry((of.to_owned(), field.to_owned())).or_insert(value);
        };
        for TokenEntry { name, hash, token, tenants, roles, .. } in &self.tokens {
            let of = format!("token {name}");
            say(&of, "sha256", hash.to_string());
            say(&of, "tenants", tenants.join(", "));
            say(&of, "roles", joined(roles));
            for (field, moment) in [("expires", token.expires), ("revoked", token.revoked)] {
                if let Some(moment) = moment {
                    say(&of, field, audit::moment(moment.as_micros()));
                }
            }
        }
        for CertificateEntry { uri, tenants, roles, .. } in &self.certificates {
            let of = format!("certificate {uri}");
            say(&of, "tenants", tenants.join(", "));
            say(&of, "roles", joined(roles));
        }
        values
    }
}

fn joined(roles: &[Role]) -> String {
    roles.iter().map(|role| role.as_str()).collect::<Vec<_>>().join(", ")
}

/// Reads a credentials file's text; `name` is what problems call the file.
pub fn parse_credentials(name: &str, text: &str) -> Result<CredentialsFile, Problems> {
    Source { name, text }.read(|source, root, problems| Reader { source, problems }.read(root))
}

type Entry<'a> = (&'a Spanned<DeString<'a>>, &'a Spanned<DeValue<'a>>);

struct Reader<'a> {
    source: Source<'a>,
    problems: &'a mut Vec<Problem>,
}

/// One table of a list, and what problems call it.
struct Place<'a> {
    name: String,
    line: usize,
    table: &'a DeTable<'a>,
}

impl Reader<'_> {
    fn read(&mut self, root: &DeTable<'_>) -> CredentialsFile {
        let mut file = CredentialsFile::default();
        for entry in root {
            match (entry.0.get_ref().as_ref(), entry.1.get_ref()) {
                ("token", DeValue::Array(array)) => {
                    for place in self.places("token", array, OF_TOKENS) {
                        file.tokens.extend(self.token(&place));
                    }
                }
                ("certificate", DeValue::Array(array)) => {
                    for place in self.places("certificate", array, OF_CERTIFICATES) {
                        file.certificates.extend(self.certificate(&place));
                    }
                }
                (known @ ("token" | "certificate"), other) => {
                    self.report(known, entry, format!("is {}; write [[{known}]] tables", kind(other)));
                }
                (other, _) => {
                    let meant = did_you_mean(other, ["token", "certificate"]);
                    let problem =
                        format!("is not known here{meant} (known: [[token]] and [[certificate]] tables)");
                    self.report(&other.escape_debug().to_string(), entry, problem);
                }
            }
        }
        let (mut names, mut hashes) = (HashSet::new(), HashSet::new());
        for (index, entry) in file.tokens.iter().enumerate() {
            let line = self.line_of("token", index, root);
            let place = format!("token {}", index + 1);
            if !names.insert(&entry.name) {
                self.report_at(line, &place, format!("has the name of an earlier one, {:?}", entry.name));
            }
            if !hashes.insert(entry.hash) {
                self.report_at(line, &place, "has the sha256 of an earlier one");
            }
        }
        file
    }

    fn line_of(&self, list: &str, index: usize, root: &DeTable<'_>) -> usize {
        let element = match root.get(list).map(Spanned::get_ref) {
            Some(DeValue::Array(array)) => array.get(index),
            _ => None,
        };
        element.map_or(1, |element| self.source.line(&element.span()))
    }

    /// The tables of a list; what is none, and fields that are not known, are reported.
    fn places<'a>(&mut self, list: &str, array: &'a DeArray<'a>, known: &[&str]) -> Vec<Place<'a>> {
        let mut places = Vec::new();
        for (index, element) in array.iter().enumerate() {
            let name = format!("{list} {}", index + 1);
            let line = self.source.line(&element.span());
            let DeValue::Table(table) = element.get_ref() else {
                let problem = format!("is {}; write a [[{list}]] table", kind(element.get_ref()));
                self.report_at(line, &name, problem);
                continue;
            };
            for (field, _) in table {
                let field_name: &str = field.get_ref();
                if !known.contains(&field_name) {
                    let meant = did_you_mean(field_name, known.iter().copied());
                    let known = listed(known.iter().copied());
                    let field_line = self.source.line(&field.span());
                    let place = format!("{name}: {}", field_name.escape_debug());
                    self.report_at(field_line, &place, format!("is not known here{meant} (known: {known})"));
                }
            }
            places.push(Place { name, line, table });
        }
        places
    }

    fn token(&mut self, place: &Place<'_>) -> Option<TokenEntry> {
        let name = self.text(place, "name");
        let hash = self.hash(place);
        let (tenants, roles) = (self.tenants(place), self.roles(place));
        let created = self.moment(place, "created");
        let (expires, revoked) = (self.moment(place, "expires"), self.moment(place, "revoked"));
        let (name, hash, tenants, roles) = (name?, hash?, tenants?, roles?);
        let patterns = tenants.iter().map(|tenant| Pattern::parse(tenant)).collect();
        let identity = Arc::new(Identity::new(format!("token:{name}"), patterns, roles.clone()));
        let token = Token { identity, expires: expires?, revoked: revoked? };
        Some(TokenEntry { name, hash, token, tenants, roles, created: created? })
    }

    fn certificate(&mut self, place: &Place<'_>) -> Option<CertificateEntry> {
        let uri = self.text(place, "uri");
        let (tenants, roles) = (self.tenants(place), self.roles(place));
        let (uri, tenants, roles) = (uri?, tenants?, roles?);
        if uri.find('*').is_some_and(|at| at + 1 < uri.len()) {
            self.report_field(place, "uri", "has a * before its end; a pattern ends in *");
            return None;
        }
        let patterns = tenants.iter().map(|tenant| Pattern::parse(tenant)).collect();
        let identity = Identity::new(format!("certificate:{uri}"), patterns, roles.clone());
        Some(CertificateEntry { uri, identity: Arc::new(identity), tenants, roles })
    }

    fn text(&mut self, place: &Place<'_>, field: &str) -> Option<String> {
        match place.table.get(field).map(Spanned::get_ref) {
            Some(DeValue::String(text)) if text.is_empty() => {
                self.report_field(place, field, "is empty");
                None
            }
            Some(DeValue::String(text)) if text.chars().any(char::is_control) => {
                self.report_field(place, field, "has control characters");
                None
            }
            Some(DeValue::String(text)) => Some(text.to_string()),
            Some(other) => {
                self.report_field(place, field, format!("is {}; write a quoted text", kind(other)));
                None
            }
            None => {
                self.report_at(place.line, &place.name, format!("has no {field}"));
                None
            }
        }
    }

    /// Never repeats what is written: it may be the token itself.
    fn hash(&mut self, place: &Place<'_>) -> Option<TokenHash> {
        let text = self.text(place, "sha256")?;
        let digit = |at: usize| text.as_bytes().get(at).and_then(|byte| char::from(*byte).to_digit(16));
        let mut hash = [0; 32];
        for (at, byte) in hash.iter_mut().enumerate() {
            let Some((high, low)) = digit(2 * at).zip(digit(2 * at + 1)) else { break };
            // Two hexadecimal digits fit a byte.
            *byte = u8::try_from(16 * high + low).unwrap_or_default();
        }
        if text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Some(TokenHash(hash));
        }
        self.report_field(
            place,
            "sha256",
            "is not the 64 hexadecimal digits of a SHA-256; `semel token create` writes them",
        );
        None
    }

    fn texts(&mut self, place: &Place<'_>, field: &str) -> Option<Vec<String>> {
        let Some(value) = place.table.get(field) else {
            self.report_at(place.line, &place.name, format!("has no {field}"));
            return None;
        };
        let texts = match value.get_ref() {
            DeValue::Array(array) => array
                .iter()
                .map(|element| match element.get_ref() {
                    DeValue::String(text) if !text.is_empty() => Some(text.to_string()),
                    _ => None,
                })
                .collect::<Option<Vec<_>>>(),
            _ => None,
        };
        match texts {
            Some(texts) if !texts.is_empty() => Some(texts),
            _ => {
                self.report_field(place, field, r#"must be a list of texts, and not empty, such as ["one"]"#);
                None
            }
        }
    }

    fn tenants(&mut self, place: &Place<'_>) -> Option<Vec<String>> {
        let tenants = self.texts(place, "tenants")?;
        for tenant in &tenants {
            if tenant.find('*').is_some_and(|at| at + 1 < tenant.len()) {
                let problem = format!(
                    "has a * before the end of {tenant:?}; a tenant is an exact name, or begins like one that ends in *"
                );
                self.report_field(place, "tenants", problem);
                return None;
            }
            if let Err(violation) = Tenant::new(tenant) {
                self.report_field(place, "tenants", format!("has a name that {}", violation.problem));
                return None;
            }
        }
        Some(tenants)
    }

    fn roles(&mut self, place: &Place<'_>) -> Option<Vec<Role>> {
        let names = self.texts(place, "roles")?;
        let mut roles = Vec::new();
        for name in names {
            let Some(role) = Role::named(&name) else {
                let known = listed(Role::ALL.map(Role::as_str));
                self.report_field(place, "roles", format!("has {name:?}, which is no role (known: {known})"));
                return None;
            };
            roles.push(role);
        }
        Some(roles)
    }

    /// `None` where it is wrong.
    #[allow(clippy::option_option, reason = "a moment may be left out, or be wrong")]
    fn moment(&mut self, place: &Place<'_>, field: &str) -> Option<Option<Timestamp>> {
        let Some(value) = place.table.get(field) else { return Some(None) };
        let text = match value.get_ref() {
            DeValue::Datetime(moment) => moment.to_string(),
            DeValue::String(text) => text.to_string(),
            _ => String::new(),
        };
        let text = if text.len() == "2027-01-01".len() { format!("{text}T00:00:00Z") } else { text };
        let moment = humantime::parse_rfc3339(&text)
            .ok()
            .and_then(|moment| moment.duration_since(UNIX_EPOCH).ok())
            .and_then(|since| u64::try_from(since.as_micros()).ok());
        if moment.is_none() {
            let problem = "is no moment in UTC; write one such as 2027-01-01T00:00:00Z, or a day";
            self.report_field(place, field, problem);
        }
        moment.map(|moment| Some(Timestamp::from_micros(moment)))
    }

    fn report_field(&mut self, place: &Place<'_>, field: &str, problem: impl Into<String>) {
        let line =
            place.table.get_key_value(field).map_or(place.line, |(name, _)| self.source.line(&name.span()));
        self.report_at(line, &format!("{}: {field}", place.name), problem);
    }

    fn report(&mut self, field: &str, (name, _): Entry<'_>, problem: String) {
        self.report_at(self.source.line(&name.span()), field, problem);
    }

    fn report_at(&mut self, line: usize, field: &str, problem: impl Into<String>) {
        self.problems.push(Problem {
            origin: self.source.name.to_owned(),
            line: Some(line),
            field: field.to_owned(),
            value: None,
            problem: problem.into(),
        });
    }
}
