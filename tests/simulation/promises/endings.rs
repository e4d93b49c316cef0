//! What is over is heard of, and no key is stuck.

use std::time::Duration;

use semel::coordinator::CallError;
use semel::domain::{BeginAnswer, Phase, Record, Refusal};

use super::{Held, Verdict, broken};
use crate::chronicle::{Answer, Call};
use crate::plan::{Weather, What};

/// More than a held Begin takes to hear of a change, on any server, while the store works.
const HEARS_WITHIN: Duration = Duration::from_secs(2);

pub(super) fn wake_who_waits(held: &Held<'_>, key: usize) -> Verdict {
    let stormy = held.plan.items.iter().any(|item| matches!(item.what, What::Storm { .. }));
    // A read may miss what nobody was told of; that does not last.
    let calm = Weather { stale: held.plan.weather.stale, ..Weather::default() };
    if stormy || held.plan.weather != calm {
        return Ok(());
    }
    for (called, delivery) in held.chronicle.on(key) {
        let Some(Answer::Begun(BeginAnswer::InProgress(running), _)) = &delivery.answer else { continue };
        let versions = &held.chronicle.versions[key];
        let over = versions.iter().enumerate().find(|(n, version)| {
            let Some(Record::Kept(kept)) = version.record() else { return false };
            let mut later = versions[n + 1..].iter().take_while(|later| later.at <= delivery.ended);
            let stays = later.all(|later| later.record().is_some_and(|record| record.fence() == kept.fence));
            let in_time = version.acknowledged.is_some_and(|at| at + HEARS_WITHIN < delivery.ended);
            let runs = matches!(kept.phase, Phase::InProgress { given_up: None, .. });
            stays && in_time && !runs && kept.attempt == running.attempt && !running.backing_off()
        });
        if let Some((_, version)) = over {
            let how = format!(
                "{} was told at {:?} that attempt {} runs, which ended at {:?}",
                called.name, delivery.ended, running.attempt, version.at
            );
            return broken("who waits is woken", how);
        }
    }
    Ok(())
}

/// Once all is quiet, every server says the same, and a Begin has an answer that is not to wait.
pub(super) fn leave_every_key_usable(held: &Held<'_>, key: usize) -> Verdict {
    let quiet = held.chronicle.quiet_from;
    let mut looked = Vec::new();
    for (called, delivery) in held.chronicle.on(key).filter(|(called, _)| called.first_sent >= quiet) {
        match (&called.call, &delivery.answer) {
            (Call::Lookup, Some(Answer::Kept(kept))) => looked.push(kept),
            // Not found: it expired on one server's clock, and not yet on another's. Its own check has that.
            (Call::Lookup, Some(Answer::Failed(CallError::Refused(Refusal::KeyNotFound))))
            | (
                Call::Begin { .. },
                Some(Answer::Begun(
                    BeginAnswer::Started(_) | BeginAnswer::Replayed(_) | BeginAnswer::Unresolved(_),
                    _,
                )),
            ) => {}
            (_, answer) => return broken("no key is stuck", format!("key {key}: {answer:?}")),
        }
    }
    if looked.windows(2).any(|pair| pair[0] != pair[1]) {
        return broken("servers agree", format!("key {key}: {looked:?}"));
    }
    Ok(())
}
