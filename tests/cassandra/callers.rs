//! Callers who race for one key on several servers, own it well or badly, and come back until they have its result.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use rand::RngExt;
use semel::proto;
use semel::proto::abort_request::Disposition;
use semel::proto::begin_response::Decision;
use semel::proto::idempotency_service_client::IdempotencyServiceClient;
use tokio::task::JoinSet;
use tonic::transport::Channel;
use tonic::{Code, Response, Status};

use crate::calls::{abort, begin, complete, key, reason, seconds, success};
use crate::history::{Event, Figures, History, Times};
use crate::servers::Semel;

/// A bound for what hangs, not a measure of speed.
pub(crate) const PATIENCE: Duration = Duration::from_mins(8);
/// How long a caller leaves alone a server that said UNAVAILABLE.
const PAUSE: Duration = Duration::from_millis(50);

/// How owners behave, in percent; all others renew now and then, and complete.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Manners {
    /// They fall silent, and half of them come back when their lease is over, and report.
    pub(crate) crash: u32,
    /// They say that nothing happened.
    pub(crate) release: u32,
    pub(crate) renew: u32,
    pub(crate) lease: Duration,
}

impl Manners {
    pub(crate) const GOOD: Self = Self { crash: 0, release: 0, renew: 0, lease: Duration::from_mins(5) };
    pub(crate) const MIXED: Self = Self { crash: 15, release: 15, renew: 20, lease: Duration::from_secs(2) };
}

/// One key, and those who want it.
#[derive(Debug)]
struct Race {
    name: String,
    manners: Manners,
    history: History,
    /// The next attempt's number.
    attempts: AtomicU32,
    began: Instant,
}

/// What a race came to.
#[derive(Debug)]
pub(crate) struct Raced {
    pub(crate) name: String,
    pub(crate) figures: Figures,
    pub(crate) fence: i64,
    pub(crate) result: proto::Result,
}

/// `callers`, spread over `servers`, begin `name` at once and come back until each has its result; in the end every
/// server is asked once more.
pub(crate) async fn race(servers: &[Semel], name: String, callers: u32, manners: Manners) -> Raced {
    let race = Arc::new(Race {
        name,
        manners,
        history: History::default(),
        attempts: AtomicU32::new(1),
        began: Instant::now(),
    });
    let mut running = JoinSet::new();
    let clients: Vec<_> = servers.iter().map(Semel::client).collect();
    for (number, client) in (0..callers).zip(clients.iter().cycle()) {
        running
            .spawn(Caller { race: race.clone(), client: client.clone(), waits: number % 3 == 0 }.come_back());
    }
    join(running).await;
    let mut last = JoinSet::new();
    for client in clients {
        last.spawn(Caller { race: race.clone(), client, waits: false }.come_back());
    }
    join(last).await;
    let figures = race.history.check().unwrap_or_else(|wrong| panic!("{}: {wrong}", race.name));
    let race = Arc::into_inner(race).expect("the callers are gone");
    let (fence, result) = race.history.result().expect("each caller had the result");
    Raced { name: race.name, figures, fence, result }
}

/// The answer to a call that is sent until there is one: for tests that are not about whether there is.
pub(crate) async fn answered<A>(
    call: impl AsyncFn() -> Result<Response<A>, Status>,
) -> Result<Response<A>, Status> {
    let began = Instant::now();
    loop {
        match call().await {
            Err(status) if status.code() == Code::Unavailable && began.elapsed() < PATIENCE => {
                tokio::time::sleep(PAUSE).await;
            }
            answer => return answer,
        }
    }
}

/// Every task must end well.
pub(crate) async fn join(mut tasks: JoinSet<()>) {
    while let Some(ended) = tasks.join_next().await {
        if let Err(error) = ended {
            std::panic::resume_unwind(error.into_panic());
        }
    }
}

struct Caller {
    race: Arc<Race>,
    client: IdempotencyServiceClient<Channel>,
    /// Lets the server hold its first call.
    waits: bool,
}

