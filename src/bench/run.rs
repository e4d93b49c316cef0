//! Callers at work: who begins a key, and finishes it if it comes to own it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tonic::transport::Channel;
use tonic::{Request, Response, Status};
use tonic_types::StatusExt;

use super::checker::{Checker, Grant, Replay, Settled, Span, Violation};
use super::meter::{Answers, Meter, Operation};
use super::pace::Pace;
use super::plan::{Amount, Plan};
use super::pool::{Pool, Target};
use super::report::{Progress, Report};
use super::servers::{Outcome, Servers};
use super::workload::Workload;
use crate::proto;
use crate::proto::begin_response::Decision;
use crate::proto::idempotency_service_client::IdempotencyServiceClient;

/// How often progress is told.
const PROGRESS_EVERY: Duration = Duration::from_secs(1);

/// Why a run has no report.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The plan cannot be run.
    #[error("{}", .0.join("; "))]
    Plan(Vec<String>),
    /// Nobody listens there, or not in this way.
    #[error("cannot connect to {server}: {cause}")]
    Connect {
        /// Where.
        server: String,
        /// What was in the way, from the outside to the inside.
        cause: String,
    },
}

/// Runs `plan` against `servers` until it is done or `stop` is cancelled; tells of its progress each second.
pub async fn run(
    servers: &Servers,
    plan: Plan,
    stop: CancellationToken,
    mut tell: impl FnMut(&Progress),
) -> Result<Report, RunError> {
    let (clients, run) = Run::prepare(servers, plan, stop).await?;
    let run = Arc::new(run);
    let mut callers = JoinSet::new();
    for place in 0..run.plan().concurrency {
        let client = clients[place % clients.len()].clone();
        let run = run.clone();
        callers.spawn(async move { run.serve_callers(client).await });
    }
    let mut every = tokio::time::interval(PROGRESS_EVERY);
    every.tick().await;
    let mut before = (run.start, Answers::default());
    loop {
        tokio::select! {
            ended = callers.join_next() => match ended {
                Some(Ok(())) => {}
                Some(Err(panicked)) => std::panic::resume_unwind(panicked.into_panic()),
                None => break,
            },
            _ = every.tick() => {
                let now = (Instant::now(), run.meter.measured().answers);
                tell(&Progress::between(run.start, before, now, run.plan(), run.book().checker.found()));
                before = now;
            }
        }
    }
    Ok(run.report())
}

/// Everything that the callers of one run share.
#[derive(Debug)]
pub(super) struct Run {
    servers: Servers,
    workload: Arc<Workload>,
    book: Mutex<Book>,
    meter: Meter,
    nonces: AtomicU64,
    start: Instant,
    pace: Option<Pace>,
    stop: CancellationToken,
}

/// The keys in play, and what is known of them.
#[derive(Debug)]
struct Book {
    pool: Pool,
    checker: Checker,
}

pub(super) type Client = IdempotencyServiceClient<Channel>;

impl Run {
    /// Connects, and begins to count time.
    pub(super) async fn prepare(
        servers: &Servers,
        plan: Plan,
        stop: CancellationToken,
    ) -> Result<(Vec<Client>, Self), RunError> {
        let problems = plan.problems();
        if !problems.is_empty() {
            return Err(RunError::Plan(problems));
        }
        let channels = servers.connect(plan.connections).await?;
        let clients = channels.into_iter().map(Client::new).collect();
        let workload = Arc::new(Workload::new(plan));
        let plan = workload.plan();
        let most_fresh = match plan.amount {
            Amount::Lifecycles(lifecycles) => Some(lifecycles),
            Amount::For(_) => None,
        };
        let start = Instant::now();
        let pool = Pool::new(plan.duplicates, plan.concurrent, plan.skew, most_fresh, workload.pool_dice());
        let checker = Checker::new(workload.clone(), start);
        let run = Self {
            servers: servers.clone(),
            book: Mutex::new(Book { pool, checker }),
            meter: Meter::new(),
            nonces: AtomicU64::new(0),
            start,
            pace: plan.rate.map(Pace::start),
            stop,
            workload,
        };
        Ok((clients, run))
    }

    pub(super) fn plan(&self) -> &Plan {
        self.workload.plan()
    }

    pub(super) const fn meter(&self) -> &Meter {
        &self.meter
    }

