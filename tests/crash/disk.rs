//! What a trace leaves on a disk: what the process sees, and what a loss of power may leave of it.
//!
//! Only a sync makes durable, and only what it is about: that of a file its bytes and length, that of a directory the
//! names in it. Of everything else any part may be lost, in any order. That is more than most file systems do.

use std::collections::{BTreeMap, HashMap};
use std::fs::{self, File};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{self, Read as _};
use std::os::unix::fs::FileExt as _;
use std::path::{Component, Path, PathBuf};

use rand::RngExt as _;
use rand::rngs::StdRng;

use crate::trace::{Call, Descriptor, Moment, Trace};

type Node = usize;

/// What a loss of power takes of what was not synced.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Loss {
    /// Nothing: the disk wrote all of it in time.
    Nothing,
    /// All of it.
    Everything,
    /// Any of it: names one by one, bytes in pieces of that many.
    Pieces(u64),
}

/// Bytes, and zeros up to a length.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Content {
    bytes: Vec<u8>,
    length: u64,
}

impl Content {
    fn write(&mut self, at: u64, bytes: &[u8]) {
        let start = place(at);
        let end = start + bytes.len();
        if self.bytes.len() < end {
            self.bytes.resize(end, 0);
        }
        self.bytes[start..end].copy_from_slice(bytes);
        self.length = self.length.max(end as u64);
    }

    fn set_length(&mut self, length: u64) {
        self.bytes.truncate(place(length));
        self.length = length;
    }

    fn read(&self, at: u64, length: u64) -> Vec<u8> {
        (place(at)..place(at + length)).map(|at| self.bytes.get(at).copied().unwrap_or(0)).collect()
    }
}

fn place(at: u64) -> usize {
    usize::try_from(at).expect("files fit into memory")
}

#[derive(Clone, Debug)]
enum FileChange {
    Write { at: u64, bytes: Vec<u8> },
    SetLength(u64),
}

#[derive(Clone, Debug)]
enum NameChange {
    Given(String, Node),
    Taken(String),
    /// One step: a crash leaves the old names or the new one.
    Renamed {
        from: String,
        to: String,
        node: Node,
    },
}

/// A file or a directory: as it is on disk for certain, as the process sees it, and what lies between, with when it
/// was done.
#[derive(Debug)]
enum Kept {
    File {
        durable: Content,
        now: Content,
        pending: Vec<(usize, FileChange)>,
    },
    Directory {
        durable: BTreeMap<String, Node>,
        now: BTreeMap<String, Node>,
        pending: Vec<(usize, NameChange)>,
    },
}

struct Open {
    node: Node,
    at: u64,
    append: bool,
}

/// A disk on which a trace is played.
pub(crate) struct Disk {
    nodes: Vec<Kept>,
    open: HashMap<Descriptor, Open>,
    /// How many changes there were.
    changes: usize,
    /// How many there were when each sync began that is under way: by the number of its call.
    syncing: HashMap<usize, (Node, usize)>,
}

const ROOT: Node = 0;

impl Disk {
    /// What is below `root` now, all of it durable.
    pub(crate) fn of(root: &Path) -> io::Result<Self> {
        let mut disk = Self { nodes: Vec::new(), open: HashMap::new(), changes: 0, syncing: HashMap::new() };
        disk.take_in(root)?;
        Ok(disk)
    }

    fn take_in(&mut self, path: &Path) -> io::Result<Node> {
        let node = self.nodes.len();
        if path.is_dir() {
            self.nodes.push(directory(BTreeMap::new()));
            let mut names = BTreeMap::new();
            for entry in fs::read_dir(path)? {
                let entry = entry?;
                let name = entry.file_name().into_string().expect("names are text");
                names.insert(name, self.take_in(&entry.path())?);
            }
            self.nodes[node] = directory(names);
        } else {
            let content = content_of(path)?;
            self.nodes.push(Kept::File { durable: content.clone(), now: content, pending: Vec::new() });
        }
        Ok(node)
    }

    /// Whether the process would find here what is below `root`.
    pub(crate) fn is_like(&self, root: &Path) -> io::Result<bool> {
        self.node_is_like(ROOT, root)
    }

    fn node_is_like(&self, node: Node, path: &Path) -> io::Result<bool> {
        match &self.nodes[node] {
            Kept::File { now, .. } => Ok(path.is_file() && same(now, &content_of(path)?)),
            Kept::Directory { now, .. } => {
                if !path.is_dir() || fs::read_dir(path)?.count() != now.len() {
                    return Ok(false);
                }
                for (name, node) in now {
                    if !self.node_is_like(*node, &path.join(name))? {
                        return Ok(false);
                    }
                }
                Ok(true)
            }
        }
    }

    /// Plays one event; whether it changed what a crash may leave.
    pub(crate) fn play(&mut self, trace: &Trace, event: (Moment, usize)) -> bool {
        let (moment, number) = event;
        let call = &trace.calls[number];
        match (moment, call) {
            (Moment::Began, Call::Sync(descriptor)) => {
                if let Some(open) = self.open.get(descriptor) {
                    self.syncing.insert(number, (open.node, self.changes));
                }
                false
            }
            (Moment::Ended, Call::Sync(_)) => {
                self.syncing.remove(&number).is_some_and(|(node, before)| self.sync(node, before))
            }
            (Moment::Began, _) => false,
            (Moment::Ended, call) => {
                let before = self.changes;
                self.apply(call);
                self.changes > before
            }
        }
    }

