//! Every way in which a write's answer can be lost or be wrong, for every kind of write: each is settled, or reported as
//! unknown, and then the same call has the truth; and there is never a second owner.

use std::sync::Arc;
use std::time::Duration;

use futures_util::{StreamExt, stream};
use semel::proto;
use semel::proto::abort_request::Disposition;
use semel::proto::begin_response::Decision;
use tokio::runtime::Runtime;
use tonic::{Code, Status};

use crate::callers::{PATIENCE, answered, lease};
use crate::calls::{abort, attempt_id, begin, complete, decision, key, reason, success};
use crate::cluster::Cluster;
use crate::database::Database;
use crate::servers::{Semel, Start};
use crate::support;
use crate::wire::{Fault, Said, Wire};

/// Each with what it does to one write. In the end nobody can tell from the answer whether the node did it, but for the
/// last: it says that it did not begin.
const WAYS: [(&str, Fault); 10] = [
    ("a CAS timeout, not done", Fault::Refused(Said::CasTimeout)),
    ("a CAS timeout, done", Fault::Done(Said::CasTimeout)),
    ("a SIMPLE timeout, not done", Fault::Refused(Said::SimpleTimeout)),
    ("a SIMPLE timeout, done", Fault::Done(Said::SimpleTimeout)),
    ("too few replicas to commit", Fault::Done(Said::UnavailableToCommit)),
    ("a broken connection, not done", Fault::CutUnseen),
    ("a broken connection, done", Fault::CutDone),
    ("a late answer", Fault::LateAnswer),
    ("a late request", Fault::LateRequest),
    ("too few replicas to begin", NOT_BEGUN),
];
const NOT_BEGUN: Fault = Fault::Refused(Said::Unavailable);
const OPERATIONS: [Operation; 5] =
    [Operation::First, Operation::Takeover, Operation::Complete, Operation::Abort, Operation::Renew];
const AT_ONCE: usize = 16;
const LEASE: Duration = Duration::from_mins(30);
const OWNER: u32 = 1;
const SUCCESSOR: u32 = 2;
const RIVAL: u32 = 3;
const STRANGER: u32 = 4;
/// More than are sent until the server gives up.
const EVERY_TIME: usize = 1000;
const MENDING: Duration = Duration::from_millis(20);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operation {
    First,
    Takeover,
    Complete,
    Abort,
    Renew,
}

/// How often the fault hits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Hits {
    /// Then the nodes answer again: the server settles it.
    Once,
    /// For as long as the server tries: it has to say what it knows.
    Always,
    /// An unknown first, and then too few replicas to begin: that does not make the first one known.
    ThenNotBegun,
}

/// What a call was answered.
#[derive(Debug)]
enum Answer {
    Begun(Decision),
    Done,
}

/// The servers of one way.
struct Scene {
    wire: Wire,
    /// Through the wire; it tries for long.
    patient: Semel,
    /// Through the wire; it gives up soon.
    hasty: Semel,
    /// Past the wire.
    rival: Semel,
}

/// What was seen.
#[derive(Clone, Copy, Debug, Default)]
struct Seen {
    cases: u64,
    settled: u64,
    unknown: u64,
    not_written: u64,
    /// The rival became the owner in the meantime, as the write was not done.
    overtaken: u64,
}

