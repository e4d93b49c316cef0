//! What was done before an interruption: a line for each history, in a file that a variable names.

use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::PathBuf;

use super::met::Met;

/// Figures of histories by their seeds.
#[derive(Debug)]
pub(crate) struct Progress {
    /// What is counted.
    names: Vec<&'static str>,
    file: Option<PathBuf>,
    done: BTreeMap<u64, Vec<(String, u64)>>,
}

impl Progress {
    /// In the file that `variable` names; without it nothing is kept.
    pub(crate) fn of(variable: &str, names: Vec<&'static str>) -> Self {
        let Some(file) = std::env::var_os(variable).map(PathBuf::from) else {
            return Self { names, file: None, done: BTreeMap::new() };
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
        Self { names, file: Some(file), done }
    }

    /// What a history came to, where it was done before.
    pub(crate) fn done(&self, seed: u64) -> Option<Met> {
        let figures = self.done.get(&seed)?;
        let mut met = Met::default();
        for name in self.names.iter().copied() {
            let times = figures.iter().find(|(of, _)| of == name).map_or(0, |(_, times)| *times);
            met.add(name, times);
        }
        Some(met)
    }

    pub(crate) fn note(&self, seed: u64, met: &Met) {
        let Some(file) = &self.file else { return };
        let figures: Vec<_> = met.0.iter().map(|(name, times)| format!("{name}={times} ")).collect();
        let figures = figures.concat();
        let mut file = OpenOptions::new().create(true).append(true).open(file).expect("the file of progress");
        // One write, so that lines do not mix.
        file.write_all(format!("{seed} {figures}.\n").as_bytes()).expect("the file of progress takes a line");
    }
}
