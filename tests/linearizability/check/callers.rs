//! Callers of real servers, who own keys, come back late, ask again, give calls up, and leave; and operators.

use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use semel::domain::{
    Abort, AttemptId, Begin, CheckpointName, Complete, Detail, Disposition, Fence, Forget, Note,
    OperationResult, PositiveDuration, Renew, Resolution, Resolve, SaveCheckpoint, Traceparent,
};
use semel::proto;
use semel::proto::idempotency_service_client::IdempotencyServiceClient;
use semel::proto::operator_service_client::OperatorServiceClient;
use tonic::transport::{Channel, Endpoint};
use tonic::{ConnectError, Request, Status};
use tonic_types::StatusExt as _;

use super::calls::{Answer, Call, trace_of};
use super::history::Recorder;
use crate::fixtures::{begin, result};

const MILLI: Duration = Duration::from_millis(1);

/// What callers do, in percent and in milliseconds.
#[derive(Clone, Debug)]
pub(crate) struct Manners {
    pub(crate) keys: Vec<String>,
    /// On how many of them callers meet at a time.
    pub(crate) keys_at_once: usize,
    /// How many calls a key gets, about.
    pub(crate) calls: usize,
    /// Of which so many may be without an answer.
    pub(crate) open: usize,
    pub(crate) lease: u64,
    /// How long results are kept.
    pub(crate) retention: u64,
    /// How long an answer is awaited by those who are patient, and by those who are not.
    pub(crate) patience: u64,
    pub(crate) impatience: u64,
    pub(crate) pause: u64,
}

/// What all callers of a history share.
#[derive(Debug)]
pub(crate) struct Scene {
    pub(crate) recorder: Recorder,
    pub(crate) manners: Manners,
    /// Where each server is reached.
    pub(crate) urls: Vec<String>,
    pub(crate) attempts: AtomicU64,
    /// How often a server said that it does not know whether a call was done.
    pub(crate) told_unknown: AtomicU64,
    pub(crate) over: AtomicBool,
}

impl Scene {
    pub(crate) fn new(manners: Manners, urls: Vec<String>) -> Arc<Self> {
        Arc::new(Self {
            recorder: Recorder::default(),
            manners,
            urls,
            attempts: AtomicU64::new(1),
            told_unknown: AtomicU64::new(0),
            over: AtomicBool::new(false),
        })
    }
}

/// One caller, with dice of its own.
pub(crate) struct Caller {
    scene: Arc<Scene>,
    number: u32,
    random: StdRng,
    channels: Vec<Channel>,
}

impl Caller {
    pub(crate) fn new(scene: &Arc<Scene>, seed: u64, number: u32) -> Self {
        let channel = |url: &String| {
            let endpoint = Endpoint::from_shared(url.clone()).expect("an address");
            endpoint.connect_timeout(Duration::from_secs(1)).connect_lazy()
        };
        let channels = scene.urls.iter().map(channel).collect();
        let random = StdRng::seed_from_u64(seed * 1_000 + u64::from(number));
        Self { scene: scene.clone(), number, random, channels }
    }

    /// Calls until every key has had its calls, or all is over.
    pub(crate) async fn run(mut self) {
        while !self.scene.over.load(Ordering::Relaxed) {
            let scene = self.scene.clone();
            let wanted = |key: &&String| {
                let (calls, open) = scene.recorder.calls(key);
                calls < scene.manners.calls && open < scene.manners.open
            };
            // The first keys get their calls first: several callers meet on each.
            let left: Vec<_> =
                scene.manners.keys.iter().filter(wanted).take(scene.manners.keys_at_once).cloned().collect();
            if left.is_empty() {
                return;
            }
            let key = &left[self.random.random_range(0..left.len())];
            match self.random.random_range(0..100) {
                0..12 => drop(self.ask(key, &Call::Lookup).await),
                12..17 => self.operate(key).await,
                _ => self.attempt(key).await,
            }
            self.pause(self.scene.manners.pause).await;
        }
    }

    async fn pause(&mut self, most: u64) {
        tokio::time::sleep(MILLI * self.random.random_range(0..=u32::try_from(most).expect("short"))).await;
    }

    fn chance(&mut self, percent: u32) -> bool {
        self.random.random_range(0..100) < percent
    }

    fn lease(&mut self) -> PositiveDuration {
        let lease = self.scene.manners.lease;
        let length = Duration::from_millis(self.random.random_range(lease / 2..lease * 2));
        PositiveDuration::new(length).expect("not zero")
    }

