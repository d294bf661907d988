//! The result of a run: a table for people, one JSON document for programs.

use std::fmt;
use std::process::ExitCode;
use std::time::Duration;

use serde::Serialize;
use vioduct_loadtest::machine::{Build, Machine};
use vioduct_loadtest::pace::Validity;
use vioduct_loadtest::stats::Percentiles;
use vioduct_node::tool::Faults;

use crate::msg::counts::{Counts, Tally};
use crate::output::{exit_code, per_second, write_latencies};
use crate::schedule::Kept;

/// Version of the JSON. Fields are added to it, never renamed.
const SCHEMA: u32 = 2;

/// What is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Kind {
    /// Messages with answers.
    Ask,
    /// Messages without.
    Tell,
}

/// How the load is driven.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(tag = "loop", rename_all = "lowercase")]
pub(crate) enum Mode {
    /// At a rate, whatever the replies do.
    Open {
        /// Messages a second, over all nodes.
        rate_per_s: u32,
    },
    /// A message for each reply.
    Closed {
        /// Messages that wait at any time, over all nodes.
        concurrency: u32,
    },
    /// As fast as the actors' credit allows.
    Credit,
}

impl Mode {
    /// What is spread over the nodes.
    pub(crate) const fn value(self) -> u32 {
        match self {
            Self::Open { rate_per_s } => rate_per_s,
            Self::Closed { concurrency } => concurrency,
            Self::Credit => 0,
        }
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Open { rate_per_s } => write!(f, "open loop, {rate_per_s}/s"),
            Self::Closed { concurrency } => write!(f, "closed loop, {concurrency} outstanding"),
            Self::Credit => write!(f, "as fast as credit allows"),
        }
    }
}

/// What was asked for.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Config {
    pub(crate) driver: &'static str,
    pub(crate) kind: Kind,
    pub(crate) nodes: Vec<String>,
    #[serde(flatten)]
    pub(crate) mode: Mode,
    pub(crate) size_bytes: u32,
    pub(crate) warmup_s: f64,
    pub(crate) duration_s: f64,
    pub(crate) deadline_s: f64,
    pub(crate) late_after_ms: f64,
    pub(crate) outstanding_max: u32,
}

/// The result of a run.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Report {
    schema: u32,
    build: Build,
    machine: Machine,
    config: Config,
    warmup: Counts,
    counts: Counts,
    errors: Faults,
    measured_s: f64,
    throughput_per_s: f64,
    service: Percentiles,
    response: Percentiles,
    schedule: Option<Kept>,
    late: u64,
    valid: bool,
    interrupted: bool,
}

impl Report {
    /// Puts a result together.
    pub(crate) fn new(
        config: Config,
        tally: &Tally,
        kept: Kept,
        measured: Duration,
        interrupted: bool,
    ) -> Self {
        let latency = tally.latency();
        let is_open = matches!(config.mode, Mode::Open { .. });
        let planned = if is_open { kept.planned } else { tally.measured.sent };
        let arrived = match config.kind {
            Kind::Ask => tally.ok_in_window,
            Kind::Tell => tally.measured.ok,
        };
        let measured_s = measured.as_secs_f64();
        Self {
            schema: SCHEMA,
            build: Build::inspect(),
            machine: Machine::inspect(),
            config,
            warmup: tally.warmup,
            counts: tally.measured,
            errors: tally.faults.clone(),
            measured_s,
            throughput_per_s: per_second(arrived, measured_s),
            service: latency.service,
            response: latency.response,
            schedule: is_open.then_some(kept),
            late: kept.late,
            valid: Validity::of(planned, kept.late) == Validity::Valid,
            interrupted,
        }
    }

    /// Messages that ended in anything but well.
    fn failed(&self) -> u64 {
        self.warmup.errors() + self.counts.errors()
    }

    /// What the result means for whoever started the run.
    pub(crate) fn exit_code(&self) -> ExitCode {
        exit_code(self.failed(), self.valid)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { build, machine, config, counts, .. } = self;
        writeln!(f, "machine     {machine}")?;
        writeln!(f, "build       {build}")?;
        let load = config.mode;
        let (kind, what) = match config.kind {
            Kind::Ask => ("asks", "answers"),
            Kind::Tell => ("tells", "counted tells"),
        };
        let (size, nodes) = (config.size_bytes, config.nodes.len());
        writeln!(f, "load        {kind}, {load}, {size} bytes, {nodes} nodes")?;
        let cut = if self.interrupted { ", interrupted" } else { "" };
        let (warmup_s, measured_s) = (config.warmup_s, self.measured_s);
        writeln!(f, "time        {measured_s:.1} s after {warmup_s:.1} s of warm-up{cut}")?;
        writeln!(f, "throughput  {:.0} {what}/s", self.throughput_per_s)?;
        writeln!(f)?;
        writeln!(f, "{:<18} {:>10} {:>10}", "messages", "measured", "warm-up")?;
        let rows = |counts: &Counts| {
            let Counts { sent, ok, not_delivered, maybe_delivered, .. } = *counts;
            let Counts { deadline, wrong_body, wrong_order, unfinished, .. } = *counts;
            [
                ("sent", sent),
                ("ok", ok),
                ("not delivered", not_delivered),
                ("maybe delivered", maybe_delivered),
                ("deadline", deadline),
                ("wrong body", wrong_body),
                ("wrong order", wrong_order),
                ("unfinished", unfinished),
            ]
        };
        for ((label, measured), (_label, warmup)) in
            rows(counts).into_iter().zip(rows(&self.warmup))
        {
            writeln!(f, "  {label:<16} {measured:>10} {warmup:>10}")?;
        }
        if config.kind == Kind::Ask {
            write_latencies(f, [("service", self.service), ("response", self.response)])?;
        }
        if let Some(kept) = self.schedule {
            writeln!(f, "\nschedule    {kept}")?;
        }
        let verdict = match (self.valid, self.failed()) {
            (false, errors) => format!("INVALID: the generator was late; {errors} errors"),
            (true, 0) => "ok".to_owned(),
            (true, errors) => format!("{errors} errors"),
        };
        writeln!(f, "result      {verdict}{}", self.errors)
    }
}
