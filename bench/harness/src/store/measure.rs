//! Puts the load of one row on a store, and measures.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use super::client::Options;
use super::rows::{StoreKind, StoreLoad, StoreRow};
use super::sample::{Latency, StoreSample, to_f64};
use super::{Store, VALUE_BYTES, Watcher};
use crate::cpu::{Meter, Usage};
use crate::measure::{Phase, Window, payload};

/// Keys that are written.
const PUT_KEYS: u64 = 100_000;
/// Keys that are read; each is there.
const GET_KEYS: u64 = 10_000;
/// Between two keys that follow each other, so that neighbours are not used in turn. It has no
/// divisor in common with the number of keys, so that each comes once before one comes again.
const STRIDE: u64 = 7919;
/// What the keys that are watched begin with.
const WATCHED: &str = "watch/";
/// Clients that write the rows for gets.
const FILLERS: u64 = 64;

/// Does what the parent asks for: measures a row, or writes the rows that gets ask for.
///
/// # Errors
/// The store has failed.
pub async fn run<S: Store>(
    kind: StoreKind,
    store: S,
    options: &Options,
) -> Result<Option<StoreSample>> {
    let store = Arc::new(store);
    let Some(row) = options.row else {
        return fill(store).await.map(|()| None);
    };
    let job = Job { row, kind, options };
    let sample = match row.load() {
        StoreLoad::Puts { clients } => {
            // Another round goes on where no row was written lately.
            let next = Arc::new(AtomicU64::new(u64::from(options.round) * PUT_KEYS / 4));
            let value = payload(VALUE_BYTES);
            let operation = move |store: Arc<S>| {
                let (key, value) = (put_key(next.fetch_add(1, Ordering::Relaxed)), value.clone());
                async move { store.put(key, value).await }
            };
            job.closed_loop(&store, clients, operation).await
        }
        StoreLoad::Gets { clients } => {
            let next = Arc::new(AtomicU64::new(0));
            let operation = move |store: Arc<S>| {
                let key = get_key(next.fetch_add(1, Ordering::Relaxed));
                async move {
                    let found = store.get(key).await?.context("a row that was written is gone")?;
                    ensure!(found.len() == VALUE_BYTES, "a value of {} bytes", found.len());
                    Ok(())
                }
            };
            job.closed_loop(&store, clients, operation).await
        }
        StoreLoad::Watched { watchers } => job.watched(&*store, watchers).await,
    };
    sample.map(Some)
}

fn put_key(number: u64) -> Bytes {
    format!("put/{:06}", number.wrapping_mul(STRIDE) % PUT_KEYS).into()
}

/// Each put's is another one, so that a notice says of which put it is.
fn watched_key(number: u64) -> Bytes {
    format!("{WATCHED}{:06}", number % PUT_KEYS).into()
}

fn get_key(number: u64) -> Bytes {
    format!("get/{:06}", number.wrapping_mul(STRIDE) % GET_KEYS).into()
}

/// Writes all rows that gets ask for.
async fn fill<S: Store>(store: Arc<S>) -> Result<()> {
    let mut tasks = JoinSet::new();
    for filler in 0..FILLERS {
        let store = Arc::clone(&store);
        tasks.spawn(async move {
            for number in (filler..GET_KEYS).step_by(usize::try_from(FILLERS)?) {
                store.put(get_key(number), payload(VALUE_BYTES)).await?;
            }
            anyhow::Ok(())
        });
    }
    all_ended(tasks).await
}

/// What is measured.
#[derive(Clone, Copy, Debug)]
struct Job<'a> {
    row: StoreRow,
    kind: StoreKind,
    options: &'a Options,
}

