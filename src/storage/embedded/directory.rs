//! The data directory: who owns it, and how much room its file system has.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use super::journal_check::sync_directory;

/// Why the directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DirectoryError {
    /// Somebody else has it.
    #[error(
        "the data directory {path} is in use by another process{owner}: stop that process first, or give this \
         one a directory of its own"
    )]
    Locked {
        /// The directory.
        path: PathBuf,
        /// Its owner, where it says so.
        owner: String,
    },
    /// The file system said no.
    #[error(
        "the data directory {path} cannot be used: {source}. It must exist or be creatable, and this process \
         must be allowed to read and write it"
    )]
    Unusable {
        /// The directory.
        path: PathBuf,
        /// What it said.
        source: io::Error,
    },
}

/// Makes the directory where there is none. Its name is durable then, and that of every directory made for it; so is
/// the name of an engine in it, whatever an earlier process came to do.
fn make_durably(path: &Path) -> io::Result<()> {
    let path = std::path::absolute(path)?;
    let made: Vec<_> = path.ancestors().take_while(|ancestor| !ancestor.exists()).collect();
    fs::create_dir_all(&path)?;
    sync_directory(&path)?;
    for parent in made.iter().filter_map(|made| made.parent()) {
        sync_directory(parent)?;
    }
    match path.parent().map_or(Ok(()), sync_directory) {
        // Somebody else made this directory, and shows only it.
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Ok(()),
        synced => synced,
    }
}

/// A directory that this process owns until it is given up.
#[derive(Debug)]
pub(super) struct DataDirectory {
    path: PathBuf,
    lock: Mutex<Option<File>>,
}

impl DataDirectory {
    /// Makes the directory where there is none, and takes it.
    pub(super) fn take(path: &Path) -> Result<Self, DirectoryError> {
        let unusable = |source| DirectoryError::Unusable { path: path.to_path_buf(), source };
        make_durably(path).map_err(unusable)?;
        let mut lock = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path.join("lock"))
            .map_err(unusable)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut owner = String::new();
                let owner = match lock.read_to_string(&mut owner) {
                    Ok(_) if !owner.trim().is_empty() => format!(" (process {})", owner.trim()),
                    _ => String::new(),
                };
                return Err(DirectoryError::Locked { path: path.to_path_buf(), owner });
            }
            Err(TryLockError::Error(source)) => return Err(unusable(source)),
        }
        // Only for the message above: it need not be durable, nor be there at all where the disk is full.
        let named = lock.set_len(0).and_then(|()| lock.rewind());
        if let Err(error) = named.and_then(|()| writeln!(lock, "{}", std::process::id())) {
            tracing::warn!(path = %path.display(), %error, "the lock does not name this process");
        }
        Ok(Self { path: path.to_path_buf(), lock: Mutex::new(Some(lock)) })
    }

    /// Lets others take it.
    pub(super) fn give_up(&self) {
        let Some(lock) = self.lock.lock().unwrap_or_else(PoisonError::into_inner).take() else { return };
        // Closing is not enough: a child that is being started has the open file too until its program runs.
        if let Err(error) = lock.unlock() {
            tracing::warn!(path = %self.path.display(), %error, "the data directory is given up when this process ends");
        }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// How many bytes this process can still write.
    pub(super) fn free_bytes(&self) -> Result<u64, String> {
        nix::sys::statvfs::statvfs(&self.path)
            .map(|fs| fs.blocks_available().saturating_mul(fs.fragment_size()))
            .map_err(|error| format!("the free space of {} is unknown: {error}", self.path.display()))
    }

    /// Whether at least `bytes` are free; if not, in words.
    pub(super) fn check_room(&self, bytes: u64) -> Result<(), String> {
        let free = self.free_bytes()?;
        if free < bytes {
            return Err(format!(
                "the file system of {} has {free} bytes free, and {bytes} are kept in reserve: make room",
                self.path.display()
            ));
        }
        Ok(())
    }
}

impl Drop for DataDirectory {
    fn drop(&mut self) {
        self.give_up();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_given_up_is_free_though_a_child_still_has_the_lock_open() {
        let place = tempfile::tempdir().unwrap();
        let directory = DataDirectory::take(place.path()).unwrap();
        let child_has = directory.lock.lock().unwrap().as_ref().unwrap().try_clone().unwrap();
        assert!(matches!(DataDirectory::take(place.path()), Err(DirectoryError::Locked { .. })));
        directory.give_up();
        let again = DataDirectory::take(place.path()).unwrap();
        let their_child_has = again.lock.lock().unwrap().as_ref().unwrap().try_clone().unwrap();
        drop(again);
        DataDirectory::take(place.path()).unwrap();
        drop((child_has, their_child_has));
    }
}
