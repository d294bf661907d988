//! One measurement: fio's NBD engine against one server.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tokio::process::Command;
use tokio::time::timeout;
use vioduct_bench_harness::cpu::Meter;

use super::rows::{Contender, Row};
use super::server::Server;
use crate::process::one_line;

/// How long fio may take beyond its time.
const GRACE: Duration = Duration::from_secs(60);

/// What one measurement came to.
#[derive(Clone, Debug, serde::Serialize)]
pub(crate) struct Sample {
    pub(crate) row: Row,
    pub(crate) server: Contender,
    /// From 0.
    pub(crate) round: u32,
    pub(crate) iops: f64,
    pub(crate) mb_per_s: f64,
    pub(crate) p50_us: f64,
    pub(crate) p99_us: f64,
    /// Of all processes of the server, for one request, in microseconds.
    pub(crate) cpu_us: f64,
    /// Share of the machine that went to anything but the server and fio, in per cent.
    pub(crate) foreign_cpu_percent: f64,
}

impl Sample {
    /// The figure of which ratios are taken; more is better.
    pub(crate) fn figure(&self) -> f64 {
        if self.row.is_alone() { 1e6 / self.p50_us } else { self.iops }
    }
}

/// Writes the whole disk once.
pub(crate) async fn fill(server: &Server) -> Result<()> {
    let mut fio = command(server, Row::SequentialWrite);
    fio.args(["--end_fsync=1", "--size=100%"]);
    output(fio, GRACE).await.map(|_report| ())
}

/// Measures one row for some time.
pub(crate) async fn measure(
    server: &Server,
    row: Row,
    round: u32,
    window: Duration,
) -> Result<Sample> {
    let mut fio = command(server, row);
    let seconds = window.as_secs_f64().ceil();
    fio.args(["--time_based", "--norandommap", &format!("--runtime={seconds}")]);
    fio.arg(format!("--randseed={}", round + 1));
    let meter = Meter::of(server.pids())?;
    let report = output(fio, window + GRACE).await?;
    let usage = meter.stop()?;
    let kind = if row.is_read() { "read" } else { "write" };
    let figure = |path: &str| {
        let found = report.pointer(&format!("/jobs/0/{kind}/{path}")).and_then(Value::as_f64);
        found.with_context(|| format!("fio's report has no {kind}/{path}"))
    };
    let requests = figure("total_ios")?;
    ensure!(requests > 0.0, "fio made no request");
    Ok(Sample {
        row,
        server: server.contender(),
        round,
        iops: figure("iops")?,
        mb_per_s: figure("bw_bytes")? / 1e6,
        p50_us: figure("clat_ns/percentile/50.000000")? / 1e3,
        p99_us: figure("clat_ns/percentile/99.000000")? / 1e3,
        cpu_us: usage.cpu_s * 1e6 / requests,
        foreign_cpu_percent: usage.foreign_cpu_percent,
    })
}

fn command(server: &Server, row: Row) -> Command {
    let (pattern, bytes, depth) = row.load();
    let mut fio = Command::new("fio");
    fio.args(["--name=disk", "--ioengine=nbd", "--output-format=json", "--thread"]);
    fio.arg(format!("--uri={}", server.uri())).arg(format!("--rw={pattern}"));
    fio.arg(format!("--bs={bytes}")).arg(format!("--iodepth={depth}"));
    // Its state files do not belong into whatever directory this is.
    fio.arg("--verify_state_save=0").kill_on_drop(true);
    fio
}

async fn output(mut fio: Command, within: Duration) -> Result<Value> {
    let output = timeout(within, fio.output());
    let output = output.await.context("fio did not end in time")?.context("run fio")?;
    let said = || one_line(&String::from_utf8_lossy(&output.stderr));
    ensure!(output.status.success(), "fio ended with {}: {}", output.status, said());
    // Notes may stand before the document.
    let start = output.stdout.iter().position(|byte| *byte == b'{').unwrap_or(0);
    let document = output.stdout.get(start..).unwrap_or_default();
    serde_json::from_slice(document).with_context(|| format!("fio's report: {}", said()))
}
