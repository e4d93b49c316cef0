//! What a server's `/metrics` says, as numbers.

#![allow(dead_code, reason = "each integration test compiles this module, and none uses all of it")]

use std::collections::BTreeMap;

/// Every sample by its series, as the text has it: name, and labels in braces.
#[derive(Debug, Default)]
pub(crate) struct Samples(BTreeMap<String, String>);

impl Samples {
    /// Reads Prometheus' text format; panics where it is none.
    pub(crate) fn read(text: &str) -> Self {
        let sample = |line: &str| {
            let (series, value) = line.rsplit_once(' ').unwrap_or_else(|| panic!("no sample: {line:?}"));
            value.parse::<f64>().unwrap_or_else(|_| panic!("no number: {line:?}"));
            (series.to_owned(), value.to_owned())
        };
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        let samples: Vec<(String, String)> = lines.map(sample).collect();
        let read = Self(samples.iter().cloned().collect());
        assert_eq!(read.0.len(), samples.len(), "a series comes twice");
        read
    }

    /// The whole number that a series has; `None` where it is not there.
    pub(crate) fn find(&self, series: &str) -> Option<u64> {
        self.0.get(series).map(|value| value.parse().unwrap_or_else(|_| panic!("{series} is {value}")))
    }

    /// The whole number that a series has which is there.
    #[track_caller]
    pub(crate) fn of(&self, series: &str) -> u64 {
        self.find(series).unwrap_or_else(|| panic!("there is no {series} in {:#?}", self.0))
    }

    /// The number that a series has which is there.
    #[track_caller]
    pub(crate) fn number(&self, series: &str) -> f64 {
        self.0.get(series).unwrap_or_else(|| panic!("there is no {series} in {:#?}", self.0)).parse().unwrap()
    }

    /// The counters whose names begin so, with their values, zeros left out.
    pub(crate) fn above_zero(&self, name: &str) -> BTreeMap<String, u64> {
        let named = self.series().filter(|series| series.starts_with(name));
        let values = named.map(|series| (series.to_owned(), self.of(series)));
        values.filter(|(_, value)| *value > 0).collect()
    }

    /// Every series.
    pub(crate) fn series(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }
}
