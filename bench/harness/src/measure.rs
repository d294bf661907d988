//! The client process: puts the load of one row on one peer and measures.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result};
use bytes::Bytes;
use hdrhistogram::Histogram;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use crate::cpu::Meter;
use crate::peer::{AskPeer, Peer, PeerKind};
use crate::rows::{Load, Row};
use crate::sample::{Plan, Sample};

/// Connections timed by the connect row.
const CONNECTIONS: u64 = 100;

/// Connections made before the first timed one.
const CONNECTIONS_WARMUP: u64 = 5;

/// One-way messages handed to the peer at once; between two of them the client looks at the time.
pub const TELLS_PER_CALL: u64 = 64;

/// Latencies above this are recorded as this.
const LATENCY_MAX: Duration = Duration::from_secs(60);

const LATENCY_DIGITS: u8 = 3;

/// Which row of which peer is measured, against which server.
#[derive(Clone, Copy, Debug)]
pub struct Job {
    /// What to measure.
    pub row: Row,
    /// Of which peer.
    pub peer: PeerKind,
    /// The other process; none in the rows of one process.
    pub server: Option<Server>,
    /// How long and how much.
    pub plan: Plan,
}

/// The server process.
#[derive(Clone, Copy, Debug)]
pub struct Server {
    /// Where it listens.
    pub addr: SocketAddr,
    /// Its number, for its processor time.
    pub pid: u32,
}

impl Job {
    /// Begins to measure processor time.
    ///
    /// # Errors
    /// `/proc` cannot be read.
    pub fn meter(&self) -> Result<Meter> {
        Meter::start(self.server.map(|server| server.pid))
    }

    async fn connect<P: Peer>(&self, setup: &P::Setup) -> Result<P> {
        let server = self.server.context("this row needs a server")?;
        P::connect(setup, server.addr).await
    }
}

/// Measures any row between two processes.
///
/// # Errors
/// The peer has failed, or does not carry the row.
pub async fn any_row<P: AskPeer>(job: Job, setup: &P::Setup) -> Result<Sample> {
    match job.row.load() {
        Load::RoundTrips { outstanding, payload_bytes } => {
            let peer = Arc::new(job.connect::<P>(setup).await?);
            round_trips(job, peer, outstanding, payload(payload_bytes)).await
        }
        Load::OneWay { payload_bytes } => one_way::<P>(job, setup, payload(payload_bytes)).await,
        Load::Bulk => bulk(job, job.connect::<P>(setup).await?).await,
        Load::Connect { payload_bytes } => {
            connections::<P>(job, setup, payload(payload_bytes)).await
        }
        Load::Mixed { payload_bytes } => {
            let peer = Arc::new(job.connect::<P>(setup).await?);
            mixed(job, peer, payload(payload_bytes)).await
        }
        Load::LocalAsks { .. } | Load::LocalTells { .. } => not_carried(job),
    }
}

/// Measures the one row of a peer that carries one-way messages only.
///
/// # Errors
/// The peer has failed, or does not carry the row.
pub async fn one_way_row<P: Peer>(job: Job, setup: &P::Setup) -> Result<Sample> {
    match job.row.load() {
        Load::OneWay { payload_bytes } => one_way::<P>(job, setup, payload(payload_bytes)).await,
        Load::RoundTrips { .. }
        | Load::Bulk
        | Load::Connect { .. }
        | Load::Mixed { .. }
        | Load::LocalAsks { .. }
        | Load::LocalTells { .. } => not_carried(job),
    }
}

/// The answer of a peer to a row that is not for it.
///
/// # Errors
/// Always.
pub fn not_carried(job: Job) -> Result<Sample> {
    anyhow::bail!("{} does not carry {}", job.peer, job.row)
}

/// Round trips for a time, `outstanding` tasks with one in the air each.
async fn round_trips<P: AskPeer>(
    job: Job,
    peer: Arc<P>,
    outstanding: u32,
    payload: Bytes,
) -> Result<Sample> {
    let window = Arc::new(Window::new()?);
    let payload_bytes = u64::try_from(payload.len())?;
    let mut tasks = JoinSet::new();
    for _ in 0..outstanding {
        let (peer, payload, window) = (Arc::clone(&peer), payload.clone(), Arc::clone(&window));
        tasks.spawn(async move { ask_while_open(&*peer, payload, &window).await });
    }
    sleep_until(Instant::now() + job.plan.warmup).await;
    let meter = job.meter()?;
    window.set(Phase::Measure);
    sleep_until(Instant::now() + job.plan.window).await;
    window.set(Phase::Over);
    let usage = meter.stop()?;
    while let Some(ended) = tasks.join_next().await {
        ended.context("asking task")??;
    }
    let latencies = window.latencies();
    let messages = latencies.len();
    Ok(Sample::new(job.row, job.peer, usage)
        .latencies(&latencies)
        .messages(messages)
        .cpu_per_message()
        .payload_bytes(messages * payload_bytes))
}

/// One-way messages for a time; the clock stops when the server has acknowledged the last.
async fn one_way<P: Peer>(job: Job, setup: &P::Setup, payload: Bytes) -> Result<Sample> {
    let peer = job.connect::<P>(setup).await?;
    let payload_bytes = u64::try_from(payload.len())?;
    let warm = tell_until(&peer, &payload, Instant::now() + job.plan.warmup).await?;
    expect_tally(&peer, warm).await?;
    let meter = job.meter()?;
    let messages = tell_until(&peer, &payload, Instant::now() + job.plan.window).await?;
    expect_tally(&peer, warm + messages).await?;
    let usage = meter.stop()?;
    Ok(Sample::new(job.row, job.peer, usage)
        .messages(messages)
        .cpu_per_message()
        .payload_bytes(messages * payload_bytes))
}