    fn apply(&mut self, call: &Call) {
        match call {
            Call::Open { descriptor, path, create, truncate, append } => {
                let node = match self.find(path) {
                    Some(node) => node,
                    None if *create => self.give(
                        path,
                        Kept::File {
                            durable: Content::default(),
                            now: Content::default(),
                            pending: Vec::new(),
                        },
                    ),
                    None => panic!("{} was opened, and the recorder does not know it", path.display()),
                };
                if *truncate {
                    self.change_file(node, FileChange::SetLength(0));
                }
                self.open.insert(*descriptor, Open { node, at: 0, append: *append });
            }
            Call::Elsewhere(descriptor) => drop(self.open.remove(descriptor)),
            Call::Duplicate { from, to } => match self.open.get(from) {
                // A place of its own, though the system shares it: nobody writes through both.
                Some(&Open { node, at, append }) => drop(self.open.insert(*to, Open { node, at, append })),
                None => drop(self.open.remove(to)),
            },
            Call::Seek { descriptor, to } => {
                if let Some(open) = self.open.get_mut(descriptor) {
                    open.at = *to;
                }
            }
            Call::Write { descriptor, at, bytes } => self.write(*descriptor, *at, bytes.clone()),
            Call::Copy { from, to, length } => {
                let Some(source) = self.open.get_mut(from) else { return };
                let (node, at) = (source.node, source.at);
                source.at += length;
                let Kept::File { now, .. } = &self.nodes[node] else { panic!("a directory was read") };
                let bytes = now.read(at, *length);
                self.write(*to, None, bytes);
            }
            Call::SetLength { descriptor, length } => {
                if let Some(open) = self.open.get(descriptor) {
                    self.change_file(open.node, FileChange::SetLength(*length));
                }
            }
            Call::Rename { from, to } => {
                let node = self.find(from).expect("what is renamed is there");
                assert_eq!(from.parent(), to.parent(), "the model has no renames between directories");
                let change = NameChange::Renamed { from: name_of(from), to: name_of(to), node };
                self.change_name(to, change);
            }
            Call::Unlink(path) => self.change_name(path, NameChange::Taken(name_of(path))),
            Call::MakeDirectory(path) => drop(self.give(path, directory(BTreeMap::new()))),
            Call::Sync(_) | Call::Said(_) => {}
        }
    }

    fn write(&mut self, descriptor: Descriptor, at: Option<u64>, bytes: Vec<u8>) {
        let Some(open) = self.open.get_mut(&descriptor) else { return };
        let Kept::File { now, .. } = &self.nodes[open.node] else { panic!("a directory was written to") };
        let start = at.unwrap_or(if open.append { now.length } else { open.at });
        if at.is_none() {
            open.at = start + bytes.len() as u64;
        }
        let node = open.node;
        self.change_file(node, FileChange::Write { at: start, bytes });
    }

    fn change_file(&mut self, node: Node, change: FileChange) {
        let Kept::File { now, pending, .. } = &mut self.nodes[node] else {
            panic!("a directory was written to")
        };
        change_content(now, &change);
        pending.push((self.changes, change));
        self.changes += 1;
    }

    fn give(&mut self, path: &Path, kept: Kept) -> Node {
        let node = self.nodes.len();
        self.nodes.push(kept);
        self.change_name(path, NameChange::Given(name_of(path), node));
        node
    }

    fn change_name(&mut self, path: &Path, change: NameChange) {
        let parent =
            self.find(path.parent().expect("nothing happens to the root")).expect("its directory is there");
        let Kept::Directory { now, pending, .. } = &mut self.nodes[parent] else {
            panic!("a file with names")
        };
        change_names(now, &change);
        pending.push((self.changes, change));
        self.changes += 1;
    }

    fn find(&self, path: &Path) -> Option<Node> {
        path.components().try_fold(ROOT, |node, component| match (component, &self.nodes[node]) {
            (Component::Normal(name), Kept::Directory { now, .. }) => now.get(name.to_str()?).copied(),
            (Component::CurDir, _) => Some(node),
            _ => None,
        })
    }

    /// Makes durable what was done to a node before that many changes.
    fn sync(&mut self, node: Node, before: usize) -> bool {
        match &mut self.nodes[node] {
            Kept::File { durable, pending, .. } => {
                let covered = pending.partition_point(|(when, _)| *when < before);
                pending.drain(..covered).for_each(|(_, change)| change_content(durable, &change));
                covered > 0
            }
            Kept::Directory { durable, pending, .. } => {
                let covered = pending.partition_point(|(when, _)| *when < before);
                pending.drain(..covered).for_each(|(_, change)| change_names(durable, &change));
                covered > 0
            }
        }
    }

