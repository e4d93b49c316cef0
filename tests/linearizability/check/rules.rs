//! What docs/SEMANTICS.md says of each answer, a second time and in few words: the specification decides by the state
//! machine itself, so a fault of the state machine would go unseen without these.

use std::time::Duration;

use semel::domain::{Disposition, Policy, Resolution, Timestamp};

use super::calls::{Answer, Call, Shown, number};

/// What is known of a key by what its calls did, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Rules {
    /// The highest fence that was granted.
    highest: i64,
    holder: Option<Holder>,
}

/// The latest attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Holder {
    attempt: u64,
    number: u32,
    lease_end: u64,
    ended: Ended,
    points: Vec<(String, String)>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Ended {
    No,
    GivenUp,
    Released,
    Completed { payload: String, expires_at: u64 },
}

impl Rules {
    /// Whether a caller may be told `answer` at that moment by a server's clock; what it did is noted.
    pub(crate) fn allow(&mut self, call: &Call, answer: &Answer, policy: &Policy, now: Timestamp) -> bool {
        // What is expired reads as absent, at that moment: another clock may come before it.
        let now = now.as_micros();
        let expired = self.holder.take_if(|holder| holder.is_expired(now));
        let may = self.allow_live(call, answer, policy, now);
        if self.holder.is_none() && *answer != Answer::Forgotten {
            self.holder = expired;
        }
        may
    }

    fn allow_live(&mut self, call: &Call, answer: &Answer, policy: &Policy, now: u64) -> bool {
        match call {
            Call::Begin(begin) => self.begun(number(begin.attempt_id), answer, policy, now),
            Call::Lookup => match answer {
                Answer::Record(shown) => self.holder.as_ref().is_some_and(|holder| self.shows(holder, shown)),
                Answer::Refused(reason) => self.holder.is_none() && reason == "KEY_NOT_FOUND",
                _ => false,
            },
            Call::Resolve(resolve) => self.resolved(resolve.fence.get(), &resolve.resolution, answer),
            Call::Forget(forget) => match answer {
                Answer::Forgotten => {
                    let is_latest = forget.fence.get() == self.highest;
                    self.holder = self.holder.take().filter(|_| !is_latest);
                    is_latest
                }
                Answer::Refused(reason) => match reason.as_str() {
                    "FENCE_LOST" => forget.fence.get() != self.highest,
                    "STATE_CONFLICT" => !forget.force && self.holder.is_some(),
                    _ => self.holder.is_none(),
                },
                _ => false,
            },
            Call::Complete(complete) => {
                self.owner_told((complete.fence.get(), number(complete.attempt_id)), answer, |holder| {
                    let payload = String::from_utf8_lossy(&complete.result.payload).into_owned();
                    let Answer::Completed { expires_at, repeated, .. } = answer else { return false };
                    match &holder.ended {
                        Ended::No | Ended::GivenUp if !repeated => {
                            holder.ended = Ended::Completed { payload, expires_at: *expires_at };
                            true
                        }
                        Ended::Completed { payload: stands, .. } => *repeated && *stands == payload,
                        _ => false,
                    }
                })
            }
            Call::Abort(abort) => {
                self.owner_told((abort.fence.get(), number(abort.attempt_id)), answer, |holder| {
                    let Answer::Aborted { repeated } = answer else { return false };
                    let ended = match abort.disposition {
                        Disposition::Release => Ended::Released,
                        Disposition::OutcomeUnknown => Ended::GivenUp,
                    };
                    if *repeated {
                        return holder.ended == ended;
                    }
                    let may = holder.ended == Ended::No
                        || (holder.ended == Ended::GivenUp && ended == Ended::Released);
                    holder.ended = ended;
                    may
                })
            }
            Call::Renew(renew) => {
                self.owner_told((renew.fence.get(), number(renew.attempt_id)), answer, |holder| {
                    let Answer::Renewed { lease_end, .. } = answer else { return false };
                    let may = holder.ended == Ended::No && *lease_end >= holder.lease_end;
                    holder.lease_end = *lease_end;
                    may
                })
            }
            Call::Save(save) => {
                self.owner_told((save.fence.get(), number(save.attempt_id)), answer, |holder| {
                    let Answer::Saved { repeated } = answer else { return false };
                    let value = String::from_utf8_lossy(&save.value).into_owned();
                    let point = (save.name.as_str().to_owned(), value);
                    let was_there = holder.points.contains(&point);
                    if !was_there {
                        holder.points.push(point);
                    }
                    holder.ended == Ended::No && was_there == *repeated
                })
            }
        }
    }

