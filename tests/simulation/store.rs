//! A store as servers that share a database meet it: linearizable in its writes, and no better than its contract says.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use async_trait::async_trait;
use semel::domain::{Key, Record, Timestamp};
use semel::storage::{Expected, Freshness, Page, Put, Scan, Store, StoreError, Versioned, Write};
use tokio::task::yield_now;
use tokio::time::{Instant, sleep};

use crate::dice::Dice;
use crate::plan::Weather;

/// True time when a history begins.
pub(crate) const BEGINNING: Timestamp = Timestamp::from_micros(1_800_000_000_000_000);

/// What was there of a key, from a moment on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Version {
    pub(crate) at: Duration,
    /// `None` once the row is gone.
    pub(crate) stored: Option<Versioned>,
    /// When somebody was first told of it: no read that begins later misses it.
    pub(crate) acknowledged: Option<Duration>,
    /// When its row goes, in true time.
    goes: Duration,
}

impl Version {
    pub(crate) fn record(&self) -> Option<&Record> {
        self.stored.as_ref().map(|stored| &*stored.record)
    }
}

#[derive(Debug, Default)]
struct Rows {
    versions: BTreeMap<Vec<u8>, Vec<Version>>,
    calls: BTreeMap<Vec<u8>, u64>,
    storms: Vec<(Duration, Weather)>,
    met: StoreMet,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct StoreMet {
    pub(crate) stale_reads: u64,
    pub(crate) late_writes: u64,
    pub(crate) rows_gone: u64,
}

#[derive(Debug)]
pub(crate) struct SharedStore {
    rows: Arc<Mutex<Rows>>,
    start: Instant,
    seed: u64,
    ahead: i64,
    weather: Mutex<Weather>,
}

/// What becomes of one call.
struct Fate {
    dice: Dice,
    weather: Weather,
    roll: u32,
}

impl Fate {
    /// Whether the next `percent` of all calls are meant.
    fn is(&mut self, percent: u32) -> bool {
        let hit = self.roll < percent;
        self.roll = self.roll.saturating_sub(percent);
        if hit {
            self.roll = u32::MAX;
        }
        hit
    }

    /// The call's way, or a part of it: in virtual time, and in the order of what runs at one moment.
    async fn way(&mut self) {
        let (pause, turns) = (self.dice.millis(0, 4), self.dice.between(0, 4));
        if !pause.is_zero() {
            sleep(pause).await;
        }
        for _ in 0..turns {
            yield_now().await;
        }
    }
}

impl SharedStore {
    pub(crate) fn new(seed: u64, ahead: i64, weather: Weather) -> Self {
        let (rows, weather) = (Arc::default(), Mutex::new(weather));
        Self { rows, start: Instant::now(), seed, ahead, weather }
    }

    pub(crate) fn storm(&self, until: Duration, weather: Weather) {
        self.rows().storms.push((until, weather));
    }

    /// From now on nothing goes wrong.
    pub(crate) fn clear_up(&self) {
        *self.weather.lock().unwrap() = Weather::default();
        self.rows().storms.clear();
    }

    /// All that was there of a key, in order.
    pub(crate) fn versions(&self, key: &Key) -> Vec<Version> {
        let mut rows = self.rows();
        rows.let_go(&key.to_bytes(), self.start.elapsed());
        rows.versions.remove(&key.to_bytes()).unwrap_or_default()
    }

    pub(crate) fn met(&self) -> StoreMet {
        self.rows().met
    }

    fn rows(&self) -> MutexGuard<'_, Rows> {
        self.rows.lock().unwrap()
    }

    fn fate(&self, key: &Key) -> Fate {
        let bytes = key.to_bytes();
        let mut rows = self.rows();
        let calls = rows.calls.entry(bytes.clone()).or_default();
        *calls += 1;
        let place: Vec<u64> = bytes.iter().map(|byte| u64::from(*byte)).chain([*calls]).collect();
        let mut dice = Dice::of(self.seed, &place);
        let now = self.start.elapsed();
        let storm = rows.storms.iter().rev().find(|(until, _)| now < *until).map(|(_, weather)| *weather);
        let weather = storm.unwrap_or(*self.weather.lock().unwrap());
        let roll = u32::try_from(dice.between(0, 100)).unwrap();
        Fate { dice, weather, roll }
    }
}

impl Rows {
    fn of(&mut self, bytes: &[u8]) -> &mut Vec<Version> {
        self.versions.entry(bytes.to_vec()).or_insert_with(|| {
            let acknowledged = Some(Duration::ZERO);
            vec![Version { at: Duration::ZERO, stored: None, acknowledged, goes: Duration::MAX }]
        })
    }

    /// A row that is due is gone, and everybody sees it.
    fn let_go(&mut self, bytes: &[u8], now: Duration) {
        let versions = self.of(bytes);
        let due = versions.last().map_or(Duration::MAX, |version| version.goes);
        if due <= now {
            versions.push(Version { at: due, stored: None, acknowledged: Some(due), goes: Duration::MAX });
            self.met.rows_gone += 1;
        }
    }

