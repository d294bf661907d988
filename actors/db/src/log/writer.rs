//! The one writer of a node's logs.

use std::fmt;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch};
use tokio::time::{Instant, sleep_until};

use super::{LogEngine, LogOp};
use crate::StoreError;

/// Most submissions that wait for the writer; those past them wait in `submit`.
const WAITING_MAX: usize = 4096;
/// Most bytes that wait for the writer or are being written; those past them wait in `submit`. One
/// submission that is larger than all of this goes in alone.
const WAITING_BYTES_MAX: usize = 64 << 20;
/// A round that holds this many bytes takes no further submission, so that its sync is short.
const ROUND_BYTES_MAX: usize = 4 << 20;

/// Bytes are counted in pieces of this size, so that a semaphore can count them.
const PIECE: usize = 1 << 10;
const PIECES_MAX: u32 = 64 << 10;
/// What an operation takes beside the records in it.
const OP_BYTES: usize = 64;

/// Writes the logs of all shards of a node in the order in which they were submitted. A clone is
/// the same writer.
///
/// While one round is being synced, the submissions that arrive wait, and all of them are the next
/// round: one write, and one sync.
///
/// Each submission is answered exactly once, whatever happens: `Ok` once its round is synced, the
/// error if that failed, `Stopped` if it was not tried, because the writer failed before, was shut
/// down, or went away. After a failed write nothing reaches the store any more.
///
/// The writer itself calls for the answers, one after the other: they must be short, and never
/// wait.
#[derive(Clone)]
pub struct LogWriter {
    inner: Arc<Inner>,
}

struct Inner {
    // Dropped before the thread is waited for, which ends when this is gone.
    queue: mpsc::Sender<Item>,
    room: Arc<Semaphore>,
    end: watch::Receiver<Option<Result<(), StoreError>>>,
    _thread: Option<Joined>,
}

enum Item {
    Submission(Submission),
    /// No submission is taken after this.
    Stop,
}

struct Submission {
    ops: Vec<LogOp>,
    bytes: usize,
    answer: Answer,
}

/// Where the result of a submission goes, and its part of the room. If it is dropped before it is
/// used, the result is `Stopped`.
struct Answer {
    done: Option<Done>,
    _room: Option<OwnedSemaphorePermit>,
}

type Done = Box<dyn FnOnce(Result<(), StoreError>) + Send>;

/// What the thread or task of a writer owns.
struct Rounds<E> {
    engine: E,
    queue: mpsc::Receiver<Item>,
    room: Arc<Semaphore>,
    end: watch::Sender<Option<Result<(), StoreError>>>,
}

#[derive(Default)]
struct Round {
    ops: Vec<LogOp>,
    bytes: usize,
    answers: Vec<Answer>,
}

impl LogWriter {
    /// A writer on a thread of its own. Dropping the last clone waits for the thread, which first
    /// writes what was submitted.
    ///
    /// # Errors
    ///
    /// If the system starts no thread.
    pub fn on_thread<E: LogEngine>(engine: E) -> Result<Self, StoreError> {
        let (mut inner, mut rounds) = prepare(engine);
        let thread = thread::Builder::new()
            .name("vioduct-db-log".into())
            .spawn(move || {
                while let Some(item) = rounds.queue.blocking_recv() {
                    let round = rounds.gather(item);
                    let written = rounds.write(&round);
                    if !rounds.settle(round, written) {
                        return;
                    }
                }
                rounds.end_in_order();
            })
            .map_err(|error| StoreError::Failed {
                what: "starting the writer of the log".into(),
                why: error.to_string(),
            })?;
        inner._thread = Some(Joined(Some(thread)));
        Ok(Self { inner: Arc::new(inner) })
    }

    /// A writer in a task of the caller's runtime, for stores that do not block. A round takes
    /// `sync_time` of the runtime's clock: it is written when half of that has passed, so that a
    /// crash within it finds the round in the store, or does not.
    ///
    /// The task ends once the last clone is dropped and what was submitted is written.
    #[must_use]
    pub fn in_task<E: LogEngine>(engine: E, sync_time: Duration) -> Self {
        let (inner, mut rounds) = prepare(engine);
        tokio::spawn(async move {
            while let Some(item) = rounds.queue.recv().await {
                let round = rounds.gather(item);
                let half = sync_time / 2;
                sleep_until(Instant::now() + half).await;
                let written = rounds.write(&round);
                sleep_until(Instant::now() + half).await;
                if !rounds.settle(round, written) {
                    return;
                }
            }
            rounds.end_in_order();
        });
        Self { inner: Arc::new(inner) }
    }

