//! What holds in every history. DESIGN's promises, held against what callers were told and what the store came to hold.

mod answers;
mod endings;
mod honesty;
mod ownership;
mod records;
mod results;

use std::time::Duration;

use semel::domain::Timestamp;

use crate::chronicle::Chronicle;
use crate::plan::{Clocks, Plan};
use crate::store::on_a_clock;

/// A promise that did not hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Broken {
    pub(crate) promise: &'static str,
    pub(crate) how: String,
}

type Verdict = Result<(), Broken>;

fn broken(promise: &'static str, how: String) -> Verdict {
    Err(Broken { promise, how })
}

/// A history, and what its clocks may have shown.
struct Held<'a> {
    chronicle: &'a Chronicle,
    plan: &'a Plan,
}

impl Held<'_> {
    /// The latest that any clock showed then.
    fn latest(&self, at: Duration) -> Timestamp {
        on_a_clock(at, self.plan.clocks.bounds().1)
    }

    /// The earliest that any clock showed then.
    fn earliest(&self, at: Duration) -> Timestamp {
        on_a_clock(at, self.plan.clocks.bounds().0)
    }

    const fn clocks(&self) -> Clocks {
        self.plan.clocks
    }
}

pub(crate) fn hold(plan: &Plan, chronicle: &Chronicle) -> Verdict {
    let held = Held { chronicle, plan };
    for key in 0..plan.keys {
        records::change_only_as_they_may(&held, key)?;
        records::have_rising_fences(&held, key)?;
        ownership::is_of_one_at_a_time(&held, key)?;
        ownership::is_not_denied_in_time(&held, key)?;
        ownership::ends_with_its_fence(&held, key)?;
        results::are_what_was_completed(&held, key)?;
        results::stay(&held, key)?;
        honesty::refused_is_not_written(&held, key)?;
        answers::follow_from_a_state_of_their_time(&held, key)?;
        endings::wake_who_waits(&held, key)?;
        endings::leave_every_key_usable(&held, key)?;
    }
    Ok(())
}
