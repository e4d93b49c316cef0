//! Two servers with clocks apart on one faulty store; callers that crash, pause, leave, repeat, and an operator: what
//! callers were told is the same for the same seed, and keeps what DESIGN promises.

#[path = "support/fixtures.rs"]
mod fixtures;
#[path = "support/simulated.rs"]
mod simulated;
#[path = "support/timed_store.rs"]
mod timed_store;

#[path = "history/promises.rs"]
mod promises;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use fixtures::begin;
use promises::{Event, Fact};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use semel::coordinator::{CallError, Poll, Settings};
use semel::domain::{
    Abort, Begin, BeginAnswer, CheckpointName, Command, Complete, Detail, Disposition, Fence, Forget,
    PositiveDuration, Renew, SaveCheckpoint,
};
use semel::storage::Store;
use semel::storage::memory::MemoryStore;
use simulated::{MILLI, SECOND, Server};
use timed_store::Faults;
use tokio::task::JoinSet;
use tokio::time::Instant;

const CALLERS: u64 = 20;
const ROUNDS: u64 = 10;

/// What is written down while it happens.
#[derive(Clone)]
struct Book {
    start: Instant,
    events: Arc<Mutex<Vec<Event>>>,
}

impl Book {
    fn write(&self, sent: Instant, key: &str, attempt: u128, fact: Fact) {
        let (sent, answered) = (sent - self.start, self.start.elapsed());
        self.events.lock().unwrap().push(Event { sent, answered, key: key.to_owned(), attempt, fact });
    }
}

/// A caller with dice of its own.
struct Caller {
    servers: Vec<Server>,
    random: StdRng,
    book: Book,
}

/// Why there is no answer.
#[derive(Debug)]
enum Nothing {
    /// The caller left in the middle.
    Left,
    Failed(CallError),
}

impl Caller {
    fn chance(&mut self, percent: u32) -> bool {
        self.random.random_range(0..100) < percent
    }

    async fn pause(&mut self, most: u32) {
        tokio::time::sleep(MILLI * self.random.random_range(0..most)).await;
    }

    fn server(&mut self) -> Server {
        let n = self.random.random_range(0..self.servers.len());
        self.servers[n].share()
    }

    /// Now and then a caller leaves before it has its answer.
    async fn patience<A>(&mut self, call: impl Future<Output = Result<A, CallError>>) -> Result<A, Nothing> {
        if self.chance(15) {
            let most = Duration::from_micros(self.random.random_range(0..6000));
            return match tokio::time::timeout(most, call).await {
                Ok(answer) => answer.map_err(Nothing::Failed),
                Err(_) => Err(Nothing::Left),
            };
        }
        call.await.map_err(Nothing::Failed)
    }

    /// Sends a call until it has an answer, or is given up.
    async fn run<C: Command>(&mut self, name: &str, command: &C) -> Result<(Instant, C::Answer), Nothing> {
        loop {
            let (server, sent) = (self.server(), Instant::now());
            match self.patience(server.run(name, command)).await {
                Ok(answer) => return Ok((sent, answer)),
                Err(Nothing::Failed(CallError::StoreOutcomeUnknown) | Nothing::Left) if self.chance(80) => {}
                Err(nothing) => return Err(nothing),
            }
            self.pause(10).await;
        }
    }

    async fn round(&mut self, number: u128) {
        self.pause(50).await;
        let name = format!("k{}", self.random.random_range(0..30));
        let lease = PositiveDuration::new(self.random.random_range(100..400) * MILLI).unwrap();
        let begin = Begin { lease: Some(lease), ..begin(number) };
        let (sent, owned_from, started) = loop {
            let (server, sent) = (self.server(), Instant::now());
            let begun = self.patience(server.begin_waiting(&name, &begin, 100 * MILLI, None)).await;
            match begun {
                Ok(begun) => match begun.answer {
                    BeginAnswer::Started(started) => break (sent, sent + begun.waited, started),
                    BeginAnswer::Replayed(replayed) => {
                        let payload = String::from_utf8(replayed.result.payload.to_vec()).unwrap();
                        let fact = Fact::Replayed { fence: replayed.fence.get(), payload };
                        return self.book.write(sent, &name, number, fact);
                    }
                    BeginAnswer::InProgress(_) | BeginAnswer::Unresolved(_) => {
                        return self.book.write(sent, &name, number, Fact::NotStarted);
                    }
                },
                Err(Nothing::Failed(CallError::StoreOutcomeUnknown) | Nothing::Left) if self.chance(80) => {}
                Err(nothing) => {
                    return self.book.write(sent, &name, number, Fact::Nothing(format!("{nothing:?}")));
                }
            }
            self.pause(10).await;
        };
        let checkpoints = started.checkpoints.iter().map(|point| point.name.as_str().to_owned()).collect();
        let owned_until = owned_from + started.lease - self.book.start;
        let fence = started.fence;
        let fact = Fact::Started { fence: fence.get(), owned_until, checkpoints };
        self.book.write(sent, &name, number, fact);
        self.own(&name, number, fence, owned_until).await;
    }

