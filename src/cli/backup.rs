//! `semel backup`: the records of an embedded store in one file, while its server runs.

use std::fs::{self, File, TryLockError};
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::os::unix::fs::OpenOptionsExt as _;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;

use super::archive_report::{contents_fields, timestamp};
use super::config_command::DirectoryArgs;
use super::exit::Exit;
use super::failure::Failure;
use super::output::{self, Output, Report, Value};
use crate::clock::SystemClock;
use crate::config::OwnDirectory;
use crate::storage::backup::archive::{ArchiveError, Contents};
use crate::storage::backup::{self, BackupError, RestoreError, socket};
use crate::storage::embedded::{DirectoryError, EmbeddedStore, OpenError};

/// How long the server may send nothing.
const SILENCE: Duration = Duration::from_mins(2);

/// All records of an embedded store, as of one instant, in one file; its server may go on
#[derive(Debug, Args)]
pub(crate) struct Backup {
    /// The file to make, which must not be there yet; - for standard output
    #[arg(long, value_name = "FILE")]
    to: PathBuf,
    /// For whom to print
    #[arg(long, value_enum, default_value_t)]
    output: Output,
    #[command(flatten)]
    directory: DirectoryArgs,
}

impl Backup {
    pub(crate) fn run(self) -> Exit {
        let directory = match self.directory.load() {
            Ok(directory) => directory,
            Err(exit) => return exit,
        };
        if self.to == Path::new("-") {
            // What is printed there is the backup.
            let taken = take(&directory, &mut io::stdout().lock());
            return match taken.map(|contents| report("standard output", &contents)) {
                Ok(report) => {
                    eprint!("semel: {}\n{}", report.headline, output::human_lines(&report.fields, 2));
                    report.exit
                }
                failed => output::print(&failed, Output::Human, &[]),
            };
        }
        let taken = into_file(&directory, &self.to);
        let report = taken.map(|contents| report(&self.to.display().to_string(), &contents));
        output::print(&report, self.output, &[])
    }
}

/// The file appears under its name only when it is whole, and is on disk then.
fn into_file(directory: &OwnDirectory, to: &Path) -> Result<Contents, Failure> {
    let failed = |error: io::Error| Failure::Local(format!("{} cannot be written: {error}", to.display()));
    if to.try_exists().map_err(failed)? {
        return Err(Failure::Usage(format!("{} is there already; name a file that is not", to.display())));
    }
    let Some(name) = to.file_name() else {
        return Err(Failure::Usage(format!("--to {} names no file", to.display())));
    };
    let mut unfinished_name = name.to_owned();
    unfinished_name.push(".partial");
    let unfinished = to.with_file_name(unfinished_name);
    // It holds the results of all tenants.
    let mut options = File::options();
    options.write(true).create(true).truncate(false).mode(0o600);
    let mut file = options.open(&unfinished).map_err(failed)?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let file = unfinished.display();
            return Err(Failure::Local(format!("{file} is being written by another semel backup")));
        }
        Err(TryLockError::Error(error)) => return Err(failed(error)),
    }
    let written = (|| {
        // Left by one that was killed.
        file.set_len(0).map_err(failed)?;
        let contents = take(directory, &mut file)?;
        file.sync_all().map_err(failed)?;
        fs::rename(&unfinished, to).map_err(failed)?;
        let parent = to.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        File::open(parent).and_then(|parent| parent.sync_all()).map_err(failed)?;
        Ok(contents)
    })();
    if written.is_err() {
        // It may have its name already, or never have had one.
        _ = fs::remove_file(&unfinished);
    }
    written
}

/// Asks the server for a backup, or makes it where none runs, and passes it on to `out`.
fn take(directory: &OwnDirectory, out: &mut dyn Write) -> Result<Contents, Failure> {
    let path = socket::path(&directory.settings.directory);
    match UnixStream::connect(&path) {
        Ok(server) => from_server(&server, &path, out),
        Err(error) => without_server(directory, out, &error),
    }
}

fn from_server(server: &UnixStream, path: &Path, out: &mut dyn Write) -> Result<Contents, Failure> {
    let unreachable = |cause: String| Failure::Store { exit: Exit::UNAVAILABLE, cause };
    server.set_read_timeout(Some(SILENCE)).map_err(|error| unreachable(error.to_string()))?;
    let mut passing = Passing { from: server, to: BufWriter::new(out), failed: None };
    let checked = backup::check(BufReader::new(&mut passing));
    let flushed = passing.failed.take().map_or_else(|| passing.to.flush(), Err);
    flushed.map_err(|error| Failure::Local(format!("the backup cannot be written: {error}")))?;
    checked.map_err(|error| match error {
        RestoreError::Archive(ArchiveError::CutShort { .. } | ArchiveError::Read(_)) => unreachable(format!(
            "the server at {} ended before the backup was whole: {error}",
            path.display()
        )),
        error => unreachable(format!("the server at {}: {error}", path.display())),
    })
}

fn without_server(
    directory: &OwnDirectory,
    out: &mut dyn Write,
    no_server: &io::Error,
) -> Result<Contents, Failure> {
    let settings = &directory.settings;
    if !EmbeddedStore::is_in(&settings.directory) {
        let place = settings.directory.display();
        return Err(Failure::Local(format!(
            "there is no embedded store in {place}; name its directory with --data-dir"
        )));
    }
    let store = EmbeddedStore::open(settings.clone()).map_err(|error| match error {
        OpenError::Directory(DirectoryError::Locked { .. }) => Failure::Store {
            exit: Exit::UNAVAILABLE,
            cause: format!(
                "a server has the store, and gives no backup at {}: {no_server}. It may be starting; this command must \
                 run as the server's user, or as root",
                socket::path(&settings.directory).display()
            ),
        },
        error => Failure::Local(error.to_string()),
    })?;
    let longest_kept = directory.policies.longest_kept();
    let written = backup::write(&store, &SystemClock, longest_kept, BufWriter::new(out), || false);
    written.map_err(|error| match error {
        BackupError::Store(_) | BackupError::Stopping => {
            Failure::Store { exit: Exit::UNAVAILABLE, cause: error.to_string() }
        }
        BackupError::Write(_) => Failure::Local(error.to_string()),
    })
}

/// Passes on what is read.
struct Passing<'a, W> {
    from: &'a UnixStream,
    to: W,
    /// Why nothing more is passed on.
    failed: Option<io::Error>,
}

impl<W: Write> Read for Passing<'_, W> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.from.read(buffer)?;
        if let Err(error) = self.to.write_all(&buffer[..length]) {
            let told = io::Error::new(error.kind(), error.to_string());
            self.failed = Some(error);
            return Err(told);
        }
        Ok(length)
    }
}

fn report(to: &str, contents: &Contents) -> Report {
    let (headline, exit) = match contents.unreadable {
        0 => (format!("the backup is whole: {} records in {to}", contents.records), Exit::DONE),
        unreadable => (
            format!(
                "{unreadable} records cannot be read and are not in the backup; the other {} are",
                contents.records
            ),
            Exit::FAILED,
        ),
    };
    let mut fields = vec![("created_at", timestamp(contents.created_at)), ("file", Value::text(to))];
    fields.extend(contents_fields(contents));
    Report { headline, fields, exit }
}
