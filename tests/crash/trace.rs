//! What a process did to its files, and what it said meanwhile, in the order in which it happened: the log of strace.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

/// The calls that are recorded. Those at the end are not understood: one of them on a file of the store fails the test.
pub(crate) const TRACED: &str = "trace=open,openat,creat,dup,dup2,dup3,fcntl,lseek,write,pwrite64,writev,copy_file_range,sendfile,\
                                 ftruncate,rename,renameat,renameat2,unlink,unlinkat,rmdir,mkdir,mkdirat,fsync,fdatasync,\
                                 fallocate,truncate,link,linkat,symlink,symlinkat,pwritev,pwritev2,splice";

/// How a line begins that the process says to whoever listens.
pub(crate) const SAID: &str = "SAID ";

/// A file as the process has it open.
pub(crate) type Descriptor = i64;

/// One call that ended well.
#[derive(Clone, Debug)]
pub(crate) enum Call {
    Open {
        descriptor: Descriptor,
        path: PathBuf,
        create: bool,
        truncate: bool,
        append: bool,
    },
    /// The descriptor is of something else now.
    Elsewhere(Descriptor),
    Duplicate {
        from: Descriptor,
        to: Descriptor,
    },
    Seek {
        descriptor: Descriptor,
        to: u64,
    },
    Write {
        descriptor: Descriptor,
        at: Option<u64>,
        bytes: Vec<u8>,
    },
    Copy {
        from: Descriptor,
        to: Descriptor,
        length: u64,
    },
    SetLength {
        descriptor: Descriptor,
        length: u64,
    },
    Rename {
        from: PathBuf,
        to: PathBuf,
    },
    Unlink(PathBuf),
    MakeDirectory(PathBuf),
    Sync(Descriptor),
    Said(String),
}

/// A beginning or an end of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Moment {
    Began,
    Ended,
}

/// The calls of a process on the files below a directory.
pub(crate) struct Trace {
    pub(crate) calls: Vec<Call>,
    /// What began or ended, in order; the number is that of the call.
    pub(crate) events: Vec<(Moment, usize)>,
}

impl Trace {
    /// Reads a log of `strace -f -xx`. Paths are made relative to `root`; calls elsewhere are left out.
    pub(crate) fn parse(log: &str, root: &Path) -> Self {
        let mut parser = Parser { root, directories: HashMap::new() };
        let mut unfinished: HashMap<&str, (usize, String)> = HashMap::new();
        let mut found: Vec<(usize, usize, Call)> = Vec::new();
        for (line, text) in log.lines().enumerate() {
            let Some((thread, text)) = text.split_once(' ') else { continue };
            let text = text.trim_start();
            if let Some(beginning) = text.strip_suffix("<unfinished ...>") {
                unfinished.insert(thread, (line, beginning.to_owned()));
                continue;
            }
            let (began, whole) = match text.strip_prefix("<... ") {
                Some(rest) => {
                    let Some((began, mut whole)) = unfinished.remove(thread) else { continue };
                    let (_, rest) = rest.split_once("resumed>").expect("a resumed call");
                    whole.push_str(rest);
                    (began, whole)
                }
                None => (line, text.to_owned()),
            };
            found.extend(parser.call(&whole).map(|call| (began, line, call)));
        }
        // What a killed process was in the middle of saying was not said.
        let mut events: Vec<(usize, Moment, usize)> = Vec::new();
        for (n, (began, ended, _)) in found.iter().enumerate() {
            events.push((*began, Moment::Began, n));
            events.push((*ended, Moment::Ended, n));
        }
        events.sort_by_key(|(line, moment, n)| (*line, *n, *moment == Moment::Ended));
        Self {
            calls: found.into_iter().map(|(_, _, call)| call).collect(),
            events: events.into_iter().map(|(_, moment, n)| (moment, n)).collect(),
        }
    }
}

struct Parser<'a> {
    root: &'a Path,
    /// Of each descriptor of a directory, its path: some calls name a file relative to one.
    directories: HashMap<Descriptor, PathBuf>,
}

