//! Clients that do random operations and record what they were told.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Result, bail};
use bytes::Bytes;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio::task::JoinSet;
use tokio::time::Instant;
use vioduct_db::client::{Db, DbConfig, DbError, Freshness, Outcome as DbOutcome};
use vioduct_db::command::{Change, Condition, Found, Place, TableId};

use super::{DbCluster, TABLE};
use crate::linear::{Cell, History, Key, Op, Outcome, Recorder, Value};

/// What clients do.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    /// How many there are.
    pub clients: u32,
    /// How many keys they share.
    pub keys: u32,
    /// From what their choices are made.
    pub seed: u64,
    /// How long one waits between two operations.
    pub pause: Duration,
    /// What is wrong with them.
    pub plant: Option<Plant>,
}

/// A fault that clients have on purpose, to see that it is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Plant {
    /// Every tenth write is acknowledged and not done.
    LostWrite,
    /// What any replica has is taken for what is there.
    StaleRead,
}

/// Clients at work.
#[derive(Debug)]
pub struct Clients {
    recorder: Arc<Recorder>,
    stop: Arc<AtomicBool>,
    acknowledged: Arc<AtomicU64>,
    tasks: JoinSet<Result<()>>,
}

/// The place of a key.
pub fn key(name: &str) -> Place {
    Place { table: TableId(TABLE), key: Bytes::copy_from_slice(name.as_bytes()) }
}

impl Clients {
    /// Sets them to work.
    ///
    /// # Errors
    /// One of them does not start.
    pub async fn start(cluster: &DbCluster, load: Load) -> Result<Self> {
        let recorder = Arc::<Recorder>::default();
        let (stop, acknowledged) = (Arc::<AtomicBool>::default(), Arc::<AtomicU64>::default());
        let mut tasks = JoinSet::new();
        for number in 0..load.clients {
            let config = DbConfig { deadline: Duration::from_secs(4), ..DbConfig::default() };
            let client = cluster.client(config).await?;
            let (tape, count) = (Arc::clone(&recorder), Arc::clone(&acknowledged));
            let worker = Worker::new(number, load, tape, count);
            let stop = Arc::clone(&stop);
            tasks.spawn(async move { worker.work(&client.db, &stop).await });
        }
        Ok(Self { recorder, stop, acknowledged, tasks })
    }

    /// Operations that were answered so far.
    pub fn acknowledged(&self) -> u64 {
        self.acknowledged.load(Ordering::Relaxed)
    }

    /// Waits until this many more were answered.
    ///
    /// # Errors
    /// They are not, in time.
    pub async fn go_on(&self, more: u64, within: Duration) -> Result<()> {
        let (goal, until) = (self.acknowledged() + more, Instant::now() + within);
        let mut looks = tokio::time::interval(Duration::from_millis(20));
        while self.acknowledged() < goal {
            looks.tick().await;
            if Instant::now() > until {
                bail!("fewer than {more} operations were answered in {within:?}");
            }
        }
        Ok(())
    }

    /// Ends them, reads every key once more, and gives what was recorded.
    ///
    /// # Errors
    /// A client failed, or a key can't be read.
    pub async fn finish(mut self, cluster: &DbCluster, load: Load) -> Result<History> {
        self.stop.store(true, Ordering::Relaxed);
        while let Some(ended) = self.tasks.join_next().await {
            ended??;
        }
        let config = DbConfig { deadline: Duration::from_secs(20), ..DbConfig::default() };
        let client = cluster.client(config).await?;
        read_all(&client.db, load, &self.recorder).await?;
        Ok(self.recorder.history())
    }
}

/// Reads every key once, as one client more.
pub(crate) async fn read_all(db: &Db, load: Load, recorder: &Recorder) -> Result<()> {
    for number in 0..load.keys {
        let name = format!("k{number}");
        let id = recorder.invoke(load.clients, Op::Get { key: Key(name.clone()) })?;
        let found = db.get(key(&name), Freshness::Linearizable).await?;
        recorder.ok(id, Outcome::Value(found.map(|row| text(&row.value))))?;
    }
    Ok(())
}

/// One client.
pub(crate) struct Worker {
    number: u32,
    load: Load,
    random: StdRng,
    serial: u64,
    recorder: Arc<Recorder>,
    acknowledged: Arc<AtomicU64>,
}

impl Worker {
    pub(crate) fn new(
        number: u32,
        load: Load,
        recorder: Arc<Recorder>,
        acknowledged: Arc<AtomicU64>,
    ) -> Self {
        let random = StdRng::seed_from_u64(load.seed ^ u64::from(number) << 32);
        Self { number, load, random, serial: 0, recorder, acknowledged }
    }

