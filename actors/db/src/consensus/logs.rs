//! The log of one shard, as the consensus library wants it, over the node's one log store.
//!
//! What was appended lately is kept in memory until it is written, and a while longer, since it is
//! about to be sent to others and applied. Writes of all shards go through one
//! [writer](LogWriter), in the order in which they were given, so that votes and entries never
//! overtake one another.

mod tail;
mod weight;

use std::fmt::Debug;
use std::io;
use std::ops::{Bound, Range, RangeBounds};
use std::sync::{Arc, Mutex, MutexGuard};

use openraft::entry::RaftEntry;
use openraft::storage::{IOFlushed, LogState, RaftLogStorage};
use openraft::{OptionalSend, RaftLogReader};
use tokio::sync::oneshot;

use self::tail::{Tail, bytes_of};
use super::entry::{
    decode_entry, decode_log_id, decode_vote, encode_entry, encode_log_id, encode_vote,
};
use super::{Entry, LogId, Types, Vote};
use crate::log::{LogEngine, LogOp, LogWriter, MetaTag};
use crate::{ShardId, StoreError};

/// Bytes of entries that are read from the store at once.
const READ_BYTES: usize = 8 << 20;
/// Bytes of entries that are sent at once, but one entry at least: a message has a bound, and a
/// replica takes several of them at a time.
const SENT_BYTES: usize = 2 << 20;

/// The log of one shard. A clone is the same log.
#[derive(Clone, Debug)]
pub struct ShardLog<E> {
    shard: ShardId,
    engine: E,
    writer: LogWriter,
    tail: Arc<Mutex<Tail>>,
}

impl<E: LogEngine> ShardLog<E> {
    /// Opens the log with what the store has of it.
    ///
    /// # Errors
    ///
    /// As the store says; `Damaged` also for a record that is no entry.
    pub fn open(shard: ShardId, engine: E, writer: LogWriter) -> Result<Self, StoreError> {
        let vote = engine.meta(shard, MetaTag::Vote)?.map(decode_vote).transpose();
        let vote = vote.map_err(|why| damaged(shard, "vote", why))?;
        let purged = engine.meta(shard, MetaTag::Purged)?.map(decode_log_id).transpose();
        let purged = purged.map_err(|why| damaged(shard, "purged index", why))?.flatten();
        let bounds = engine.bounds(shard)?;
        let begin = bounds.as_ref().map_or(0, |bounds| *bounds.start());
        let last = match bounds {
            Some(bounds) => {
                let index = *bounds.end();
                let records = engine.read(shard, index..index + 1, 0)?;
                let record = records.into_iter().next();
                let record = record.ok_or_else(|| damaged(shard, "last record", "it is gone"))?;
                let entry = decode_entry(record).map_err(|why| damaged(shard, "record", why))?;
                Some(entry.log_id())
            }
            None => None,
        };
        let tail = Tail::new(vote, purged, last.max(purged), begin);
        Ok(Self { shard, engine, writer, tail: Arc::new(Mutex::new(tail)) })
    }

    fn tail(&self) -> MutexGuard<'_, Tail> {
        self.tail.lock().expect("nothing panics while it holds the log's tail")
    }

    /// The index up to which it is to be purged if it has more than so many bytes.
    pub(crate) fn excess(&self, bytes_max: u64) -> Option<u64> {
        self.tail().weight.excess(bytes_max)
    }

    /// Gives operations to the writer and waits until they are written.
    async fn write(&self, ops: Vec<LogOp>) -> Result<(), io::Error> {
        let (done, written) = oneshot::channel();
        let tell = move |result| drop(done.send(result));
        self.writer.submit(ops, tell).await;
        let result = written.await.unwrap_or(Err(StoreError::Stopped));
        result.map_err(io::Error::other)
    }

    fn read(&self, start: u64, end: u64) -> Result<Vec<Entry>, StoreError> {
        let (mut entries, rest) = self.in_memory(start, end);
        if rest.is_empty() {
            return Ok(entries);
        }
        let mut read = Vec::new();
        let mut next = rest.start;
        while next < rest.end {
            let mut stored = self.read_stored(next..rest.end, READ_BYTES)?;
            next += stored.len() as u64;
            read.append(&mut stored);
        }
        read.append(&mut entries);
        Ok(read)
    }

    /// The first few of these.
    fn read_some(&self, start: u64, end: u64) -> Result<Vec<Entry>, StoreError> {
        let (mut entries, rest) = self.in_memory(start, end);
        if !rest.is_empty() {
            return self.read_stored(rest, SENT_BYTES);
        }
        let mut bytes = 0_usize;
        let fits = |entry: &&Entry| {
            bytes = bytes.saturating_add(bytes_of(entry));
            bytes <= SENT_BYTES
        };
        let count = entries.iter().take_while(fits).count();
        entries.truncate(count.max(1));
        Ok(entries)
    }

    /// Those of these that are in memory, which are the last; and which ones are not.
    fn in_memory(&self, start: u64, end: u64) -> (Vec<Entry>, Range<u64>) {
        let tail = self.tail();
        let end = end.min(tail.next_index());
        let start = start.max(tail.first_index());
        let in_memory = tail.range(start, end);
        let missing = in_memory.first().map_or(end, RaftEntry::index);
        (in_memory, start..missing)
    }

    /// The first of these, as many as come to so many bytes, but one at least.
    fn read_stored(&self, range: Range<u64>, bytes: usize) -> Result<Vec<Entry>, StoreError> {
        let start = range.start;
        let records = self.engine.read(self.shard, range, bytes)?;
        if records.is_empty() {
            return Err(damaged(self.shard, "log", format!("record {start} is missing")));
        }
        let entry = |(index, record)| {
            let entry = decode_entry(record).map_err(|why| damaged(self.shard, "record", why))?;
            if entry.index() == index {
                Ok(entry)
            } else {
                Err(damaged(self.shard, "log", format!("record {index} is another")))
            }
        };
        (start..).zip(records).map(entry).collect()
    }
}

