//! `vioduct-loadtest msg`: messages to nodes and back, each reply compared with what was sent.

mod body;
mod clock;
pub(crate) mod counts;
pub(crate) mod driver;
mod ledger;
mod nodes;

use std::io::IsTerminal;
use std::num::NonZeroU64;
use std::ops::Range;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use tokio::runtime::{Handle, Runtime};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, timeout};
use vioduct_certs::identity::NodeName;
use vioduct_certs::inventory::{Inventory, NodeAddr};
use vioduct_transport::TransportConfig;

use crate::cli::MsgArgs;
use crate::report::{Config, Mode, Report};
use body::Bodies;
use clock::{Clock, nanoseconds};
use counts::Board;
use driver::{Driver, Kept, Schedule};
use ledger::Ledger;
use nodes::Nodes;

/// Messages that may wait for replies at once, over all nodes.
pub(crate) const OUTSTANDING_MAX: u32 = 65_536;
/// Nodes of one open-loop run: each has a thread.
const OPEN_NODES_MAX: usize = 256;
/// How far apart deadlines are looked at: one ends this much late, at most.
const SWEEP_INTERVAL: Duration = Duration::from_millis(20);
/// From the last link's being up to the first message.
const LEAD: Duration = Duration::from_millis(20);

/// What to do, checked.
#[derive(Debug)]
pub(crate) struct Plan {
    nodes: Vec<(NodeName, NodeAddr)>,
    mode: Mode,
}

impl Plan {
    /// Checks what the command line alone can't.
    ///
    /// # Errors
    /// The inventory, or a value that does not fit the nodes. Fault: the caller.
    pub(crate) fn new(args: &MsgArgs) -> Result<Self> {
        let nodes = nodes(args)?;
        let count = nodes.len();
        let limit = TransportConfig::default().body_bytes_max;
        ensure!(args.size <= limit, "--size {}: a body is {limit} bytes at most", args.size);
        let (mode, name, value) = match args.rate {
            Some(per_s) => (Mode::Open { rate_per_s: per_s }, "rate", per_s),
            None => {
                (Mode::Closed { concurrency: args.concurrency }, "concurrency", args.concurrency)
            }
        };
        if usize::try_from(value).is_ok_and(|value| value < count) {
            bail!("--{name} {value} is spread over {count} nodes: it must be {count} or more");
        }
        if args.rate.is_some() && count > OPEN_NODES_MAX {
            bail!("{count} nodes; a run with --rate drives {OPEN_NODES_MAX} at most: see --node");
        }
        Ok(Self { nodes, mode })
    }

    fn config(&self, args: &MsgArgs) -> Config {
        Config {
            driver: "msg",
            nodes: self.nodes.iter().map(|(name, _addr)| name.to_string()).collect(),
            mode: self.mode,
            size_bytes: args.size,
            flows: args.flows,
            warmup_s: args.warmup.as_secs_f64(),
            duration_s: args.duration.as_secs_f64(),
            deadline_s: args.deadline.as_secs_f64(),
            late_after_ms: args.late_after.as_secs_f64() * 1000.0,
            outstanding_max: OUTSTANDING_MAX,
        }
    }
}

/// The nodes to ask.
fn nodes(args: &MsgArgs) -> Result<Vec<(NodeName, NodeAddr)>> {
    let Some(path) = &args.inventory else {
        return match (args.node.as_slice(), &args.addr) {
            ([node], Some(addr)) => Ok(vec![(node.clone(), addr.clone())]),
            _other => bail!("--addr is the address of one node: give --node once"),
        };
    };
    let inventory =
        Inventory::load(path).with_context(|| format!("inventory {}", path.display()))?;
    for name in &args.node {
        if !inventory.nodes.iter().any(|node| node.name == *name) {
            bail!("{} has no node {name}", path.display());
        }
    }
    let is_chosen = |name: &NodeName| args.node.is_empty() || args.node.contains(name);
    let all = inventory.nodes.into_iter().map(|node| (node.name, node.addr));
    Ok(all.filter(|(name, _addr)| is_chosen(name)).collect())
}

