//! The result of a run: a table for people, one JSON document for programs.

use std::fmt;
use std::process::ExitCode;
use std::time::Duration;

use serde::Serialize;
use vioduct_loadtest::machine::{Build, Machine};
use vioduct_loadtest::pace::Validity;
use vioduct_loadtest::stats::LatencyReport;

use super::board::{Counts, Each, Tally, Troubles};
use crate::cli::DbFreshness;
use crate::output::{exit_code, per_second, write_latencies};
use crate::report::Mode;
use crate::schedule::Kept;

/// Version of the JSON. Fields are added to it, never renamed.
const SCHEMA: u32 = 1;

/// What was asked for.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Config {
    pub(crate) driver: &'static str,
    pub(crate) nodes: Vec<String>,
    #[serde(flatten)]
    pub(crate) mode: Mode,
    pub(crate) shards: u32,
    pub(crate) read_percent: u32,
    pub(crate) keys: u32,
    pub(crate) size_bytes: u32,
    pub(crate) freshness: DbFreshness,
    pub(crate) warmup_s: f64,
    pub(crate) duration_s: f64,
    pub(crate) deadline_s: f64,
    pub(crate) late_after_ms: f64,
    pub(crate) outstanding_max: u32,
}

/// How the run ended.
#[derive(Debug)]
pub(crate) struct End {
    pub(crate) measured: Duration,
    pub(crate) kept: Kept,
    pub(crate) retired_keys: u32,
    pub(crate) is_spent: bool,
    pub(crate) rows_left: Option<RowsLeft>,
    pub(crate) is_interrupted: bool,
}

/// Rows of the run that may still be there.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct RowsLeft {
    pub(crate) prefix: String,
    pub(crate) why: String,
}

/// The result of a run.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Report {
    schema: u32,
    build: Build,
    machine: Machine,
    config: Config,
    warmup: Each<Counts>,
    counts: Each<Counts>,
    measured_s: f64,
    throughput_per_s: Each<f64>,
    latency: Each<LatencyReport>,
    longest_write_gap_ms: Option<f64>,
    errors: Troubles,
    violations: Troubles,
    retired_keys: u32,
    too_many_retired: bool,
    rows_left: Option<RowsLeft>,
    schedule: Option<Kept>,
    late: u64,
    valid: bool,
    interrupted: bool,
}

impl Report {
    /// Puts a result together.
    pub(crate) fn new(config: Config, tally: Tally, end: End) -> Self {
        let measured_s = end.measured.as_secs_f64();
        let [read, write] = tally.latencies.both().map(|latencies| latencies.report());
        let sent: u64 = tally.measured.both().iter().map(|counts| counts.sent).sum();
        let is_open = matches!(config.mode, Mode::Open { .. });
        let planned = if is_open { end.kept.planned } else { sent };
        let gap = tally.longest_write_gap_ns().map(Duration::from_nanos);
        let done = tally.ok_in_window;
        Self {
            schema: SCHEMA,
            build: Build::inspect(),
            machine: Machine::inspect(),
            config,
            warmup: tally.warmup,
            counts: tally.measured,
            measured_s,
            throughput_per_s: Each {
                read: per_second(done.read, measured_s),
                write: per_second(done.write, measured_s),
            },
            latency: Each { read, write },
            longest_write_gap_ms: gap.map(|gap| gap.as_secs_f64() * 1000.0),
            errors: tally.errors,
            violations: tally.violations,
            retired_keys: end.retired_keys,
            too_many_retired: end.is_spent,
            rows_left: end.rows_left,
            schedule: is_open.then_some(end.kept),
            late: end.kept.late,
            valid: Validity::of(planned, end.kept.late) == Validity::Valid,
            interrupted: end.is_interrupted,
        }
    }

    /// What went wrong.
    fn failed(&self) -> u64 {
        let counts = self.warmup.both().into_iter().chain(self.counts.both());
        let errors: u64 = counts.map(Counts::errors).sum();
        errors + u64::from(self.too_many_retired) + u64::from(self.rows_left.is_some())
    }