    /// The same call, until there is an answer or it is given up.
    async fn insist(&mut self, key: &str, call: &Call) -> Option<Answer> {
        for _ in 0..4 {
            let answer = self.ask(key, call).await;
            if answer.is_some() || self.chance(20) {
                return answer;
            }
            self.pause(self.scene.manners.pause).await;
        }
        None
    }

    async fn attempt(&mut self, key: &str) {
        let number = self.scene.attempts.fetch_add(1, Ordering::Relaxed);
        let begin = Begin {
            lease: Some(self.lease()),
            traceparent: Traceparent::parse(&trace_of(number)),
            ..begin(number.into())
        };
        let (attempt_id, begin) = (begin.attempt_id, Call::Begin(begin));
        if let Some(Answer::Started { fence, .. }) = self.insist(key, &begin).await {
            let fence = Fence::new(fence).expect("a server's fence is one");
            self.own(key, (fence, attempt_id, number), &begin).await;
        }
    }

    async fn own(&mut self, key: &str, (fence, attempt_id, number): (Fence, AttemptId, u64), begin: &Call) {
        for step in 0..6 {
            if self.scene.over.load(Ordering::Relaxed) {
                return;
            }
            let lease = self.scene.manners.lease;
            // Some come back when it is over.
            let most = if self.chance(15) { 4 * lease } else { lease / 2 };
            self.pause(most).await;
            let call = match self.random.random_range(0..100) {
                // It died.
                0..12 => return,
                12..32 => Call::Renew(Renew { fence, attempt_id, lease: Some(self.lease()) }),
                32..50 => Call::Save(SaveCheckpoint {
                    fence,
                    attempt_id,
                    name: CheckpointName::new(&format!("{number}/{step}")).expect("a short name"),
                    value: Bytes::from_static(b"saved"),
                }),
                // A copy of its Begin.
                50..58 => begin.clone(),
                58..82 => Call::Complete(Complete {
                    fence,
                    attempt_id,
                    result: result(&format!("result of {number}")),
                    retention: PositiveDuration::new(Duration::from_millis(self.scene.manners.retention))
                        .ok(),
                }),
                dice => {
                    let disposition =
                        if dice < 92 { Disposition::Release } else { Disposition::OutcomeUnknown };
                    let (detail, retry_after) = (Detail::default(), Duration::ZERO);
                    Call::Abort(Abort { fence, attempt_id, disposition, detail, retry_after })
                }
            };
            let answer = self.insist(key, &call).await;
            if matches!(call, Call::Complete(_) | Call::Abort(_)) && !self.chance(15) {
                return;
            }
            if matches!(answer, Some(Answer::Refused(_))) {
                return;
            }
        }
    }

    async fn operate(&mut self, key: &str) {
        let Some(Answer::Record(shown)) = self.ask(key, &Call::Lookup).await else { return };
        let fence = Fence::new(shown.fence).expect("a server's fence is one");
        let force = self.chance(20);
        let call = match self.random.random_range(0..4) {
            0 => Call::Forget(Forget { fence, force }),
            1 => {
                let number = self.scene.attempts.fetch_add(1, Ordering::Relaxed);
                let resolution = Resolution::Result(result(&format!("result by operator {number}")));
                Call::Resolve(Resolve { fence, resolution, note: Note::default(), force })
            }
            _ => {
                let resolution = Resolution::Release;
                Call::Resolve(Resolve { fence, resolution, note: Note::default(), force })
            }
        };
        self.insist(key, &call).await;
    }

    /// One call to one server, whose answer is awaited for some time.
    async fn ask(&mut self, key: &str, call: &Call) -> Option<Answer> {
        let server = self.random.random_range(0..self.channels.len());
        let manners = &self.scene.manners;
        let (impatience, patience, lease) = (manners.impatience, manners.patience, manners.lease);
        let patience = if self.chance(6) { self.random.random_range(1..=impatience) } else { patience };
        let wait = if self.chance(15) { Some(self.random.random_range(5..lease)) } else { None };
        let scene = self.scene.clone();
        let sent = send(self.channels[server].clone(), key, call, wait);
        let under_way = scene.recorder.sends(self.number, server, key, call);
        let Ok(answer) = tokio::time::timeout(MILLI * u32::try_from(patience).expect("short"), sent).await
        else {
            return None;
        };
        let answer = match answer {
            Ok(answer) => answer,
            Err(status) if was_not_sent(&status) => {
                under_way.nothing_was_done();
                return None;
            }
            Err(status) => match reason(&status).as_deref() {
                Some("STORE_UNAVAILABLE") => {
                    under_way.nothing_was_done();
                    return None;
                }
                // It may have happened.
                Some("STORE_OUTCOME_UNKNOWN") => {
                    scene.told_unknown.fetch_add(1, Ordering::Relaxed);
                    return None;
                }
                None => return None,
                Some("INTERNAL") => panic!("a bug in the server: {status:?}"),
                Some(reason) => Answer::Refused(reason.to_owned()),
            },
        };
        under_way.heard(answer.clone());
        Some(answer)
    }
}