/// Runs to the end, and prints the result.
///
/// # Errors
/// The run did not start, or its result can't be written.
pub(crate) fn run(args: &MsgArgs, plan: Plan) -> Result<ExitCode> {
    let runtime = Runtime::new().context("can't start the runtime")?;
    let report = runtime.block_on(measure(args, plan));
    runtime.shutdown_background();
    let report = report?;
    report.print(args.output)?;
    if let Some(path) = &args.json {
        report.write(path)?;
    }
    Ok(report.exit_code())
}

/// `value` in parts that differ by one at most.
fn shares(value: u32, count: usize) -> Result<Vec<u32>> {
    let count = u32::try_from(count).context("too many nodes")?;
    let (each, rest) = (value / count, value % count);
    Ok((0..count).map(|index| each + u32::from(index < rest)).collect())
}

async fn measure(args: &MsgArgs, plan: Plan) -> Result<Report> {
    let mut signals = Signals::listen()?;
    let config = plan.config(args);
    let (board, clock) = (Arc::new(Board::new()?), Clock::start());
    let bodies = Arc::new(Bodies::new(usize::try_from(args.size)?));
    let mode = plan.mode;
    let shares = shares(mode.value(), plan.nodes.len())?;
    let rooms = match mode {
        Mode::Open { .. } => self::shares(OUTSTANDING_MAX, plan.nodes.len())?,
        Mode::Closed { .. } => shares.clone(),
    };
    let mut nodes = Vec::with_capacity(plan.nodes.len());
    for ((name, addr), room) in plan.nodes.into_iter().zip(&rooms) {
        let (board, bodies) = (Arc::clone(&board), Arc::clone(&bodies));
        let room = usize::try_from(*room)?;
        let ledger = Ledger::new(board, bodies, nanoseconds(args.deadline), room);
        nodes.push((name, addr, Arc::new(ledger)));
    }
    let nodes = tokio::select! {
        nodes = Nodes::connect(&args.certs, nodes, &clock, args.deadline) => nodes?,
        () = signals.next() => bail!("stopped before the first message"),
    };
    let schedule = schedule(args, &clock);
    board.measure_in(schedule.measured_ns.clone());
    let (stop, stopped) = watch::channel(false);
    let mut drivers = JoinSet::new();
    for (target, share) in nodes.targets.iter().zip(shares) {
        let driver = Driver {
            target: target.clone(),
            bodies: Arc::clone(&bodies),
            flows: args.flows,
            deadline: args.deadline,
            schedule: schedule.clone(),
            stop: stopped.clone(),
            turn: 0,
        };
        spawn(&mut drivers, driver, mode, share, args.late_after)?;
    }
    let mut run = Run { nodes, board, clock, signals, stop, is_interrupted: false };
    let kept = run.drive(drivers, args).await?;
    run.drain(&rooms, args.deadline).await;
    let measured_s = run.measured_s(&schedule.measured_ns);
    let tally = run.board.finished();
    run.nodes.close().await;
    Ok(Report::new(config, &tally, kept, measured_s, run.is_interrupted))
}

fn schedule(args: &MsgArgs, clock: &Clock) -> Schedule {
    let start_ns = clock.now_ns().saturating_add(nanoseconds(LEAD));
    let measured_ns = start_ns.saturating_add(nanoseconds(args.warmup));
    let end_ns = measured_ns.saturating_add(nanoseconds(args.duration));
    Schedule { warmup_ns: start_ns..measured_ns, measured_ns: measured_ns..end_ns }
}

fn spawn(
    drivers: &mut JoinSet<Kept>,
    driver: Driver,
    mode: Mode,
    share: u32,
    late_after: Duration,
) -> Result<()> {
    match mode {
        Mode::Open { .. } => {
            let rate_per_s = NonZeroU64::new(share.into()).context("a node without a rate")?;
            let runtime = Handle::current();
            let late_after_ns = nanoseconds(late_after);
            drivers.spawn_blocking(move || driver.open(rate_per_s, late_after_ns, &runtime));
        }
        Mode::Closed { .. } => {
            drivers.spawn(async move {
                driver.closed().await;
                Kept::default()
            });
        }
    }
    Ok(())
}