    fn begun(&mut self, attempt: u64, answer: &Answer, policy: &Policy, now: u64) -> bool {
        match answer {
            Answer::Started { fence, attempt: count, lease_end, points, .. } => {
                let (fence, count, lease_end) = (*fence, *count, *lease_end);
                let own = |holder: &&mut Holder| holder.attempt == attempt && holder.ended == Ended::No;
                if let Some(holder) = self.holder.as_mut().filter(own) {
                    let same = fence == self.highest && count == holder.number && *points == holder.points;
                    holder.lease_end = lease_end;
                    return same;
                }
                let free = self.holder.as_ref().is_none_or(|holder| match holder.ended {
                    Ended::No => now > holder.lease_end + micros(policy.clock_skew_allowance),
                    Ended::GivenUp | Ended::Released => holder.attempt != attempt,
                    Ended::Completed { .. } => false,
                });
                let (before, left) =
                    self.holder.take().map_or((0, Vec::new()), |holder| (holder.number, holder.points));
                let may = free && fence > self.highest && count == before + 1 && *points == left;
                self.highest = fence;
                self.holder =
                    Some(Holder { attempt, number: count, lease_end, ended: Ended::No, points: left });
                may
            }
            Answer::Replayed { by, fence, payload, .. } => self.holder.as_ref().is_some_and(|holder| {
                *fence == self.highest
                    && *by == holder.attempt
                    && matches!(&holder.ended, Ended::Completed { payload: stands, .. } if stands == payload)
            }),
            Answer::InProgress { by, .. } | Answer::Unresolved { by, .. } => {
                self.holder.as_ref().is_some_and(|holder| {
                    *by == holder.attempt && !matches!(holder.ended, Ended::Completed { .. })
                })
            }
            Answer::Refused(reason) => {
                reason == "ATTEMPT_ENDED"
                    && self.holder.as_ref().is_some_and(|holder| {
                        holder.attempt == attempt && matches!(holder.ended, Ended::GivenUp | Ended::Released)
                    })
            }
            _ => false,
        }
    }

    /// What an owner is told: that it may go on, where it is the owner; that it may not, where it is not.
    fn owner_told(
        &mut self,
        (fence, attempt): (i64, u64),
        answer: &Answer,
        done: impl FnOnce(&mut Holder) -> bool,
    ) -> bool {
        let highest = self.highest;
        let own = |holder: &&mut Holder| highest == fence && holder.attempt == attempt;
        let nobody = self.holder.is_none();
        let holder = self.holder.as_mut().filter(own);
        match (answer, holder) {
            (Answer::Refused(reason), holder) => match (reason.as_str(), holder) {
                ("FENCE_LOST", None) => true,
                ("FENCE_LOST", Some(holder)) => matches!(holder.ended, Ended::GivenUp | Ended::Released),
                ("KEY_NOT_FOUND", _) => nobody,
                ("ALREADY_COMPLETED" | "RESULT_CONFLICT", Some(holder)) => {
                    matches!(holder.ended, Ended::Completed { .. })
                }
                _ => false,
            },
            (_, Some(holder)) => done(holder),
            (_, None) => false,
        }
    }

    fn resolved(&mut self, fence: i64, resolution: &Resolution, answer: &Answer) -> bool {
        match answer {
            Answer::Record(shown) => {
                let highest = self.highest;
                let Some(holder) = self.holder.as_mut().filter(|_| fence == highest) else { return false };
                let ended = match resolution {
                    Resolution::Result(result) => Ended::Completed {
                        payload: String::from_utf8_lossy(&result.payload).into_owned(),
                        expires_at: shown.expires_at,
                    },
                    Resolution::Release => Ended::Released,
                };
                let may = !matches!(holder.ended, Ended::Completed { .. }) || holder.ended == ended;
                holder.ended = ended;
                may
            }
            Answer::Refused(reason) => match reason.as_str() {
                "FENCE_LOST" => fence != self.highest,
                "STATE_CONFLICT" => self.holder.is_some(),
                _ => self.holder.is_none(),
            },
            _ => false,
        }
    }

    fn shows(&self, holder: &Holder, shown: &Shown) -> bool {
        let payload = match &holder.ended {
            Ended::Completed { payload, .. } => Some(payload),
            _ => None,
        };
        shown.fence == self.highest
            && shown.by == holder.attempt
            && shown.attempt == holder.number
            && shown.points == holder.points
            && shown.payload.as_ref() == payload
    }
}

impl Holder {
    /// Only results expire within these histories.
    fn is_expired(&self, now: u64) -> bool {
        matches!(self.ended, Ended::Completed { expires_at, .. } if now >= expires_at)
    }
}

fn micros(length: Duration) -> u64 {
    u64::try_from(length.as_micros()).expect("it is short")
}
