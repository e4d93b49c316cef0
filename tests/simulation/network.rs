//! Servers, and the way to them: calls are lost, late, doubled, cut off by a crash or given up.

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use semel::coordinator::{BeginCall, Coordinator, Poll, Settings};
use semel::domain::{Clock, Endpoint, IdempotencyKey, Key, Policy, Tenant, Timestamp};
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::chronicle::{Answer, Call, Called, Chronicle, Delivery};
use crate::plan::{Loses, Plan, Send};
use crate::store::{SharedStore, on_a_clock};

/// A server's clock: true time, and so much ahead of it.
#[derive(Debug)]
struct ServerClock {
    start: Instant,
    ahead: AtomicI64,
}

impl Clock for ServerClock {
    fn now(&self) -> Timestamp {
        on_a_clock(self.start.elapsed(), self.ahead.load(Ordering::SeqCst))
    }
}

#[derive(Clone, Debug)]
struct Server {
    coordinator: Arc<Coordinator>,
    crashed: CancellationToken,
}

/// Everything that a history happens in.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) start: Instant,
    pub(crate) store: Arc<SharedStore>,
    pub(crate) keys: Vec<Key>,
    clocks: Vec<Arc<ServerClock>>,
    servers: Mutex<Vec<Server>>,
    policy: Mutex<Arc<Policy>>,
    settings: Settings,
    seed: u64,
    chronicle: Mutex<Chronicle>,
}

impl World {
    pub(crate) fn new(plan: &Plan) -> Arc<Self> {
        let start = Instant::now();
        let store = Arc::new(SharedStore::new(plan.seed, plan.store_ahead, plan.weather));
        let poll = Poll { first: Duration::from_millis(50), longest: Duration::from_millis(400) };
        let settings = Settings {
            max_waiters: plan.max_waiters,
            replay_cache_max_age: plan.cache_age,
            settle_within: plan.settle_within,
            poll: plan.polls.then_some(poll),
            ..Settings::default()
        };
        let clock = |ahead: &i64| Arc::new(ServerClock { start, ahead: AtomicI64::new(*ahead) });
        let world = Self {
            start,
            store,
            keys: (0..plan.keys).map(key).collect(),
            clocks: plan.ahead.iter().map(clock).collect(),
            servers: Mutex::default(),
            policy: Mutex::new(Arc::new(plan.policy.policy())),
            settings,
            seed: plan.seed,
            chronicle: Mutex::default(),
        };
        let servers = (0..plan.ahead.len()).map(|number| world.server(number, 0)).collect();
        *world.servers.lock().unwrap() = servers;
        Arc::new(world)
    }

    fn server(&self, number: usize, life: u64) -> Server {
        let seed = self.seed ^ ((life << 8) | number as u64);
        let (store, clock) = (self.store.clone(), self.clocks[number].clone());
        let coordinator = Arc::new(Coordinator::new(store, clock, seed, self.settings.clone()));
        Server { coordinator, crashed: CancellationToken::new() }
    }