/// A run under way.
struct Run {
    nodes: Nodes,
    board: Arc<Board>,
    clock: Clock,
    signals: Signals,
    stop: watch::Sender<bool>,
    is_interrupted: bool,
}

impl Run {
    /// Until every driver is done; the first signal stops them.
    async fn drive(&mut self, mut drivers: JoinSet<Kept>, args: &MsgArgs) -> Result<Kept> {
        let is_shown = args.progress || std::io::stderr().is_terminal();
        let mut seconds = interval(Duration::from_secs(1));
        seconds.tick().await; // The first is now.
        let mut sweeps = interval(SWEEP_INTERVAL);
        sweeps.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (mut kept, mut second) = (Kept::default(), 0);
        loop {
            tokio::select! {
                joined = drivers.join_next() => {
                    let Some(joined) = joined else { return Ok(kept) };
                    let one = joined.context("a sender ended by itself")?;
                    kept.planned += one.planned;
                    kept.late += one.late;
                    kept.missed += one.missed;
                }
                _due = sweeps.tick() => self.sweep(),
                _over = seconds.tick() => {
                    second += 1;
                    if is_shown {
                        self.show(second, args.warmup);
                    }
                }
                () = self.signals.next() => {
                    self.is_interrupted = true;
                    self.stop.send_replace(true);
                }
            }
        }
    }

    fn sweep(&self) {
        let now_ns = self.clock.now_ns();
        self.nodes.targets.iter().for_each(|target| target.ledger.sweep(now_ns));
    }

    fn show(&self, second: u64, warmup: Duration) {
        let recent = self.board.take_recent();
        let response = recent.latency().response;
        let phase = if second <= warmup.as_secs() { "  warm-up" } else { "" };
        eprintln!(
            "{second:>4} s  {:>8}/s  p50 {:>9.1} us  p99 {:>9.1} us  errors {}{phase}",
            recent.ok, response.p50_us, response.p99_us, recent.errors
        );
    }

    /// Waits for what is outstanding, whose deadlines bound it; a signal ends the wait.
    async fn drain(&mut self, rooms: &[u32], deadline: Duration) {
        let targets = self.nodes.targets.clone();
        let all = async {
            for (target, room) in targets.iter().zip(rooms) {
                // Closed never; each permit is back when its message has ended.
                target.ledger.room.acquire_many(*room).await.map(drop).ok();
            }
        };
        let bounded = timeout(deadline + 4 * SWEEP_INTERVAL, all);
        tokio::pin!(bounded);
        let mut sweeps = interval(SWEEP_INTERVAL);
        loop {
            tokio::select! {
                _drained = &mut bounded => return,
                () = self.signals.next() => {
                    self.is_interrupted = true;
                    return;
                }
                _due = sweeps.tick() => self.sweep(),
            }
        }
    }

    /// Length of the measurement, which a signal may have cut short.
    fn measured_s(&self, window_ns: &Range<u64>) -> f64 {
        let end_ns = window_ns.end.min(self.clock.now_ns());
        Duration::from_nanos(end_ns.saturating_sub(window_ns.start)).as_secs_f64()
    }
}

/// The signals that end a run early.
struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    fn listen() -> Result<Self> {
        let listen = |kind| signal(kind).context("can't listen for signals");
        let interrupt = listen(SignalKind::interrupt())?;
        Ok(Self { interrupt, terminate: listen(SignalKind::terminate())? })
    }

    /// The next one.
    async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn shares_add_up_and_differ_by_one_at_most() {
        assert_eq!(super::shares(10, 3).unwrap(), [4, 3, 3]);
        assert_eq!(super::shares(3, 3).unwrap(), [1, 1, 1]);
    }
}
