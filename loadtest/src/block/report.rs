//! The result of a run: a table for people, one JSON document for programs.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::process::ExitCode;
use std::rc::Rc;
use std::time::Duration;

use anyhow::Result;
use serde::Serialize;
use vioduct_loadtest::machine::{Build, Machine};
use vioduct_loadtest::pace::Validity;
use vioduct_loadtest::stats::{LatencyRecorder, LatencyReport};

use super::Plan;
use super::board::{Board, Counts, Example, Troubles};
use super::client::Client;
use super::event::Event;
use super::mix::{Pattern, Shares};
use super::stall::{Stretch, StretchReport};
use crate::cli::BlockArgs;
use crate::output::{exit_code, per_second, write_latencies};
use crate::schedule::Kept;

/// Version of the JSON. Fields are added to it, never renamed.
const SCHEMA: u32 = 1;

/// What was asked for.
#[derive(Clone, Debug, Serialize)]
struct Config {
    driver: &'static str,
    disks: Vec<String>,
    hypervisor: Option<PathBuf>,
    clients: u32,
    #[serde(rename = "loop")]
    loop_kind: &'static str,
    rate_per_s: Option<u32>,
    depth: u32,
    size_bytes: Vec<u64>,
    block_bytes: u32,
    pattern: Pattern,
    #[serde(flatten)]
    shares: Shares,
    overlap: bool,
    seed: u64,
    warmup_s: f64,
    duration_s: f64,
    deadline_s: f64,
    settle_s: f64,
    late_after_ms: f64,
}

impl Config {
    fn new(args: &BlockArgs, plan: &Plan) -> Self {
        Self {
            driver: "block",
            disks: args.disks.iter().map(ToString::to_string).collect(),
            hypervisor: args.hypervisor.clone(),
            clients: plan.clients,
            loop_kind: if args.rate.is_some() { "open" } else { "closed" },
            rate_per_s: args.rate,
            depth: args.depth,
            size_bytes: args.size.clone(),
            block_bytes: plan.block_bytes,
            pattern: plan.pattern,
            shares: plan.shares,
            overlap: args.overlap,
            seed: args.seed,
            warmup_s: args.warmup.as_secs_f64(),
            duration_s: args.duration.as_secs_f64(),
            deadline_s: args.deadline.as_secs_f64(),
            settle_s: args.settle.as_secs_f64(),
            late_after_ms: args.late_after.as_secs_f64() * 1000.0,
        }
    }
}

/// How the load ended.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) measured: Duration,
    /// Moments count from here.
    pub(crate) origin_ns: u64,
    pub(crate) kept: Kept,
    /// Of each client: the worst stall, the longest request.
    pub(crate) stalls: Vec<(Stretch, Stretch)>,
    pub(crate) events: Vec<Event>,
    pub(crate) read_back: ReadBack,
    pub(crate) is_interrupted: bool,
}

/// How often every block was read at the end.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct ReadBack {
    pub(crate) passes: u32,
    /// Whether all of them were.
    pub(crate) is_whole: bool,
}

#[derive(Clone, Copy, Debug, Serialize)]
struct Latencies {
    /// Reads and writes.
    all: LatencyReport,
    read: LatencyReport,
    /// Zeroes and trims included.
    write: LatencyReport,
    flush: LatencyReport,
}

/// One client.
#[derive(Clone, Debug, Serialize)]
struct Each {
    disk: String,
    offset: u64,
    range_bytes: u64,
    iops: f64,
    p50_us: f64,
    p99_us: f64,
    max_us: f64,
    stall: StretchReport,
    longest_request: StretchReport,
    errors: u64,
    violations: u64,
}

/// A figure over clients.
#[derive(Clone, Copy, Debug, Default, Serialize)]
struct Spread {
    min: f64,
    median: f64,
    max: f64,
}

#[derive(Clone, Debug, Serialize)]
struct OverClients {
    p99_us: Spread,
    stall_ms: Spread,
    each: Vec<Each>,
}

/// Errors or violations.
#[derive(Clone, Debug, Serialize)]
struct TroublesReport {
    total: u64,
    by_kind: BTreeMap<&'static str, u64>,
    first: Vec<ExampleReport>,
}

#[derive(Clone, Debug, Serialize)]
struct ExampleReport {
    at_s: f64,
    client: usize,
    text: String,
}

/// The result of a run.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Report {
    schema: u32,
    build: Build,
    machine: Machine,
    config: Config,
    measured_s: f64,
    counts: Counts,
    iops: f64,
    read_mb_per_s: f64,
    write_mb_per_s: f64,
    latency: Latencies,
    stall: StretchReport,
    longest_request: StretchReport,
    clients: OverClients,
    errors: TroublesReport,
    reconnects: u64,
    violations: TroublesReport,
    read_back: ReadBack,
    events: Vec<Event>,
    schedule: Option<Kept>,
    late: u64,
    valid: bool,
    interrupted: bool,
}