impl Caller {
    async fn come_back(mut self) {
        let mut attempt = self.race.next_attempt();
        let (mut wait, mut retry) = (self.waits, false);
        loop {
            assert!(
                self.race.began.elapsed() < PATIENCE,
                "{}: no end:\n{:?}",
                self.race.name,
                self.race.history
            );
            let request = proto::BeginRequest {
                lease: Some(lease(self.race.manners.lease)),
                wait: if wait { seconds(20) } else { None },
                retry,
                ..begin(&self.race.name, attempt)
            };
            let sent = Instant::now();
            let answer = self.client.begin(request).await;
            let times = Times { sent, heard: Instant::now() };
            (wait, retry) = (true, true);
            let Some(answer) = self.answered(answer).await else { continue };
            match answer {
                Err(status) if reason(&status) == "ATTEMPT_ENDED" => attempt = self.race.next_attempt(),
                Err(status) => panic!("{}: {status:?}", self.race.name),
                Ok(answer) => match answer.decision.expect("an answer has a decision") {
                    Decision::Started(started) => {
                        let fence = started.fence;
                        self.race.history.note(Event::Started {
                            attempt_id: attempt,
                            number: started.attempt,
                            fence,
                            lease: length(started.lease) + length(started.waited),
                            times,
                        });
                        self.own(attempt, fence).await;
                        attempt = self.race.next_attempt();
                    }
                    Decision::InProgress(_) => self.race.history.note(Event::InProgress { times }),
                    Decision::Replayed(replayed) => {
                        self.race.history.note(Event::Replayed { replayed: Box::new(replayed), times });
                        return;
                    }
                    Decision::Unresolved(unresolved) => panic!("{}: {unresolved:?}", self.race.name),
                },
            }
        }
    }

    async fn own(&mut self, attempt: u32, fence: i64) {
        let Manners { crash, release, renew, lease: length } = self.race.manners;
        let fate = rand::rng().random_range(0..100);
        if fate < crash {
            if fate % 2 == 0 {
                // The process stood still for as long as its lease was, and knows nothing of it.
                tokio::time::sleep(length).await;
                self.complete(attempt, fence).await;
            }
        } else if fate < crash + release {
            self.race.history.note(Event::Releasing { fence, at: Instant::now() });
            let request = abort(&self.race.name, attempt, fence, Disposition::Release);
            loop {
                let answer = self.client.abort(request.clone()).await;
                if let Some(answer) = self.answered(answer).await {
                    return self.lost_or(answer).map_or((), |_| ());
                }
            }
        } else {
            if fate < crash + release + renew {
                self.renew(attempt, fence).await;
            }
            self.complete(attempt, fence).await;
        }
    }

    async fn renew(&mut self, attempt: u32, fence: i64) {
        let request = proto::RenewRequest {
            key: Some(key(&self.race.name)),
            fence,
            attempt_id: crate::calls::attempt_id(attempt),
            lease: Some(lease(self.race.manners.lease)),
        };
        loop {
            let sent = Instant::now();
            let answer = self.client.renew(request.clone()).await;
            let times = Times { sent, heard: Instant::now() };
            let Some(answer) = self.answered(answer).await else { continue };
            if let Some(answer) = self.lost_or(answer) {
                self.race.history.note(Event::Renewed { fence, lease: length(answer.lease), times });
            }
            return;
        }
    }

    async fn complete(&mut self, attempt: u32, fence: i64) {
        let mut payload = vec![0; rand::rng().random_range(0..1000)];
        rand::rng().fill(&mut payload[..]);
        let result = proto::Result {
            payload: payload.into(),
            code: 201,
            content_type: "application/octet-stream".to_owned(),
            headers: vec![proto::Header { name: "location".into(), value: self.race.name.clone().into() }],
            ..success("")
        };
        self.race.history.note(Event::Completing { fence, result: Box::new(result.clone()) });
        let request = proto::CompleteRequest {
            result: Some(result.clone()),
            ..complete(&self.race.name, attempt, fence, "")
        };
        loop {
            let sent = Instant::now();
            let answer = self.client.complete(request.clone()).await;
            let times = Times { sent, heard: Instant::now() };
            let Some(answer) = self.answered(answer).await else { continue };
            if self.lost_or(answer).is_some() {
                self.race.history.note(Event::Completed { fence, result: Box::new(result), times });
            }
            return;
        }
    }

    /// The answer, unless the server had none: then it is worth sending again.
    async fn answered<A>(&self, answer: Result<Response<A>, Status>) -> Option<Result<A, Status>> {
        match answer {
            Err(status) if status.code() == Code::Unavailable => {
                self.race.history.note(Event::Unavailable { reason: reason(&status) });
                tokio::time::sleep(PAUSE).await;
                None
            }
            Err(status) => Some(Err(status)),
            Ok(answer) => Some(Ok(answer.into_inner())),
        }
    }

    /// `None` where somebody else has the key by now.
    fn lost_or<A>(&self, answer: Result<A, Status>) -> Option<A> {
        match answer {
            Ok(answer) => Some(answer),
            Err(status) => {
                assert_eq!(reason(&status), "FENCE_LOST", "{}: {status:?}", self.race.name);
                self.race.history.note(Event::FenceLost);
                None
            }
        }
    }
}

impl Race {
    fn next_attempt(&self) -> u32 {
        self.attempts.fetch_add(1, Ordering::Relaxed)
    }
}

pub(crate) fn lease(length: Duration) -> prost_types::Duration {
    length.try_into().expect("it is short")
}

fn length(length: Option<prost_types::Duration>) -> Duration {
    length.map_or(Duration::ZERO, |length| length.try_into().expect("no length is negative"))
}
