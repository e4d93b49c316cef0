//! One kind of call at a time: a phase begins keys, the next one completes them.

use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::checker::{Grant, Violation};
use super::meter::Latency;
use super::plan::Plan;
use super::pool::Target;
use super::run::{Client, Run, RunError};
use super::servers::Servers;

/// A server under as many callers as the plan has in flight, who do the same thing until a phase is over.
#[derive(Debug)]
pub struct Phases {
    clients: Vec<Client>,
    run: Arc<Run>,
}

/// What a phase of Begins came to.
#[derive(Debug)]
pub struct Begun {
    /// Calls answered per second.
    pub per_second: f64,
    granted: Vec<(u64, Grant)>,
}

impl Phases {
    /// Connects. Of `plan`, the shares, the amount and the rate do not count.
    pub async fn connect(servers: &Servers, plan: Plan) -> Result<Self, RunError> {
        let plan = Plan { rate: None, ..plan };
        let (clients, run) = Run::prepare(servers, plan, CancellationToken::new()).await?;
        Ok(Self { clients, run: Arc::new(run) })
    }

    /// Begins every key. Each must be new, and becomes its caller's until it is completed or left.
    pub async fn begin(&self, keys: Range<u64>) -> Begun {
        let calls = keys.end - keys.start;
        let next = Arc::new(AtomicU64::new(keys.start));
        let mut callers = JoinSet::new();
        let start = Instant::now();
        for client in self.callers() {
            let (run, next) = (self.run.clone(), next.clone());
            callers.spawn(async move {
                let mut granted = Vec::new();
                loop {
                    let key = next.fetch_add(1, Ordering::Relaxed);
                    if key >= keys.end {
                        return granted;
                    }
                    let target = Target::Fresh(key);
                    run.enter(&target);
                    match run.begin(&client, &target, run.new_nonce(), Instant::now()).await {
                        Some(grant) => granted.push((key, grant)),
                        None => run.leave(&target),
                    }
                }
            });
        }
        let granted = callers.join_all().await.into_iter().flatten().collect();
        Begun { per_second: rate(calls, start), granted }
    }

    /// Completes every key that was begun; gives the calls answered per second.
    pub async fn complete(&self, begun: Begun) -> f64 {
        let calls = begun.granted.len() as u64;
        let granted = Arc::new(Mutex::new(begun.granted));
        let mut callers = JoinSet::new();
        let start = Instant::now();
        for client in self.callers() {
            let (run, granted) = (self.run.clone(), granted.clone());
            callers.spawn(async move {
                loop {
                    let next = granted.lock().unwrap_or_else(PoisonError::into_inner).pop();
                    let Some((key, grant)) = next else { return };
                    run.complete(&client, key, &grant).await;
                    run.leave(&Target::Fresh(key));
                }
            });
        }
        callers.join_all().await;
        rate(calls, start)
    }

    /// Leaves what was begun as it is.
    pub fn leave(&self, begun: Begun) {
        for (key, _) in begun.granted {
            self.run.leave(&Target::Fresh(key));
        }
    }

    /// How long the calls took, over all phases.
    pub fn latencies(&self) -> Vec<Latency> {
        self.run.meter().measured().latencies()
    }

    /// How many promises were broken so far, and the first ones of each kind.
    pub fn violations(&self) -> (u64, Vec<Violation>) {
        self.run.violations()
    }

    fn callers(&self) -> impl Iterator<Item = Client> {
        self.clients.iter().cycle().take(self.run.plan().concurrency).cloned()
    }
}

#[allow(clippy::cast_precision_loss, reason = "a phase makes fewer than 2^53 calls")]
fn rate(calls: u64, start: Instant) -> f64 {
    calls as f64 / start.elapsed().as_secs_f64()
}