pub(crate) fn forged_answers_deceive_nobody(cluster: &mut Cluster, runtime: &Runtime) {
    let cases = support::size("SEMEL_FORGED_CASES", 10);
    runtime.block_on(async {
        cluster.until_serving().await;
        let database = Database::new(cluster).await;
        let mut all = Seen::default();
        // One way after the other: a connection that breaks takes others' requests with it.
        for (way, fault) in WAYS {
            let began = std::time::Instant::now();
            let scene = Scene::new(cluster, &database, fault).await;
            let mut seen = Seen::default();
            let runs: Vec<_> = OPERATIONS
                .into_iter()
                .flat_map(|operation| (0..cases).map(move |n| (operation, n)))
                .map(|(operation, n)| {
                    let hits = match n % 3 {
                        0 => Hits::Once,
                        1 => Hits::Always,
                        _ => Hits::ThenNotBegun,
                    };
                    let case = Case::new(&scene, way, fault, operation, hits, n);
                    let name = case.name.clone();
                    async move {
                        let seen = tokio::time::timeout(PATIENCE, case.run()).await;
                        seen.unwrap_or_else(|_| panic!("{name}: no end"))
                    }
                })
                .collect();
            let mut runs = stream::iter(runs).buffer_unordered(AT_ONCE);
            while let Some(one) = runs.next().await {
                seen += one;
            }
            drop(runs);
            println!("{way}: {seen:?}, {} s", began.elapsed().as_secs());
            assert_eq!(seen.cases, 5 * cases);
            all += seen;
        }
        support::count("cassandra_forged_answers", all.cases);
        support::count("cassandra_forged_settled", all.settled);
        support::count("cassandra_forged_unknown", all.unknown);
    });
}

impl Scene {
    async fn new(cluster: &Cluster, database: &Database, fault: Fault) -> Arc<Self> {
        let wire = Wire::before(&cluster.contact_points()).await;
        let mut settings = wire.through(&database.settings);
        // Where an answer comes late, this is what it is late for.
        let late = matches!(fault, Fault::LateAnswer | Fault::LateRequest);
        settings.request_timeout = Duration::from_secs(if late { 2 } else { 60 });
        let start = |seed, settle_within, settings| Start {
            settle_within,
            request_timeout: Duration::from_mins(8),
            ..Start::on(settings, seed)
        };
        let patient = start(1, Duration::from_mins(4), &settings).serve().await;
        let hasty = start(2, Duration::from_millis(300), &settings).serve().await;
        let rival = start(3, Duration::from_mins(4), &database.settings).serve().await;
        Arc::new(Self { wire, patient, hasty, rival })
    }
}

struct Case {
    scene: Arc<Scene>,
    name: String,
    fault: Fault,
    operation: Operation,
    hits: Hits,
    /// Whether somebody else begins between the call and its repetition.
    rivalled: bool,
}

impl Case {
    fn new(scene: &Arc<Scene>, way: &str, fault: Fault, operation: Operation, hits: Hits, n: u64) -> Self {
        let name = format!("{operation:?} {n}, {hits:?}: {way}");
        Self { scene: scene.clone(), name, fault, operation, hits, rivalled: (n / 3).is_multiple_of(2) }
    }

    async fn run(self) -> Seen {
        let mut seen = Seen { cases: 1, ..Seen::default() };
        let fence = self.prepare().await;
        let server = if self.hits == Hits::Once { &self.scene.patient } else { &self.scene.hasty };
        let first = self.disturbed(server, fence).await;
        let (truth, rival) = match first {
            Ok(answer) => {
                assert_eq!(self.hits, Hits::Once, "{}: nobody can know that", self.name);
                assert_ne!(self.fault, NOT_BEGUN, "{}: nothing was written", self.name);
                seen.settled = 1;
                (Ok(answer), None)
            }
            Err(unknown) => {
                if unknown {
                    seen.unknown = 1;
                } else {
                    seen.not_written = 1;
                }
                let rival = if self.rivalled { Some(self.begin_elsewhere(RIVAL).await) } else { None };
                if let Some(rival) = &rival {
                    self.is_as_the_node_did(unknown, rival);
                }
                (self.until_answered(server, fence).await, rival)
            }
        };
        // Whatever was held back comes now, after everything else.
        self.scene.wire.deliver(&self.name).await;
        let overtaken = match rival {
            Some(Decision::Started(rival)) => Some(rival.fence),
            _ => None,
        };
        seen.overtaken = u64::from(overtaken.is_some());
        self.is_true(fence, truth, overtaken).await;
        seen
    }