impl Parser<'_> {
    fn call(&mut self, text: &str) -> Option<Call> {
        let (name, rest) = text.split_once('(')?;
        let (arguments, result) = rest
            .rsplit_once(')')
            .filter(|(_, end)| end.trim_start().starts_with('='))
            // `= -1 EIO (Input/output error)` ends in a parenthesis of its own.
            .or_else(|| rest.rsplit_once(") = "))?;
        let result = result.trim_start().trim_start_matches('=').trim_start();
        let result: i64 = result.split([' ', '<']).next()?.parse().ok()?;
        if result < 0 {
            return None;
        }
        let arguments: Vec<&str> = arguments.split(", ").map(str::trim).collect();
        let number = |n: usize| arguments[n].parse::<i64>().expect("a number among the arguments");
        let unsigned =
            |n: usize| arguments[n].parse::<u64>().expect("a length or a place among the arguments");
        let written = || usize::try_from(result).expect("it did not fail");
        Some(match name {
            "open" | "creat" | "openat" => {
                let (path, flags) = if name == "openat" {
                    (self.path(arguments[0], arguments[1]), arguments[2])
                } else {
                    (
                        self.path("AT_FDCWD", arguments[0]),
                        arguments.get(1).copied().unwrap_or("O_CREAT|O_TRUNC"),
                    )
                };
                self.directories.insert(result, path.clone());
                let Some(path) = self.below(&path) else { return Some(Call::Elsewhere(result)) };
                let has = |flag| flags.split('|').any(|it| it == flag);
                Call::Open {
                    descriptor: result,
                    path,
                    create: has("O_CREAT"),
                    truncate: has("O_TRUNC"),
                    append: has("O_APPEND"),
                }
            }
            "dup" | "dup2" | "dup3" => Call::Duplicate { from: number(0), to: result },
            "fcntl" if arguments[1].starts_with("F_DUPFD") => Call::Duplicate { from: number(0), to: result },
            "fcntl" => return None,
            "lseek" => Call::Seek { descriptor: number(0), to: result.unsigned_abs() },
            "write" | "pwrite64" => {
                let mut bytes = text_of(arguments[1]);
                bytes.truncate(written());
                let at = (name == "pwrite64").then(|| unsigned(3));
                Call::Write { descriptor: number(0), at, bytes }
            }
            "writev" => {
                let mut bytes: Vec<u8> = arguments[1..]
                    .iter()
                    .filter_map(|it| it.split_once("iov_base="))
                    .flat_map(|(_, it)| text_of(it))
                    .collect();
                bytes.truncate(written());
                match bytes.strip_prefix(SAID.as_bytes()) {
                    Some(said) => {
                        Call::Said(String::from_utf8(said.to_vec()).expect("text").trim_end().to_owned())
                    }
                    None => Call::Write { descriptor: number(0), at: None, bytes },
                }
            }
            "copy_file_range" => {
                assert!(arguments[1] == "NULL" && arguments[3] == "NULL", "a copy from a place: {text}");
                Call::Copy { from: number(0), to: number(2), length: result.unsigned_abs() }
            }
            "sendfile" => {
                assert!(arguments[2] == "NULL", "a copy from a place: {text}");
                Call::Copy { from: number(1), to: number(0), length: result.unsigned_abs() }
            }
            "ftruncate" => Call::SetLength { descriptor: number(0), length: unsigned(1) },
            "rename" | "renameat" | "renameat2" => {
                let (from, to) = if name == "rename" {
                    (self.path("AT_FDCWD", arguments[0]), self.path("AT_FDCWD", arguments[1]))
                } else {
                    (self.path(arguments[0], arguments[1]), self.path(arguments[2], arguments[3]))
                };
                Call::Rename { from: self.below(&from)?, to: self.below(&to)? }
            }
            "unlink" | "rmdir" => Call::Unlink(self.below(&self.path("AT_FDCWD", arguments[0]))?),
            "unlinkat" => Call::Unlink(self.below(&self.path(arguments[0], arguments[1]))?),
            "mkdir" => Call::MakeDirectory(self.below(&self.path("AT_FDCWD", arguments[0]))?),
            "mkdirat" => Call::MakeDirectory(self.below(&self.path(arguments[0], arguments[1]))?),
            "fsync" | "fdatasync" => Call::Sync(number(0)),
            _ => panic!("the recorder does not know what this call does to a disk: {name}"),
        })
    }

    fn path(&self, directory: &str, name: &str) -> PathBuf {
        let name = PathBuf::from(String::from_utf8(text_of(name)).expect("a path in UTF-8"));
        match directory.parse::<Descriptor>() {
            Ok(directory) if name.is_relative() => {
                self.directories.get(&directory).cloned().unwrap_or_default().join(name)
            }
            _ => name,
        }
    }

    fn below(&self, path: &Path) -> Option<PathBuf> {
        path.strip_prefix(self.root).ok().map(Path::to_path_buf)
    }
}

/// The bytes of an argument that strace wrote as `"\x61\x62"`.
fn text_of(argument: &str) -> Vec<u8> {
    let text = argument.split('"').nth(1).unwrap_or_else(|| panic!("no text: {argument}"));
    assert!(!argument.contains("\"..."), "strace cut a text short");
    let digit =
        |at: u8| char::from(at).to_digit(16).and_then(|digit| u8::try_from(digit).ok()).expect("hexadecimal");
    text.as_bytes().chunks_exact(4).map(|it| (digit(it[2]) << 4) | digit(it[3])).collect()
}
