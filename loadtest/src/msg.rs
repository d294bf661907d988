//! `vioduct-loadtest msg`: messages to nodes and back, each answer compared with what was sent; or
//! one way, counted over there.

mod asks;
mod body;
pub(crate) mod counts;
mod ledger;
mod tells;

use std::num::NonZeroU64;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use tokio::runtime::Handle;
use tokio::task::JoinSet;
use vioduct_certs::identity::NodeName;
use vioduct_certs::inventory::NodeAddr;
use vioduct_node::system::{ECHO, SINK};
use vioduct_node::tool::Target;
use vioduct_transport::TransportConfig;

use crate::cli::MsgArgs;
use crate::clock::Clock;
use crate::cluster::{chosen, tool};
use crate::control::{Control, on_one_thread};
use crate::open::Moments;
use crate::output;
use crate::report::{Config, Kind, Mode, Report};
use crate::schedule::{Halt, Kept, Schedule, shares};
use asks::Asks;
use body::Bodies;
use counts::Board;
use ledger::Ledger;
use tells::Tells;

/// Messages that may wait for replies at once, over all nodes.
pub(crate) const OUTSTANDING_MAX: u32 = 65_536;
/// Nodes of one open-loop run: each has a thread.
const OPEN_NODES_MAX: usize = 256;

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
    chosen(path, &args.node)
}

/// Runs to the end, and prints the result.
///
/// # Errors
/// The run did not start, or its result can't be written.
pub(crate) fn run(args: &MsgArgs, plan: Plan) -> Result<ExitCode> {
    let report = on_one_thread(measure(args, plan))?;
    output::write(&report, &args.shown)?;
    Ok(report.exit_code())
}

async fn measure(args: &MsgArgs, plan: Plan) -> Result<Report> {
    let mut control = Control::begin(args.shown.progress)?;
    let config = plan.config(args);
    let (board, clock) = (Arc::new(Board::new()?), Clock::start());
    let bodies = Arc::new(Bodies::new(usize::try_from(args.size)?));
    let tool = tool(&args.certs)?;
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
    let senders = control.before("message", connecting).await?;
    let schedule = Schedule::from_now(&clock, args.warmup, args.duration, args.late_after);
    board.measure_in(schedule.measured_ns.clone());
    let drivers = spawn(&senders, plan.mode, &schedule, &control.told())?;
    let kept = control.drive(drivers, |second| show(second, args, &board)).await?;
    let tally = board.finished();
    // Of tells it lasts until the last node has said how many came.
    let end_ns = tally.told_at_ns.unwrap_or_else(|| clock.now_ns().min(schedule.measured_ns.end));
    let measured_ns = end_ns.saturating_sub(schedule.measured_ns.start);
    let is_interrupted = control.is_told();
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
                let (asks, clock) = (Arc::clone(asks), asks.clock.clone());
                let (rate_per_s, outstanding_max) = (rate, room);
                let moments = Moments { schedule, rate_per_s, outstanding_max, clock, halt };
                drivers.spawn_blocking(move || asks.open(&moments, &runtime));
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

fn show(second: u64, args: &MsgArgs, board: &Board) {
    let recent = board.take_recent();
    let phase = if second <= args.warmup.as_secs() { "  warm-up" } else { "" };
    let errors = recent.errors;
    if args.tell {
        return eprintln!("{second:>4} s  {:>8}/s told  errors {errors}{phase}", recent.sent);
    }
    let response = recent.latency().response;
    eprintln!(
        "{second:>4} s  {:>8}/s  p50 {:>9.1} us  p99 {:>9.1} us  errors {errors}{phase}",
        recent.ok, response.p50_us, response.p99_us
    );
}
