//! A disk that is soon full.
#![allow(dead_code, reason = "each integration test compiles this module, and uses what it needs of it")]

use std::fs::{self, File};
use std::io::Write as _;
use std::path::PathBuf;
use std::process::Command;

use tempfile::TempDir;

/// A small file system in memory, unmounted when dropped.
#[derive(Debug)]
pub(crate) struct SmallDisk(TempDir);

impl SmallDisk {
    pub(crate) fn mount(options: &str) -> Self {
        assert!(
            fs::metadata("/proc/self").is_ok_and(|it| std::os::unix::fs::MetadataExt::uid(&it) == 0),
            "this test mounts a small tmpfs: run it as root"
        );
        let directory = tempfile::tempdir().expect("a temporary directory");
        let status = Command::new("mount")
            .args(["-t", "tmpfs", "-o", options, "tmpfs"])
            .arg(directory.path())
            .status()
            .expect("mount runs");
        assert!(status.success(), "a tmpfs is mounted");
        Self(directory)
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.0.path().join("data")
    }

    pub(crate) fn free(&self) -> u64 {
        let stat = nix::sys::statvfs::statvfs(self.0.path()).expect("the file system");
        stat.blocks_available() * stat.fragment_size()
    }

    /// Takes room until only `left` bytes are free.
    pub(crate) fn fill(&self, left: u64) {
        let mut filler =
            File::options().create(true).append(true).open(self.0.path().join("filler")).expect("a file");
        let page = [1; 4096];
        while self.free() >= left + 4096 {
            filler.write_all(&page).expect("there is room");
        }
    }

    /// Lets no more files be made than there are, or as many as anybody wants.
    pub(crate) fn limit_files(&self, limited: bool) {
        let stat = nix::sys::statvfs::statvfs(self.0.path()).expect("the file system");
        let files = if limited { stat.files() - stat.files_free() } else { 100_000 };
        let options = format!("remount,nr_inodes={files}");
        let status = Command::new("mount").args(["-o", &options]).arg(self.0.path()).status();
        assert!(status.is_ok_and(|status| status.success()), "the tmpfs is remounted");
    }

    pub(crate) fn make_room(&self) {
        fs::remove_file(self.0.path().join("filler")).expect("it was there");
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let status = Command::new("umount").arg("--lazy").arg(self.0.path()).status();
        assert!(status.is_ok_and(|status| status.success()), "the tmpfs is unmounted");
    }
}