    pub(super) fn violations(&self) -> (u64, Vec<Violation>) {
        let book = self.book();
        (book.checker.found(), book.checker.violations().to_vec())
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        // A panic elsewhere ends the run: `run` resumes it.
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn report(&self) -> Report {
        let book = self.book();
        let measured = self.meter.measured();
        Report::new(
            self.servers.to_string(),
            self.plan(),
            self.start.elapsed(),
            book.pool.drawn(),
            &measured,
            &book.checker,
        )
    }

    /// Serves one caller after the other until no more come.
    async fn serve_callers(&self, client: Client) {
        loop {
            let due = match &self.pace {
                None => None,
                Some(pace) => tokio::select! {
                    due = pace.next() => Some(due),
                    () = self.stop.cancelled() => return,
                    () = self.time_is_up() => return,
                },
            };
            if self.is_over() {
                return;
            }
            let target = {
                let mut book = self.book();
                let Some(target) = book.pool.draw() else {
                    // Whoever waits for a caller that is due learns that none is wanted.
                    drop(book);
                    if self.pace.is_some() {
                        self.stop.cancel();
                    }
                    return;
                };
                book.checker.enter(&target);
                target
            };
            self.serve(&client, &target, due.unwrap_or_else(Instant::now)).await;
            let mut book = self.book();
            if book.checker.leave(&target) {
                book.pool.abandon(target.key());
            }
            if book.checker.found() >= self.plan().max_violations as u64 {
                self.stop.cancel();
            }
        }
    }

    fn is_over(&self) -> bool {
        let timed_out = match self.plan().amount {
            Amount::Lifecycles(_) => false,
            Amount::For(time) => self.start.elapsed() >= time,
        };
        timed_out || self.stop.is_cancelled()
    }

    async fn time_is_up(&self) {
        match self.plan().amount {
            Amount::Lifecycles(_) => std::future::pending().await,
            Amount::For(time) => tokio::time::sleep_until((self.start + time).into()).await,
        }
    }

    /// One caller, from its first Begin to its last answer.
    async fn serve(&self, client: &Client, target: &Target, due: Instant) {
        let mut nonce = self.new_nonce();
        let manner = self.workload.manner(nonce);
        let Some(mut grant) = self.begin(client, target, nonce, due).await else { return };
        if matches!(target, Target::Settled(_)) {
            return;
        }
        let key = target.key();
        if !self.plan().work.is_zero() {
            tokio::time::sleep(self.plan().work).await;
        }
        if manner.renews {
            self.renew(client, key, &grant).await;
        }
        if manner.aborts {
            if !self.abort(client, key, &grant).await {
                return;
            }
            nonce = self.new_nonce();
            self.book().checker.again(key);
            match self.begin(client, target, nonce, Instant::now()).await {
                Some(next) => grant = next,
                None => return,
            }
        }
        if let Some(settled) = self.complete(client, key, &grant).await {
            self.book().pool.settle(settled);
            self.meter.measured().record(Operation::Lifecycle, due.elapsed());
        }
    }

    pub(super) fn new_nonce(&self) -> u64 {
        self.nonces.fetch_add(1, Ordering::Relaxed)
    }

    /// Has the checker know of a caller that [`Self::leave`] will see go.
    pub(super) fn enter(&self, target: &Target) {
        self.book().checker.enter(target);
    }

    /// The caller is done with the key.
    pub(super) fn leave(&self, target: &Target) {
        self.book().checker.leave(target);
    }

    /// Sends Begin; gives what was granted when it was told Started. Its latency counts from `due`.
    pub(super) async fn begin(
        &self,
        client: &Client,
        target: &Target,
        nonce: u64,
        due: Instant,
    ) -> Option<Grant> {
        let key = target.key();
        let request = self.workload.begin(key, nonce);
        let sent = Instant::now();
        let (answer, _) = self
            .send(client, request, |mut client, request| async move { client.begin(request).await })
            .await;
        let span = Span { sent, received: Instant::now() };
        let response = self.answered("Begin", key, answer)?;
        let took = span.received.duration_since(due);
        let held = self.plan().wait.is_some() && matches!(target, Target::Running(_));
        let record = |told: Operation, count: fn(&mut Answers) -> &mut u64| {
            let mut measured = self.meter.measured();
            *count(&mut measured.answers) += 1;
            measured.record(if held { Operation::BeginHeld } else { told }, took);
            if self.pace.is_some() {
                measured.record(Operation::Lateness, sent.duration_since(due));
            }
        };
        match response.decision {
            Some(Decision::Started(started)) => {
                record(Operation::BeginStarted, |answers| &mut answers.started);
                self.started(target, nonce, span, &started)
            }
            Some(Decision::Replayed(replayed)) => {
                record(Operation::BeginReplayed, |answers| &mut answers.replayed);
                self.replayed(target, replayed);
                None
            }
            Some(Decision::InProgress(running)) => {
                record(Operation::BeginInProgress, |answers| &mut answers.in_progress);
                self.book().checker.in_progress(target, span, running.attempt);
                None
            }
            Some(Decision::Unresolved(unresolved)) => {
                self.meter.measured().answers.unresolved += 1;
                self.book().checker.unresolved(target, span, unresolved.attempt);
                None
            }
            None => {
                self.book().checker.malformed(key, "Begin's answer has no decision".to_owned());
                None
            }
        }
    }

    /// Sends Complete; gives the key as it must be replayed from now on.
    pub(super) async fn complete(&self, client: &Client, key: u64, grant: &Grant) -> Option<Settled> {
        let request = self.workload.complete(key, grant.nonce, grant.fence);
        let sent = Instant::now();
        self.book().checker.releasing(key, grant.nonce, true, sent);
        let (answer, resent) = self
            .send(client, request, |mut client, request| async move { client.complete(request).await })
            .await;
        let span = Span { sent, received: Instant::now() };
        let response = self.owner_answered("Complete", key, grant.nonce, span, answer)?;
        self.count(Operation::Complete, span, |answers| &mut answers.completed);
        let mut book = self.book();
        let kept = length_between(response.completed_at, response.expires_at);
        if response.repeated_call && !resent {
            let details = "Complete was called a repeated call, though it was sent once".to_owned();
            book.checker.malformed(key, details);
        }
        if kept.is_none() {
            book.checker.malformed(key, "Complete's answer does not say how long it is kept".to_owned());
        }
        book.checker.completed(key, grant.nonce, span, kept.unwrap_or_default())
    }

    /// Sends Abort; true when it was acknowledged.
    async fn abort(&self, client: &Client, key: u64, grant: &Grant) -> bool {
        let request = self.workload.abort(key, grant.nonce, grant.fence);
        let sent = Instant::now();
        self.book().checker.releasing(key, grant.nonce, false, sent);
        let (answer, _) = self
            .send(client, request, |mut client, request| async move { client.abort(request).await })
            .await;
        let span = Span { sent, received: Instant::now() };
        if self.owner_answered("Abort", key, grant.nonce, span, answer).is_none() {
            return false;
        }
        self.count(Operation::Abort, span, |answers| &mut answers.aborted);
        self.book().checker.aborted(key, grant.nonce, span);
        true
    }

    async fn renew(&self, client: &Client, key: u64, grant: &Grant) {
        let request = self.workload.renew(key, grant.nonce, grant.fence);
        let sent = Instant::now();
        let (answer, _) = self
            .send(client, request, |mut client, request| async move { client.renew(request).await })
            .await;
        let span = Span { sent, received: Instant::now() };
        let Some(response) = self.owner_answered("Renew", key, grant.nonce, span, answer) else { return };
        self.count(Operation::Renew, span, |answers| &mut answers.renewed);
        match response.lease.and_then(from_proto) {
            Some(lease) => self.book().checker.renewed(key, grant.nonce, span, lease),
            None => self.book().checker.malformed(key, "Renew's answer has no lease".to_owned()),
        }
    }

    fn started(&self, target: &Target, nonce: u64, span: Span, started: &proto::Started) -> Option<Grant> {
        let (lease, waited) = (started.lease.and_then(from_proto), started.waited.map(from_proto));
        let (Some(lease), Some(waited)) = (lease, waited.unwrap_or(Some(Duration::ZERO))) else {
            self.book().checker.malformed(target.key(), "Started has no lease".to_owned());
            return None;
        };
        let grant = Grant {
            nonce,
            fence: started.fence,
            attempt: started.attempt,
            sent: span.sent,
            received: span.received,
            lease_end: span.sent + waited + lease,
        };
        self.book().checker.started(target, grant);
        Some(grant)
    }

    fn replayed(&self, target: &Target, replayed: proto::Replayed) {
        let replay = Replay { fence: replayed.fence, attempt: replayed.attempt };
        let Some(nonce) = self.book().checker.replayed(target, replay) else { return };
        // Made and compared without the lock: it may be large.
        let right = self.workload.result(target.key(), nonce);
        let details = match replayed.result {
            Some(result) if result == right => return,
            Some(result) => difference(&result, &right),
            None => "the replay has no result".to_owned(),
        };
        self.book().checker.replay_differs(target.key(), details);
    }

    fn answered<T>(&self, call: &str, key: u64, answer: Result<T, Status>) -> Option<T> {
        answer
            .map_err(|status| {
                self.meter.measured().answers.failed += 1;
                self.book().checker.failed(call, key, &describe(&status));
            })
            .ok()
    }

    fn owner_answered<T>(
        &self,
        call: &str,
        key: u64,
        nonce: u64,
        span: Span,
        answer: Result<T, Status>,
    ) -> Option<T> {
        match answer {
            Err(status) if reason(&status).as_deref() == Some("FENCE_LOST") => {
                self.meter.measured().answers.failed += 1;
                self.book().checker.fence_lost(call, key, nonce, span);
                None
            }
            answer => self.answered(call, key, answer),
        }
    }

    fn count(&self, operation: Operation, span: Span, count: fn(&mut Answers) -> &mut u64) {
        let mut measured = self.meter.measured();
        *count(&mut measured.answers) += 1;
        measured.record(operation, span.received.duration_since(span.sent));
    }

    /// Sends `message` within the plan's time; gives the answer, and whether servers may have begun it more than once.
    async fn send<M: Clone, A, F>(
        &self,
        client: &Client,
        message: M,
        send: impl Fn(Client, Request<M>) -> F,
    ) -> (Result<A, Status>, bool)
    where
        F: Future<Output = Result<Response<A>, Status>>,
    {
        let send = |request| send(client.clone(), request);
        let Outcome { answer, resent, not_begun } =
            self.servers.send(message, self.plan().timeout, send).await;
        if resent + not_begun > 0 {
            let answers = &mut self.meter.measured().answers;
            answers.resent += resent;
            answers.not_begun += not_begun;
        }
        (answer, resent > 0)
    }
}

fn from_proto(length: prost_types::Duration) -> Option<Duration> {
    Duration::try_from(length).ok()
}

fn length_between(
    from: Option<prost_types::Timestamp>,
    to: Option<prost_types::Timestamp>,
) -> Option<Duration> {
    let nanos = |at: prost_types::Timestamp| i128::from(at.seconds) * 1_000_000_000 + i128::from(at.nanos);
    let nanos = u64::try_from(nanos(to?) - nanos(from?)).ok()?;
    Some(Duration::from_nanos(nanos))
}

/// In what two results differ, without either.
fn difference(said: &proto::Result, right: &proto::Result) -> String {
    let mut differences = Vec::new();
    if (said.outcome, said.code) != (right.outcome, right.code) {
        differences.push(format!(
            "outcome {} and code {}, not {} and {}",
            said.outcome, said.code, right.outcome, right.code
        ));
    }
    if said.payload.len() != right.payload.len() {
        differences.push(format!("{} bytes of payload, not {}", said.payload.len(), right.payload.len()));
    } else if let Some(place) =
        said.payload.iter().zip(&right.payload).position(|(said, right)| said != right)
    {
        differences.push(format!("the payload from byte {place} on"));
    }
    if (&said.content_type, &said.headers, said.payload_omitted)
        != (&right.content_type, &right.headers, right.payload_omitted)
    {
        differences.push("content type, headers or payload_omitted".to_owned());
    }
    format!("the replay differs from what Complete acknowledged in {}", differences.join(", and in "))
}

fn reason(status: &Status) -> Option<String> {
    status.get_details_error_info().map(|info| info.reason)
}

fn describe(status: &Status) -> String {
    let reason = reason(status).unwrap_or_else(|| "no reason given".to_owned());
    format!("{:?} ({reason}): {}", status.code(), status.message())
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    #[test]
    fn a_difference_is_named_and_not_shown() {
        let right = proto::Result { payload: Bytes::from_static(b"right"), ..proto::Result::default() };
        let said = |payload: &'static [u8]| proto::Result {
            code: 7,
            payload: Bytes::from_static(payload),
            ..proto::Result::default()
        };
        assert!(
            difference(&said(b"righT"), &right)
                .ends_with("in outcome 0 and code 7, not 0 and 0, and in the payload from byte 4 on")
        );
        assert!(difference(&said(b"righter"), &right).contains("7 bytes of payload, not 5"));
        let other = proto::Result { content_type: "text/plain".to_owned(), ..right.clone() };
        assert!(difference(&other, &right).contains("content type"));
    }

    #[test]
    fn a_length_between_two_moments_is_exact_and_never_negative() {
        let at = |seconds, nanos| Some(prost_types::Timestamp { seconds, nanos });
        assert_eq!(length_between(at(1, 999_999_999), at(3, 1)), Some(Duration::new(1, 2)));
        assert_eq!(length_between(at(3, 1), at(1, 0)), None);
        assert_eq!(length_between(None, at(1, 0)), None);
    }
}
