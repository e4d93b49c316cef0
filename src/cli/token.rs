//! `semel token`: bearer tokens, made, listed and revoked in the credentials file.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, fchown};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use clap::{Args, Subcommand};
use toml_edit::{Array, ArrayOfTables, DocumentMut, Item, Table, Value as TomlValue, value};

use super::exit::Exit;
use super::failure::Failure;
use super::output::{self, Output, Report, Value};
use crate::clock::SystemClock;
use crate::config::{TokenEntry, parse_credentials, parse_duration};
use crate::domain::{Clock as _, Timestamp};
use crate::server::{Role, TOKEN_PREFIX, TokenHash};

/// Nobody guesses so many bytes, however many tokens there are.
const SECRET_BYTES: usize = 32;

const HEADER: &str = "\
# The credentials of semel's callers; docs/SECURITY.md says what they mean. Servers read this file again when it changes.
# [[token]] tables are made and revoked by `semel token`; [[certificate]] tables are written by hand.
";

/// Bearer tokens: create, list and revoke them
#[derive(Debug, Subcommand)]
pub(crate) enum TokenCommand {
    /// Make a token, and print it: it is shown this once, and kept as a hash
    Create(Create),
    /// List the tokens of a credentials file
    List(List),
    /// Have servers refuse a token from now on
    Revoke(Revoke),
}

/// Which credentials file, and for whom to print
#[derive(Debug, Args)]
struct InFile {
    /// The credentials file
    #[arg(long, env = "SEMEL_AUTH_CREDENTIALS_FILE", value_name = "FILE")]
    file: PathBuf,
    /// For whom to print
    #[arg(long, value_enum, default_value_t)]
    output: Output,
}

/// Make a token, and print it: it is shown this once, and kept as a hash
#[derive(Debug, Args)]
pub(crate) struct Create {
    /// What people call it, in logs too; no other token of the file may have had the name
    #[arg(long)]
    name: String,
    /// A tenant that it covers; one that ends in * is every tenant that begins so; may be repeated
    #[arg(long = "tenant", value_name = "TENANT", required = true)]
    tenants: Vec<String>,
    /// What it may do: client, reader or operator; may be repeated
    #[arg(long = "role", value_name = "ROLE", required = true, value_parser = parse_role)]
    roles: Vec<Role>,
    /// How long it is accepted
    #[arg(long, value_name = "TIME", default_value = "90d", value_parser = parse_duration, conflicts_with = "never_expires")]
    expires_in: Duration,
    /// It is accepted until it is revoked
    #[arg(long)]
    never_expires: bool,
    #[command(flatten)]
    at: InFile,
}

/// List the tokens of a credentials file
#[derive(Debug, Args)]
pub(crate) struct List {
    #[command(flatten)]
    at: InFile,
}

/// Have servers refuse a token from now on
#[derive(Debug, Args)]
pub(crate) struct Revoke {
    /// The token's name
    #[arg(long)]
    name: String,
    #[command(flatten)]
    at: InFile,
}

impl TokenCommand {
    pub(crate) fn run(&self) -> Exit {
        let (report, output) = match self {
            Self::Create(command) => (command.report(), command.at.output),
            Self::List(command) => (command.report(), command.at.output),
            Self::Revoke(command) => (command.report(), command.at.output),
        };
        output::print(&report, output, &[])
    }
}

impl Create {
    fn report(&self) -> Result<Report, Failure> {
        let secret: [u8; SECRET_BYTES] = rand::random();
        let token = format!("{TOKEN_PREFIX}{}", URL_SAFE_NO_PAD.encode(secret));
        let now = SystemClock.now();
        let expires = (!self.never_expires).then(|| now.plus(self.expires_in));
        edit(&self.at.file, true, |tokens, known| {
            if known.iter().any(|known| known.name == self.name) {
                let name = &self.name;
                return Err(Failure::Usage(format!(
                    "there is or was a token called {name:?}; choose another name"
                )));
            }
            let mut table = Table::new();
            table["name"] = value(&self.name);
            table["sha256"] = value(TokenHash::of(&token).to_string());
            table["tenants"] = value(self.tenants.iter().collect::<Array>());
            table["roles"] = value(self.roles.iter().map(|role| role.as_str()).collect::<Array>());
            table["created"] = moment(now);
            if let Some(expires) = expires {
                table["expires"] = moment(expires);
            }
            tokens.push(table);
            Ok(())
        })?;
        Ok(Report {
            headline: "created; the token is shown only now: put it where its bearer reads it (--token-file)"
                .to_owned(),
            fields: vec![
                ("token", Value::text(token)),
                ("name", Value::text(&self.name)),
                ("expires_at", expires.map_or(Value::Absent, |expires| Value::Time(system_time(expires)))),
            ],
            exit: Exit::DONE,
        })
    }
}

impl List {
    fn report(&self) -> Result<Report, Failure> {
        let path = &self.at.file;
        let text = std::fs::read_to_string(path).map_err(|error| cannot("be read", path, &error))?;
        let tokens = read(path, &text)?;
        let now = SystemClock.now();
        let shown = |entry: &TokenEntry| {
            let time =
                |time: Option<Timestamp>| time.map_or(Value::Absent, |time| Value::Time(system_time(time)));
            let texts = |texts: Vec<String>| Value::List(texts.into_iter().map(Value::Text).collect());
            Value::Fields(vec![
                ("name", Value::text(&entry.name)),
                ("state", Value::text(state(entry, now))),
                ("tenants", texts(entry.tenants.clone())),
                ("roles", texts(entry.roles.iter().map(ToString::to_string).collect())),
                ("created_at", time(entry.created)),
                ("expires_at", time(entry.token.expires)),
                ("revoked_at", time(entry.token.revoked)),
            ])
        };
        let count = tokens.len();
        Ok(Report {
            headline: format!(
                "{count} {} in {}",
                if count == 1 { "token" } else { "tokens" },
                path.display()
            ),
            fields: vec![("tokens", Value::List(tokens.iter().map(shown).collect()))],
            exit: Exit::DONE,
        })
    }
}

