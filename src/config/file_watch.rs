//! Keeps in force what some files say, as long as they say something sound.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use sha2::{Digest, Sha256};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tracing::{error, info};

use super::problem::Problems;
use super::unreadable;

/// What a look at the files came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reload {
    /// The files say what they said before.
    Unchanged,
    /// A file has changed; what it says holds once it says the same at the next look, since it may be half written.
    Settling,
    /// What the files say now is in force.
    Applied,
    /// The files are refused as a whole, and what is in force stays as it was.
    Refused(Problems),
}

/// Something that is made from files, and can be made anew while it is used.
pub trait FromFiles: fmt::Debug + Send {
    /// The files, for people, and what they say: "the policy file", "the policy in force".
    fn words(&self) -> (&'static str, &'static str);

    /// Puts in force what the files say now, in their order. Where that is not sound, nothing changes.
    fn take(&mut self, contents: &[Vec<u8>]) -> Result<(), Problems>;
}

impl<T: FromFiles + ?Sized> FromFiles for Box<T> {
    fn words(&self) -> (&'static str, &'static str) {
        (**self).words()
    }

    fn take(&mut self, contents: &[Vec<u8>]) -> Result<(), Problems> {
        (**self).take(contents)
    }
}

/// What is known of a file's content: enough to see that it has changed, and no secret of it.
type Seen = Result<[u8; 32], String>;

/// Looks at the files' content, since their times and inodes say too little: a Kubernetes `ConfigMap` is swapped by a
/// symbolic link.
#[derive(Debug)]
pub struct FileWatch<T> {
    paths: Vec<PathBuf>,
    pub(super) made: T,
    /// What was last put in force or refused.
    judged: Vec<Seen>,
    /// Why it was refused, if it was.
    refused: Option<Problems>,
    /// What was read at the last look, where it differs from that.
    settling: Option<Vec<Seen>>,
}

impl<T> FileWatch<T> {
    /// How long between two looks.
    pub const INTERVAL: Duration = Duration::from_secs(1);
}

impl<T: FromFiles> FileWatch<T> {
    /// Watches files, of which `made` was made; `contents` is what they held.
    pub(super) fn of(paths: Vec<PathBuf>, contents: &[Vec<u8>], made: T) -> Self {
        let judged = contents.iter().map(|content| Ok(digest(content))).collect();
        Self { paths, made, judged, refused: None, settling: None }
    }

    /// Looks every [`Self::INTERVAL`], and at once when `now` is notified, until `stop`.
    pub async fn run(mut self, now: Arc<Notify>, stop: CancellationToken) {
        loop {
            tokio::select! {
                () = tokio::time::sleep(Self::INTERVAL) => { self.look(); }
                () = now.notified() => if self.reload() == Reload::Unchanged {
                    info!(files = self.names(), "{} is unchanged", self.made.words().0);
                },
                () = stop.cancelled() => return,
            }
        }
    }

    /// Looks at the files. A change counts once two looks in a row found the same.
    pub fn look(&mut self) -> Reload {
        let contents = self.read();
        let seen = seen(&contents);
        if seen == self.judged {
            self.settling = None;
            return Reload::Unchanged;
        }
        if self.settling.as_ref() != Some(&seen) {
            self.settling = Some(seen);
            return Reload::Settling;
        }
        self.judge(contents, seen)
    }

    /// Takes the files as they are now, because somebody said that they are complete. Whoever says so again of files
    /// that were refused is told again why.
    pub fn reload(&mut self) -> Reload {
        let contents = self.read();
        let seen = seen(&contents);
        if seen == self.judged && self.refused.is_none() {
            Reload::Unchanged
        } else {
            self.judge(contents, seen)
        }
    }

    fn read(&self) -> Vec<std::io::Result<Vec<u8>>> {
        self.paths.iter().map(std::fs::read).collect()
    }

    fn names(&self) -> String {
        self.paths.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(", ")
    }

    fn judge(&mut self, contents: Vec<std::io::Result<Vec<u8>>>, seen: Vec<Seen>) -> Reload {
        self.settling = None;
        self.judged = seen;
        let problems: Vec<_> = self
            .paths
            .iter()
            .zip(&contents)
            .filter_map(|(path, content)| Some(unreadable(path, content.as_ref().err()?)))
            .collect();
        let taken = if problems.is_empty() {
            self.made.take(&contents.into_iter().flatten().collect::<Vec<_>>())
        } else {
            Err(Problems(problems))
        };
        let (what, in_force) = self.made.words();
        match taken {
            Ok(()) => {
                self.refused = None;
                info!(files = self.names(), "{what} has changed and is in force");
                Reload::Applied
            }
            Err(problems) => {
                for problem in &problems.0 {
                    error!(%problem, "{what} is refused; {in_force} stays as it was");
                }
                self.refused = Some(problems.clone());
                Reload::Refused(problems)
            }
        }
    }
}

/// The content of the only file, as text.
pub(super) fn text<'a>(path: &Path, contents: &'a [Vec<u8>]) -> Result<&'a str, Problems> {
    let content = contents.first().map(Vec::as_slice).unwrap_or_default();
    str::from_utf8(content).map_err(|error| {
        Problems(vec![unreadable(path, &std::io::Error::new(std::io::ErrorKind::InvalidData, error))])
    })
}

fn seen(contents: &[std::io::Result<Vec<u8>>]) -> Vec<Seen> {
    contents
        .iter()
        .map(|content| content.as_ref().map(|content| digest(content)).map_err(ToString::to_string))
        .collect()
}

fn digest(content: &[u8]) -> [u8; 32] {
    Sha256::digest(content).into()
}