    /// What the operation needs; the fence of the attempt that it is about.
    async fn prepare(&self) -> i64 {
        if self.operation == Operation::First {
            return 0;
        }
        let first = match self.begin_elsewhere(OWNER).await {
            Decision::Started(started) => started.fence,
            other => panic!("{}: {other:?}", self.name),
        };
        if self.operation == Operation::Takeover {
            let give_up = abort(&self.name, OWNER, first, Disposition::OutcomeUnknown);
            answered(async || self.scene.rival.client().abort(give_up.clone()).await)
                .await
                .expect("given up");
        }
        first
    }

    /// The answer while answers are forged; whether the outcome is unknown, if it is said that there is none.
    async fn disturbed(&self, server: &Semel, fence: i64) -> Result<Answer, bool> {
        let faults: Vec<_> = match self.hits {
            Hits::Once => vec![self.fault],
            Hits::Always => vec![self.fault; EVERY_TIME],
            Hits::ThenNotBegun => {
                std::iter::once(self.fault).chain(std::iter::repeat_n(NOT_BEGUN, EVERY_TIME)).collect()
            }
        };
        self.scene.wire.arm(&self.name, faults);
        let before = self.scene.wire.asked(&self.name).transactions;
        loop {
            let answer = self.call(server, fence).await;
            let sent = self.scene.wire.asked(&self.name).transactions > before;
            let Err(status) = answer else {
                self.scene.wire.disarm(&self.name);
                return answer.map_err(|_| false);
            };
            let said = reason(&status);
            assert_eq!(status.code(), Code::Unavailable, "{}: {status:?}", self.name);
            if sent {
                let unknown = self.fault != NOT_BEGUN;
                let due = if unknown { "STORE_OUTCOME_UNKNOWN" } else { "STORE_UNAVAILABLE" };
                assert_eq!(said, due, "{}", self.name);
                assert!(self.hits != Hits::Once || !unknown, "{}: there was time to settle it", self.name);
                self.scene.wire.disarm(&self.name);
                return Err(unknown);
            }
            // Others' faults broke the connections, this request's own perhaps, before it was seen here; the driver
            // mends them after a pause.
            let cuts = matches!(self.fault, Fault::CutUnseen | Fault::CutDone);
            assert!(
                cuts && ["STORE_OUTCOME_UNKNOWN", "STORE_UNAVAILABLE"].contains(&said.as_str()),
                "{}: {said}",
                self.name
            );
            tokio::time::sleep(MENDING).await;
        }
    }

    async fn call(&self, server: &Semel, fence: i64) -> Result<Answer, Status> {
        let mut client = server.client();
        let name = &self.name;
        // A takeover is a retry: without the read that this brings, the first write would be refused, not forged.
        let retry = self.operation == Operation::Takeover;
        let begins =
            |attempt| proto::BeginRequest { lease: Some(lease(LEASE)), retry, ..begin(name, attempt) };
        match self.operation {
            Operation::First => client.begin(begins(OWNER)).await.map(|begun| Answer::Begun(decision(begun))),
            Operation::Takeover => {
                client.begin(begins(SUCCESSOR)).await.map(|begun| Answer::Begun(decision(begun)))
            }
            Operation::Complete => {
                client.complete(complete(name, OWNER, fence, "done")).await.map(|_| Answer::Done)
            }
            Operation::Abort => {
                client.abort(abort(name, OWNER, fence, Disposition::Release)).await.map(|_| Answer::Done)
            }
            Operation::Renew => {
                let renew = proto::RenewRequest {
                    key: Some(key(name)),
                    fence,
                    attempt_id: attempt_id(OWNER),
                    lease: Some(lease(2 * LEASE)),
                };
                client.renew(renew).await.map(|_| Answer::Done)
            }
        }
    }

    /// The same call, until it is answered: whatever was broken is mended.
    async fn until_answered(&self, server: &Semel, fence: i64) -> Result<Answer, Status> {
        loop {
            match self.call(server, fence).await {
                Err(status) if status.code() == Code::Unavailable => {
                    tokio::time::sleep(MENDING).await;
                }
                answer => return answer,
            }
        }
    }

    async fn begin_elsewhere(&self, attempt: u32) -> Decision {
        let request = proto::BeginRequest { lease: Some(lease(LEASE)), ..begin(&self.name, attempt) };
        let answer = answered(async || self.scene.rival.client().begin(request.clone()).await).await;
        decision(answer.unwrap_or_else(|status| panic!("{}: {status:?}", self.name)))
    }

