//! `vioduct-loadtest db`: reads and writes of the database, each read checked against what may be
//! there.

mod board;
mod client;
mod ledger;
mod report;
mod rows;
mod value;

use std::num::NonZeroU64;
use std::process::ExitCode;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tokio::runtime::Handle;
use tokio::task::JoinSet;
use vioduct_certs::identity::NodeName;
use vioduct_certs::inventory::NodeAddr;
use vioduct_db::client::{Db, DbConfig, Freshness};
use vioduct_db::command::{Place, TableId, WINDOW};
use vioduct_db::schema::Schema;
use vioduct_node::db::schema;
use vioduct_node::tool::Tool;

use crate::cli::{DbArgs, DbFreshness};
use crate::clock::Clock;
use crate::cluster::{chosen, tool};
use crate::control::{Control, on_one_thread};
use crate::open::Moments;
use crate::output;
use crate::report::Mode;
use crate::schedule::{Halt, Kept, Schedule};
use board::{Board, Recent};
use client::Client;
use ledger::Ledger;
use report::{Config, End, Report, RowsLeft};
use value::Values;

pub(crate) use value::VALUE_BYTES_MIN;

/// The table that rows are written to.
const TABLE: &str = "kv";
/// Keys of one run: the ledger has 32 bytes of each.
pub(crate) const KEYS_MAX: u32 = 1 << 20;
/// Of the keys, one in so many may be under way at once.
const KEYS_OF_ONE: u32 = 2;
/// Of the keys, one in so many may be retired.
const KEYS_OF_ONE_RETIRED: u32 = 4;

/// What to do, checked.
#[derive(Debug)]
pub(crate) struct Plan {
    nodes: Vec<(NodeName, NodeAddr)>,
    mode: Mode,
    schema: Arc<Schema>,
    table: TableId,
    outstanding_max: u32,
}

impl Plan {
    /// Checks what the command line alone can't.
    ///
    /// # Errors
    /// The inventory, or values that do not fit each other. Fault: the caller.
    pub(crate) fn new(args: &DbArgs) -> Result<Self> {
        let nodes = chosen(&args.inventory, &args.node)?;
        let outstanding_max = u32::try_from(WINDOW)?.min(args.keys / KEYS_OF_ONE);
        let mode = match args.rate {
            Some(rate_per_s) => Mode::Open { rate_per_s },
            None => {
                let concurrency = args.concurrency;
                ensure!(
                    concurrency <= outstanding_max,
                    "--concurrency {concurrency}: with {} keys, {outstanding_max} at most",
                    args.keys
                );
                Mode::Closed { concurrency }
            }
        };
        let schema = Arc::new(schema(args.shards));
        let table = schema.named(TABLE).with_context(|| format!("no table {TABLE}"))?;
        Ok(Self { nodes, mode, schema, table, outstanding_max })
    }

    fn config(&self, args: &DbArgs) -> Config {
        Config {
            driver: "db",
            nodes: self.nodes.iter().map(|(name, _addr)| name.to_string()).collect(),
            mode: self.mode,
            shards: args.shards,
            read_percent: args.reads,
            keys: args.keys,
            size_bytes: args.size,
            freshness: args.freshness,
            warmup_s: args.warmup.as_secs_f64(),
            duration_s: args.duration.as_secs_f64(),
            deadline_s: args.deadline.as_secs_f64(),
            late_after_ms: args.late_after.as_secs_f64() * 1000.0,
            outstanding_max: self.outstanding_max,
        }
    }
}

/// Runs to the end, and prints the result.
///
/// # Errors
/// The run did not start, or its result can't be written.
pub(crate) fn run(args: &DbArgs, plan: Plan) -> Result<ExitCode> {
    let report = on_one_thread(measure(args, plan))?;
    output::write(&report, &args.shown)?;
    Ok(report.exit_code())
}

