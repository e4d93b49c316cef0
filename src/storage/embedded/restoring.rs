//! A new store, made of the records of a backup. It is in its place only when it is whole.

use std::fs;
use std::path::{Path, PathBuf};

use super::directory::DataDirectory;
use super::engine::Engine;
use super::journal_check::sync_directory;
use super::{EmbeddedStore, OpenError, Settings, restored_mark, sync_directories};
use crate::domain::Restored;

/// Where the store is made, in its data directory. What an earlier attempt left there is thrown away.
const UNFINISHED: &str = "restoring";

/// Why there is no new store.
#[derive(Debug, thiserror::Error)]
pub enum NewStoreError {
    /// There is one already.
    #[error(
        "there is a store in {directory} already, and nothing of it was changed: restore into a directory without one, \
         or move {directory} away first"
    )]
    NotEmpty {
        /// The data directory.
        directory: String,
    },
    /// It cannot be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// Its files cannot be put in their place.
    #[error("the restored store in {directory} cannot be put in its place: {source}")]
    Files {
        /// The data directory.
        directory: String,
        /// What the file system said.
        source: std::io::Error,
    },
}

/// A store that is being made. Until it is finished, its data directory has none; dropped, it is taken away again.
#[derive(Debug)]
pub struct NewStore {
    /// Held until the store is in its place: nobody opens a store there meanwhile.
    directory: DataDirectory,
    unfinished: PathBuf,
    store: EmbeddedStore,
}

impl NewStore {
    /// Begins a store in the directory that `settings` name, which must have none. This blocks.
    pub fn begin(settings: &Settings) -> Result<Self, NewStoreError> {
        let directory = DataDirectory::take(&settings.directory).map_err(OpenError::from)?;
        if EmbeddedStore::is_in(directory.path()) {
            return Err(NewStoreError::NotEmpty { directory: directory.path().display().to_string() });
        }
        let unfinished = directory.path().join(UNFINISHED);
        if unfinished.exists() {
            fs::remove_dir_all(&unfinished).map_err(|source| files(directory.path(), source))?;
        }
        let store = EmbeddedStore::open(Settings { directory: unfinished.clone(), ..settings.clone() })?;
        Ok(Self { directory, unfinished, store })
    }

    /// The store, to be loaded.
    pub const fn store(&self) -> &EmbeddedStore {
        &self.store
    }

    /// Closes the store, marks it, and puts it in its place. This blocks.
    pub fn finish(self, mark: &Restored) -> Result<(), NewStoreError> {
        self.store.close();
        self.put_in_place(mark).map_err(|source| files(self.directory.path(), source))
    }

    fn put_in_place(&self, mark: &Restored) -> std::io::Result<()> {
        let made = Engine::directory(&self.unfinished);
        restored_mark::write(&made, mark)?;
        sync_directories(&made)?;
        fs::rename(&made, Engine::directory(self.directory.path()))?;
        sync_directory(self.directory.path())
    }
}

impl Drop for NewStore {
    fn drop(&mut self) {
        self.store.close();
        if let Err(error) = fs::remove_dir_all(&self.unfinished) {
            tracing::warn!(%error, path = %self.unfinished.display(), "what is left of a restore stays");
        }
    }
}

fn files(directory: &Path, source: std::io::Error) -> NewStoreError {
    NewStoreError::Files { directory: directory.display().to_string(), source }
}
