//! The rows of one process: asks and tells to an actor on the thread of the asking tasks.

use std::cell::Cell;
use std::path::Path;
use std::rc::Rc;

use anyhow::{Context, Result};
use bytes::Bytes;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};
use vioduct_bench_harness::measure::{Job, TELLS_PER_CALL, not_carried, payload};
use vioduct_bench_harness::rows::Load;
use vioduct_bench_harness::sample::Sample;

/// An actor on this local set that echoes asks and counts tells.
pub(crate) trait LocalPeer: Sized + 'static {
    /// Starts it.
    fn start(credentials: &Path) -> impl Future<Output = Result<Self>>;

    /// One ask; the answer repeats the payload.
    fn ask(&self, payload: Bytes) -> impl Future<Output = Result<Bytes>>;

    /// Sends `count` one-way messages. Waits only for room to queue them.
    fn tell(&self, payload: &Bytes, count: u64) -> impl Future<Output = Result<()>>;

    /// The number of tells the actor has handled, counting all sent before.
    fn tells_received(&self) -> impl Future<Output = Result<u64>>;
}

/// Measures a row of one process.
pub(crate) async fn local_row<P: LocalPeer>(job: Job, credentials: &Path) -> Result<Sample> {
    match job.row.load() {
        Load::LocalAsks { outstanding, payload_bytes } => {
            let peer = Rc::new(P::start(credentials).await?);
            asks(job, &peer, outstanding, payload(payload_bytes)).await
        }
        Load::LocalTells { payload_bytes } => {
            tells(job, &P::start(credentials).await?, payload(payload_bytes)).await
        }
        Load::RoundTrips { .. }
        | Load::OneWay { .. }
        | Load::Bulk
        | Load::Connect { .. }
        | Load::Mixed { .. } => not_carried(job),
    }
}

/// What the asking tasks and the task that keeps the time share.
#[derive(Debug, Default)]
struct Progress {
    answered: Cell<u64>,
    is_over: Cell<bool>,
}

/// Counts answers. No single ask is timed: to read a clock takes a good part of one.
async fn asks<P: LocalPeer>(
    job: Job,
    peer: &Rc<P>,
    outstanding: u32,
    payload: Bytes,
) -> Result<Sample> {
    let progress = Rc::new(Progress::default());
    let payload_bytes = u64::try_from(payload.len())?;
    let mut tasks = JoinSet::new();
    for _ in 0..outstanding {
        let (peer, payload, progress) = (Rc::clone(peer), payload.clone(), Rc::clone(&progress));
        tasks.spawn_local(async move {
            while !progress.is_over.get() {
                let answer = peer.ask(payload.clone()).await?;
                anyhow::ensure!(answer.len() == payload.len(), "answer of another length");
                progress.answered.set(progress.answered.get() + 1);
            }
            Ok(())
        });
    }
    sleep_until(Instant::now() + job.plan.warmup).await;
    let meter = job.meter()?;
    let before = progress.answered.get();
    sleep_until(Instant::now() + job.plan.window).await;
    let messages = progress.answered.get() - before;
    let usage = meter.stop()?;
    progress.is_over.set(true);
    while let Some(ended) = tasks.join_next().await {
        ended.context("asking task")??;
    }
    Ok(Sample::new(job.row, job.peer, usage)
        .messages(messages)
        .cpu_per_message()
        .payload_bytes(messages * payload_bytes))
}

async fn tells<P: LocalPeer>(job: Job, peer: &P, payload: Bytes) -> Result<Sample> {
    let payload_bytes = u64::try_from(payload.len())?;
    let warm = tell_until(peer, &payload, Instant::now() + job.plan.warmup).await?;
    expect_tally(peer, warm).await?;
    let meter = job.meter()?;
    let messages = tell_until(peer, &payload, Instant::now() + job.plan.window).await?;
    expect_tally(peer, warm + messages).await?;
    let usage = meter.stop()?;
    Ok(Sample::new(job.row, job.peer, usage)
        .messages(messages)
        .cpu_per_message()
        .payload_bytes(messages * payload_bytes))
}

async fn tell_until<P: LocalPeer>(peer: &P, payload: &Bytes, end: Instant) -> Result<u64> {
    let mut sent = 0;
    while Instant::now() < end {
        peer.tell(payload, TELLS_PER_CALL).await?;
        sent += TELLS_PER_CALL;
    }
    Ok(sent)
}

async fn expect_tally<P: LocalPeer>(peer: &P, sent: u64) -> Result<()> {
    let handled = peer.tells_received().await?;
    anyhow::ensure!(handled == sent, "the actor has handled {handled} of {sent} messages");
    Ok(())
}
