//! `semel restore`: a store made of a backup.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::{Path, PathBuf};

use clap::Args;

use super::archive_report::{contents_fields, number, timestamp};
use super::config_command::DirectoryArgs;
use super::exit::Exit;
use super::failure::Failure;
use super::output::{self, Output, Report};
use crate::clock::SystemClock;
use crate::config::OwnDirectory;
use crate::storage::backup::{self, Restoration, RestoreError};
use crate::storage::embedded::{DirectoryError, NewStoreError, OpenError};

/// A new embedded store, made of a backup and marked as restored. Stop the old server first
#[derive(Debug, Args)]
pub(crate) struct Restore {
    /// The backup; - for standard input
    #[arg(long, value_name = "FILE")]
    from: PathBuf,
    /// Read the backup to its end, say whether it is whole, and restore nothing
    #[arg(long)]
    check: bool,
    /// For whom to print
    #[arg(long, value_enum, default_value_t)]
    output: Output,
    #[command(flatten)]
    directory: DirectoryArgs,
}

impl Restore {
    pub(crate) fn run(self) -> Exit {
        let (from, check, output) = (self.from, self.check, self.output);
        if check {
            return output::print(&opened(&from).and_then(checked), output, &[]);
        }
        let directory = match self.directory.load() {
            Ok(directory) => directory,
            Err(exit) => return exit,
        };
        output::print(&opened(&from).and_then(|from| restored(from, directory)), output, &[])
    }
}

fn opened(from: &Path) -> Result<Box<dyn Read>, Failure> {
    if from == Path::new("-") {
        return Ok(Box::new(io::stdin().lock()));
    }
    match File::open(from) {
        Ok(file) => Ok(Box::new(BufReader::new(file))),
        Err(error) => Err(Failure::Local(format!("{} cannot be read: {error}", from.display()))),
    }
}

fn checked(from: Box<dyn Read>) -> Result<Report, Failure> {
    let contents = backup::check(from).map_err(|error| Failure::Local(error.to_string()))?;
    let mut fields = vec![("backup_at", timestamp(contents.created_at))];
    fields.extend(contents_fields(&contents));
    let headline = format!("the backup is whole: {} records", contents.records);
    Ok(Report { headline, fields, exit: Exit::DONE })
}

fn restored(from: Box<dyn Read>, directory: OwnDirectory) -> Result<Report, Failure> {
    let OwnDirectory { settings, policies, .. } = directory;
    let place = settings.directory.display().to_string();
    let Restoration { contents, unresolved, fences_ahead, mark } =
        backup::restore(from, &settings, &SystemClock, policies.longest_kept()).map_err(
            |error| match error {
                RestoreError::Store(NewStoreError::Open(OpenError::Directory(DirectoryError::Locked {
                    ..
                }))) => Failure::Store { exit: Exit::UNAVAILABLE, cause: error.to_string() },
                error => Failure::Local(format!("nothing was restored: {error}")),
            },
        )?;
    if fences_ahead > 0 {
        eprintln!(
            "semel: {fences_ahead} records have a fence ahead of this machine's clock: their keys' next fence may be one \
             that was granted after the backup. Whoever keeps fences of these endpoints should look at them"
        );
    }
    let mut fields =
        vec![("data_dir", output::Value::text(place.clone())), ("backup_at", timestamp(contents.created_at))];
    fields.extend(contents_fields(&contents));
    fields.extend([
        ("made_unresolved", number(unresolved)),
        ("fences_ahead", number(fences_ahead)),
        ("restored_at", timestamp(mark.at)),
        ("marked_until", timestamp(mark.until)),
    ]);
    let headline = format!(
        "restored into {place}: {} records, of which {unresolved} were open and are unresolved now",
        contents.records
    );
    Ok(Report { headline, fields, exit: Exit::DONE })
}