fn damaged(shard: ShardId, what: &str, why: impl std::fmt::Display) -> StoreError {
    StoreError::Damaged { what: format!("{what} of {shard} ({why})") }
}

fn bounds(range: &impl RangeBounds<u64>) -> (u64, u64) {
    let start = match range.start_bound() {
        Bound::Included(start) => *start,
        Bound::Excluded(before) => before.saturating_add(1),
        Bound::Unbounded => 0,
    };
    let end = match range.end_bound() {
        Bound::Included(last) => last.saturating_add(1),
        Bound::Excluded(end) => *end,
        Bound::Unbounded => u64::MAX,
    };
    (start, end)
}

impl<E: LogEngine> RaftLogReader<Types> for ShardLog<E> {
    async fn try_get_log_entries<R>(&mut self, range: R) -> Result<Vec<Entry>, io::Error>
    where
        R: RangeBounds<u64> + Clone + Debug + OptionalSend,
    {
        let (start, end) = bounds(&range);
        self.read(start, end).map_err(io::Error::other)
    }

    async fn limited_get_log_entries(
        &mut self,
        start: u64,
        end: u64,
    ) -> Result<Vec<Entry>, io::Error> {
        self.read_some(start, end).map_err(io::Error::other)
    }

    async fn read_vote(&mut self) -> Result<Option<Vote>, io::Error> {
        Ok(self.tail().vote)
    }
}

impl<E: LogEngine> RaftLogStorage<Types> for ShardLog<E> {
    type LogReader = Self;

    async fn get_log_state(&mut self) -> Result<LogState<Types>, io::Error> {
        let tail = self.tail();
        Ok(LogState { last_purged_log_id: tail.purged, last_log_id: tail.last })
    }

    async fn get_log_reader(&mut self) -> Self::LogReader {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &Vote) -> Result<(), io::Error> {
        let (shard, tag) = (self.shard, MetaTag::Vote);
        self.write(vec![LogOp::SetMeta { shard, tag, value: encode_vote(vote) }]).await?;
        self.tail().vote = Some(*vote);
        Ok(())
    }

    /// Written with the next entries: it says only how far the entries may be applied again on the
    /// next start, and what is missing there is told by the next leader.
    async fn save_committed(&mut self, committed: Option<LogId>) -> Result<(), io::Error> {
        self.tail().committed = committed;
        Ok(())
    }

    async fn read_committed(&mut self) -> Result<Option<LogId>, io::Error> {
        if let Some(committed) = self.tail().committed {
            return Ok(Some(committed));
        }
        let found = self.engine.meta(self.shard, MetaTag::Committed).map_err(io::Error::other)?;
        let found = found.map(decode_log_id).transpose();
        let found = found.map_err(|why| damaged(self.shard, "committed index", why));
        Ok(found.map_err(io::Error::other)?.flatten())
    }

    async fn append<I>(&mut self, entries: I, callback: IOFlushed<Types>) -> Result<(), io::Error>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let entries: Vec<Entry> = entries.into_iter().collect();
        let Some(first) = entries.first().map(RaftEntry::index) else {
            callback.io_completed(Ok(()));
            return Ok(());
        };
        let shard = self.shard;
        let mut ops = Vec::with_capacity(2);
        let records = entries.iter().map(encode_entry).collect();
        ops.push(LogOp::Append { shard, first, records });
        let number = {
            let mut tail = self.tail();
            ops.extend(tail.committed.take().map(|committed| LogOp::SetMeta {
                shard,
                tag: MetaTag::Committed,
                value: encode_log_id(Some(&committed)),
            }));
            tail.append(entries)
        };
        let tail = Arc::clone(&self.tail);
        let done = move |result: Result<(), StoreError>| {
            if result.is_ok() {
                tail.lock().expect("nothing panics while it holds the log's tail").written(number);
            }
            callback.io_completed(result.map_err(io::Error::other));
        };
        self.writer.submit(ops, done).await;
        Ok(())
    }

    async fn truncate_after(&mut self, last: Option<LogId>) -> Result<(), io::Error> {
        let index = last.map_or(0, |last| last.index + 1);
        self.tail().truncate(last);
        self.write(vec![LogOp::TruncateFrom { shard: self.shard, index }]).await
    }

    async fn purge(&mut self, upto: LogId) -> Result<(), io::Error> {
        let (shard, tag) = (self.shard, MetaTag::Purged);
        self.tail().purge(upto);
        let value = encode_log_id(Some(&upto));
        let ops = vec![
            LogOp::SetMeta { shard, tag, value },
            LogOp::PurgeThrough { shard, index: upto.index },
        ];
        self.write(ops).await
    }
}