impl Revoke {
    fn report(&self) -> Result<Report, Failure> {
        let mut repeated = false;
        edit(&self.at.file, false, |tokens, known| {
            let place = known.iter().position(|known| known.name == self.name);
            let Some((place, table)) = place.and_then(|place| Some((place, tokens.get_mut(place)?))) else {
                let names: Vec<_> = known.iter().map(|known| known.name.as_str()).collect();
                let (name, names) = (&self.name, names.join(", "));
                return Err(Failure::Usage(format!(
                    "there is no token called {name:?} (there are: {names})"
                )));
            };
            repeated = known[place].token.revoked.is_some();
            if !repeated {
                table["revoked"] = moment(SystemClock.now());
            }
            Ok(())
        })?;
        let again = if repeated { "it was revoked before" } else { "servers refuse it within seconds" };
        Ok(Report {
            headline: format!("revoked; {again}"),
            fields: vec![("name", Value::text(&self.name)), ("repeated_call", Value::Flag(repeated))],
            exit: Exit::DONE,
        })
    }
}

fn state(entry: &TokenEntry, now: Timestamp) -> &'static str {
    if entry.token.revoked.is_some() {
        "revoked"
    } else if entry.token.expires.is_some_and(|expires| now >= expires) {
        "expired"
    } else {
        "active"
    }
}

fn parse_role(text: &str) -> Result<Role, String> {
    Role::named(text).ok_or_else(|| format!("is none of: {}", Role::ALL.map(Role::as_str).join(", ")))
}

/// Changes the tokens of the file at `path`, and nothing else in it. The file is replaced whole, so that a server never
/// reads half of it; whoever changes it at the same time waits.
fn edit(
    path: &Path,
    may_make: bool,
    change: impl FnOnce(&mut ArrayOfTables, &[TokenEntry]) -> Result<(), Failure>,
) -> Result<(), Failure> {
    // A link stays one.
    let path = &std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let directory = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let lock = File::open(directory).map_err(|error| cannot("be changed", path, &error))?;
    lock.lock().map_err(|error| cannot("be locked", path, &error))?;
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if may_make && error.kind() == ErrorKind::NotFound => HEADER.to_owned(),
        Err(error) => return Err(cannot("be read", path, &error)),
    };
    let known = read(path, &text)?;
    let parsed: DocumentMut = text.parse().map_err(|error| cannot("be changed", path, &error))?;
    // A file of comments alone keeps them at its beginning.
    let (beginning, mut document) = if parsed.is_empty() {
        (format!("{}\n\n", text.trim_end()), DocumentMut::new())
    } else {
        (String::new(), parsed)
    };
    let tokens = document.entry("token").or_insert(Item::ArrayOfTables(ArrayOfTables::new()));
    let tokens = tokens.as_array_of_tables_mut().ok_or_else(|| {
        Failure::Local(format!(
            "{} has its tokens in one line; write them as [[token]] tables",
            path.display()
        ))
    })?;
    change(tokens, &known)?;
    let changed = format!("{beginning}{document}");
    read(path, &changed)?;
    replace(path, directory, &changed).map_err(|error| cannot("be written", path, &error))?;
    // Whether or not the name of the new file is on disk already, the lock may go.
    lock.sync_all().map_err(|error| cannot("be written", path, &error))
}

fn read(path: &Path, text: &str) -> Result<Vec<TokenEntry>, Failure> {
    let file = parse_credentials(&path.display().to_string(), text);
    file.map(|file| file.tokens)
        .map_err(|problems| Failure::Local(format!("nothing was changed:\n{problems}")))
}

/// Writes a file beside the one at `path`, for the same user and with the same rights, and puts it in its place.
fn replace(path: &Path, directory: &Path, text: &str) -> std::io::Result<()> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let beside = directory.join(format!(".{name}.new"));
    match std::fs::remove_file(&beside) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        // Somebody was interrupted who held the lock before.
        _ => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&beside)?;
    let written = (|| {
        if let Ok(before) = std::fs::metadata(path) {
            let new = file.metadata()?;
            if (before.uid(), before.gid()) != (new.uid(), new.gid()) {
                fchown(&file, Some(before.uid()), Some(before.gid()))?;
            }
            file.set_permissions(before.permissions())?;
        }
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        std::fs::rename(&beside, path)
    })();
    if written.is_err() {
        // What was in force is still there, which is what matters.
        let _ = std::fs::remove_file(&beside);
    }
    written
}

fn cannot(what: &str, path: &Path, error: &dyn std::error::Error) -> Failure {
    Failure::Local(format!("{} cannot {what}: {error}", path.display()))
}

/// As TOML writes it, in whole seconds.
fn moment(moment: Timestamp) -> Item {
    let text = humantime::format_rfc3339_seconds(system_time(moment)).to_string();
    // A moment after the year 9999, which TOML cannot write, is beyond every length of time that is accepted.
    text.parse::<toml_edit::Datetime>()
        .map_or_else(|_| value(text), |moment| Item::Value(TomlValue::from(moment)))
}

fn system_time(moment: Timestamp) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(moment.as_micros() / 1_000_000)
}
