//! How often what makes a history interesting was met.

use std::collections::BTreeMap;

use super::calls::{Answer, Call};
use super::history::Noted;

/// Counts by their names, which stand in tools/minimum-counts.txt after a prefix.
#[derive(Debug, Default)]
pub(crate) struct Met(pub(crate) BTreeMap<&'static str, u64>);

impl Met {
    pub(crate) const NAMES: [&str; 13] = [
        "calls",
        "open_calls",
        "owners",
        "takeovers",
        "replays",
        "in_progress",
        "unresolved",
        "results",
        "checkpoints_handed_over",
        "fenced",
        "operators",
        "keys",
        "corrupted",
    ];

    pub(crate) fn add(&mut self, name: &'static str, times: u64) {
        *self.0.entry(name).or_default() += times;
    }

    pub(crate) fn join(&mut self, other: &Self) {
        for (name, times) in &other.0 {
            self.add(name, *times);
        }
    }

    /// Learns from one key's calls.
    pub(crate) fn learn(&mut self, calls: &[Noted]) {
        self.add("keys", 1);
        self.add("calls", calls.len() as u64);
        for noted in calls {
            let Some(heard) = &noted.heard else {
                self.add("open_calls", 1);
                continue;
            };
            match &heard.answer {
                Answer::Started { attempt, points, .. } => {
                    self.add("owners", 1);
                    self.add("takeovers", u64::from(*attempt > 1));
                    self.add("checkpoints_handed_over", points.len() as u64);
                }
                Answer::Replayed { .. } => self.add("replays", 1),
                Answer::InProgress { .. } => self.add("in_progress", 1),
                Answer::Unresolved { .. } => self.add("unresolved", 1),
                Answer::Completed { .. } => self.add("results", 1),
                Answer::Refused(reason) if reason == "FENCE_LOST" => self.add("fenced", 1),
                _ => {}
            }
            let done = !matches!(heard.answer, Answer::Refused(_));
            let operates = matches!(noted.call, Call::Resolve(_) | Call::Forget(_));
            self.add("operators", u64::from(done && operates));
        }
    }
}