impl Report {
    /// Puts a result together.
    pub(crate) fn new(
        args: &BlockArgs,
        plan: &Plan,
        clients: &[Rc<Client>],
        board: &Board,
        run: Run,
    ) -> Result<Self> {
        let measured_s = run.measured.as_secs_f64();
        let is_open = args.rate.is_some();
        let counts = board.counts;
        let planned = if is_open { run.kept.planned } else { counts.transfers() + counts.flushes };
        let mb_per_s = |bytes| per_second(bytes, measured_s) / 1e6;
        let worst = |which: fn(&(Stretch, Stretch)) -> Stretch| {
            run.stalls.iter().map(which).max().unwrap_or_default().report(run.origin_ns)
        };
        Ok(Self {
            schema: SCHEMA,
            build: Build::inspect(),
            machine: Machine::inspect(),
            config: Config::new(args, plan),
            measured_s,
            counts,
            iops: per_second(counts.transfers(), measured_s),
            read_mb_per_s: mb_per_s(counts.bytes_read),
            write_mb_per_s: mb_per_s(counts.bytes_written),
            latency: Latencies::of(board)?,
            stall: worst(|(stall, _longest)| *stall),
            longest_request: worst(|(_stall, longest)| *longest),
            clients: OverClients::of(args, clients, &run),
            errors: TroublesReport::of(&board.errors, run.origin_ns),
            reconnects: board.reconnects,
            violations: TroublesReport::of(&board.violations, run.origin_ns),
            read_back: run.read_back,
            events: run.events,
            schedule: is_open.then_some(run.kept),
            late: run.kept.late,
            valid: Validity::of(planned, run.kept.late) == Validity::Valid,
            interrupted: run.is_interrupted,
        })
    }

    /// What went wrong.
    fn failed(&self) -> u64 {
        let unread = u64::from(!self.read_back.is_whole);
        self.errors.total + self.violations.total + self.reconnects + unread
    }

    /// What the result means for whoever started the run.
    pub(crate) fn exit_code(&self) -> ExitCode {
        exit_code(self.failed(), self.valid)
    }
}

impl Latencies {
    fn of(board: &Board) -> Result<Self> {
        let mut all: LatencyRecorder = board.reads.clone();
        all.merge(&board.writes)?;
        Ok(Self {
            all: all.report(),
            read: board.reads.report(),
            write: board.writes.report(),
            flush: board.flushes.report(),
        })
    }
}

impl OverClients {
    fn of(args: &BlockArgs, clients: &[Rc<Client>], run: &Run) -> Self {
        let measured_s = run.measured.as_secs_f64();
        let each = |(client, (stall, longest)): (&Rc<Client>, &(Stretch, Stretch))| {
            let state = client.state.borrow();
            let latencies = state.latencies.report().response;
            let disk = args.disks.get(client.number % args.disks.len());
            Each {
                disk: disk.map(ToString::to_string).unwrap_or_default(),
                offset: client.offset,
                range_bytes: u64::from(client.blocks) * u64::from(client.block_bytes),
                iops: per_second(state.transfers, measured_s),
                p50_us: latencies.p50_us,
                p99_us: latencies.p99_us,
                max_us: latencies.max_us,
                stall: stall.report(run.origin_ns),
                longest_request: longest.report(run.origin_ns),
                errors: state.errors,
                violations: state.violations,
            }
        };
        let each: Vec<Each> = clients.iter().zip(&run.stalls).map(each).collect();
        Self {
            p99_us: Spread::of(each.iter().map(|client| client.p99_us)),
            stall_ms: Spread::of(each.iter().map(|client| client.stall.ms)),
            each,
        }
    }
}

impl Spread {
    fn of(values: impl Iterator<Item = f64>) -> Self {
        let mut values: Vec<f64> = values.collect();
        values.sort_by(f64::total_cmp);
        let at = |index: usize| values.get(index).copied().unwrap_or_default();
        let last = values.len().saturating_sub(1);
        Self {
            min: at(0),
            median: f64::midpoint(at(last / 2), at(last.div_ceil(2))),
            max: at(last),
        }
    }
}

impl TroublesReport {
    fn of(troubles: &Troubles, origin_ns: u64) -> Self {
        let example = |example: &Example| {
            let at = Stretch { length_ns: 1, start_ns: example.at_ns };
            let (client, text) = (example.client, example.text.clone());
            ExampleReport { at_s: at.report(origin_ns).at_s, client, text }
        };
        Self {
            total: troubles.total,
            by_kind: troubles.by_kind.clone(),
            first: troubles.first.iter().map(example).collect(),
        }
    }
}

