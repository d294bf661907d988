//! Load on a disk for as long as the demonstration runs: `vioduct-loadtest block`.

use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::process::{Child, ChildStderr, ChildStdout, Command};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::narrator::Narrator;
use crate::cluster::send_signal;

/// Reading everything back, twice.
const END_MAX: Duration = Duration::from_secs(40);

/// A program that writes, reads and compares, and a task that tells each second of it.
#[derive(Debug)]
pub(crate) struct Load {
    program: Child,
    stdout: ChildStdout,
    teller: JoinHandle<()>,
}

impl Load {
    /// Begins to drive a disk.
    ///
    /// # Errors
    /// The program does not start.
    pub(crate) fn start(program: &Path, uri: &str, narrator: &Arc<Narrator>) -> Result<Self> {
        let mut command = Command::new(program);
        command.args(["block", uri, "--range", "16m", "--depth", "8", "--flush-every", "64"]);
        command.args(["--overlap", "--warmup", "200ms", "--duration", "60m", "--settle", "2s"]);
        command.args(["--progress", "--output", "json"]).stdin(Stdio::null());
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        let mut program = command.spawn().context("vioduct-loadtest does not start")?;
        let stdout = program.stdout.take().context("standard output was asked for")?;
        let stderr = program.stderr.take().context("standard error was asked for")?;
        let teller = tokio::spawn(tell(stderr, Arc::clone(narrator)));
        Ok(Self { program, stdout, teller })
    }

    /// Stops it: it reads back everything, and judges.
    ///
    /// # Errors
    /// It does not end in time, or gives no result.
    pub(crate) async fn stop(mut self) -> Result<Value> {
        let id = self.program.id().context("the load ended early")?;
        send_signal(id, "INT").await?;
        let mut result = String::new();
        let end = async {
            self.stdout.read_to_string(&mut result).await?;
            self.program.wait().await
        };
        timeout(END_MAX, end).await.context("the load does not end")??;
        self.teller.await.context("the load's words")?;
        serde_json::from_str(&result).with_context(|| format!("the load's result: {result:?}"))
    }
}

async fn tell(stderr: ChildStderr, narrator: Arc<Narrator>) {
    let mut lines = BufReader::new(stderr).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        narrator.say(&format!("     load: {}", line.trim()));
    }
}
