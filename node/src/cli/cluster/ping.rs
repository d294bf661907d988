//! `vioduct cluster ping`: messages there and back, at a steady rate, told once a second.

use std::fmt;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use bytes::Bytes;
use clap::Args;
use serde::Serialize;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval};
use vioduct_certs::identity::NodeName;
use vioduct_node::status::SCHEMA;
use vioduct_node::system::{ECHO, Echo, EchoActor};
use vioduct_node::tool::{Faults, Found};
use vioduct_runtime::AskError;

use super::TargetArgs;
use crate::cli::node::StopSignals;
use crate::cli::output::{OutputFormat, print_line};

/// Answers that wait to be counted.
const OUTCOMES_MAX: usize = 4096;
/// Messages to one node that may wait for their answers at once.
const OUTSTANDING_MAX: usize = 256;
/// How long an answer is waited for.
const DEADLINE: Duration = Duration::from_secs(10);

/// Arguments of `cluster ping`.
#[derive(Debug, Args)]
pub(crate) struct PingArgs {
    #[command(flatten)]
    target: TargetArgs,
    /// Messages a second to each node.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=1000))]
    rate: u32,
    /// Bytes in each message.
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(0..=1 << 20))]
    bytes: u32,
    /// Stop after this many seconds. Default: on SIGINT or SIGTERM.
    #[arg(long)]
    seconds: Option<u32>,
}

/// One message there and back, or not.
struct Outcome {
    node: NodeName,
    result: Result<Duration, AskError>,
}

/// What happened in one second; the unit is microseconds.
#[derive(Debug, Serialize)]
struct Second {
    schema: u32,
    second: u32,
    ok: u64,
    failed: u64,
    p50_us: u64,
    p99_us: u64,
    max_us: u64,
    errors: Faults,
}

impl fmt::Display for Second {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { second, ok, failed, p50_us, p99_us, max_us, errors, .. } = self;
        write!(f, "{second:>3} s  ok {ok}  failed {failed}")?;
        write!(f, "  p50 {p50_us} us  p99 {p99_us} us  max {max_us} us{errors}")
    }
}

#[derive(Default)]
struct Tally {
    latencies_us: Vec<u64>,
    errors: Faults,
}

impl Tally {
    fn count(&mut self, outcome: Outcome) {
        match outcome.result {
            Ok(latency) => {
                self.latencies_us.push(u64::try_from(latency.as_micros()).unwrap_or(u64::MAX));
            }
            Err(error) => self.errors.note(&outcome.node, &error),
        }
    }

    fn second(mut self, second: u32) -> Second {
        self.latencies_us.sort_unstable();
        let latencies = &self.latencies_us;
        let at = |percent: usize| {
            let rank = (latencies.len() * percent).div_ceil(100).saturating_sub(1);
            latencies.get(rank).copied().unwrap_or(0)
        };
        Second {
            schema: SCHEMA,
            second,
            ok: latencies.len() as u64,
            failed: self.errors.count(),
            p50_us: at(50),
            p99_us: at(99),
            max_us: at(100),
            errors: self.errors,
        }
    }
}

impl PingArgs {
    pub(super) async fn run(self, out: OutputFormat) -> Result<ExitCode> {
        let mut stop = StopSignals::listen()?;
        let tool = self.target.tool()?;
        let (outcomes, mut counted) = mpsc::channel(OUTCOMES_MAX);
        let mut pingers = JoinSet::new();
        let body = Bytes::from(vec![0x5a; self.bytes as usize]);
        for (node, addr) in self.target.nodes()? {
            let echo = tool.connect(node.clone(), &addr).await?.actor(ECHO);
            pingers.spawn(ping(node, Arc::new(echo), body.clone(), self.rate, outcomes.clone()));
        }
        drop(outcomes);
        let mut seconds = interval(Duration::from_secs(1));
        seconds.tick().await; // The first is now.
        let (mut tally, mut number, mut failed) = (Tally::default(), 0, 0);
        while self.seconds.is_none_or(|last| number < last) {
            tokio::select! {
                Some(outcome) = counted.recv() => tally.count(outcome),
                _second_is_over = seconds.tick() => {
                    number += 1;
                    let second = std::mem::take(&mut tally).second(number);
                    failed += second.failed;
                    match out {
                        OutputFormat::Text => print_line(&second)?,
                        OutputFormat::Json => print_line(serde_json::to_string(&second)?)?,
                    }
                }
                _signal = stop.next() => break,
            }
        }
        pingers.shutdown().await;
        tool.close().await;
        Ok(if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}

/// Asks at a steady rate, whatever the answers do, until it is stopped.
async fn ping(
    node: NodeName,
    echo: Arc<Found<EchoActor>>,
    body: Bytes,
    rate: u32,
    outcomes: mpsc::Sender<Outcome>,
) {
    let mut planned = interval(Duration::from_secs(1) / rate);
    planned.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let mut waiting = JoinSet::new();
    loop {
        let asked: Instant = planned.tick().await;
        if waiting.len() >= OUTSTANDING_MAX {
            waiting.join_next().await;
        }
        while waiting.try_join_next().is_some() {}
        let (node, echo, body) = (node.clone(), Arc::clone(&echo), body.clone());
        let outcomes = outcomes.clone();
        waiting.spawn(async move {
            let result = echo.ask(Echo { body }, DEADLINE).await.map(|_echoed| asked.elapsed());
            // Fails only at the end.
            outcomes.send(Outcome { node, result }).await.ok();
        });
    }
}

#[cfg(test)]
mod tests {
    use vioduct_runtime::Doubt;

    use super::*;

    #[test]
    fn a_second_tells_percentiles_and_each_kind_of_error() {
        let node: NodeName = "n1".parse().unwrap();
        let mut tally = Tally::default();
        for millis in 1..=200 {
            let result = Ok(Duration::from_millis(millis));
            tally.count(Outcome { node: node.clone(), result });
        }
        for _time in 0..2 {
            let result = Err(Doubt::LinkLost.into());
            tally.count(Outcome { node: node.clone(), result });
        }
        let second = tally.second(3);
        assert_eq!((second.ok, second.failed), (200, 2));
        assert_eq!((second.p50_us, second.p99_us, second.max_us), (100_000, 198_000, 200_000));
        assert_eq!(
            second.to_string(),
            "  3 s  ok 200  failed 2  p50 100000 us  p99 198000 us  max 200000 us  \
             n1 maybe_delivered 2: maybe delivered: the link was lost"
        );
    }

    #[test]
    fn a_second_without_answers_is_all_zero() {
        let second = Tally::default().second(1);
        assert_eq!((second.ok, second.failed, second.p99_us), (0, 0, 0));
    }
}
