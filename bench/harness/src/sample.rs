//! What one client process measured, and the window it measured in.

use std::time::Duration;

use hdrhistogram::Histogram;

use crate::cpu::Usage;
use crate::peer::PeerKind;
use crate::rows::{Metric, Row};

/// How long and how much to measure.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Load before the window opens.
    pub warmup: Duration,
    /// The window of the rows that are measured for a time.
    pub window: Duration,
    /// Data moved by the bulk and mixed rows, in bytes.
    pub bulk_bytes: u64,
}

/// The figures of one row, one peer, one round.
#[derive(Clone, Debug, serde::Deserialize, serde::Serialize)]
pub struct Sample {
    /// What was measured.
    pub row: Row,
    /// Of which peer.
    pub peer: PeerKind,
    /// In which round, from 0.
    pub round: u32,
    /// Round trips, one-way messages or connections in the window.
    pub messages: u64,
    /// Length of the window in seconds.
    pub elapsed_s: f64,
    /// Messages per second.
    pub rate_per_s: Option<f64>,
    /// Payload per second in units of 10⁶ bytes, counted once however often it crosses.
    pub mb_per_s: Option<f64>,
    /// Median latency in microseconds.
    pub p50_us: Option<f64>,
    /// 99th percentile of latency in microseconds.
    pub p99_us: Option<f64>,
    /// User and system time of the process or both processes in the window, in seconds.
    pub cpu_s: f64,
    /// The same per million messages; only where nothing but the messages costs time.
    pub cpu_s_per_million: Option<f64>,
    /// Share of the machine that went to anything else meanwhile, in per cent.
    pub foreign_cpu_percent: f64,
}

impl Sample {
    /// Starts from what every row has.
    #[must_use]
    pub fn new(row: Row, peer: PeerKind, usage: Usage) -> Self {
        Self {
            row,
            peer,
            round: 0,
            messages: 0,
            elapsed_s: usage.elapsed_s,
            rate_per_s: None,
            mb_per_s: None,
            p50_us: None,
            p99_us: None,
            cpu_s: usage.cpu_s,
            cpu_s_per_million: None,
            foreign_cpu_percent: usage.foreign_cpu_percent,
        }
    }

    /// Adds latencies, recorded in nanoseconds.
    #[must_use]
    pub fn latencies(mut self, latencies_ns: &Histogram<u32>) -> Self {
        self.p50_us = Some(to_f64(latencies_ns.value_at_quantile(0.50)) / 1000.0);
        self.p99_us = Some(to_f64(latencies_ns.value_at_quantile(0.99)) / 1000.0);
        self
    }

    /// Adds a number of messages and what follows from it.
    #[must_use]
    pub fn messages(mut self, messages: u64) -> Self {
        self.messages = messages;
        self.rate_per_s = Some(to_f64(messages) / self.elapsed_s);
        self
    }

    /// Adds processor time per message. Call it after [`Self::messages`].
    #[must_use]
    pub fn cpu_per_message(mut self) -> Self {
        self.cpu_s_per_million =
            (self.messages != 0).then(|| self.cpu_s * 1e6 / to_f64(self.messages));
        self
    }

    /// Adds the rate of payload.
    #[must_use]
    pub fn payload_bytes(mut self, bytes: u64) -> Self {
        self.mb_per_s = Some(to_f64(bytes) / self.elapsed_s / 1e6);
        self
    }

    /// The figure asked for, if this row has it.
    #[must_use]
    pub fn metric(&self, metric: Metric) -> Option<f64> {
        match metric {
            Metric::RatePerS => self.rate_per_s,
            Metric::MbPerS => self.mb_per_s,
            Metric::P50Us => self.p50_us,
            Metric::P99Us => self.p99_us,
            Metric::CpuSPerMillion => self.cpu_s_per_million,
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "a figure for people; exact up to 2⁵³")]
fn to_f64(count: u64) -> f64 {
    count as f64
}