    /// Does a write, and tells which version its sender is told of.
    fn put(&mut self, write: &Write, now: Duration, ahead: i64) -> (usize, Put) {
        let bytes = write.key.to_bytes();
        self.let_go(&bytes, now);
        let versions = self.of(&bytes);
        let last = versions.len() - 1;
        let current = versions[last].stored.clone();
        if current.as_ref().is_some_and(|current| current.write_id == write.write_id) {
            return (last, Put::Applied);
        }
        let holds = match write.expected {
            Expected::Absent => current.is_none(),
            Expected::Version(version) => current.as_ref().is_some_and(|c| c.write_id == version),
        };
        if !holds {
            return (last, Put::Conflict(current));
        }
        let store_now = on_a_clock(now, ahead);
        let left = write.next.reclaim_at().since(store_now).max(Duration::from_secs(1));
        versions.push(Version { at: now, stored: Some(write.made()), acknowledged: None, goes: now + left });
        (last + 1, Put::Applied)
    }

    fn acknowledge(&mut self, bytes: &[u8], place: usize, now: Duration) {
        self.of(bytes)[place].acknowledged.get_or_insert(now);
    }
}

/// What a clock shows that is so many microseconds ahead, so long after the beginning.
pub(crate) fn on_a_clock(since: Duration, ahead: i64) -> Timestamp {
    let length = Duration::from_micros(ahead.unsigned_abs());
    let now = BEGINNING.plus(since);
    if ahead < 0 { now.minus(length) } else { now.plus(length) }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl Store for SharedStore {
    async fn get(&self, key: &Key, freshness: Freshness) -> Result<Option<Versioned>, StoreError> {
        let bytes = key.to_bytes();
        let mut fate = self.fate(key);
        let floor = {
            let mut rows = self.rows();
            rows.let_go(&bytes, self.start.elapsed());
            let versions = rows.of(&bytes);
            versions.iter().rposition(|version| version.acknowledged.is_some()).unwrap_or(0)
        };
        fate.way().await;
        if fate.is(fate.weather.refuses) {
            return Err(StoreError::Unavailable("refused by the simulation".to_owned()));
        }
        let (place, found) = {
            let mut rows = self.rows();
            rows.let_go(&bytes, self.start.elapsed());
            let last = rows.of(&bytes).len() - 1;
            let stale = freshness == Freshness::Acknowledged && fate.dice.chance(fate.weather.stale);
            let place = if stale { floor + fate.dice.below(last - floor + 1) } else { last };
            rows.met.stale_reads += u64::from(place < last);
            (place, rows.of(&bytes)[place].stored.clone())
        };
        if fate.is(fate.weather.slow) {
            sleep(fate.dice.millis(500, 12_000)).await;
        }
        fate.way().await;
        self.rows().acknowledge(&bytes, place, self.start.elapsed());
        Ok(found)
    }

    async fn compare_and_put(&self, write: &Write) -> Result<Put, StoreError> {
        let unknown = |why: &str| Err(StoreError::OutcomeUnknown(format!("{why} by the simulation")));
        let mut fate = self.fate(&write.key);
        let weather = fate.weather;
        fate.way().await;
        if fate.is(weather.refuses) {
            return Err(StoreError::Unavailable("refused by the simulation".to_owned()));
        }
        if fate.is(weather.loses) {
            return unknown("lost");
        }
        let (start, ahead) = (self.start, self.ahead);
        if fate.is(weather.late) {
            let (rows, write, pause) = (self.rows.clone(), write.clone(), fate.dice.millis(0, 6_000));
            tokio::spawn(async move {
                sleep(pause).await;
                let mut rows = rows.lock().unwrap();
                rows.met.late_writes += 1;
                rows.put(&write, start.elapsed(), ahead);
            });
            return unknown("left for later");
        }
        let (place, put) = if fate.dice.chance(30) {
            // It is on its way, and arrives whether or not its sender is still there.
            let (rows, write, turns) = (self.rows.clone(), write.clone(), fate.dice.between(0, 5));
            let done = tokio::spawn(async move {
                sleep(Duration::from_millis(turns)).await;
                rows.lock().unwrap().put(&write, start.elapsed(), ahead)
            });
            done.await.expect("it does not panic")
        } else {
            self.rows().put(write, start.elapsed(), ahead)
        };
        if fate.is(weather.unsaid) {
            return unknown("left unsaid");
        }
        if fate.is(weather.slow) {
            sleep(fate.dice.millis(500, 12_000)).await;
        }
        fate.way().await;
        self.rows().acknowledge(&write.key.to_bytes(), place, start.elapsed());
        Ok(put)
    }

    async fn scan(&self, _: &Scan) -> Result<Page, StoreError> {
        Ok(Page { records: Vec::new(), next: None })
    }

    async fn reclaim(&self, _: Timestamp, _: usize) -> Result<usize, StoreError> {
        Ok(0)
    }

    async fn ping(&self) -> Result<(), StoreError> {
        Ok(())
    }

    fn restored(&self) -> Option<semel::domain::Restored> {
        None
    }
}
