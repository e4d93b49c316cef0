//! What was done before an interruption: a line for each history, in the file that `SEMEL_LINEARIZABLE_PROGRESS` names.

use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::PathBuf;

use crate::check::met::Met;
use crate::nemeses;

/// Figures of histories by their seeds.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    file: Option<PathBuf>,
    done: BTreeMap<u64, Vec<(String, u64)>>,
}

impl Progress {
    pub(crate) fn of_environment() -> Self {
        let Some(file) = std::env::var_os("SEMEL_LINEARIZABLE_PROGRESS").map(PathBuf::from) else {
            return Self::default();
        };
        let text = std::fs::read_to_string(&file).unwrap_or_default();
        // A line that was cut off is of no history.
        let line = |line: &str| {
            let mut words = line.strip_suffix(" .")?.split(' ');
            let seed = words.next()?.parse().ok()?;
            let figure = |word: &str| {
                let (name, times) = word.split_once('=')?;
                Some((name.to_owned(), times.parse().ok()?))
            };
            Some((seed, words.map(figure).collect::<Option<_>>()?))
        };
        let done = text.lines().filter_map(line).collect();
        Self { file: Some(file), done }
    }

    /// What a history came to, where it was done before.
    pub(crate) fn done(&self, seed: u64) -> Option<Met> {
        let figures = self.done.get(&seed)?;
        let mut met = Met::default();
        for name in Met::NAMES.into_iter().chain(nemeses::NAMES) {
            let times = figures.iter().find(|(of, _)| of == name).map_or(0, |(_, times)| *times);
            met.add(name, times);
        }
        Some(met)
    }

    pub(crate) fn note(&self, seed: u64, met: &Met) {
        let Some(file) = &self.file else { return };
        let figures: String = met.0.iter().map(|(name, times)| format!("{name}={times} ")).collect();
        let mut file = OpenOptions::new().create(true).append(true).open(file).expect("the file of progress");
        // One write, so that lines do not mix.
        file.write_all(format!("{seed} {figures}.\n").as_bytes()).expect("the file of progress takes a line");
    }
}