impl Job<'_> {
    /// Clients that each make one call after the other.
    async fn closed_loop<S, F>(
        self,
        store: &Arc<S>,
        clients: u32,
        operation: impl Fn(Arc<S>) -> F + Clone + Send + 'static,
    ) -> Result<StoreSample>
    where
        S: Store,
        F: Future<Output = Result<()>> + Send,
    {
        let window = Arc::new(Window::new()?);
        let mut tasks = JoinSet::new();
        for _ in 0..clients {
            let (store, window, operation) =
                (Arc::clone(store), Arc::clone(&window), operation.clone());
            tasks.spawn(async move {
                loop {
                    let begin = Instant::now();
                    if window.phase() == Phase::Over {
                        return anyhow::Ok(());
                    }
                    operation(Arc::clone(&store)).await?;
                    // Whenever it began: of each client one was under way at either end.
                    if window.phase() == Phase::Measure {
                        window.record(begin.elapsed());
                    }
                }
            });
        }
        let spent = self.keep_time(&window, &mut tasks).await?;
        all_ended(tasks).await?;
        let latencies = window.latencies();
        ensure!(!latencies.is_empty(), "nothing ended in the window");
        Ok(self.sample(spent, latencies.len(), Latency::of(&latencies)))
    }

    /// One client that puts the next row when all that watch were told of the last one.
    async fn watched<S: Store>(self, store: &S, watchers: usize) -> Result<StoreSample> {
        let (to_last, to_each) = (Window::new()?, Window::new()?);
        let mut tasks = JoinSet::new();
        // All notices of a put at once.
        let (notices, mut told) = mpsc::channel(watchers);
        for _ in 0..watchers {
            let mut watcher = store.watch(WATCHED.into()).await?;
            let notices = notices.clone();
            tasks.spawn(async move {
                loop {
                    let key = watcher.next().await?;
                    notices.send((key, Instant::now())).await.context("the row is over")?;
                }
            });
        }
        drop(notices);
        let putting = async {
            for number in 0.. {
                if to_last.phase() == Phase::Over {
                    break;
                }
                let (key, begin) = (watched_key(number), Instant::now());
                store.put(key.clone(), payload(VALUE_BYTES)).await?;
                let mut last = begin;
                for _ in 0..watchers {
                    let (of, at) = told.recv().await.context("nobody watches")?;
                    ensure!(of == key, "a notice of {of:?} where one of {key:?} was due");
                    if to_last.phase() == Phase::Measure {
                        to_each.record(at - begin);
                    }
                    last = last.max(at);
                }
                if to_last.phase() == Phase::Measure {
                    to_last.record(last - begin);
                }
            }
            anyhow::Ok(())
        };
        let (spent, ()) = tokio::try_join!(self.keep_time(&to_last, &mut tasks), putting)?;
        let (to_last, to_each) = (to_last.latencies(), to_each.latencies());
        ensure!(!to_last.is_empty(), "no put was told to all in the window");
        let sample = self.sample(spent, to_last.len(), Latency::of(&to_last));
        Ok(StoreSample { notice: Some(Latency::of(&to_each)), ..sample })
    }

    /// Opens the window after the warm-up, and closes it; ends at once with a task's error.
    async fn keep_time(&self, window: &Window, tasks: &mut JoinSet<Result<()>>) -> Result<Spent> {
        let timed = async {
            sleep_until(Instant::now() + self.options.warmup).await;
            let servers = Meter::of(self.options.pids.clone())?;
            let own = std::process::id();
            let all = Meter::of(self.options.pids.iter().copied().chain([own]).collect())?;
            window.set(Phase::Measure);
            sleep_until(Instant::now() + self.options.seconds).await;
            window.set(Phase::Over);
            Ok(Spent { all: all.stop()?, servers: servers.stop()? })
        };
        let failed = async {
            loop {
                match tasks.join_next().await {
                    Some(ended) => ended.context("a client's task")??,
                    // What has ended well waits for the clock.
                    None => std::future::pending().await,
                }
            }
        };
        tokio::select! {
            spent = timed => spent,
            error = failed => error,
        }
    }

    fn sample(&self, spent: Spent, operations: u64, latency: Latency) -> StoreSample {
        let Spent { all, servers } = spent;
        StoreSample {
            row: self.row,
            store: self.kind,
            round: self.options.round,
            operations,
            elapsed_s: all.elapsed_s,
            rate_per_s: to_f64(operations) / all.elapsed_s,
            latency,
            notice: None,
            servers_cpu_s: servers.cpu_s,
            client_cpu_s: (all.cpu_s - servers.cpu_s).max(0.0),
            foreign_cpu_percent: all.foreign_cpu_percent,
        }
    }
}

/// Processor time of a window: of servers and client, and of the servers alone.
#[derive(Clone, Copy, Debug)]
struct Spent {
    all: Usage,
    servers: Usage,
}