    /// What the result means for whoever started the run.
    pub(crate) fn exit_code(&self) -> ExitCode {
        exit_code(self.failed(), self.valid)
    }

    fn write_counts(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let head = ["reads", "writes", "in warm-up"].map(|name| format!("{name:>10}")).join(" ");
        writeln!(f, "\n{:<14} {head}", "operations")?;
        let columns =
            [&self.counts.read, &self.counts.write, &sum(&self.warmup.read, &self.warmup.write)];
        for (label, figure) in [
            ("sent", (|counts| counts.sent) as fn(&Counts) -> u64),
            ("ok", |counts| counts.ok),
            ("unavailable", |counts| counts.unavailable),
            ("unknown", |counts| counts.unknown),
            ("refused", |counts| counts.refused),
            ("wrong", |counts| counts.wrong),
            ("unfinished", |counts| counts.unfinished),
        ] {
            let figures = columns.map(|counts| format!("{:>10}", figure(counts))).join(" ");
            writeln!(f, "  {label:<12} {figures}")?;
        }
        Ok(())
    }
}

fn sum(one: &Counts, other: &Counts) -> Counts {
    Counts {
        sent: one.sent + other.sent,
        ok: one.ok + other.ok,
        unavailable: one.unavailable + other.unavailable,
        unknown: one.unknown + other.unknown,
        refused: one.refused + other.refused,
        wrong: one.wrong + other.wrong,
        unfinished: one.unfinished + other.unfinished,
    }
}

impl fmt::Display for Troubles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.total)?;
        for (kind, count) in &self.by_kind {
            write!(f, ", {count} {}", kind.replace('_', " "))?;
        }
        writeln!(f)?;
        self.first.iter().try_for_each(|text| writeln!(f, "  {text}"))
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { build, machine, config, throughput_per_s, latency, .. } = self;
        writeln!(f, "machine     {machine}")?;
        writeln!(f, "build       {build}")?;
        let Config { mode, read_percent, keys, size_bytes, .. } = config;
        let nodes = config.nodes.len();
        writeln!(
            f,
            "load        {mode}, {read_percent} % reads, {keys} keys, {size_bytes} bytes, {nodes} \
             nodes"
        )?;
        let cut = if self.interrupted { ", interrupted" } else { "" };
        let (warmup_s, measured_s) = (config.warmup_s, self.measured_s);
        writeln!(f, "time        {measured_s:.1} s after {warmup_s:.1} s of warm-up{cut}")?;
        let Each { read, write } = throughput_per_s;
        writeln!(f, "throughput  {read:.0} reads/s, {write:.0} writes/s")?;
        self.write_counts(f)?;
        let rows = [
            ("read", latency.read.service),
            ("response", latency.read.response),
            ("write", latency.write.service),
            ("response", latency.write.response),
        ];
        write_latencies(f, rows.into_iter().filter(|(_label, p)| p.count > 0))?;
        if let Some(gap_ms) = self.longest_write_gap_ms {
            writeln!(f, "\nwrite gap   {gap_ms:.1} ms at most without an acknowledged write")?;
        }
        if let Some(kept) = self.schedule {
            writeln!(f, "schedule    {kept}")?;
        }
        write!(f, "errors      {}", self.errors)?;
        write!(f, "violations  {}", self.violations)?;
        if self.retired_keys > 0 {
            writeln!(f, "retired     {} keys, whose last write is unknown", self.retired_keys)?;
        }
        if let Some(RowsLeft { prefix, why }) = &self.rows_left {
            writeln!(f, "rows left   keys that begin with {prefix}: {why}")?;
        }
        let verdict = match (self.failed(), self.valid) {
            _any if self.too_many_retired => "FAILED: too many keys are retired; see --keys",
            (0, true) => "ok",
            (0, false) => "INVALID: the generator was late",
            (_failed, _) => "FAILED",
        };
        writeln!(f, "result      {verdict}")
    }
}
