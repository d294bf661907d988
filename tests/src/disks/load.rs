//! Load on disks while things go wrong: `vioduct-loadtest block`, and what it found.

use std::fmt;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result};
use serde::Deserialize;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::process::{Child, ChildStderr, ChildStdout, Command};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::cluster::send_signal;

/// Reading everything back, twice.
const END_MAX: Duration = Duration::from_secs(40);

/// A program that writes, reads and compares until it is stopped.
#[derive(Debug)]
pub struct Load {
    program: Child,
    stdout: ChildStdout,
    teller: JoinHandle<()>,
}

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
        let mut command = Command::new(program);
        command.arg("block").args(uris).args(["--depth", "8", "--flush-every", "64", "--overlap"]);
        command.args(["--warmup", "0s", "--duration", "60m", "--progress", "--output", "json"]);
        command.args(args).stdin(Stdio::null());
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        let mut program = command.spawn().context("vioduct-loadtest does not start")?;
        let stdout = program.stdout.take().context("standard output was asked for")?;
        let stderr = program.stderr.take().context("standard error was asked for")?;
        let teller = tokio::spawn(tell(stderr, say));
        Ok(Self { program, stdout, teller })
    }

    /// Stops it: it reads back everything, and judges.
    ///
    /// # Errors
    /// It does not end in time, or gives no result.
    pub async fn stop(mut self) -> Result<Figures> {
        let id = self.program.id().context("the load ended early")?;
        send_signal(id, "INT").await?;
        let mut result = String::new();
        let end = async {
            self.stdout.read_to_string(&mut result).await?;
            self.program.wait().await
        };
        timeout(END_MAX, end).await.context("the load does not end")??;
        self.teller.await.context("the load's words")?;
        let raw: Raw = serde_json::from_str(&result)
            .with_context(|| format!("the load's result: {result:?}"))?;
        Ok(raw.into())
    }
}

async fn tell(stderr: ChildStderr, mut say: impl FnMut(&str)) {
    let mut lines = BufReader::new(stderr).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        say(line.trim());
    }
}

/// What is read of a result.
#[derive(Deserialize)]
struct Raw {
    counts: Counts,
    iops: f64,
    longest_request: Stretch,
    stall: Stretch,
    clients: Clients,
    violations: Troubles,
    errors: Troubles,
    reconnects: u64,
    read_back: ReadBack,
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
struct Clients {
    p99_us: Spread,
}

#[derive(Deserialize)]
struct Spread {
    median: f64,
    max: f64,
}

/// What a load found.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Figures {
    /// Reads compared.
    pub reads: u64,
    /// Writes acknowledged.
    pub writes: u64,
    /// Reads and writes a second.
    pub iops: f64,
    /// The longest request of any client, milliseconds.
    pub longest_ms: f64,
    /// The longest time in which a client had no answer while it waited for some, milliseconds.
    pub stall_ms: f64,
    /// The median and the worst of the clients' 99th percentiles, microseconds.
    pub p99_us: (f64, f64),
    /// Reads that gave what they must not.
    pub violations: u64,
    /// Requests that failed.
    pub errors: u64,
    /// Connections that were lost.
    pub reconnects: u64,
    /// At the end everything was read back.
    pub is_whole: bool,
}

impl From<Raw> for Figures {
    fn from(raw: Raw) -> Self {
        Self {
            reads: raw.counts.reads,
            writes: raw.counts.writes,
            iops: raw.iops,
            longest_ms: raw.longest_request.ms,
            stall_ms: raw.stall.ms,
            p99_us: (raw.clients.p99_us.median, raw.clients.p99_us.max),
            violations: raw.violations.total,
            errors: raw.errors.total,
            reconnects: raw.reconnects,
            is_whole: raw.read_back.is_whole,
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
