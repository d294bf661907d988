//! A run as a whole: rounds, the table, the document.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::{Args, ValueEnum};
use vioduct_bench_harness::child::seconds;
use vioduct_bench_harness::identity::{self, PrivateDir};
use vioduct_bench_harness::peer::{Home, PeerKind};
use vioduct_bench_harness::rows::Row;
use vioduct_bench_harness::sample::{Plan, Sample};
use vioduct_loadtest::machine::{Build, Machine};

use crate::process::Launcher;
use crate::report::{self, Failure, Line};
use crate::scheme::Scheme;
use crate::{table, tuning};

/// Version of the JSON document; raised when a field changes its meaning or goes away.
const SCHEMA: u32 = 3;

/// Share of the machine in other programs' hands above which the report says so, in per cent.
const FOREIGN_CPU_PERCENT_MAX: f64 = 5.0;

/// Options that every run has.
#[derive(Args, Debug)]
pub(crate) struct Options {
    /// Seconds measured per row and peer.
    #[arg(long, default_value = "1.5", value_parser = seconds)]
    seconds: Duration,
    /// Seconds of load before that.
    #[arg(long, default_value = "0.5", value_parser = seconds)]
    warmup: Duration,
    /// Rounds; in each, every row is measured once for every peer.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Measure only these rows.
    #[arg(long, value_name = "ROW", value_delimiter = ',')]
    only: Vec<Row>,
    /// How the result is written to standard output; nothing else is.
    #[arg(long, value_enum, default_value_t = Output::Text)]
    output: Output,
    /// Write machine, plan, samples and lines to this file as JSON, too.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// How a result is written to standard output.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Output {
    Text,
    Json,
}

/// What `--json` and `--output json` write.
#[derive(Debug, serde::Serialize)]
struct Document<'a> {
    schema: u32,
    machine: &'a Machine,
    build: &'a Build,
    pinning: &'a str,
    warmup_s: f64,
    window_s: f64,
    bulk_bytes: u64,
    rounds: u32,
    window_bytes: u32,
    socket_buffer_bytes: usize,
    lines: &'a [Line],
    samples: &'a [Sample],
    failures: &'a [Failure],
}

/// What differs between the runs.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) scheme: &'static Scheme,
    /// Those measured, in this order.
    pub(crate) peers: Vec<PeerKind>,
    /// Runs those of [`Home::Peers`].
    pub(crate) peers_program: Option<PathBuf>,
    pub(crate) bulk_bytes: u64,
}

#[derive(Default)]
struct Measured {
    samples: Vec<Sample>,
    failures: Vec<Failure>,
}

impl Run {
    /// Runs every round, and prints the result.
    pub(crate) async fn run(self, options: Options) -> Result<()> {
        let (machine, build) = (Machine::inspect(), Build::inspect());
        let plan =
            Plan { warmup: options.warmup, window: options.seconds, bulk_bytes: self.bulk_bytes };
        let credentials = PrivateDir::create()?;
        identity::issue(credentials.path())?;
        let peers_program = self.peers_program.as_deref();
        let launcher = Launcher::new(credentials.path(), peers_program, machine.cores, plan)?;
        // Returning drops, and so ends, the children, and removes the directory with the keys.
        let measured = tokio::select! {
            measured = self.measure(&options, &launcher) => measured?,
            interrupt = tokio::signal::ctrl_c() => {
                interrupt.context("watch for an interrupt")?;
                anyhow::bail!("interrupted");
            }
        };
        let Measured { samples, failures } = &measured;
        let lines = report::lines(self.scheme, samples, failures, &self.peers);
        let document = Document {
            schema: SCHEMA,
            machine: &machine,
            build: &build,
            pinning: launcher.pinning(),
            warmup_s: plan.warmup.as_secs_f64(),
            window_s: plan.window.as_secs_f64(),
            bulk_bytes: plan.bulk_bytes,
            rounds: options.rounds,
            window_bytes: tuning::WINDOW_BYTES,
            socket_buffer_bytes: tuning::SOCKET_BUFFER_BYTES,
            lines: &lines,
            samples,
            failures,
        };
        match options.output {
            Output::Text => self.print(&document),
            Output::Json => println!("{}", serde_json::to_string_pretty(&document)?),
        }
        if let Some(file) = &options.json {
            std::fs::write(file, serde_json::to_vec_pretty(&document)?)
                .with_context(|| format!("write {}", file.display()))?;
        }
        Ok(())
    }

    async fn measure(&self, options: &Options, launcher: &Launcher) -> Result<Measured> {
        let is_chosen = |row: Row| options.only.is_empty() || options.only.contains(&row);
        let mut rows: Vec<Row> = Vec::new();
        for figure in self.scheme.figures {
            if is_chosen(figure.row) && !rows.contains(&figure.row) {
                rows.push(figure.row);
            }
        }
        let mut measured = Measured::default();
        for round in 0..options.rounds {
            for row in &rows {
                for peer in self.peers.iter().filter(|peer| row.includes(**peer)) {
                    if measured.has_failed(*row, *peer) {
                        continue;
                    }
                    eprintln!("round {} of {}: {row}, {peer}", round + 1, options.rounds);
                    measured.add(*row, *peer, round, launcher.measure(*row, *peer).await)?;
                }
            }
        }
        Ok(measured)
    }

    fn print(&self, document: &Document<'_>) {
        print!("{}", table::render(document.lines));
        println!(
            "\nratio: figure / baseline's of the same round, median of {} rounds; the baseline is \
             the peer at 1.00x\nof rt-1 and connect the ratio is of p50, of mixed of p99, of \
             cpu-1024 of processor time, else of ops/s or MB/s",
            document.rounds
        );
        let foreign = document.lines.iter().map(|line| line.foreign_cpu_percent_max);
        let foreign_percent = foreign.fold(0.0, f64::max);
        if foreign_percent > FOREIGN_CPU_PERCENT_MAX {
            println!("noise: other programs took up to {foreign_percent:.0} % of the machine");
        }
        println!("machine: {}; {}", document.machine, document.pinning);
        println!("build: {}", document.build);
    }
}

impl Measured {
    /// A peer that failed a row is not tried again: it would fail, or hang, in each round.
    fn has_failed(&self, row: Row, peer: PeerKind) -> bool {
        self.failures.iter().any(|failure| failure.row == row && failure.peer == peer)
    }

    /// Keeps a sample, or why another's runtime gave none. Ours end the run with their error.
    fn add(&mut self, row: Row, peer: PeerKind, round: u32, sample: Result<Sample>) -> Result<()> {
        match sample {
            Ok(sample) => self.samples.push(Sample { round, ..sample }),
            Err(error) => match peer.home() {
                Home::Bench => return Err(error).with_context(|| format!("{row} of {peer}")),
                Home::Peers => {
                    let reason = format!("{error:#}");
                    eprintln!("{row} of {peer}: {reason}");
                    self.failures.push(Failure { row, peer, round, reason });
                }
            },
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_of_ours_ends_the_run_and_one_of_another_runtime_is_kept() {
        let mut measured = Measured::default();
        let failed = || Err(anyhow::anyhow!("no answer"));
        measured.add(Row::RoundTrip64, PeerKind::Kameo, 0, failed()).unwrap();
        assert!(measured.has_failed(Row::RoundTrip64, PeerKind::Kameo));
        assert!(!measured.has_failed(Row::RoundTrip1, PeerKind::Kameo));
        let error = measured.add(Row::RoundTrip64, PeerKind::Quinn, 0, failed()).unwrap_err();
        assert_eq!(format!("{error:#}"), "rt-64 of quinn: no answer");
    }
}