    /// Hands `ops` to the writer, which calls `done` when they are synced.
    ///
    /// Waits for room. What is submitted after this has returned is written after it. Dropped
    /// before it returns, it may have submitted or not; `done` is called in any case.
    pub async fn submit(
        &self,
        ops: Vec<LogOp>,
        done: impl FnOnce(Result<(), StoreError>) + Send + 'static,
    ) {
        let mut answer = Answer { done: Some(Box::new(done)), _room: None };
        let bytes = ops.iter().map(bytes_of).fold(0, usize::saturating_add);
        let pieces = u32::try_from(bytes.div_ceil(PIECE)).unwrap_or(PIECES_MAX).min(PIECES_MAX);
        let Ok(room) = Arc::clone(&self.inner.room).acquire_many_owned(pieces).await else {
            return;
        };
        answer._room = Some(room);
        let submission = Item::Submission(Submission { ops, bytes, answer });
        // Refused, it is dropped here, and that is its answer.
        let _refused = self.inner.queue.send(submission).await.is_err();
    }

    /// Ends the writer: what was submitted is written, then nothing is taken any more. Returns when
    /// that is so, with the error if a write failed.
    ///
    /// # Errors
    ///
    /// As `ended`.
    pub async fn shutdown(&self) -> Result<(), StoreError> {
        let _ended_before = self.inner.queue.send(Item::Stop).await.is_err();
        self.ended().await
    }

    /// Whether the writer takes nothing any more.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        self.inner.end.borrow().is_some() || self.inner.end.has_changed().is_err()
    }

    /// Waits until the writer takes nothing any more. A node whose writer ended with an error has
    /// to stop.
    ///
    /// # Errors
    ///
    /// The error of the write that failed; `Stopped` if the writer panicked or its runtime went
    /// away.
    pub async fn ended(&self) -> Result<(), StoreError> {
        let mut end = self.inner.end.clone();
        match end.wait_for(Option::is_some).await {
            Ok(how) => how.clone().unwrap_or(Ok(())),
            Err(_gone) => Err(StoreError::Stopped),
        }
    }
}

fn prepare<E: LogEngine>(engine: E) -> (Inner, Rounds<E>) {
    let (queue, taken) = mpsc::channel(WAITING_MAX);
    let (ended, end) = watch::channel(None);
    let room = Arc::new(Semaphore::new(WAITING_BYTES_MAX / PIECE));
    let rounds = Rounds { engine, queue: taken, room: Arc::clone(&room), end: ended };
    (Inner { queue, room, end, _thread: None }, rounds)
}

fn bytes_of(op: &LogOp) -> usize {
    let inside = match op {
        LogOp::Append { records, .. } => {
            records.iter().map(|record| record.len().saturating_add(OP_BYTES)).sum()
        }
        LogOp::SetMeta { value, .. } => value.len(),
        LogOp::TruncateFrom { .. } | LogOp::PurgeThrough { .. } | LogOp::Forget { .. } => 0,
    };
    OP_BYTES.saturating_add(inside)
}

impl<E: LogEngine> Rounds<E> {
    /// All that waits, up to a round's size.
    fn gather(&mut self, first: Item) -> Round {
        let mut round = Round::default();
        let mut next = Some(first);
        while let Some(item) = next {
            match item {
                Item::Submission(submission) => round.add(submission),
                Item::Stop => self.queue.close(),
            }
            if round.bytes >= ROUND_BYTES_MAX {
                break;
            }
            next = self.queue.try_recv().ok();
        }
        round
    }

    fn write(&self, round: &Round) -> Result<(), StoreError> {
        if round.answers.is_empty() {
            return Ok(());
        }
        self.engine.write(&round.ops, true)
    }

    /// Answers a round; false if nothing may be written any more.
    fn settle(&mut self, round: Round, written: Result<(), StoreError>) -> bool {
        if let Err(error) = &written {
            tracing::error!(%error, "writing the log failed: its writer stops");
            self.end.send_replace(Some(Err(error.clone())));
            self.close();
        }
        let going_on = written.is_ok();
        for answer in round.answers {
            answer.give(written.clone());
        }
        going_on
    }

    fn end_in_order(&mut self) {
        self.close();
        self.end.send_replace(Some(Ok(())));
    }

    fn close(&mut self) {
        self.queue.close();
        self.room.close();
    }
}

impl Round {
    fn add(&mut self, mut submission: Submission) {
        self.ops.append(&mut submission.ops);
        self.bytes = self.bytes.saturating_add(submission.bytes);
        self.answers.push(submission.answer);
    }
}

impl Answer {
    fn give(mut self, result: Result<(), StoreError>) {
        if let Some(done) = self.done.take() {
            done(result);
        }
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        if let Some(done) = self.done.take() {
            done(Err(StoreError::Stopped));
        }
    }
}

/// A thread that is waited for when this is dropped.
struct Joined(Option<JoinHandle<()>>);

impl Drop for Joined {
    fn drop(&mut self) {
        let Some(thread) = self.0.take() else { return };
        // The last clone may be dropped by an answer, on that very thread.
        if thread.thread().id() != thread::current().id() && thread.join().is_err() {
            tracing::error!("the writer of the log panicked");
        }
    }
}

impl fmt::Debug for LogWriter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let waiting = WAITING_MAX.saturating_sub(self.inner.queue.capacity());
        f.debug_struct("LogWriter").field("waiting", &waiting).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
