//! Load on disks while things go wrong: `vioduct-loadtest block`, and what it found.

use std::fmt;
use std::path::Path;

use anyhow::Result;
use serde::{Deserialize, Serialize};
use tokio::process::Command;

use super::driver::Driver;

/// `vioduct-loadtest block`, which writes, reads and compares until it is stopped.
#[derive(Debug)]
pub struct Load(Driver);

impl Load {
    /// Begins to drive disks by their NBD URIs; hands each line of progress to `say`.
    ///
    /// # Errors
    /// The program does not start.
    pub fn start(
        program: &Path,
        uris: &[String],
        args: &[&str],
        say: impl FnMut(&str) + Send + 'static,
    ) -> Result<Self> {
        Ok(Self(Driver::start(command(program, uris, args), say)?))
    }

    /// The same, once everything was written and a second has passed.
    ///
    /// # Errors
    /// The program does not start, or ends before.
    pub async fn flowing(program: &Path, uris: &[String], args: &[&str]) -> Result<Self> {
        Ok(Self(Driver::flowing(command(program, uris, args)).await?))
    }

    /// Stops it: it reads back everything, and judges.
    ///
    /// # Errors
    /// It does not end in time, or gives no result.
    pub async fn stop(self) -> Result<Figures> {
        Ok(self.0.stop::<Raw>().await?.into())
    }
}

fn command(program: &Path, uris: &[String], args: &[&str]) -> Command {
    let mut command = Command::new(program);
    command.arg("block").args(uris).args(["--flush-every", "64", "--overlap"]);
    command.args(["--warmup", "0s", "--duration", "60m", "--progress", "--output", "json"]);
    command.args(args);
    command
}

/// What is read of a result.
#[derive(Deserialize)]
struct Raw {
    counts: Counts,
    iops: f64,
    latency: Latency,
    longest_request: Stretch,
    clients: Clients,
    violations: Troubles,
    errors: Troubles,
    reconnects: u64,
    read_back: ReadBack,
    valid: bool,
}

#[derive(Deserialize)]
struct Counts {
    reads: u64,
    writes: u64,
}

#[derive(Deserialize)]
struct Stretch {
    ms: f64,
}

#[derive(Deserialize)]
struct Troubles {
    total: u64,
}

#[derive(Deserialize)]
struct ReadBack {
    is_whole: bool,
}

#[derive(Deserialize)]
struct Latency {
    all: Transfers,
}

#[derive(Deserialize)]
struct Transfers {
    response: Percentiles,
}

#[derive(Deserialize)]
struct Percentiles {
    p50_us: f64,
    p99_us: f64,
}

#[derive(Deserialize)]
struct Clients {
    p99_us: Spread,
    stall_ms: Spread,
}

/// A figure over clients.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Spread {
    /// The least.
    pub min: f64,
    /// The median.
    pub median: f64,
    /// The greatest.
    pub max: f64,
}

/// What a load found.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Figures {
    /// Reads compared.
    pub reads: u64,
    /// Writes acknowledged.
    pub writes: u64,
    /// Reads and writes a second.
    pub iops: f64,
    /// The longest request of any client, milliseconds.
    pub longest_ms: f64,
    /// The median of all reads and writes, microseconds.
    pub p50_us: f64,
    /// The 99th percentile of all reads and writes, microseconds.
    pub p99_us: f64,
    /// The same of each client.
    pub client_p99_us: Spread,
    /// The longest time in which a client had no answer while it waited for some, milliseconds.
    pub client_stall_ms: Spread,
    /// Reads that gave what they must not.
    pub violations: u64,
    /// Requests that failed.
    pub errors: u64,
    /// Connections that were lost.
    pub reconnects: u64,
    /// At the end everything was read back.
    pub is_whole: bool,
    /// Of requests at a rate no more than a hundredth was late.
    pub is_on_time: bool,
}

impl From<Raw> for Figures {
    fn from(raw: Raw) -> Self {
        Self {
            reads: raw.counts.reads,
            writes: raw.counts.writes,
            iops: raw.iops,
            longest_ms: raw.longest_request.ms,
            p50_us: raw.latency.all.response.p50_us,
            p99_us: raw.latency.all.response.p99_us,
            client_p99_us: raw.clients.p99_us,
            client_stall_ms: raw.clients.stall_ms,
            violations: raw.violations.total,
            errors: raw.errors.total,
            reconnects: raw.reconnects,
            is_whole: raw.read_back.is_whole,
            is_on_time: raw.valid,
        }
    }
}

impl Figures {
    /// Whether the clients noticed nothing but a wait.
    pub const fn is_sound(&self) -> bool {
        let Self { reads, writes, violations, errors, reconnects, is_whole, .. } = *self;
        violations == 0 && errors == 0 && reconnects == 0 && reads > 0 && writes > 0 && is_whole
    }
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { reads, writes, violations, errors, reconnects, longest_ms, .. } = self;
        let whole = if self.is_whole { "all read back" } else { "NOT all read back" };
        write!(
            f,
            "{writes} writes acknowledged, {reads} reads compared, {whole}: {violations} wrong, \
             {errors} errors, {reconnects} connections lost; longest request {longest_ms:.0} ms"
        )
    }
}
