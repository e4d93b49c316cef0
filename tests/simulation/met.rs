//! How often histories met what the promises are about.

use std::collections::BTreeMap;

use semel::coordinator::CallError;
use semel::domain::{BeginAnswer, Phase, Reason, Record};

use crate::chronicle::{Answer, Chronicle};

/// Counts by name; tools/minimum-counts.txt says what is due of each.
#[derive(Debug, Default)]
pub(crate) struct Met(pub(crate) BTreeMap<&'static str, u64>);

impl Met {
    pub(crate) fn learn(&mut self, chronicle: &Chronicle) {
        let (mishaps, store) = (&chronicle.mishaps, &chronicle.store);
        for (name, times) in [
            ("simulation_histories", 1),
            ("simulation_server_crashes", mishaps.crashed_servers),
            ("simulation_caller_crashes", mishaps.crashed_callers),
            ("simulation_retries", mishaps.retries),
            ("simulation_copies", mishaps.copies),
            ("simulation_clock_jumps", mishaps.jumps),
            ("simulation_policy_changes", mishaps.policies),
            ("simulation_stale_reads", store.stale_reads),
            ("simulation_late_writes", store.late_writes),
            ("simulation_rows_gone", store.rows_gone),
        ] {
            *self.0.entry(name).or_default() += times;
        }
        for versions in &chronicle.versions {
            for pair in versions.windows(2) {
                let (Some(Record::Kept(before)), Some(Record::Kept(after))) =
                    (pair[0].record(), pair[1].record())
                else {
                    continue;
                };
                let lost = matches!(before.phase, Phase::InProgress { .. });
                self.count("simulation_takeovers", lost && before.fence < after.fence);
            }
            let fences: std::collections::BTreeSet<_> =
                versions.iter().filter_map(|version| version.record().map(Record::fence)).collect();
            *self.0.entry("simulation_owners").or_default() += fences.len() as u64;
        }
        for answer in chronicle.deliveries.iter().map(|delivery| &delivery.answer) {
            self.count("simulation_calls_cut_off", answer.is_none());
            let Some(answer) = answer else { continue };
            let begun = match answer {
                Answer::Begun(answer, _) => Some(answer),
                _ => None,
            };
            self.count("simulation_replays", matches!(begun, Some(BeginAnswer::Replayed(_))));
            self.count("simulation_in_progress", matches!(begun, Some(BeginAnswer::InProgress(_))));
            self.count("simulation_unresolved", matches!(begun, Some(BeginAnswer::Unresolved(_))));
            self.count("simulation_unknowns", *answer == Answer::Failed(CallError::StoreOutcomeUnknown));
            let fenced = matches!(answer, Answer::Failed(CallError::Refused(refusal))
                if refusal.reason() == Reason::FenceLost);
            self.count("simulation_fenced", fenced);
        }
    }

    fn count(&mut self, name: &'static str, met: bool) {
        *self.0.entry(name).or_default() += u64::from(met);
    }
}
