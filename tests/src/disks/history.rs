//! `tools/history.py`: whether a disk keeps every acknowledged write, in order, as a client over
//! libnbd sees it. It shares nothing with our own client and checker.

use std::fmt;

use anyhow::Result;
use serde::Deserialize;
use tokio::process::Command;

use super::driver::Driver;

/// Debian's own Python, which has libnbd: `cargo xtask setup` brings both.
const PYTHON: &str = "/usr/bin/python3";
const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tools/history.py");

/// It writes, reads and checks until it is stopped.
#[derive(Debug)]
pub struct History(Driver);

impl History {
    /// Begins with a disk, by its NBD URI; gives it once a second has passed.
    ///
    /// # Errors
    /// It does not start, or ends before.
    pub async fn flowing(uri: &str) -> Result<Self> {
        let mut command = Command::new(PYTHON);
        command.arg(SCRIPT).args(["--settle", "1", uri]);
        Ok(Self(Driver::flowing(command).await?))
    }

    /// Stops it: it reads everything back, twice, and judges.
    ///
    /// # Errors
    /// It does not end in time, or gives no result.
    pub async fn stop(self) -> Result<Verdict> {
        self.0.stop().await
    }
}

/// What it found.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
pub struct Verdict {
    /// Writes acknowledged.
    pub writes: u64,
    /// Reads checked.
    pub reads: u64,
    /// Flushes acknowledged.
    pub flushes: u64,
    /// Reads that gave what they must not.
    pub broken: u64,
    /// Requests that failed.
    pub errors: u64,
    /// Connections that were lost.
    pub reconnects: u64,
    /// The longest request, milliseconds.
    pub worst_ms: f64,
}

impl Verdict {
    /// Whether the client noticed nothing but a wait.
    pub const fn is_sound(&self) -> bool {
        let Self { writes, reads, broken, errors, reconnects, .. } = *self;
        broken == 0 && errors == 0 && reconnects == 0 && writes > 0 && reads > 0
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { writes, reads, flushes, broken, errors, reconnects, worst_ms } = self;
        write!(
            f,
            "writes={writes} reads={reads} flushes={flushes} broken={broken} errors={errors} \
             reconnects={reconnects} worst_ms={worst_ms:.0}"
        )
    }
}
