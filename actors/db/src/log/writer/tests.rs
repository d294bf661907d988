use std::ops::{Range, RangeInclusive};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::{LogWriter, WAITING_BYTES_MAX};
use crate::log::{LogEngine, LogOp, MemoryLog, MetaTag};
use crate::{ShardId, StoreError};

const SHARD: ShardId = ShardId(3);

/// A store that waits in each write until the test lets it go on, and notes what it was told.
#[derive(Clone, Debug)]
struct Held {
    log: MemoryLog,
    began: SyncSender<(usize, bool)>,
    go_on: Arc<Mutex<Receiver<Result<(), StoreError>>>>,
}

struct Hold {
    log: MemoryLog,
    began: Receiver<(usize, bool)>,
    go_on: SyncSender<Result<(), StoreError>>,
}

fn held() -> (Held, Hold) {
    let log = MemoryLog::new();
    let (began, begins) = sync_channel(64);
    let (go_on, goes_on) = sync_channel(64);
    let held = Held { log: log.clone(), began, go_on: Arc::new(Mutex::new(goes_on)) };
    (held, Hold { log, began: begins, go_on })
}

impl LogEngine for Held {
    fn write(&self, ops: &[LogOp], sync: bool) -> Result<(), StoreError> {
        self.began.send((ops.len(), sync)).unwrap();
        self.go_on.lock().unwrap().recv().unwrap()?;
        self.log.write(ops, sync)
    }

    fn read(
        &self,
        shard: ShardId,
        range: Range<u64>,
        max: usize,
    ) -> Result<Vec<Bytes>, StoreError> {
        self.log.read(shard, range, max)
    }

    fn bounds(&self, shard: ShardId) -> Result<Option<RangeInclusive<u64>>, StoreError> {
        self.log.bounds(shard)
    }

    fn meta(&self, shard: ShardId, tag: MetaTag) -> Result<Option<Bytes>, StoreError> {
        self.log.meta(shard, tag)
    }
}

fn append(index: u64, size: usize) -> Vec<LogOp> {
    let records = vec![Bytes::from(vec![7; size])];
    vec![LogOp::Append { shard: SHARD, first: index, records }]
}

async fn submit(writer: &LogWriter, index: u64) -> oneshot::Receiver<Result<(), StoreError>> {
    let (tell, told) = oneshot::channel();
    writer.submit(append(index, 10), move |result| tell.send(result).unwrap()).await;
    told
}

fn disk_failed() -> StoreError {
    StoreError::Failed { what: "sync".into(), why: "medium".into() }
}

#[tokio::test]
async fn what_arrives_during_a_sync_is_one_round_in_order() {
    let (engine, hold) = held();
    let writer = LogWriter::on_thread(engine).unwrap();
    let order = Arc::new(Mutex::new(Vec::new()));
    for index in 0..6 {
        let order = Arc::clone(&order);
        let done = move |result| order.lock().unwrap().push((index, result));
        writer.submit(append(index, 10), done).await;
        if index == 0 {
            assert_eq!(hold.began.recv(), Ok((1, true)));
        }
    }
    hold.go_on.send(Ok(())).unwrap();
    assert_eq!(hold.began.recv(), Ok((5, true)));
    hold.go_on.send(Ok(())).unwrap();
    writer.shutdown().await.unwrap();
    let expected: Vec<_> = (0..6).map(|index| (index, Ok(()))).collect();
    assert_eq!(*order.lock().unwrap(), expected);
    assert_eq!(hold.log.crash().bounds(SHARD), Ok(Some(0..=5)));
}

#[tokio::test]
async fn after_a_failed_write_nothing_reaches_the_store_and_all_are_answered() {
    let (engine, hold) = held();
    let writer = LogWriter::on_thread(engine).unwrap();
    let first = submit(&writer, 0).await;
    hold.began.recv().unwrap();
    let waiting = submit(&writer, 1).await;
    hold.go_on.send(Err(disk_failed())).unwrap();
    assert_eq!(first.await.unwrap(), Err(disk_failed()));
    assert_eq!(waiting.await.unwrap(), Err(StoreError::Stopped));
    assert_eq!(writer.ended().await, Err(disk_failed()));
    assert_eq!(submit(&writer, 2).await.await.unwrap(), Err(StoreError::Stopped));
    assert_eq!(writer.shutdown().await, Err(disk_failed()));
    drop(writer);
    // The engine is gone with the thread, and no write began.
    assert!(hold.began.recv().is_err());
    assert_eq!(hold.log.bounds(SHARD), Ok(None));
}

