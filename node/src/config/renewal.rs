//! The table `[renewal]`: how a node has its next certificate signed.

use std::path::Path;
use std::time::Duration;

use serde::Deserialize;
use vioduct_certs::rotation::RetryBounds;

use super::WrongSetting;
use super::transport::millis;

/// Words of a command, the program included.
const WORDS_MAX: usize = 64;
const TIMEOUT: Duration = Duration::from_secs(60);
const RETRY: RetryBounds =
    RetryBounds { min: Duration::from_secs(5), max: Duration::from_secs(600) };

/// How a node has its next certificate signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RenewalConfig {
    /// The program to run. A name without a slash is looked for in `PATH`.
    pub program: String,
    /// Its arguments, at most 63; no shell reads them.
    pub args: Vec<String>,
    /// Longest that it may take, 100 ms to 10 min; it is killed then. Default: 60 s.
    pub timeout: Duration,
    /// Waits between failed tries, 100 ms to 1 h. Default: 5 s to 10 min.
    pub retry: RetryBounds,
}

/// Times are in milliseconds.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawRenewal {
    command: Vec<String>,
    timeout_ms: Option<u32>,
    retry_min_ms: Option<u32>,
    retry_max_ms: Option<u32>,
}

impl RawRenewal {
    /// The settings, with the defaults for what was left out. A program given by a relative path
    /// lies relative to `home`.
    pub(super) fn checked(self, home: &Path) -> Result<RenewalConfig, WrongSetting> {
        let wrong = |key: &str, value: String, bound: &str| WrongSetting {
            key: format!("renewal.{key}"),
            value,
            bound: bound.to_owned(),
        };
        let shown = format!("{:?}", self.command);
        let is_whole = self.command.len() <= WORDS_MAX
            && self.command.first().is_some_and(|program| !program.is_empty())
            && !self.command.iter().any(|word| word.contains('\0'));
        let mut words = self.command.into_iter();
        let Some(program) = words.next().filter(|_program| is_whole) else {
            let bound = "a program and up to 63 arguments, without NUL characters";
            return Err(wrong("command", shown, bound));
        };
        let program = match program.contains('/') {
            true => home.join(program).to_string_lossy().into_owned(),
            false => program,
        };
        let timeout = self.timeout_ms.map_or(TIMEOUT, millis);
        if !(Duration::from_millis(100)..=Duration::from_secs(600)).contains(&timeout) {
            return Err(wrong("timeout_ms", format!("{timeout:?}"), "100ms to 600s"));
        }
        // A bound that is given pulls the default of the other one along.
        let min = self.retry_min_ms.map(millis);
        let max = self.retry_max_ms.map(millis);
        let retry = RetryBounds {
            min: min.unwrap_or_else(|| RETRY.min.min(max.unwrap_or(RETRY.min))),
            max: max.unwrap_or_else(|| RETRY.max.max(min.unwrap_or(RETRY.max))),
        };
        let allowed = Duration::from_millis(100)..=Duration::from_secs(3600);
        if !allowed.contains(&retry.min) {
            return Err(wrong("retry_min_ms", format!("{:?}", retry.min), "100ms to 3600s"));
        }
        if !allowed.contains(&retry.max) || retry.max < retry.min {
            let bound = "renewal.retry_min_ms to 3600s";
            return Err(wrong("retry_max_ms", format!("{:?}", retry.max), bound));
        }
        Ok(RenewalConfig { program, args: words.collect(), timeout, retry })
    }
}