async fn all_ended(mut tasks: JoinSet<Result<()>>) -> Result<()> {
    while let Some(ended) = tasks.join_next().await {
        ended.context("a client's task")??;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};
    use std::sync::Mutex;
    use std::time::Duration;

    use tokio::sync::broadcast;

    use super::*;

    #[derive(Clone)]
    struct Memory(Arc<Mutex<BTreeMap<Bytes, Bytes>>>, broadcast::Sender<Bytes>);

    impl Default for Memory {
        fn default() -> Self {
            Self(Arc::default(), broadcast::channel(1000).0)
        }
    }

    impl Watcher for broadcast::Receiver<Bytes> {
        async fn next(&mut self) -> Result<Bytes> {
            Ok(self.recv().await?)
        }
    }

    impl Store for Memory {
        type Watcher = broadcast::Receiver<Bytes>;

        async fn put(&self, key: Bytes, value: Bytes) -> Result<()> {
            tokio::task::yield_now().await;
            self.0.lock().unwrap().insert(key.clone(), value);
            // Nobody need watch.
            drop(self.1.send(key));
            Ok(())
        }

        async fn watch(&self, _all: Bytes) -> Result<Self::Watcher> {
            Ok(self.1.subscribe())
        }

        async fn get(&self, key: Bytes) -> Result<Option<Bytes>> {
            tokio::task::yield_now().await;
            Ok(self.0.lock().unwrap().get(&key).cloned())
        }
    }

    fn options(row: Option<StoreRow>, window: Duration) -> Options {
        Options {
            row,
            round: 3,
            servers: Vec::new(),
            pids: Vec::new(),
            credentials: None,
            seconds: window,
            warmup: Duration::ZERO,
        }
    }

    #[tokio::test]
    async fn without_a_row_all_rows_that_gets_ask_for_are_written() {
        let store = Memory::default();
        let options = options(None, Duration::ZERO);
        let sample = run(StoreKind::Etcd, store.clone(), &options).await.unwrap();
        assert_eq!(sample, None);
        let written: BTreeSet<Bytes> = store.0.lock().unwrap().keys().cloned().collect();
        assert_eq!(written, (0..GET_KEYS).map(get_key).collect());
    }

    #[tokio::test]
    async fn a_sample_has_what_was_done_in_the_window() {
        let store = Memory::default();
        let options = options(Some(StoreRow::Put32), Duration::from_millis(100));
        let sample = run(StoreKind::Vioduct, store.clone(), &options).await.unwrap().unwrap();
        assert_eq!((sample.row, sample.store), (StoreRow::Put32, StoreKind::Vioduct));
        assert_eq!(sample.round, 3);
        let rate = to_f64(sample.operations) / sample.elapsed_s;
        assert!(sample.operations > 0 && (sample.rate_per_s - rate).abs() < 1e-6, "{sample:?}");
        let rows = store.0.lock().unwrap();
        assert!(rows.values().all(|value| value.len() == VALUE_BYTES));
        assert!(rows.keys().all(|key| key.starts_with(b"put/")));
    }

    #[tokio::test]
    async fn a_row_that_is_gone_ends_the_measurement_at_once() {
        let an_hour = options(Some(StoreRow::Get1), Duration::from_secs(3600));
        let error = run(StoreKind::Vioduct, Memory::default(), &an_hour).await.unwrap_err();
        assert_eq!(error.to_string(), "a row that was written is gone");
    }

    #[tokio::test]
    async fn a_put_counts_once_all_that_watch_were_told_of_it() {
        let store = Memory::default();
        let options = options(Some(StoreRow::Watch10), Duration::from_millis(100));
        let sample = run(StoreKind::Etcd, store.clone(), &options).await.unwrap().unwrap();
        assert!(sample.operations > 0, "{sample:?}");
        let notice = sample.notice.unwrap();
        assert!(notice.p50_us <= sample.latency.p50_us, "the last is not before another");
        // Begun before and ended after the window: two at most.
        let written = u64::try_from(store.0.lock().unwrap().len()).unwrap();
        assert!(written >= sample.operations, "{written} rows, {sample:?}");
    }

    #[tokio::test]
    async fn a_notice_of_another_row_ends_the_measurement() {
        let store = Memory::default();
        let an_hour = options(Some(StoreRow::Watch1), Duration::from_secs(3600));
        let telling = store.1.clone();
        let disturb = async {
            // A notice is lost, or made up: here one that nobody put.
            while telling.send("watch/another".into()).is_err() {
                tokio::task::yield_now().await;
            }
            std::future::pending::<()>().await;
        };
        let error = tokio::select! {
            ended = run(StoreKind::Etcd, store, &an_hour) => ended.unwrap_err(),
            () = disturb => unreachable!("it never ends"),
        };
        assert!(error.to_string().contains("watch/another"), "{error}");
    }

    #[test]
    fn each_key_comes_once_before_one_comes_again() {
        let keys: BTreeSet<Bytes> = (5..5 + PUT_KEYS).map(put_key).collect();
        assert_eq!(keys.len(), usize::try_from(PUT_KEYS).unwrap());
        assert_eq!(put_key(5), put_key(5 + PUT_KEYS));
    }
}
