//! `semel store copy`: moves records between an embedded store and a database.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use clap::{Args, Subcommand};
use tokio::time::Instant;

use super::config_command::StoreArgs;
use super::exit::Exit;
use super::failure::Failure;
use super::in_runtime;
use super::output::{self, Output, Report, Value};
use crate::clock::SystemClock;
use crate::config::Stores;
use crate::domain::{Clock as _, Timestamp};
use crate::storage::copy::{EmbeddedReader, Reader, Tally, copy};
use crate::storage::embedded::{self, EmbeddedStore};
use crate::storage::scylla::ScyllaStore;
use crate::storage::{Store, StoreError};

/// How often it is said how far the copy is.
const SAY_EVERY: Duration = Duration::from_secs(1);

/// Records between stores
#[derive(Debug, Subcommand)]
pub(crate) enum StoreCommand {
    /// Copy every record from one store to another. Stop the servers first; run it again if it was stopped half-way
    Copy(Copy),
}

/// Copy records
#[derive(Debug, Args)]
pub(crate) struct Copy {
    /// Where the records are: embedded:DIRECTORY, or scylla
    #[arg(long, value_name = "STORE")]
    from: Place,
    /// Where they are to be: embedded:DIRECTORY, or scylla
    #[arg(long, value_name = "STORE")]
    to: Place,
    /// Copy a store that was restored from a backup, though the copy will not say so: it lets run what may have run before
    #[arg(long)]
    drop_restored_mark: bool,
    /// For whom to print
    #[arg(long, value_enum, default_value_t)]
    output: Output,
    #[command(flatten)]
    settings: StoreArgs,
}

/// A store, by name.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Place {
    Embedded(PathBuf),
    Scylla,
}

impl FromStr for Place {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once(':') {
            None if text == "scylla" => Ok(Self::Scylla),
            Some(("embedded", directory)) if !directory.is_empty() => Ok(Self::Embedded(directory.into())),
            _ => Err("is no store; write embedded:DIRECTORY or scylla".to_owned()),
        }
    }
}

impl StoreCommand {
    pub(crate) fn run(self) -> Exit {
        let Self::Copy(command) = self;
        command.run()
    }
}

impl Copy {
    fn run(self) -> Exit {
        if self.from == self.to {
            let failure = Failure::Usage("--from and --to name the same store".to_owned());
            return output::print(&Err(failure), self.output, &[]);
        }
        let stores = match self.settings.load() {
            Ok(stores) => stores,
            Err(exit) => return exit,
        };
        let report = in_runtime(async {
            let from = Opened::from(&self.from, &stores).await?;
            if !self.drop_restored_mark {
                refuse_restored(from.store(), SystemClock.now())?;
            }
            let to = Opened::to(&self.to, &stores).await?;
            from.copied_to(&to).await.map(report)
        });
        output::print(&report, self.output, &[])
    }
}

/// A store that is open.
enum Opened {
    Embedded(Arc<EmbeddedStore>),
    Scylla(ScyllaStore),
}

impl Opened {
    /// One that is there.
    async fn from(place: &Place, stores: &Stores) -> Result<Self, Failure> {
        match place {
            Place::Embedded(directory) if !EmbeddedStore::is_in(directory) => {
                Err(Failure::Local(format!("there is no embedded store in {}", directory.display())))
            }
            place => Self::to(place, stores).await,
        }
    }

    /// One that may be new, where it is a directory.
    async fn to(place: &Place, stores: &Stores) -> Result<Self, Failure> {
        match place {
            Place::Embedded(directory) => embedded(directory, &stores.embedded).map(Self::Embedded),
            Place::Scylla => {
                let settings = stores.scylla.clone().ok_or_else(super::schema::no_database)?;
                Ok(Self::Scylla(ScyllaStore::connect(settings, Arc::new(SystemClock)).await?))
            }
        }
    }

    fn store(&self) -> &dyn Store {
        match self {
            Self::Embedded(store) => &**store,
            Self::Scylla(store) => store,
        }
    }

    async fn copied_to(&self, to: &Self) -> Result<Tally, Failure> {
        let mut reader: Box<dyn Reader + '_> = match self {
            Self::Embedded(store) => Box::new(EmbeddedReader::new(store)),
            Self::Scylla(store) => Box::new(store.full_scan().await.map_err(|error| stopped(&error))?),
        };
        let mut said = None;
        copy(&mut *reader, to.store(), &SystemClock, |tally| {
            if tally.total() > 0 && said.is_none_or(|said: Instant| said.elapsed() >= SAY_EVERY) {
                said = Some(Instant::now());
                say(tally);
            }
        })
        .await
        .map_err(|error| stopped(&error))
    }
}

fn embedded(directory: &Path, settings: &embedded::Settings) -> Result<Arc<EmbeddedStore>, Failure> {
    let settings = embedded::Settings { directory: directory.to_owned(), ..settings.clone() };
    EmbeddedStore::open(settings).map(Arc::new).map_err(|error| Failure::Local(error.to_string()))
}

/// A copy holds records, and not what the store says of itself.
fn refuse_restored(from: &dyn Store, now: Timestamp) -> Result<(), Failure> {
    match from.restored() {
        Some(mark) if now < mark.until => {
            let until = SystemTime::UNIX_EPOCH + Duration::from_micros(mark.until.as_micros());
            Err(Failure::Local(format!(
                "the store was restored from a backup: until {} it refuses retries of what it may have lost, and a copy \
                 would let them run again. Copy it then, or with --drop-restored-mark",
                humantime::format_rfc3339_seconds(until)
            )))
        }
        _ => Ok(()),
    }
}

fn stopped(error: &StoreError) -> Failure {
    Failure::Store {
        exit: Exit::UNAVAILABLE,
        cause: format!("{error}; what was copied so far stays: run the same command again, and it goes on"),
    }
}

/// Says on standard error how far it is; nobody who reads it is no reason to stop.
fn say(tally: &Tally) {
    let Tally { copied, already_there, .. } = tally;
    let total = tally.total();
    _ = writeln!(
        std::io::stderr(),
        "semel: {total} records so far: {copied} copied, {already_there} already there"
    );
}

fn report(tally: Tally) -> Report {
    let Tally { copied, already_there, newer_there, reclaimable, unreadable } = tally;
    let number = |number: u64| Value::Number(i64::try_from(number).unwrap_or(i64::MAX));
    let (headline, exit) = if unreadable == 0 {
        ("done: every record is in the other store".to_owned(), Exit::DONE)
    } else {
        (format!("{unreadable} records cannot be read, and are not copied; all others are"), Exit::FAILED)
    };
    Report {
        headline,
        fields: vec![
            ("copied", number(copied)),
            ("already_there", number(already_there)),
            ("newer_there", number(newer_there)),
            ("reclaimable", number(reclaimable)),
            ("unreadable", number(unreadable)),
        ],
        exit,
    }
}
