//! Rows as they were, read by a thread.

use std::fmt;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{self, JoinHandle};

use bytes::Bytes;
use rocksdb::{DBRawIteratorWithThreadMode, ReadOptions};

use super::Inner;
use super::generation::Generation;
use crate::StoreError;
use crate::rocks::{Db, failed};
use crate::state::{Row, View};

/// Read at once from a table while its rows are read in order.
const READAHEAD_BYTES: usize = 256 << 10;

/// The rows of a shard at one moment.
///
/// RocksDB's snapshot and iterator borrow their database, so they live on the stack of a thread,
/// which answers one question after the other and ends with the view.
pub struct RocksView {
    /// `None` only once the view is dropped.
    questions: Option<SyncSender<Question>>,
    answers: Receiver<Answer>,
    thread: Option<JoinHandle<()>>,
}

enum Question {
    Get(Vec<u8>),
    Next { bytes: usize },
}

enum Answer {
    Value(Result<Option<Bytes>, StoreError>),
    Rows(Result<Vec<Row>, StoreError>),
    Ready(Result<(), StoreError>),
}

impl RocksView {
    pub(super) fn start(store: Arc<Inner>, generation: Generation) -> Result<Self, StoreError> {
        let (questions, asked) = sync_channel(1);
        let (answering, answers) = sync_channel(1);
        let thread = thread::Builder::new()
            .name("vioduct-db-view".into())
            .spawn(move || answer(&store, generation, &asked, &answering))
            .map_err(|error| failed_to(&error.to_string()))?;
        let view = Self { questions: Some(questions), answers, thread: Some(thread) };
        match view.answers.recv() {
            Ok(Answer::Ready(ready)) => ready.map(|()| view),
            Ok(Answer::Value(_) | Answer::Rows(_)) | Err(_) => Err(ended()),
        }
    }

    fn ask(&self, question: Question) -> Result<Answer, StoreError> {
        let questions = self.questions.as_ref().ok_or_else(ended)?;
        questions.send(question).map_err(|_gone| ended())?;
        self.answers.recv().map_err(|_gone| ended())
    }
}

impl View for RocksView {
    fn get(&mut self, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        match self.ask(Question::Get(key.to_vec()))? {
            Answer::Value(value) => value,
            Answer::Rows(_) | Answer::Ready(_) => Err(ended()),
        }
    }

    fn next(&mut self, bytes: usize) -> Result<Vec<Row>, StoreError> {
        match self.ask(Question::Next { bytes })? {
            Answer::Rows(rows) => rows,
            Answer::Value(_) | Answer::Ready(_) => Err(ended()),
        }
    }
}

impl Drop for RocksView {
    fn drop(&mut self) {
        self.questions = None;
        let Some(thread) = self.thread.take() else { return };
        if thread.join().is_err() {
            tracing::error!("the thread of a view panicked");
        }
    }
}

fn answer(
    store: &Inner,
    generation: Generation,
    asked: &Receiver<Question>,
    answering: &SyncSender<Answer>,
) {
    let family = match store.family(generation) {
        Ok(family) => family,
        Err(error) => {
            // Nobody is there to hear it only if the view is gone.
            let _gone = answering.send(Answer::Ready(Err(error))).is_err();
            return;
        }
    };
    let snapshot = store.db.snapshot();
    let mut cursor = snapshot.raw_iterator_cf_opt(&family, options());
    cursor.seek_to_first();
    let mut gone = answering.send(Answer::Ready(Ok(()))).is_err();
    while !gone && let Ok(question) = asked.recv() {
        let answer = match question {
            Question::Next { bytes } => Answer::Rows(rows(&mut cursor, bytes)),
            Question::Get(key) => {
                let value = snapshot.get_cf_opt(&family, key, options());
                let value = value.map_err(|error| failed("reading a row of a view", &error));
                Answer::Value(value.map(|value| value.map(Bytes::from)))
            }
        };
        gone = answering.send(answer).is_err();
    }
}

fn rows(
    cursor: &mut DBRawIteratorWithThreadMode<'_, Db>,
    bytes: usize,
) -> Result<Vec<Row>, StoreError> {
    let mut found = Vec::new();
    let mut size = 0_usize;
    while let Some((key, value)) = cursor.item() {
        size = size.saturating_add(key.len()).saturating_add(value.len());
        found.push((Bytes::copy_from_slice(key), Bytes::copy_from_slice(value)));
        cursor.next();
        if size >= bytes {
            break;
        }
    }
    cursor.status().map_err(|error| failed("reading the rows of a view", &error))?;
    Ok(found)
}

/// Reading all rows once must not drive out of the cache what is read often.
fn options() -> ReadOptions {
    let mut options = ReadOptions::default();
    options.fill_cache(false);
    options.set_readahead_size(READAHEAD_BYTES);
    options
}

fn ended() -> StoreError {
    failed_to("its thread ended")
}

fn failed_to(why: &str) -> StoreError {
    StoreError::Failed { what: "viewing rows".into(), why: why.to_owned() }
}

impl fmt::Debug for RocksView {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RocksView").finish_non_exhaustive()
    }
}
