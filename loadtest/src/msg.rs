//! `vioduct-loadtest msg`: messages to nodes and back, each answer compared with what was sent; or
//! one way, counted over there.

mod asks;
mod body;
pub(crate) mod counts;
mod ledger;
mod tells;

use std::io::IsTerminal;
use std::num::NonZeroU64;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use tokio::runtime::{Builder, Handle};
use tokio::sync::watch;
use tokio::task::{JoinSet, LocalSet};
use tokio::time::interval;
use vioduct_certs::UnixTime;
use vioduct_certs::credentials::Credentials;
use vioduct_certs::identity::NodeName;
use vioduct_certs::inventory::{Inventory, NodeAddr};
use vioduct_node::system::{ECHO, SINK};
use vioduct_node::tool::{Target, Tool};
use vioduct_transport::TransportConfig;

use crate::cli::MsgArgs;
use crate::clock::{Clock, nanoseconds};
use crate::output;
use crate::report::{Config, Kind, Mode, Report};
use crate::schedule::{Halt, Kept, Schedule, shares};
use crate::signals::Signals;
use asks::Asks;
use body::Bodies;
use counts::Board;
use ledger::Ledger;
use tells::Tells;

/// Messages that may wait for replies at once, over all nodes.
pub(crate) const OUTSTANDING_MAX: u32 = 65_536;
/// Nodes of one open-loop run: each has a thread.
const OPEN_NODES_MAX: usize = 256;
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
        let (mode, share) = match args.rate {
            Some(per_s) => (Mode::Open { rate_per_s: per_s }, Some(("rate", per_s))),
            None if args.tell => (Mode::Credit, None),
            None => {
                let concurrency = args.concurrency;
                (Mode::Closed { concurrency }, Some(("concurrency", concurrency)))
            }
        };
        if let Some((name, value)) = share
            && usize::try_from(value).is_ok_and(|value| value < count)
        {
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
            kind: if args.tell { Kind::Tell } else { Kind::Ask },
            nodes: self.nodes.iter().map(|(name, _addr)| name.to_string()).collect(),
            mode: self.mode,
            size_bytes: args.size,
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
    // Links and senders share a thread: a message crosses none but its pacer's.
    let runtime = Builder::new_current_thread().enable_all().build();
    let runtime = runtime.context("can't start the runtime")?;
    let report = LocalSet::new().block_on(&runtime, measure(args, plan));
    runtime.shutdown_background();
    let report = report?;
    output::write(&report, args.output, args.json.as_deref())?;
    Ok(report.exit_code())
}

async fn measure(args: &MsgArgs, plan: Plan) -> Result<Report> {
    let mut signals = Signals::listen()?;
    let config = plan.config(args);
    let (board, clock) = (Arc::new(Board::new()?), Clock::start());
    let bodies = Arc::new(Bodies::new(usize::try_from(args.size)?));
    let credentials = Credentials::load(&args.certs, UnixTime::now())
        .with_context(|| format!("certificates in {}", args.certs.display()))?;
    let tool = Tool::new(credentials)?;
    let connecting = async {
        let mut targets = Vec::with_capacity(plan.nodes.len());
        for (name, addr) in &plan.nodes {
            targets.push(tool.connect(name.clone(), addr).await?);
        }
        let parts = Parts { args, board: &board, clock: &clock, bodies: &bodies };
        let mut senders = Vec::with_capacity(targets.len());
        for target in &targets {
            senders.push(Sender::find(target, &parts).await?);
        }
        anyhow::Ok(senders)
    };
    let senders = tokio::select! {
        senders = connecting => senders?,
        () = signals.next() => bail!("stopped before the first message"),
    };
    let schedule = schedule(args, &clock);
    board.measure_in(schedule.measured_ns.clone());
    let halt = watch::Sender::new(0);
    let drivers = spawn(&senders, plan.mode, &schedule, &Halt(halt.subscribe()))?;
    let mut run = Run { board, signals, halt, is_tell: args.tell };
    let kept = run.drive(drivers, args).await?;
    let tally = run.board.finished();
    // Of tells it lasts until the last node has said how many came.
    let end_ns = tally.told_at_ns.unwrap_or_else(|| clock.now_ns().min(schedule.measured_ns.end));
    let measured_ns = end_ns.saturating_sub(schedule.measured_ns.start);
    let is_interrupted = *run.halt.borrow() > 0;
    tool.close().await;
    Ok(Report::new(config, &tally, kept, Duration::from_nanos(measured_ns), is_interrupted))
}

/// What the senders of a run share.
struct Parts<'a> {
    args: &'a MsgArgs,
    board: &'a Arc<Board>,
    clock: &'a Clock,
    bodies: &'a Arc<Bodies>,
}

/// What sends to one node.
enum Sender {
    Ask(Arc<Asks>),
    Tell(Arc<Tells>),
}

