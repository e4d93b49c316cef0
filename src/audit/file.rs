//! A file to which lines are appended, and which others may rotate.

use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

/// Where lines go. The file is opened anew where its path names another one: it was moved away.
#[derive(Debug)]
pub(super) struct AuditFile {
    path: PathBuf,
    open: Mutex<Open>,
}

#[derive(Debug)]
struct Open {
    file: File,
    /// The last line may have been cut.
    torn: bool,
}

impl AuditFile {
    pub(super) fn open(path: PathBuf) -> std::io::Result<Self> {
        let open = Open { file: open(&path)?, torn: false };
        Ok(Self { path, open: Mutex::new(open) })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Appends a line with one write. This blocks for as long as that takes, as a log line does.
    pub(super) fn append(&self, line: &str) -> std::io::Result<()> {
        // Whoever panicked here wrote at most a part of a line.
        let mut held = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let names = |file: std::fs::Metadata| (file.dev(), file.ino());
        if std::fs::metadata(&self.path).ok().map(names) != held.file.metadata().ok().map(names) {
            *held = Open { file: open(&self.path)?, torn: false };
        }
        let start = if held.torn { "\n" } else { "" };
        let written = held.file.write_all(format!("{start}{line}\n").as_bytes());
        held.torn = written.is_err();
        written
    }
}

fn open(path: &Path) -> std::io::Result<File> {
    OpenOptions::new().create(true).append(true).mode(0o600).open(path)
}