#[tokio::test]
async fn what_was_submitted_is_written_though_the_writer_is_dropped() {
    let (engine, hold) = held();
    for _ in 0..8 {
        hold.go_on.send(Ok(())).unwrap();
    }
    let writer = LogWriter::on_thread(engine).unwrap();
    let mut told = Vec::new();
    for index in 0..8 {
        told.push(submit(&writer, index).await);
    }
    drop(writer);
    for mut told in told {
        assert_eq!(told.try_recv().unwrap(), Ok(()));
    }
    assert_eq!(hold.log.bounds(SHARD), Ok(Some(0..=7)));
}

#[tokio::test]
async fn a_writer_that_was_shut_down_takes_nothing() {
    let writer = LogWriter::on_thread(MemoryLog::new()).unwrap();
    writer.shutdown().await.unwrap();
    assert_eq!(submit(&writer, 0).await.await.unwrap(), Err(StoreError::Stopped));
    assert_eq!(writer.shutdown().await, Ok(()));
}

#[tokio::test]
async fn an_answer_may_drop_the_last_of_the_writer() {
    let (engine, hold) = held();
    let writer = LogWriter::on_thread(engine).unwrap();
    let (tell, told) = oneshot::channel();
    let clone = writer.clone();
    let done = move |result| {
        drop(clone);
        tell.send(result).unwrap();
    };
    writer.submit(append(0, 10), done).await;
    let mut end = writer.inner.end.clone();
    drop(writer);
    hold.go_on.send(Ok(())).unwrap();
    assert_eq!(told.await.unwrap(), Ok(()));
    assert_eq!(*end.wait_for(Option::is_some).await.unwrap(), Some(Ok(())));
}

#[tokio::test]
async fn a_panic_of_the_store_answers_all_and_ends_the_writer() {
    let (engine, hold) = held();
    let writer = LogWriter::on_thread(engine).unwrap();
    let first = submit(&writer, 0).await;
    hold.began.recv().unwrap();
    let waiting = submit(&writer, 1).await;
    drop(hold.go_on);
    assert_eq!(first.await.unwrap(), Err(StoreError::Stopped));
    assert_eq!(waiting.await.unwrap(), Err(StoreError::Stopped));
    assert_eq!(writer.ended().await, Err(StoreError::Stopped));
}

#[tokio::test]
async fn a_submission_waits_for_room_and_is_answered_if_it_gives_up() {
    let (engine, hold) = held();
    let writer = LogWriter::on_thread(engine).unwrap();
    let large = append(0, WAITING_BYTES_MAX);
    writer.submit(large, |result| assert_eq!(result, Ok(()))).await;
    hold.began.recv().unwrap();
    let (tell, told) = oneshot::channel();
    {
        let mut second =
            Box::pin(writer.submit(append(1, 10), move |result| tell.send(result).unwrap()));
        assert!(futures_util::poll!(&mut second).is_pending());
    }
    assert_eq!(told.await.unwrap(), Err(StoreError::Stopped));
    hold.go_on.send(Ok(())).unwrap();
    hold.go_on.send(Ok(())).unwrap();
    assert_eq!(submit(&writer, 1).await.await.unwrap(), Ok(()));
    assert_eq!(hold.log.bounds(SHARD), Ok(Some(0..=1)));
}

#[tokio::test(start_paused = true)]
async fn in_a_task_a_sync_takes_its_time_of_the_runtimes_clock() {
    let log = MemoryLog::new();
    let writer = LogWriter::in_task(log.clone(), Duration::from_millis(4));
    let began = Instant::now();
    let first = submit(&writer, 0).await;
    assert_eq!(first.await.unwrap(), Ok(()));
    assert_eq!(began.elapsed().as_millis(), 4);
    assert_eq!(log.crash().bounds(SHARD), Ok(Some(0..=0)));
    drop(writer);
}

#[test]
fn the_end_of_the_runtime_answers_what_is_under_way() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let log = MemoryLog::new();
    let mut told = None;
    runtime.block_on(async {
        let writer = LogWriter::in_task(log.clone(), Duration::from_secs(3600));
        told = Some(submit(&writer, 0).await);
    });
    drop(runtime);
    assert_eq!(told.unwrap().try_recv().unwrap(), Err(StoreError::Stopped));
    assert_eq!(log.bounds(SHARD), Ok(None));
}
