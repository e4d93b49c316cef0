//! What would be left if the store forgot one of its syncs, or told too early: the recorded run with that planted into
//! it. The checks must find each.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use crate::trace::{Call, Moment, Trace};

/// A mistake that a store could make.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Break {
    /// These syncs are left out.
    Unsynced { what: &'static str, is_one: fn(&Path) -> bool },
    /// A write is acknowledged when it is sent.
    ToldEarly,
}

/// Those that have been seen to show, the ones that most depends on first, the one that shows last at the end.
pub(crate) const BREAKS: &[Break] = &[
    Break::ToldEarly,
    Break::Unsynced { what: "the batches in the journal", is_one: |path| has_extension(path, "jnl") },
    Break::Unsynced { what: "the names in the data directory", is_one: |path| path == Path::new("data") },
    Break::Unsynced { what: "the tables' bytes", is_one: |path| is_in(path, "tables") },
    Break::Unsynced { what: "the tables' names", is_one: |path| path.ends_with("tables") },
    Break::Unsynced { what: "the lists of tables", is_one: |path| is_in_keyspace(path) && starts(path, "v") },
    Break::Unsynced {
        what: "which list of tables is the current one",
        is_one: |path| is_in_keyspace(path) && (starts(path, ".tmp") || starts(path, "current")),
    },
    Break::Unsynced { what: "the names in a keyspace", is_one: |path| is_in(path, "keyspaces") },
    Break::Unsynced {
        what: "the names of the engine's parts",
        is_one: |path| is_in(path, "data") && starts(path, "engine"),
    },
    Break::Unsynced { what: "the journal's copy", is_one: |path| has_extension(path, "copy") },
];

fn is_in(path: &Path, directory: &str) -> bool {
    path.parent().is_some_and(|parent| parent.ends_with(directory))
}

fn is_in_keyspace(path: &Path) -> bool {
    path.parent().is_some_and(|parent| is_in(parent, "keyspaces"))
}

fn starts(path: &Path, beginning: &str) -> bool {
    path.file_name().and_then(|name| name.to_str()).is_some_and(|name| name.starts_with(beginning))
}

fn has_extension(path: &Path, extension: &str) -> bool {
    path.extension().is_some_and(|found| found == extension)
}

impl Break {
    pub(crate) fn what(self) -> String {
        match self {
            Self::Unsynced { what, .. } => format!("{what} not synced"),
            Self::ToldEarly => "acknowledged before the sync".to_owned(),
        }
    }

    /// The run as it would have been; how often something in it is different.
    pub(crate) fn plant(self, trace: &Trace) -> (Trace, u64) {
        let mut planted = Trace { calls: trace.calls.clone(), events: Vec::new() };
        let mut times = 0;
        match self {
            Self::Unsynced { is_one, .. } => {
                let left_out: Vec<bool> = paths_of_syncs(trace)
                    .into_iter()
                    .map(|path| path.is_some_and(|path| is_one(&path)))
                    .collect();
                times = left_out.iter().filter(|it| **it).count() as u64;
                planted.events = trace.events.iter().filter(|(_, call)| !left_out[*call]).copied().collect();
            }
            Self::ToldEarly => {
                for &(moment, call) in &trace.events {
                    planted.events.push((moment, call));
                    let Call::Said(line) = &trace.calls[call] else { continue };
                    if let (Moment::Began, ["PUT", key, id, _]) =
                        (moment, &line.split(' ').collect::<Vec<_>>()[..])
                    {
                        planted.events.push((Moment::Began, planted.calls.len()));
                        planted.calls.push(Call::Said(format!("ACK {key} {id}")));
                        times += 1;
                    }
                }
            }
        }
        (planted, times)
    }
}

/// Of each call that is a sync, what it was about.
fn paths_of_syncs(trace: &Trace) -> Vec<Option<PathBuf>> {
    let mut open = HashMap::new();
    let mut paths = vec![None; trace.calls.len()];
    for &(moment, number) in &trace.events {
        match (moment, &trace.calls[number]) {
            (Moment::Ended, Call::Open { descriptor, path, .. }) => {
                drop(open.insert(*descriptor, path.clone()));
            }
            (Moment::Ended, Call::Elsewhere(descriptor)) => drop(open.remove(descriptor)),
            (Moment::Began, Call::Sync(descriptor)) => paths[number] = open.get(descriptor).cloned(),
            _ => {}
        }
    }
    paths
}