/// Whether nobody listened where the server is.
fn was_not_sent(status: &Status) -> bool {
    let mut cause = status.source();
    while let Some(error) = cause {
        if error.is::<ConnectError>() {
            return true;
        }
        cause = error.source();
    }
    false
}

fn reason(status: &Status) -> Option<String> {
    status.get_details_error_info().map(|info| info.reason)
}

fn proto_result(result: &OperationResult) -> proto::Result {
    proto::Result {
        outcome: proto::result::Outcome::Success.into(),
        payload: result.payload.clone(),
        ..proto::Result::default()
    }
}

fn length(length: Duration) -> Option<prost_types::Duration> {
    length.try_into().ok()
}

fn granted(length: Option<PositiveDuration>) -> Option<prost_types::Duration> {
    length.and_then(|of| self::length(of.get()))
}

async fn send(channel: Channel, key: &str, call: &Call, wait: Option<u64>) -> Result<Answer, Status> {
    let mut client = IdempotencyServiceClient::new(channel.clone());
    let mut operator = OperatorServiceClient::new(channel);
    let key = Some(proto::Key {
        tenant: "shop".to_owned(),
        endpoint: "charge".to_owned(),
        idempotency_key: key.to_owned(),
    });
    let id = |attempt_id: AttemptId| attempt_id.get().to_string();
    match call {
        Call::Begin(begin) => {
            let wait = wait.and_then(|wait| length(Duration::from_millis(wait)));
            let message = proto::BeginRequest {
                key,
                attempt_id: id(begin.attempt_id),
                lease: granted(begin.lease),
                wait,
                ..proto::BeginRequest::default()
            };
            let mut request = Request::new(message);
            if let Some(trace) = begin.traceparent {
                let value = trace.to_string().parse().expect("it is ASCII");
                request.metadata_mut().insert("traceparent", value);
            }
            Ok(client.begin(request).await?.into_inner().into())
        }
        Call::Complete(complete) => {
            let request = proto::CompleteRequest {
                key,
                fence: complete.fence.get(),
                attempt_id: id(complete.attempt_id),
                result: Some(proto_result(&complete.result)),
                retention: granted(complete.retention),
            };
            Ok(client.complete(request).await?.into_inner().into())
        }
        Call::Abort(abort) => {
            let disposition = match abort.disposition {
                Disposition::Release => proto::abort_request::Disposition::Release,
                Disposition::OutcomeUnknown => proto::abort_request::Disposition::OutcomeUnknown,
            };
            let request = proto::AbortRequest {
                key,
                fence: abort.fence.get(),
                attempt_id: id(abort.attempt_id),
                disposition: disposition.into(),
                ..proto::AbortRequest::default()
            };
            Ok(client.abort(request).await?.into_inner().into())
        }
        Call::Renew(renew) => {
            let (fence, attempt_id) = (renew.fence.get(), id(renew.attempt_id));
            let request = proto::RenewRequest { key, fence, attempt_id, lease: granted(renew.lease) };
            Ok(client.renew(request).await?.into_inner().into())
        }
        Call::Save(save) => {
            let request = proto::SaveCheckpointRequest {
                key,
                fence: save.fence.get(),
                attempt_id: id(save.attempt_id),
                name: save.name.as_str().to_owned(),
                value: save.value.clone(),
            };
            Ok(client.save_checkpoint(request).await?.into_inner().into())
        }
        Call::Lookup => Ok(client.lookup(proto::LookupRequest { key }).await?.into_inner().into()),
        Call::Resolve(resolve) => {
            let resolution = match &resolve.resolution {
                Resolution::Result(result) => {
                    proto::resolve_record_request::Resolution::Result(proto_result(result))
                }
                Resolution::Release => proto::resolve_record_request::Resolution::Release(true),
            };
            let request = proto::ResolveRecordRequest {
                key,
                fence: resolve.fence.get(),
                resolution: Some(resolution),
                note: String::new(),
                force: resolve.force,
            };
            Ok(operator.resolve_record(request).await?.into_inner().into())
        }
        Call::Forget(forget) => {
            let (fence, force) = (forget.fence.get(), forget.force);
            let request = proto::ForgetRecordRequest { key, fence, force };
            Ok(operator.forget_record(request).await?.into_inner().into())
        }
    }
}
