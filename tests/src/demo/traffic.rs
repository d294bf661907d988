//! Messages to every node and back for as long as the demonstration runs: `vioduct cluster ping`.

use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, ChildStdout};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::narrator::Narrator;
use crate::cluster::{Cluster, send_signal};

const END_MAX: Duration = Duration::from_secs(5);

/// Sums over all seconds.
#[derive(Debug, Clone, Copy, Default)]
pub struct TrafficTotals {
    /// Messages that came back.
    pub ok: u64,
    /// Messages that did not.
    pub failed: u64,
    /// The worst second's 99th percentile, microseconds.
    pub p99_us_max: u64,
}

/// A program that sends messages, and a task that tells each second of it.
#[derive(Debug)]
pub struct Traffic {
    program: Child,
    teller: JoinHandle<()>,
    totals: Arc<Mutex<TrafficTotals>>,
}

impl Traffic {
    /// Begins to send `rate` messages a second to every node.
    ///
    /// # Errors
    /// The program does not start.
    pub fn start(cluster: &Cluster, rate: u32, narrator: &Arc<Narrator>) -> Result<Self> {
        let rate = rate.to_string();
        let mut command = cluster.command(&["cluster", "ping", "--certs", "tool"]);
        command.args(["--cluster", "cluster.toml", "--output", "json", "--rate", &rate]);
        let mut program = command.stdout(Stdio::piped()).kill_on_drop(true).spawn()?;
        let stdout = program.stdout.take().context("standard output was asked for")?;
        let totals = Arc::<Mutex<TrafficTotals>>::default();
        let teller = tokio::spawn(tell(stdout, Arc::clone(narrator), Arc::clone(&totals)));
        Ok(Self { program, teller, totals })
    }

    /// Sums so far.
    pub fn totals(&self) -> TrafficTotals {
        *self.totals.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Stops the program; gives the sums of every whole second.
    ///
    /// # Errors
    /// It does not end.
    pub async fn stop(mut self) -> Result<TrafficTotals> {
        let id = self.program.id().context("the traffic has ended by itself")?;
        send_signal(id, "INT").await?;
        timeout(END_MAX, self.program.wait()).await.context("the traffic does not end")??;
        timeout(END_MAX, &mut self.teller).await.context("the traffic does not end")??;
        Ok(self.totals())
    }
}

async fn tell(stdout: ChildStdout, narrator: Arc<Narrator>, totals: Arc<Mutex<TrafficTotals>>) {
    let mut lines = BufReader::new(stdout).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        let Ok(second) = serde_json::from_str::<Value>(&line) else { continue };
        let field = |name: &str| second.get(name).and_then(Value::as_u64).unwrap_or(0);
        let (ok, failed, p99_us) = (field("ok"), field("failed"), field("p99_us"));
        let mut sums = totals.lock().unwrap_or_else(PoisonError::into_inner);
        sums.ok += ok;
        sums.failed += failed;
        sums.p99_us_max = sums.p99_us_max.max(p99_us);
        drop(sums);
        narrator.say(&format!("     messages ok {ok:>4}  failed {failed}  p99 {p99_us} us"));
        let errors = second.get("errors").and_then(Value::as_object);
        for (label, error) in errors.into_iter().flatten() {
            narrator.say(&format!("     {label}: {error}"));
        }
    }
}
