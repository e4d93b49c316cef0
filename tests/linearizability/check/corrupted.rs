//! Histories of real servers in which one answer is changed to what nobody can have been told.

use rand::RngExt as _;
use rand::rngs::StdRng;

use super::calls::Answer;
use super::history::Noted;

/// An attempt that no caller made.
const NOBODY: u64 = u64::MAX;

/// A key's calls with one changed answer, where there is one to change.
pub(crate) fn corrupted(calls: &[Noted], random: &mut StdRng) -> Option<Vec<Noted>> {
    let is_changeable =
        |of: &usize| calls[*of].heard.as_ref().is_some_and(|it| changed(&it.answer).is_some());
    let changeable: Vec<usize> = (0..calls.len()).filter(is_changeable).collect();
    if changeable.is_empty() {
        return None;
    }
    let of = changeable[random.random_range(0..changeable.len())];
    let mut calls = calls.to_vec();
    let heard = calls[of].heard.as_mut()?;
    heard.answer = changed(&heard.answer)?;
    Some(calls)
}

fn changed(answer: &Answer) -> Option<Answer> {
    let mut answer = answer.clone();
    match &mut answer {
        // Its moment, which it tells too, gives another one.
        Answer::Started { fence, .. } => *fence += 1,
        Answer::Replayed { payload, .. } => payload.push_str(", and more"),
        Answer::InProgress { by, .. } | Answer::Unresolved { by, .. } => *by = NOBODY,
        Answer::Completed { expires_at, .. } => *expires_at += 1,
        Answer::Record(shown) => shown.by = NOBODY,
        Answer::Renewed { .. }
        | Answer::Aborted { .. }
        | Answer::Saved { .. }
        | Answer::Forgotten
        | Answer::Refused(_) => {
            return None;
        }
    }
    Some(answer)
}
