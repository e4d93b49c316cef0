//! Callers and operators, as a plan has them act.

use std::sync::Arc;
use std::time::Duration;

use semel::coordinator::CallError;
use semel::domain::{
    Abort, AttemptId, Begin, BeginAnswer, CheckpointName, Complete, Detail, Disposition, Fence, Fingerprint,
    Forget, Note, PositiveDuration, Renew, Resolution, Resolve, SaveCheckpoint,
};
use tokio::time::sleep;
use uuid::Uuid;

use crate::chronicle::{Answer, Call};
use crate::fixtures;
use crate::network::World;
use crate::plan::{Act, Operation, Operator, Send, Settle};
use crate::store::on_a_clock;

fn attempt_id(number: u64) -> AttemptId {
    AttemptId::from_uuid(Uuid::from_u128(u128::from(number)))
}

/// Sends a call until there is an answer that no further try can better, and whether there was one.
async fn until_answered(world: &Arc<World>, of: usize, sends: &[Send]) -> Option<(Duration, Answer)> {
    for (tries, send) in sends.iter().enumerate() {
        sleep(send.after).await;
        if tries > 0 {
            world.chronicle().mishaps.retries += 1;
        }
        match world.send(of, send).await {
            None
            | Some((
                _,
                Answer::Failed(
                    CallError::StoreUnavailable | CallError::StoreOutcomeUnknown | CallError::TooManyWaiters,
                ),
            )) => {}
            answer => return answer,
        }
    }
    None
}

impl Operation {
    pub(crate) async fn play(&self, world: &Arc<World>) {
        let positive = |length: Duration| PositiveDuration::new(length).unwrap();
        let now = on_a_clock(world.start.elapsed(), 0);
        let begin = Begin {
            fingerprint: self.request.map(|request| Fingerprint::new(&[request]).unwrap()),
            lease: self.lease.map(positive),
            retention: self.retention.map(positive),
            first_sent: self.first_sent_ago.map(|ago| now.minus(ago)),
            ..fixtures::begin(u128::from(self.attempt))
        };
        let name = format!("caller {} Begin {:?} wait {:?}", self.attempt, self.request, self.wait);
        let call = Call::Begin { begin, wait: self.wait, retry: self.retry };
        let of = world.call(self.key, call, name);
        let begun = until_answered(world, of, &self.sends).await;
        let Some((_, Answer::Begun(BeginAnswer::Started(started), _))) = begun else { return };
        for step in &self.moves {
            sleep(step.after).await;
            let (call, name) = self.report(&step.act, started.fence);
            let of = world.call(self.key, call, name);
            let answer = until_answered(world, of, &step.sends).await;
            let ends = matches!(step.act, Act::Complete { .. } | Act::Release { .. } | Act::GiveUp { .. });
            if matches!(answer, Some((_, Answer::Failed(_)))) || ends && answer.is_some() {
                return;
            }
        }
        world.chronicle().mishaps.crashed_callers += 1;
    }

    fn report(&self, act: &Act, fence: Fence) -> (Call, String) {
        let attempt_id = attempt_id(self.attempt);
        let positive = |length: Duration| PositiveDuration::new(length).unwrap();
        let abort = |disposition, retry_after| {
            Call::Abort(Abort { fence, attempt_id, disposition, detail: Detail::default(), retry_after })
        };
        let call = match *act {
            Act::Renew { lease } => Call::Renew(Renew { fence, attempt_id, lease: lease.map(positive) }),
            Act::Save { point, value } => Call::Save(SaveCheckpoint {
                fence,
                attempt_id,
                name: CheckpointName::new(&format!("{}/{point}", self.attempt)).unwrap(),
                value: vec![value].into(),
            }),
            Act::Complete { version, retention } => Call::Complete(Complete {
                fence,
                attempt_id,
                result: fixtures::result(&format!(
                    "{}/{}/{}/{version}",
                    self.key,
                    self.request.unwrap_or(0),
                    self.attempt
                )),
                retention: retention.map(positive),
            }),
            Act::Release { pause } => abort(Disposition::Release, pause),
            Act::GiveUp { pause } => abort(Disposition::OutcomeUnknown, pause),
        };
        (call, format!("caller {} {act:?} fence {}", self.attempt, fence.get()))
    }
}

impl Operator {
    pub(crate) async fn play(&self, world: &Arc<World>) {
        let of = world.call(self.key, Call::Lookup, format!("operator {} Lookup", self.number));
        let found = until_answered(world, of, &self.sends).await;
        let Some((_, Answer::Kept(kept))) = found else { return };
        sleep(self.thinks).await;
        let (fence, force) = (kept.fence, self.force);
        let note = Note::new(format!("operator {}", self.number)).unwrap();
        let resolve = |resolution| Call::Resolve(Resolve { fence, resolution, note, force });
        let call = match self.act {
            Settle::Done => resolve(Resolution::Result(fixtures::result(&format!(
                "{}/operator/{}",
                self.key, self.number
            )))),
            Settle::Release => resolve(Resolution::Release),
            Settle::Forget => Call::Forget(Forget { fence, force }),
        };
        let name = format!("operator {} {:?} fence {} force {force}", self.number, self.act, fence.get());
        let of = world.call(self.key, call, name);
        until_answered(world, of, &self.sends).await;
    }
}
