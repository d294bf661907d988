//! A program that drives disks until it is told to stop, and then says what it found.

use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result};
use serde::de::DeserializeOwned;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::process::{Child, ChildStderr, ChildStdout, Command};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::cluster::send_signal;

/// Reading everything back, twice.
const END_MAX: Duration = Duration::from_secs(40);

/// It says on standard error that it goes on, each second, and writes JSON to standard output when
/// SIGINT has stopped it.
#[derive(Debug)]
pub(super) struct Driver {
    program: Child,
    stdout: ChildStdout,
    teller: JoinHandle<()>,
}

impl Driver {
    pub(super) fn start(
        mut command: Command,
        say: impl FnMut(&str) + Send + 'static,
    ) -> Result<Self> {
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let program = command.kill_on_drop(true).spawn();
        let name = command.as_std().get_program().to_owned();
        let mut program = program.with_context(|| format!("{} does not start", name.display()))?;
        let stdout = program.stdout.take().context("standard output was asked for")?;
        let stderr = program.stderr.take().context("standard error was asked for")?;
        let teller = tokio::spawn(tell(stderr, say));
        Ok(Self { program, stdout, teller })
    }

    /// The same, once it has said something.
    pub(super) async fn flowing(command: Command) -> Result<Self> {
        let (told, mut lines) = watch::channel(0_u64);
        let driver = Self::start(command, move |_line| told.send_modify(|count| *count += 1))?;
        lines.wait_for(|count| *count > 0).await.context("the load does not flow")?;
        Ok(driver)
    }

    /// Stops it; gives what it found.
    pub(super) async fn stop<T: DeserializeOwned>(mut self) -> Result<T> {
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

async fn tell(stderr: ChildStderr, mut say: impl FnMut(&str)) {
    let mut lines = BufReader::new(stderr).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        say(line.trim());
    }
}