async fn measure(args: &DbArgs, plan: Plan) -> Result<Report> {
    let mut control = Control::begin(args.shown.progress)?;
    let tool = tool(&args.certs)?;
    let values = Values::new(rand::random(), usize::try_from(args.size)?);
    let freshness = match args.freshness {
        DbFreshness::Linearizable => Freshness::Linearizable,
        DbFreshness::Lease => Freshness::Lease,
    };
    let connecting = async {
        let db = connect(&tool, &plan, args.deadline).await?;
        let place = Place { table: plan.table, key: values.key(0).into() };
        db.get(place, freshness).await.context("the database")?;
        Ok(db)
    };
    let db = control.before("operation", connecting).await?;
    let clock = Clock::start();
    let schedule = Schedule::from_now(&clock, args.warmup, args.duration, args.late_after);
    let client = Arc::new(Client {
        db,
        table: plan.table,
        freshness,
        keys: args.keys,
        reads: args.reads,
        values,
        ledger: Mutex::new(Ledger::new(args.keys, args.keys / KEYS_OF_ONE_RETIRED)),
        board: Board::new(schedule.measured_ns.clone())?,
        clock: clock.clone(),
        halt: control.teller(),
    });
    let drivers = spawn(&client, &plan, &schedule, &control.told())?;
    let show = |second| show(second, args, &client.board);
    let kept = control.drive(drivers, show).await?;
    let ended_ns = clock.now_ns();
    let end_ns = ended_ns.min(schedule.measured_ns.end);
    let measured = Duration::from_nanos(end_ns.saturating_sub(schedule.measured_ns.start));
    let (is_spent, retired_keys) = {
        let ledger = client.ledger();
        (ledger.is_spent(), ledger.retired())
    };
    let is_interrupted = control.is_told() && !is_spent;
    let rows_left = clean(&mut control, &client, &plan.schema).await;
    tool.close().await;
    let end = End { measured, kept, retired_keys, is_spent, rows_left, is_interrupted };
    Ok(Report::new(plan.config(args), client.board.finished(ended_ns), end))
}

/// The database as a tool uses it.
async fn connect(tool: &Tool, plan: &Plan, deadline: Duration) -> Result<Db> {
    let mut node = None;
    let mut hosts = Vec::with_capacity(plan.nodes.len());
    for (name, addr) in &plan.nodes {
        let target = tool.connect(name.clone(), addr).await?;
        node.get_or_insert_with(|| target.node().clone());
        hosts.push(name.clone());
    }
    let node = node.context("no node is named")?;
    let config = DbConfig { deadline, ..DbConfig::default() };
    Ok(Db::on(&node, &hosts, Arc::clone(&plan.schema), config))
}

/// Starts the senders.
fn spawn(
    client: &Arc<Client>,
    plan: &Plan,
    schedule: &Schedule,
    halt: &Halt,
) -> Result<JoinSet<Kept>> {
    let mut drivers = JoinSet::new();
    match plan.mode {
        Mode::Open { rate_per_s } => {
            let moments = Moments {
                schedule: schedule.clone(),
                rate_per_s: NonZeroU64::new(rate_per_s.into()).context("a rate of nothing")?,
                outstanding_max: plan.outstanding_max,
                clock: client.clock.clone(),
                halt: halt.clone(),
            };
            let (client, runtime) = (Arc::clone(client), Handle::current());
            drivers.spawn_blocking(move || client.open(&moments, &runtime));
        }
        Mode::Closed { .. } | Mode::Credit => {
            for _one in 0..plan.mode.value() {
                drivers.spawn(Arc::clone(client).closed(schedule.clone(), halt.clone()));
            }
        }
    }
    Ok(drivers)
}

/// Takes the run's rows away; says which are left.
async fn clean(control: &mut Control, client: &Client, schema: &Schema) -> Option<RowsLeft> {
    let keys: Vec<u32> = client.ledger().touched().collect();
    let places = keys.into_iter().map(|key| client.place(key));
    let why = match control.after(rows::delete(&client.db, schema, places)).await {
        Some(Ok(())) => return None,
        Some(Err(error)) => error.to_string(),
        None => "stopped before they were deleted".to_owned(),
    };
    Some(RowsLeft { prefix: client.values.prefix(), why })
}

fn show(second: u64, args: &DbArgs, board: &Board) {
    let Recent { errors, violations, latencies } = board.take_recent();
    let phase = if second <= args.warmup.as_secs() { "  warm-up" } else { "" };
    let [read, write] = latencies.both().map(|latencies| latencies.report().response);
    eprintln!(
        "{second:>4} s  {:>8} reads/s  p50 {:>9.1} us  p99 {:>9.1} us  {:>8} writes/s  p50 \
         {:>9.1} us  p99 {:>9.1} us  errors {errors}  violations {violations}{phase}",
        read.count, read.p50_us, read.p99_us, write.count, write.p50_us, write.p99_us
    );
}
