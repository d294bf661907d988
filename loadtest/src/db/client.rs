//! The senders: each operation, judged by the ledger.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use rand::Rng;
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};
use vioduct_db::client::{Db, DbError, Freshness};
use vioduct_db::command::{Place, TableId};

use super::board::{Board, Ended, Kind, Outcome};
use super::ledger::{Ledger, Violation, Writing};
use super::value::Values;
use crate::clock::Clock;
use crate::open::Moments;
use crate::schedule::{Halt, Kept, Phase, REFUSED_PAUSE, Schedule};

/// What all senders of a run share.
#[derive(Debug)]
pub(crate) struct Client {
    pub(crate) db: Db,
    pub(crate) table: TableId,
    pub(crate) freshness: Freshness,
    pub(crate) keys: u32,
    /// In per cent.
    pub(crate) reads: u32,
    pub(crate) values: Values,
    pub(crate) ledger: Mutex<Ledger>,
    pub(crate) board: Board,
    pub(crate) clock: Clock,
    /// Ends the run when too many keys are retired.
    pub(crate) halt: watch::Sender<u8>,
}

impl Client {
    pub(crate) fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn place(&self, key: u32) -> Place {
        Place { table: self.table, key: self.values.key(key).into() }
    }

    /// Closed loop: one operation after another, until the end.
    pub(crate) async fn closed(self: Arc<Self>, schedule: Schedule, halt: Halt) -> Kept {
        loop {
            let now_ns = self.clock.now_ns();
            let Some(phase) = schedule.phase(now_ns).filter(|_| !halt.is_told()) else {
                return Kept::default();
            };
            match self.one(phase, now_ns, now_ns).await {
                Outcome::Ok | Outcome::Unknown | Outcome::Wrong => {}
                Outcome::Unavailable | Outcome::Refused => {
                    sleep_until(Instant::now() + REFUSED_PAUSE).await;
                }
            }
        }
    }

    /// Open loop: an operation at each planned moment, until the last has its answer.
    pub(crate) fn open(self: &Arc<Self>, moments: &Moments, runtime: &Handle) -> Kept {
        moments.drive(runtime, |phase, planned_ns, sent_ns| {
            let client = Arc::clone(self);
            async move {
                client.one(phase, planned_ns, sent_ns).await;
            }
        })
    }

    async fn one(&self, phase: Phase, planned_ns: u64, sent_ns: u64) -> Outcome {
        let (kind, key) = self.choose();
        let writing = match kind {
            Kind::Read => None,
            Kind::Write => {
                let writing = self.ledger().begin_write(key);
                let Some(writing) = writing else { return self.end_run() };
                Some(writing)
            }
        };
        self.board.sent(kind, phase);
        let outcome = match writing {
            None => self.read(key).await,
            Some(writing) => self.write(writing).await,
        };
        self.board.ended(Ended { kind, phase, planned_ns, sent_ns, outcome }, self.clock.now_ns());
        outcome
    }

    fn choose(&self) -> (Kind, u32) {
        let mut chance = rand::rng();
        let is_read = chance.random_range(0..100) < self.reads;
        let kind = if is_read { Kind::Read } else { Kind::Write };
        (kind, chance.random_range(0..self.keys))
    }

    /// Too many keys are retired: nothing more is sent.
    fn end_run(&self) -> Outcome {
        let is_first = self.halt.send_if_modified(|told| {
            let is_first = *told == 0;
            *told = (*told).max(1);
            is_first
        });
        if is_first {
            let (retired, keys) = (self.ledger().retired(), self.keys);
            eprintln!(
                "error: {retired} of {keys} keys are retired, as it is not known whether their \
                 last write was done: the run ends; give it more --keys, or a longer --deadline"
            );
        }
        Outcome::Refused
    }

    async fn read(&self, key: u32) -> Outcome {
        let reading = self.ledger().begin_read(key);
        let row = match self.db.get(self.place(key), self.freshness).await {
            Ok(row) => row,
            Err(error) => return self.failed(&error),
        };
        let held = self.values.judge(key, row.as_ref().map(|row| &*row.value));
        let judged = self.ledger().end_read(reading, held);
        self.judged(Outcome::Ok, judged)
    }

    async fn write(&self, writing: Writing) -> Outcome {
        let Writing { key, serial } = writing;
        let value = Bytes::from(self.values.make(key, serial));
        let outcome = match self.db.put(self.place(key), value).await {
            Ok(_revision) => Outcome::Ok,
            Err(error) => self.failed(&error),
        };
        let judged = self.ledger().end_write(writing, outcome.ending());
        self.judged(outcome, judged)
    }

    fn failed(&self, error: &DbError) -> Outcome {
        self.board.failed(error);
        Outcome::of(error)
    }

    fn judged(&self, outcome: Outcome, judged: Result<(), Violation>) -> Outcome {
        let Err(violation) = judged else { return outcome };
        let key = self.values.key(violation.key);
        self.board.violated(violation.what.name(), format!("{key} {violation}"));
        Outcome::Wrong
    }
}
