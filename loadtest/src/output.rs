//! Where a result goes, and how it becomes an exit code.

use std::fmt;
use std::io::Write;
use std::process::ExitCode;

use anyhow::{Context, Result};
use serde::Serialize;
use vioduct_loadtest::stats::Percentiles;

use crate::cli::{OutputFormat, Shown};

/// Exit code of a run whose latencies are the generator's.
const EXIT_INVALID: u8 = 98;

/// Prints a result on standard output, and writes it as JSON into a file, too.
pub(crate) fn write(report: &(impl fmt::Display + Serialize), shown: &Shown) -> Result<()> {
    let json = serde_json::to_string_pretty(report).context("result as JSON")?;
    let mut stdout = std::io::stdout().lock();
    let written = match shown.output {
        OutputFormat::Text => write!(stdout, "{report}"),
        OutputFormat::Json => writeln!(stdout, "{json}"),
    };
    written.and_then(|()| stdout.flush()).context("standard output")?;
    match &shown.json {
        Some(path) => {
            std::fs::write(path, json + "\n").with_context(|| format!("result {}", path.display()))
        }
        None => Ok(()),
    }
}

/// What a result means for whoever started the run.
pub(crate) fn exit_code(failed: u64, is_valid: bool) -> ExitCode {
    match (failed, is_valid) {
        (0, true) => ExitCode::SUCCESS,
        (0, false) => ExitCode::from(EXIT_INVALID),
        (_failed, _) => ExitCode::FAILURE,
    }
}

/// A table of latencies: a head, and a line for each.
pub(crate) fn write_latencies<'a>(
    f: &mut fmt::Formatter<'_>,
    rows: impl IntoIterator<Item = (&'a str, Percentiles)>,
) -> fmt::Result {
    let head = ["us", "p50", "p90", "p99", "p99.9", "max"];
    writeln!(f, "\n{}", head.map(|name| format!("{name:>10}")).join(" "))?;
    for (label, p) in rows {
        let figures = [p.p50_us, p.p90_us, p.p99_us, p.p999_us, p.max_us];
        let figures = figures.map(|us| format!("{us:>10.1}")).join(" ");
        writeln!(f, "{label:>10} {figures}")?;
    }
    Ok(())
}

/// So many a second.
#[expect(clippy::cast_precision_loss, reason = "counts stay far below 2⁵³")]
pub(crate) fn per_second(count: u64, seconds: f64) -> f64 {
    if seconds > 0.0 { count as f64 / seconds } else { 0.0 }
}