impl Sender {
    /// Waits for a link to the node, and for its actor.
    async fn find(target: &Target, parts: &Parts<'_>) -> Result<Self> {
        let (board, bodies) = (Arc::clone(parts.board), Arc::clone(parts.bodies));
        let (clock, deadline) = (parts.clock.clone(), parts.args.deadline);
        let name = || target.name().to_string();
        Ok(if parts.args.tell {
            let sink = target.find(SINK, deadline).await.with_context(name)?;
            Self::Tell(Arc::new(Tells { sink, bodies, board, clock, deadline }))
        } else {
            let echo = target.find(ECHO, deadline).await.with_context(name)?;
            let ledger = Ledger::new(Arc::clone(&bodies));
            Self::Ask(Arc::new(Asks { echo, ledger, bodies, board, clock, deadline }))
        })
    }
}

fn schedule(args: &MsgArgs, clock: &Clock) -> Schedule {
    let start_ns = clock.now_ns().saturating_add(nanoseconds(LEAD));
    let measured_ns = start_ns.saturating_add(nanoseconds(args.warmup));
    let end_ns = measured_ns.saturating_add(nanoseconds(args.duration));
    Schedule {
        warmup_ns: start_ns..measured_ns,
        measured_ns: measured_ns..end_ns,
        late_after_ns: nanoseconds(args.late_after),
        lag_ns: 0,
    }
}

/// Starts the senders, each with its share of the load.
fn spawn(
    senders: &[Sender],
    mode: Mode,
    schedule: &Schedule,
    halt: &Halt,
) -> Result<JoinSet<Kept>> {
    let mut drivers = JoinSet::new();
    let rooms = shares(OUTSTANDING_MAX, senders.len())?;
    let values = shares(mode.value(), senders.len())?;
    for (((index, sender), value), room) in senders.iter().enumerate().zip(values).zip(rooms) {
        let schedule = schedule.of_sender(index, mode.value());
        let (halt, runtime) = (halt.clone(), Handle::current());
        match (sender, mode) {
            (Sender::Ask(asks), Mode::Open { .. }) => {
                let rate = NonZeroU64::new(value.into()).context("a node without a rate")?;
                let asks = Arc::clone(asks);
                drivers.spawn_blocking(move || asks.open(&schedule, rate, room, &halt, &runtime));
            }
            (Sender::Tell(tells), Mode::Open { .. }) => {
                let rate = NonZeroU64::new(value.into()).context("a node without a rate")?;
                let tells = Arc::clone(tells);
                drivers.spawn_blocking(move || tells.open(&schedule, rate, &halt, &runtime));
            }
            (Sender::Ask(asks), Mode::Closed { .. } | Mode::Credit) => {
                for _one in 0..value {
                    drivers.spawn(Arc::clone(asks).closed(schedule.clone(), halt.clone()));
                }
            }
            (Sender::Tell(tells), Mode::Closed { .. } | Mode::Credit) => {
                drivers.spawn(Arc::clone(tells).closed(schedule, halt));
            }
        }
    }
    Ok(drivers)
}

/// A run under way.
struct Run {
    board: Arc<Board>,
    signals: Signals,
    /// How often a signal came.
    halt: watch::Sender<u8>,
    is_tell: bool,
}

impl Run {
    /// Until every sender is done. The first signal stops the sending, the second the waiting.
    async fn drive(&mut self, mut drivers: JoinSet<Kept>, args: &MsgArgs) -> Result<Kept> {
        let is_shown = args.progress || std::io::stderr().is_terminal();
        let mut seconds = interval(Duration::from_secs(1));
        seconds.tick().await; // The first is now.
        let (mut kept, mut second) = (Kept::default(), 0);
        loop {
            tokio::select! {
                joined = drivers.join_next() => match joined {
                    None => return Ok(kept),
                    Some(Ok(one)) => kept.add(one),
                    // The second signal has ended it.
                    Some(Err(error)) if error.is_cancelled() => {}
                    Some(Err(error)) => return Err(error).context("a sender ended by itself"),
                },
                _over = seconds.tick() => {
                    second += 1;
                    if is_shown {
                        self.show(second, args.warmup);
                    }
                }
                () = self.signals.next() => {
                    self.halt.send_modify(|told| *told = told.saturating_add(1));
                    if *self.halt.borrow() > 1 {
                        drivers.abort_all();
                    }
                }
            }
        }
    }

    fn show(&self, second: u64, warmup: Duration) {
        let recent = self.board.take_recent();
        let phase = if second <= warmup.as_secs() { "  warm-up" } else { "" };
        let errors = recent.errors;
        if self.is_tell {
            return eprintln!("{second:>4} s  {:>8}/s told  errors {errors}{phase}", recent.sent);
        }
        let response = recent.latency().response;
        eprintln!(
            "{second:>4} s  {:>8}/s  p50 {:>9.1} us  p99 {:>9.1} us  errors {errors}{phase}",
            recent.ok, response.p50_us, response.p99_us
        );
    }
}