async fn tell_until<P: Peer>(peer: &P, payload: &Bytes, end: Instant) -> Result<u64> {
    let mut sent = 0;
    while Instant::now() < end {
        peer.tell(payload, TELLS_PER_CALL).await?;
        sent += TELLS_PER_CALL;
    }
    Ok(sent)
}

async fn expect_tally<P: Peer>(peer: &P, sent: u64) -> Result<()> {
    let received = peer.tells_received().await?;
    anyhow::ensure!(received == sent, "server has {received} of {sent} one-way messages");
    Ok(())
}

/// Bulk data alone, after a sixteenth of it to open the congestion window.
async fn bulk<P: AskPeer>(job: Job, peer: P) -> Result<Sample> {
    peer.bulk(job.plan.bulk_bytes / 16).await?;
    let meter = job.meter()?;
    peer.bulk(job.plan.bulk_bytes).await?;
    let usage = meter.stop()?;
    Ok(Sample::new(job.row, job.peer, usage).payload_bytes(job.plan.bulk_bytes))
}

/// Connections one after another, each timed from nothing to its first reply.
async fn connections<P: AskPeer>(job: Job, setup: &P::Setup, payload: Bytes) -> Result<Sample> {
    for _ in 0..CONNECTIONS_WARMUP {
        job.connect::<P>(setup).await?.ask(payload.clone()).await?;
    }
    let mut latencies = histogram()?;
    let meter = job.meter()?;
    for _ in 0..CONNECTIONS {
        let begin = Instant::now();
        let peer = job.connect::<P>(setup).await?;
        peer.ask(payload.clone()).await?;
        latencies.saturating_record(nanoseconds(begin.elapsed()));
    }
    let usage = meter.stop()?;
    Ok(Sample::new(job.row, job.peer, usage).latencies(&latencies).messages(CONNECTIONS))
}

/// Round trips, 1 outstanding, on the connection that moves bulk data the same way.
async fn mixed<P: AskPeer>(job: Job, peer: Arc<P>, payload: Bytes) -> Result<Sample> {
    let window = Arc::new(Window::new()?);
    let asking = tokio::spawn({
        let (peer, window) = (Arc::clone(&peer), Arc::clone(&window));
        async move { ask_while_open(&*peer, payload, &window).await }
    });
    sleep_until(Instant::now() + job.plan.warmup).await;
    let meter = job.meter()?;
    window.set(Phase::Measure);
    peer.bulk(job.plan.bulk_bytes).await?;
    window.set(Phase::Over);
    let usage = meter.stop()?;
    asking.await.context("asking task")??;
    let latencies = window.latencies();
    anyhow::ensure!(!latencies.is_empty(), "no round trip ended while the bulk data moved");
    Ok(Sample::new(job.row, job.peer, usage)
        .latencies(&latencies)
        .messages(latencies.len())
        .payload_bytes(job.plan.bulk_bytes))
}

/// Asks again and again until the window is over; records what was sent and answered within it.
async fn ask_while_open<P: AskPeer>(peer: &P, payload: Bytes, window: &Window) -> Result<()> {
    loop {
        let (begin, phase_at_begin) = (Instant::now(), window.phase());
        if phase_at_begin == Phase::Over {
            return Ok(());
        }
        let reply = peer.ask(payload.clone()).await?;
        anyhow::ensure!(
            reply.len() == payload.len(),
            "reply of {} bytes to {} bytes",
            reply.len(),
            payload.len()
        );
        if window.phase() == Phase::Measure {
            window.record(begin.elapsed());
        }
    }
}

/// What the asking tasks and the task that keeps the time share.
#[derive(Debug)]
pub(crate) struct Window {
    phase: AtomicU8,
    latencies: Mutex<Histogram<u32>>,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Phase {
    Warmup,
    Measure,
    Over,
}

impl Window {
    pub(crate) fn new() -> Result<Self> {
        Ok(Self { phase: AtomicU8::new(0), latencies: Mutex::new(histogram()?) })
    }

    pub(crate) fn phase(&self) -> Phase {
        match self.phase.load(Ordering::Relaxed) {
            0 => Phase::Warmup,
            1 => Phase::Measure,
            _ => Phase::Over,
        }
    }

    pub(crate) fn set(&self, phase: Phase) {
        let value = match phase {
            Phase::Warmup => 0,
            Phase::Measure => 1,
            Phase::Over => 2,
        };
        self.phase.store(value, Ordering::Relaxed);
    }

    pub(crate) fn record(&self, latency: Duration) {
        self.latencies().saturating_record(nanoseconds(latency));
    }

    pub(crate) fn latencies(&self) -> MutexGuard<'_, Histogram<u32>> {
        // One thread: never contended, and a histogram is whole between two records.
        self.latencies.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn histogram() -> Result<Histogram<u32>> {
    Ok(Histogram::new_with_bounds(1, nanoseconds(LATENCY_MAX), LATENCY_DIGITS)?)
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// What messages carry.
#[must_use]
pub fn payload(len_bytes: usize) -> Bytes {
    Bytes::from(vec![0xA5; len_bytes])
}