impl fmt::Display for TroublesReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.total)?;
        for (kind, count) in &self.by_kind {
            write!(f, ", {count} {}", kind.replace('_', " "))?;
        }
        writeln!(f)?;
        for ExampleReport { at_s, client, text } in &self.first {
            writeln!(f, "  {at_s:>+8.2} s  client {client}: {text}")?;
        }
        Ok(())
    }
}

impl Report {
    fn write_head(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let config = &self.config;
        writeln!(f, "machine     {}", self.machine)?;
        writeln!(f, "build       {}", self.build)?;
        let depth = config.depth;
        let load = match config.rate_per_s {
            Some(rate) => format!("open loop, {rate}/s, {depth} deep at most"),
            None => format!("closed loop, {depth} deep"),
        };
        let sizes: Vec<String> = config.size_bytes.iter().map(u64::to_string).collect();
        let pattern = match config.pattern {
            Pattern::Random => "random",
            Pattern::Sequential => "sequential",
        };
        let reads = config.shares.read_percent;
        let (clients, disks) = (config.clients, config.disks.len());
        writeln!(
            f,
            "load        {load}, {pattern}, {} bytes, {reads} % reads, clients {clients}, disks \
             {disks}",
            sizes.join(" or ")
        )?;
        let cut = if self.interrupted { ", interrupted" } else { "" };
        let (warmup_s, measured_s) = (config.warmup_s, self.measured_s);
        writeln!(f, "time        {measured_s:.1} s after {warmup_s:.1} s of warm-up{cut}")?;
        let Counts { reads, writes, writes_fua, zeroes, trims, flushes, .. } = self.counts;
        let (iops, mb_per_s) = (self.iops, self.read_mb_per_s + self.write_mb_per_s);
        writeln!(f, "throughput  {iops:.0} IOPS, {mb_per_s:.1} MB/s")?;
        writeln!(
            f,
            "requests    {reads} reads, {writes} writes ({writes_fua} FUA, {zeroes} zeroes, \
             {trims} trims), {flushes} flushes"
        )
    }

    fn write_latencies(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Latencies { read, write, flush, .. } = self.latency;
        let rows = [("read", read), ("write", write), ("flush", flush)];
        let rows = rows.map(|(label, latency)| (label, latency.response));
        write_latencies(f, rows.into_iter().filter(|(_label, response)| response.count > 0))?;
        writeln!(f)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write_head(f)?;
        self.write_latencies(f)?;
        let (stall, longest) = (self.stall, self.longest_request);
        writeln!(f, "stall       {:.1} ms at {:+.2} s", stall.ms, stall.at_s)?;
        writeln!(f, "longest     {:.1} ms at {:+.2} s", longest.ms, longest.at_s)?;
        let OverClients { p99_us, stall_ms, each } = &self.clients;
        if each.len() > 1 {
            writeln!(
                f,
                "by client   p99 us {:.0} / {:.0} / {:.0}, stall ms {:.1} / {:.1} / {:.1} (least, \
                 median, most)",
                p99_us.min, p99_us.median, p99_us.max, stall_ms.min, stall_ms.median, stall_ms.max
            )?;
        }
        for Event { at_s, took_s, command, exit_code, .. } in &self.events {
            let code = exit_code.map_or_else(|| "a signal".to_owned(), |code| code.to_string());
            writeln!(
                f,
                "event       {at_s:+.2} s for {took_s:.2} s, ended with {code}: {command}"
            )?;
        }
        if let Some(kept) = self.schedule {
            writeln!(f, "schedule    {kept}")?;
        }
        write!(f, "errors      {}", self.errors)?;
        writeln!(f, "reconnects  {}", self.reconnects)?;
        write!(f, "violations  {}", self.violations)?;
        let ReadBack { passes, is_whole } = self.read_back;
        let whole = if is_whole { "" } else { ", NOT ALL OF IT" };
        writeln!(f, "read back   {passes} times{whole}")?;
        let verdict = match (self.failed(), self.valid) {
            (0, true) => "ok",
            (0, false) => "INVALID: the generator was late",
            (_failed, _) => "FAILED",
        };
        writeln!(f, "result      {verdict}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spread_is_of_the_smallest_the_middle_and_the_largest() {
        let of = |values: &[f64]| {
            let Spread { min, median, max } = Spread::of(values.iter().copied());
            [min, median, max]
        };
        assert_eq!(of(&[]), [0.0; 3]);
        assert_eq!(of(&[4.0]), [4.0; 3]);
        assert_eq!(of(&[9.0, 1.0, 3.0, 4.0]), [1.0, 3.5, 9.0]);
    }
}
