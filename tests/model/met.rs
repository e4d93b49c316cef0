//! How often the steps of a model met what it is about.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::rules::{Answer, Kept, Phase};

macro_rules! counters {
    ($($name:ident),*) => {
        #[derive(Debug, Default)]
        pub(crate) struct Met { $($name: AtomicU64),* }

        impl Met {
            pub(crate) fn all(&self) -> Vec<(&'static str, u64)> {
                vec![$((concat!("model_", stringify!($name)), self.$name.load(Ordering::Relaxed))),*]
            }
        }
    };
}

counters!(
    owners,
    takeovers,
    replays,
    cached_replays,
    unresolved,
    fenced,
    unknowns,
    unsaid_writes,
    late_writes,
    stale_reads,
    conflicts,
    reclaims,
    crashes
);

fn add(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

impl Met {
    pub(crate) fn owner(&self) {
        add(&self.owners);
    }

    /// A new attempt comes after `before`.
    pub(crate) fn after(&self, before: &Kept) {
        if matches!(before.phase, Phase::InProgress { .. }) {
            add(&self.takeovers);
        }
    }

    pub(crate) fn answered(&self, answer: Answer) {
        match answer {
            Answer::Replayed { .. } => add(&self.replays),
            Answer::Unresolved { .. } => add(&self.unresolved),
            Answer::FenceLost => add(&self.fenced),
            _ => {}
        }
    }

    pub(crate) fn replayed_from_cache(&self) {
        add(&self.cached_replays);
    }

    pub(crate) fn unknown(&self) {
        add(&self.unknowns);
    }

    pub(crate) fn unsaid(&self) {
        add(&self.unsaid_writes);
    }

    pub(crate) fn late(&self) {
        add(&self.late_writes);
    }

    pub(crate) fn stale(&self) {
        add(&self.stale_reads);
    }

    pub(crate) fn conflict(&self) {
        add(&self.conflicts);
    }

    pub(crate) fn reclaimed(&self) {
        add(&self.reclaims);
    }

    pub(crate) fn crash(&self) {
        add(&self.crashes);
    }
}