    /// Does one operation after the other until it is told to stop.
    pub(crate) async fn work(mut self, db: &Db, stop: &AtomicBool) -> Result<()> {
        while !stop.load(Ordering::Relaxed) {
            let op = self.choose();
            let id = self.recorder.invoke(self.number, op.clone())?;
            match self.perform(db, op).await {
                Ok(outcome) => {
                    self.recorder.ok(id, outcome)?;
                    self.acknowledged.fetch_add(1, Ordering::Relaxed);
                }
                Err(DbError::Unknown { .. } | DbError::SessionOver { .. }) => {
                    self.recorder.unknown(id)?;
                }
                Err(DbError::Unavailable { .. }) => self.recorder.fail(id)?,
                Err(error) => bail!("no client here should be told: {error}"),
            }
            tokio::time::sleep_until(Instant::now() + self.load.pause).await;
        }
        Ok(())
    }

    async fn perform(&self, db: &Db, op: Op) -> Result<Outcome, DbError> {
        let is_lost = self.load.plant == Some(Plant::LostWrite) && self.serial.is_multiple_of(10);
        if is_lost && matches!(op, Op::Put { .. }) {
            return Ok(Outcome::Done);
        }
        let freshness = match self.load.plant {
            Some(Plant::StaleRead) => Freshness::Stale,
            _honest => Freshness::Linearizable,
        };
        perform(db, op, freshness).await
    }

    fn key(&mut self) -> Key {
        Key(format!("k{}", self.random.random_range(0..self.load.keys)))
    }

    fn value(&mut self) -> Value {
        self.serial += 1;
        Value(format!("{}.{}", self.number, self.serial))
    }

    fn choose(&mut self) -> Op {
        let (key, value) = (self.key(), self.value());
        match self.random.random_range(0..100) {
            0..40 => Op::Get { key },
            40..70 => Op::Put { key, value },
            70..75 => Op::Delete { key },
            75..90 => {
                let serial = self.random.random_range(0..self.serial);
                let expect = (serial > 0).then(|| Value(format!("{}.{serial}", self.number)));
                Op::Cas { key, expect, new: value }
            }
            _transaction => {
                let other = self.key();
                let change = |key: &Key| Cell { key: key.clone(), value: Some(value.clone()) };
                let changes = vec![change(&key), change(&other)];
                Op::Transaction { conditions: Vec::new(), changes }
            }
        }
    }
}

fn text(bytes: &[u8]) -> Value {
    Value(String::from_utf8_lossy(bytes).into_owned())
}

fn bytes(value: Value) -> Bytes {
    value.0.into_bytes().into()
}

async fn perform(db: &Db, op: Op, freshness: Freshness) -> Result<Outcome, DbError> {
    Ok(match op {
        Op::Get { key: Key(name) } => {
            let found = db.get(key(&name), freshness).await?;
            Outcome::Value(found.map(|row| text(&row.value)))
        }
        Op::Put { key: Key(name), value } => {
            db.put(key(&name), bytes(value)).await?;
            Outcome::Done
        }
        Op::Delete { key: Key(name) } => {
            db.delete(key(&name)).await?;
            Outcome::Done
        }
        Op::Cas { key: Key(name), expect, new } => {
            let outcome = db.compare_and_set(key(&name), expect.map(bytes), bytes(new)).await?;
            match outcome {
                DbOutcome::Done { .. } => Outcome::Done,
                DbOutcome::Refused { found, .. } => {
                    Outcome::RefusedAt(found.map(|Found { value, .. }| text(&value)))
                }
            }
        }
        Op::Transaction { conditions, changes } => {
            let condition = |Cell { key: Key(name), value }: Cell| Condition::Value {
                place: key(&name),
                value: value.map(bytes),
            };
            let change = |Cell { key: Key(name), value }: Cell| match value {
                Some(value) => Change::Put { place: key(&name), value: bytes(value), lease: None },
                None => Change::Delete { place: key(&name) },
            };
            let conditions = conditions.into_iter().map(condition).collect();
            let changes = changes.into_iter().map(change).collect();
            match db.transact(conditions, changes).await? {
                DbOutcome::Done { .. } => Outcome::Done,
                DbOutcome::Refused { .. } => Outcome::Refused,
            }
        }
        Op::Scan { .. } => unreachable!("none is chosen"),
    })
}