    pub(crate) fn chronicle(&self) -> MutexGuard<'_, Chronicle> {
        self.chronicle.lock().unwrap()
    }

    /// Kills a server; another takes its place at once, which knows nothing.
    pub(crate) fn crash(&self, number: usize) {
        let life = {
            let mut chronicle = self.chronicle();
            chronicle.mishaps.crashed_servers += 1;
            chronicle.mishaps.crashed_servers
        };
        let fresh = self.server(number, life);
        let dead = std::mem::replace(&mut self.servers.lock().unwrap()[number], fresh);
        dead.crashed.cancel();
    }

    pub(crate) fn jump(&self, number: usize, ahead: i64) {
        self.chronicle().mishaps.jumps += 1;
        self.clocks[number].ahead.store(ahead, Ordering::SeqCst);
    }

    pub(crate) fn put_in_force(&self, policy: Policy) {
        self.chronicle().mishaps.policies += 1;
        *self.policy.lock().unwrap() = Arc::new(policy);
    }

    /// The call by which `name` asks about a key; it may be sent several times.
    pub(crate) fn call(&self, key: usize, call: Call, name: String) -> usize {
        let first_sent = self.start.elapsed();
        let mut chronicle = self.chronicle();
        chronicle.calls.push(Called { key, call, first_sent, name });
        chronicle.calls.len() - 1
    }

    /// Sends a call once. `None` where its caller hears nothing.
    pub(crate) async fn send(self: &Arc<Self>, of: usize, send: &Send) -> Option<(Duration, Answer)> {
        let sent = self.start.elapsed();
        let trip = tokio::spawn(self.clone().trip(of, send.clone(), sent, send.there));
        if let Some(later) = send.copy {
            self.chronicle().mishaps.copies += 1;
            tokio::spawn(self.clone().trip(of, send.clone(), sent, send.there + later));
        }
        let stop = trip.abort_handle();
        let Ok(trip) = timeout(send.patience, trip).await else {
            if send.cancels {
                stop.abort();
            }
            return None;
        };
        let place = trip.expect("a server does not panic")?;
        let mut chronicle = self.chronicle();
        chronicle.deliveries[place].heard = Some(self.start.elapsed());
        chronicle.deliveries[place].answer.clone().map(|answer| (sent, answer))
    }

    /// One copy's way to a server and back: which delivery it was, if its answer arrives.
    async fn trip(self: Arc<Self>, of: usize, send: Send, sent: Duration, there: Duration) -> Option<usize> {
        if send.loses == Loses::TheRequest {
            return None;
        }
        sleep(there).await;
        let server = self.servers.lock().unwrap()[send.server].clone();
        let policy = self.policy.lock().unwrap().clone();
        let deadline = send.has_deadline.then(|| Instant::now() + send.patience);
        let arrived = self.start.elapsed();
        let place = {
            let mut chronicle = self.chronicle();
            let (answer, heard) = (None, None);
            let delivery = Delivery {
                of,
                server: send.server,
                sent,
                arrived,
                ended: Duration::MAX,
                policy: policy.clone(),
                answer,
                heard,
            };
            chronicle.deliveries.push(delivery);
            chronicle.deliveries.len() - 1
        };
        // However it ends.
        let end = End { world: &self, place };
        let Called { key, call, .. } = self.chronicle().calls[of].clone();
        let answer = tokio::select! {
            biased;
            () = server.crashed.cancelled() => None,
            answer = ask(&server.coordinator, &self.keys[key], &call, &policy, deadline) => Some(answer),
        };
        drop(server);
        let is_told = answer.is_some() && send.loses == Loses::Nothing;
        self.chronicle().deliveries[place].answer = answer;
        drop(end);
        sleep(send.back).await;
        is_told.then_some(place)
    }
}

/// Notes when a call ended at its server.
struct End<'a> {
    world: &'a World,
    place: usize,
}

impl Drop for End<'_> {
    fn drop(&mut self) {
        let now = self.world.start.elapsed();
        self.world.chronicle().deliveries[self.place].ended = now;
    }
}

/// Two keys of three differ in nothing but the tenant or the endpoint.
fn key(number: usize) -> Key {
    let (tenant, endpoint) = [("acme", "charge"), ("acme", "refund"), ("umbrella", "charge")][number];
    Key {
        tenant: Tenant::new(tenant).unwrap(),
        endpoint: Endpoint::new(endpoint).unwrap(),
        idempotency_key: IdempotencyKey::new("order-1").unwrap(),
    }
}

async fn ask(
    coordinator: &Coordinator,
    key: &Key,
    call: &Call,
    policy: &Policy,
    deadline: Option<Instant>,
) -> Answer {
    let answer = match call {
        Call::Begin { begin, wait, retry } => {
            let call = BeginCall { key, begin, policy, wait: *wait, deadline, retry: *retry };
            coordinator.begin(&call).await.map(|begun| Answer::Begun(begun.answer, begun.waited))
        }
        Call::Complete(call) => coordinator.run(key, call, policy, deadline).await.map(Answer::Completed),
        Call::Abort(call) => coordinator.run(key, call, policy, deadline).await.map(Answer::Aborted),
        Call::Renew(call) => coordinator.run(key, call, policy, deadline).await.map(Answer::Renewed),
        Call::Save(call) => coordinator.run(key, call, policy, deadline).await.map(Answer::Saved),
        Call::Resolve(call) => {
            let kept = coordinator.run(key, call, policy, deadline).await;
            kept.map(|kept| Answer::Kept(Box::new(kept)))
        }
        Call::Forget(call) => coordinator.run(key, call, policy, deadline).await.map(|()| Answer::Forgotten),
        Call::Lookup => {
            let kept = coordinator.run(key, &semel::domain::Lookup, policy, deadline).await;
            kept.map(|kept| Answer::Kept(Box::new(kept)))
        }
    };
    answer.unwrap_or_else(Answer::Failed)
}