    /// What a loss of power now may leave.
    pub(crate) fn image(&self, loss: Loss, random: &mut StdRng) -> Image {
        let mut image = Image { directories: Vec::new(), files: Vec::new() };
        self.add_to(&mut image, ROOT, PathBuf::new(), loss, random);
        image
    }

    /// Whether anything that can be found is not synced.
    pub(crate) fn has_pending(&self) -> bool {
        self.nodes.iter().any(|kept| match kept {
            Kept::File { pending, .. } => !pending.is_empty(),
            Kept::Directory { pending, .. } => !pending.is_empty(),
        })
    }

    fn add_to(&self, image: &mut Image, node: Node, path: PathBuf, loss: Loss, random: &mut StdRng) {
        match &self.nodes[node] {
            Kept::File { durable, now, pending } => {
                let content = match loss {
                    Loss::Nothing => now.clone(),
                    Loss::Everything => durable.clone(),
                    Loss::Pieces(piece) => torn(durable, pending, piece, random),
                };
                image.files.push((path, content));
            }
            Kept::Directory { durable, now, pending } => {
                let names = match loss {
                    Loss::Nothing => now.clone(),
                    Loss::Everything => durable.clone(),
                    Loss::Pieces(_) => {
                        let mut names = durable.clone();
                        for (_, change) in pending.iter().filter(|_| random.random_bool(0.5)) {
                            change_names(&mut names, change);
                        }
                        names
                    }
                };
                image.directories.push(path.clone());
                for (name, node) in names {
                    self.add_to(image, node, path.join(name), loss, random);
                }
            }
        }
    }
}

/// What was written since the last sync, in pieces of which any reached the disk. The length did where a piece beyond
/// it did, or by itself: then there are zeros.
fn torn(durable: &Content, pending: &[(usize, FileChange)], piece: u64, random: &mut StdRng) -> Content {
    let mut content = durable.clone();
    // Often nearly all or nearly nothing: one missing piece among many is what checks overlook.
    let kept = [0.1, 0.5, 0.9][random.random_range(0..3)];
    for (_, change) in pending {
        match change {
            FileChange::SetLength(_) => {
                if random.random_bool(kept) {
                    change_content(&mut content, change);
                }
            }
            FileChange::Write { at, bytes } => {
                let mut from = 0;
                while from < bytes.len() {
                    let to_border = piece - (at + from as u64) % piece;
                    let to = bytes.len().min(from + place(to_border));
                    if random.random_bool(kept) {
                        content.write(at + from as u64, &bytes[from..to]);
                    }
                    from = to;
                }
                let end = at + bytes.len() as u64;
                if content.length < end && random.random_bool(0.3) {
                    content.length = end;
                }
            }
        }
    }
    content
}

fn change_content(content: &mut Content, change: &FileChange) {
    match change {
        FileChange::Write { at, bytes } => content.write(*at, bytes),
        FileChange::SetLength(length) => content.set_length(*length),
    }
}

fn change_names(names: &mut BTreeMap<String, Node>, change: &NameChange) {
    match change {
        NameChange::Given(name, node) => drop(names.insert(name.clone(), *node)),
        NameChange::Taken(name) => drop(names.remove(name)),
        NameChange::Renamed { from, to, node } => {
            names.remove(from);
            names.insert(to.clone(), *node);
        }
    }
}

fn directory(names: BTreeMap<String, Node>) -> Kept {
    Kept::Directory { durable: names.clone(), now: names, pending: Vec::new() }
}

fn name_of(path: &Path) -> String {
    path.file_name().and_then(|name| name.to_str()).expect("a name that is text").to_owned()
}

fn content_of(path: &Path) -> io::Result<Content> {
    let mut bytes = Vec::new();
    File::open(path)?.read_to_end(&mut bytes)?;
    let length = bytes.len() as u64;
    let written = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |at| at + 1);
    bytes.truncate(written);
    Ok(Content { bytes, length })
}

fn same(a: &Content, b: &Content) -> bool {
    let shared = a.bytes.len().min(b.bytes.len());
    a.length == b.length
        && a.bytes[..shared] == b.bytes[..shared]
        && a.bytes[shared..].iter().chain(&b.bytes[shared..]).all(|byte| *byte == 0)
}

/// A possible disk.
pub(crate) struct Image {
    directories: Vec<PathBuf>,
    files: Vec<(PathBuf, Content)>,
}

impl Image {
    /// Tells it from others.
    pub(crate) fn digest(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        self.directories.hash(&mut hasher);
        for (path, content) in &self.files {
            path.hash(&mut hasher);
            content.length.hash(&mut hasher);
            content.bytes.hash(&mut hasher);
        }
        hasher.finish()
    }

    /// Puts it below `root`, which is there and empty.
    pub(crate) fn put(&self, root: &Path) -> io::Result<()> {
        for directory in &self.directories {
            fs::create_dir_all(root.join(directory))?;
        }
        for (path, content) in &self.files {
            let file = File::create(root.join(path))?;
            file.write_all_at(&content.bytes, 0)?;
            file.set_len(content.length)?;
        }
        Ok(())
    }
}