    /// What the owner of `fence` does until it ends it, or crashes.
    async fn own(&mut self, name: &str, number: u128, fence: Fence, mut owned_until: Duration) {
        let attempt_id = begin(number).attempt_id;
        loop {
            // Some come back when another server may have taken over.
            let most = if self.chance(15) { 4000 } else { 250 };
            self.pause(most).await;
            let sent = Instant::now();
            let (what, ends, error) = match self.random.random_range(0..10) {
                0 => return,
                1..3 => {
                    let renew = Renew { fence, attempt_id, lease: None };
                    match self.run(name, &renew).await {
                        Ok((sent, renewed)) => {
                            owned_until = owned_until.max(sent + renewed.lease - self.book.start);
                            let fact = Fact::Renewed { fence: fence.get(), owned_until };
                            self.book.write(sent, name, number, fact);
                            continue;
                        }
                        Err(error) => ("renew", false, error),
                    }
                }
                3..5 => {
                    let point = format!("{number}/{}", self.random.random_range(0..1000));
                    let (saved, value) = (CheckpointName::new(&point).unwrap(), b"1"[..].into());
                    match self.run(name, &SaveCheckpoint { fence, attempt_id, name: saved, value }).await {
                        Ok((sent, _)) => {
                            self.book.write(sent, name, number, Fact::Saved { point });
                            continue;
                        }
                        Err(error) => ("save", false, error),
                    }
                }
                5 => {
                    let (disposition, detail) = (Disposition::Release, Detail::default());
                    let retry_after = Duration::ZERO;
                    let abort = Abort { fence, attempt_id, disposition, detail, retry_after };
                    self.book.write(sent, name, number, Fact::Ending { fence: fence.get() });
                    match self.run(name, &abort).await {
                        Ok(_) => return self.book.write(sent, name, number, Fact::Released),
                        Err(error) => ("abort", true, error),
                    }
                }
                _ => {
                    let payload = format!("{number}");
                    let result = fixtures::result(&payload);
                    let complete = Complete { fence, attempt_id, result, retention: None };
                    self.book.write(sent, name, number, Fact::Ending { fence: fence.get() });
                    match self.run(name, &complete).await {
                        Ok((sent, done)) => {
                            assert_eq!(done.fence, fence);
                            return self.book.write(
                                sent,
                                name,
                                number,
                                Fact::Completed { fence: fence.get() },
                            );
                        }
                        Err(error) => ("complete", true, error),
                    }
                }
            };
            let refused = matches!(error, Nothing::Failed(CallError::Refused(_)));
            // An Abort whose first answer was lost meets the next attempt, and is done.
            let fact = if refused && what != "abort" {
                Fact::Refused { what, owned_until, why: format!("{error:?}") }
            } else {
                Fact::Nothing(format!("{error:?}"))
            };
            self.book.write(sent, name, number, fact);
            if ends || refused {
                return;
            }
        }
    }

    /// An operator forgets what is completed, now and then.
    async fn forget(&mut self) {
        self.pause(300).await;
        let name = format!("k{}", self.random.random_range(0..30));
        let server = self.server();
        let Ok(kept) = server.lookup(&name).await else { return };
        let sent = Instant::now();
        self.book.write(sent, &name, 0, Fact::Forgetting);
        let answer = self.run(&name, &Forget { fence: kept.fence, force: false }).await;
        self.book.write(sent, &name, 0, Fact::Forgotten(answer.is_ok()));
    }
}

/// Everything that callers were told, in order.
async fn history(seed: u64) -> Vec<Event> {
    let memory: Arc<dyn Store> = Arc::new(MemoryStore::new());
    let faults = Faults { unavailable: 5, applied_unsaid: 20, lost: 20 };
    let poll = Some(Poll { first: 20 * MILLI, longest: 200 * MILLI });
    let settings = Settings { poll, settle_within: 20 * MILLI, ..Settings::default() };
    let on = |n, ahead| Server::on(memory.clone(), seed * 2 + n, ahead, settings.clone(), faults);
    let servers = [on(0, Duration::ZERO), on(1, 900 * MILLI)];
    let book = Book { start: Instant::now(), events: Arc::default() };
    let mut callers = JoinSet::new();
    for number in 0..=CALLERS {
        let random = StdRng::seed_from_u64(seed * 1000 + number);
        let servers = servers.iter().map(Server::share).collect();
        let mut caller = Caller { servers, random, book: book.clone() };
        callers.spawn(async move {
            for round in 0..ROUNDS {
                if number == CALLERS {
                    caller.forget().await;
                } else {
                    caller.round(u128::from(1 + number * 100 + round)).await;
                }
            }
        });
    }
    callers.join_all().await;
    // Whoever looks later finds the same everywhere.
    tokio::time::sleep(30 * SECOND).await;
    for name in (0..30).map(|n| format!("k{n}")) {
        let found = [servers[0].lookup(&name).await, servers[1].lookup(&name).await];
        assert_eq!(found[0], found[1], "seed {seed}, {name}");
    }
    Arc::into_inner(book.events).unwrap().into_inner().unwrap()
}

fn run_history(seed: u64) -> Vec<Event> {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    runtime.block_on(history(seed))
}

#[test]
fn one_seed_gives_one_history_and_every_history_keeps_the_promises() {
    let mut met = promises::Met::default();
    for seed in 0..40 {
        let first = run_history(seed);
        assert_eq!(first, run_history(seed), "seed {seed}");
        if seed % 8 == 0 {
            assert_ne!(first, run_history(seed + 1000), "other seeds give other histories");
        }
        promises::hold(seed, &first, &mut met);
    }
    met.enough();
}
