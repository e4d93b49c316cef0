//! The file that says of a store that it was restored from a backup. It is written before the store is there, and stays.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::Path;

use super::sealed_text;
use crate::domain::{Restored, Timestamp};

/// The file in the engine's directory.
const FILE: &str = "restored";
/// How it begins.
const FORMAT: &str = "semel restored store, format 1";

/// Makes the file of a store that is not in its place yet, and syncs it.
pub(super) fn write(directory: &Path, mark: &Restored) -> io::Result<()> {
    let text = format!(
        "{FORMAT}\nrestored {}\nbackup {}\nuntil {}\n",
        mark.at.as_micros(),
        mark.backup_at.as_micros(),
        mark.until.as_micros()
    );
    let mut file = File::create(directory.join(FILE))?;
    file.write_all(sealed_text::seal(&text).as_bytes())?;
    file.sync_all()
}

/// Reads the file, where the store has one; in words, why this directory is not to be opened.
pub(super) fn read(directory: &Path) -> Result<Option<Restored>, String> {
    let path = directory.join(FILE);
    let text = match fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(format!("{}: {error}", path.display())),
    };
    parse(&text).map(Some).ok_or_else(|| {
        format!(
            "{} is damaged, or of a later version of semel. It says what may not run again: restore the backup once \
             more, or that file from a copy of this directory",
            path.display()
        )
    })
}

fn parse(text: &str) -> Option<Restored> {
    let mut lines = sealed_text::open(text)?.strip_prefix(FORMAT)?.strip_prefix('\n')?.lines();
    let mut moment = |name: &str| {
        let micros = lines.next()?.strip_prefix(name)?.strip_prefix(' ')?.parse().ok()?;
        Some(Timestamp::from_micros(micros))
    };
    Some(Restored { at: moment("restored")?, backup_at: moment("backup")?, until: moment("until")? })
}