    /// What somebody else is told while the call has no answer.
    fn is_as_the_node_did(&self, unknown: bool, rival: &Decision) {
        let done = unknown && matches!(self.fault, Fault::Done(_) | Fault::CutDone | Fault::LateAnswer);
        let told = match (self.operation, rival) {
            // Nobody owned it, or its owner gave it up.
            (Operation::First | Operation::Takeover, Decision::InProgress(_))
            | (Operation::Complete, Decision::Replayed(_))
            | (Operation::Abort, Decision::Started(_)) => done,
            (Operation::First | Operation::Takeover, Decision::Started(_))
            | (Operation::Complete | Operation::Abort, Decision::InProgress(_)) => !done,
            (Operation::Renew, Decision::InProgress(_)) => true,
            _ => false,
        };
        assert!(told, "{}: done: {done}, and somebody else is told {rival:?}", self.name);
    }

    /// The answer is the one for what is there, and there is one owner.
    async fn is_true(&self, fence: i64, answer: Result<Answer, Status>, rival: Option<i64>) {
        let name = &self.name;
        let wrong = |answer: &dyn std::fmt::Debug| -> ! { panic!("{name}: rival {rival:?}, and {answer:?}") };
        let owner = match (self.operation, answer, rival) {
            (Operation::First, Ok(Answer::Begun(Decision::Started(started))), None)
                if started.attempt == 1 =>
            {
                (OWNER, started.fence)
            }
            (Operation::Takeover, Ok(Answer::Begun(Decision::Started(started))), None)
                if started.attempt == 2 && started.fence > fence =>
            {
                (SUCCESSOR, started.fence)
            }
            (
                Operation::First | Operation::Takeover,
                Ok(Answer::Begun(Decision::InProgress(_))),
                Some(rival),
            ) if rival > fence => (RIVAL, rival),
            (Operation::Complete, Ok(Answer::Done), None) => return self.is_completed(fence).await,
            (Operation::Abort, Ok(Answer::Done), None) => match self.begin_elsewhere(RIVAL).await {
                Decision::Started(started) if started.fence > fence => (RIVAL, started.fence),
                other => wrong(&other),
            },
            // Sent again after somebody began: it had been done.
            (Operation::Abort, Err(lost), Some(rival)) if reason(&lost) == "FENCE_LOST" && rival > fence => {
                (RIVAL, rival)
            }
            (Operation::Renew, Ok(Answer::Done), None) => (OWNER, fence),
            (_, answer, _) => wrong(&answer),
        };
        match self.begin_elsewhere(STRANGER).await {
            Decision::InProgress(_) => {}
            other => wrong(&other),
        }
        if owner.0 != OWNER && fence > 0 {
            let stale = self.completed_by(OWNER, fence).await.expect_err("its time is over");
            assert_eq!(reason(&stale), "FENCE_LOST", "{name}");
        }
        self.completed_by(owner.0, owner.1).await.unwrap_or_else(|status| wrong(&status));
        self.is_completed(owner.1).await;
    }

    async fn completed_by(&self, attempt: u32, fence: i64) -> Result<(), Status> {
        let request = complete(&self.name, attempt, fence, "done");
        answered(async || self.scene.rival.client().complete(request.clone()).await).await.map(|_| ())
    }

    async fn is_completed(&self, fence: i64) {
        match self.begin_elsewhere(STRANGER).await {
            Decision::Replayed(replayed) => {
                assert_eq!(
                    (replayed.fence, replayed.result),
                    (fence, Some(success("done"))),
                    "{}",
                    self.name
                );
            }
            other => panic!("{}: {other:?}", self.name),
        }
    }
}

impl std::ops::AddAssign for Seen {
    fn add_assign(&mut self, other: Self) {
        self.cases += other.cases;
        self.settled += other.settled;
        self.unknown += other.unknown;
        self.not_written += other.not_written;
        self.overtaken += other.overtaken;
    }
}
