//! What one client process measured.

use hdrhistogram::Histogram;

use super::rows::{StoreKind, StoreRow};

/// The figures of one row, one store, one round.
#[derive(Clone, Debug, PartialEq, serde::Deserialize, serde::Serialize)]
pub struct StoreSample {
    /// What was measured.
    pub row: StoreRow,
    /// Of which store.
    pub store: StoreKind,
    /// In which round, from 0.
    pub round: u32,
    /// Puts or gets that ended in the window; where there are some who watch, when all were told.
    pub operations: u64,
    /// Length of the window in seconds.
    pub elapsed_s: f64,
    /// Of them a second.
    pub rate_per_s: f64,
    /// How long they took; where there are some who watch, from the beginning of a put to the
    /// notice at the last of them.
    pub latency: Latency,
    /// From the beginning of a put to a notice, of each that watches.
    pub notice: Option<Latency>,
    /// User and system time of all servers in the window, in seconds.
    pub servers_cpu_s: f64,
    /// The same of the client.
    pub client_cpu_s: f64,
    /// Share of the machine that went to anything else meanwhile, in per cent.
    pub foreign_cpu_percent: f64,
}

/// How long something took, in microseconds.
#[derive(Clone, Copy, Debug, PartialEq, serde::Deserialize, serde::Serialize)]
pub struct Latency {
    /// Of half of them at most.
    pub p50_us: f64,
    /// Of 99 of a hundred at most.
    pub p99_us: f64,
}

impl Latency {
    /// From a record in nanoseconds.
    pub(super) fn of(record_ns: &Histogram<u32>) -> Self {
        let us = |quantile| to_f64(record_ns.value_at_quantile(quantile)) / 1000.0;
        Self { p50_us: us(0.50), p99_us: us(0.99) }
    }
}

impl StoreSample {
    /// Processor time of the servers for one operation, in microseconds.
    #[must_use]
    pub fn servers_cpu_us(&self) -> f64 {
        self.servers_cpu_s * 1e6 / to_f64(self.operations)
    }

    /// The same of the client.
    #[must_use]
    pub fn client_cpu_us(&self) -> f64 {
        self.client_cpu_s * 1e6 / to_f64(self.operations)
    }
}

#[expect(clippy::cast_precision_loss, reason = "a figure for people; exact up to 2⁵³")]
pub(super) fn to_f64(count: u64) -> f64 {
    count as f64
}
