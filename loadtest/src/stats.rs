//! Latency statistics: two histograms, and the figures reported from them.
//!
//! *Service* time runs from the moment a request left, *response* time from the moment it was
//! planned to. They differ by the time a request waited for the generator, which is where a stall
//! hides when only service time is shown. Recorded in nanoseconds, reported in microseconds.

use anyhow::{Context, Result};
use hdrhistogram::Histogram;

/// The longest latency told apart, in nanoseconds: ten minutes. Longer ones are recorded as this.
pub const LATENCY_NS_MAX: u64 = 600 * 1_000_000_000;

/// Significant decimal digits kept of a latency.
const DIGITS: u8 = 3;

/// The latencies of one agent, or of several after [`Self::merge`].
#[derive(Clone, Debug)]
pub struct LatencyRecorder {
    service_ns: Histogram<u64>,
    response_ns: Histogram<u64>,
}

/// The figures of one histogram, in microseconds. All zero when `count` is.
#[derive(Clone, Copy, Debug, PartialEq, serde::Deserialize, serde::Serialize)]
pub struct Percentiles {
    /// Median.
    pub p50_us: f64,
    /// 90th percentile.
    pub p90_us: f64,
    /// 99th percentile.
    pub p99_us: f64,
    /// 99.9th percentile.
    pub p999_us: f64,
    /// The longest.
    pub max_us: f64,
    /// Requests recorded.
    pub count: u64,
}

/// The figures of a run.
#[derive(Clone, Copy, Debug, PartialEq, serde::Deserialize, serde::Serialize)]
pub struct LatencyReport {
    /// From the moment a request left.
    pub service: Percentiles,
    /// From the moment it was planned to leave.
    pub response: Percentiles,
}

impl LatencyRecorder {
    /// Makes an empty recorder, of about 250 KiB for each histogram.
    ///
    /// # Errors
    /// When the histogram library refuses the bounds.
    pub fn new() -> Result<Self> {
        let empty = Histogram::new_with_bounds(1, LATENCY_NS_MAX, DIGITS)
            .context("bounds of a histogram")?;
        Ok(Self { service_ns: empty.clone(), response_ns: empty })
    }

    /// Records one request from three moments on one clock, in nanoseconds. An interval that
    /// would be negative counts as 0.
    pub fn record(&mut self, planned_ns: u64, sent_ns: u64, done_ns: u64) {
        self.service_ns.saturating_record(done_ns.saturating_sub(sent_ns));
        self.response_ns.saturating_record(done_ns.saturating_sub(planned_ns));
    }

    /// Adds what another recorder holds. Percentiles of the whole come from this, never from the
    /// percentiles of the parts.
    ///
    /// # Errors
    /// When the histogram library finds a value out of bounds; all recorders have the same.
    pub fn merge(&mut self, other: &Self) -> Result<()> {
        self.service_ns
            .add(&other.service_ns)
            .and_then(|()| self.response_ns.add(&other.response_ns))
            .context("merge of histograms")
    }

    /// Forgets what was recorded.
    pub fn clear(&mut self) {
        self.service_ns.reset();
        self.response_ns.reset();
    }

    /// The figures so far.
    #[must_use]
    pub fn report(&self) -> LatencyReport {
        LatencyReport {
            service: Percentiles::of(&self.service_ns),
            response: Percentiles::of(&self.response_ns),
        }
    }
}

impl Percentiles {
    fn of(histogram_ns: &Histogram<u64>) -> Self {
        let at = |quantile| microseconds(histogram_ns.value_at_quantile(quantile));
        Self {
            p50_us: at(0.5),
            p90_us: at(0.9),
            p99_us: at(0.99),
            p999_us: at(0.999),
            max_us: microseconds(histogram_ns.max()),
            count: histogram_ns.len(),
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "latencies stay far below 2⁵³ ns")]
fn microseconds(ns: u64) -> f64 {
    ns as f64 / 1000.0
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU64;

    use super::*;
    use crate::pace::Pacer;

    const MS: u64 = 1_000_000;
    const SERVICE_NS: u64 = MS / 10;
    const RUN_NS: u64 = 10_000 * MS;
    const STALL_NS: std::ops::Range<u64> = 4_000 * MS..5_000 * MS;

    /// When a server that stalls for one second answers what arrives at `sent_ns`.
    fn answered(sent_ns: u64) -> u64 {
        if STALL_NS.contains(&sent_ns) { STALL_NS.end + SERVICE_NS } else { sent_ns + SERVICE_NS }
    }

    #[test]
    fn a_stall_of_one_second_shows_in_the_response_time_of_open_loop() {
        let mut pacer = Pacer::new(0, NonZeroU64::new(1000).unwrap(), MS);
        let mut latencies = LatencyRecorder::new().unwrap();
        while pacer.planned_ns() < RUN_NS {
            let sent_ns = pacer.planned_ns();
            let planned_ns = pacer.take(sent_ns).unwrap();
            latencies.record(planned_ns, sent_ns, answered(sent_ns));
        }
        let response = latencies.report().response;
        assert_eq!(response.count, 10_000);
        assert!(response.p999_us >= 900_000.0, "{response:?}");
    }

    #[test]
    fn closed_loop_hides_the_same_stall() {
        let mut latencies = LatencyRecorder::new().unwrap();
        let mut sent_ns = 0;
        while sent_ns < RUN_NS {
            let done_ns = answered(sent_ns);
            latencies.record(sent_ns, sent_ns, done_ns);
            sent_ns = done_ns.max(sent_ns + MS);
        }
        let service = latencies.report().service;
        assert!(service.p999_us < 1_000.0, "{service:?}");
        assert!(service.max_us >= 900_000.0, "{service:?}");
    }

    #[test]
    fn a_generator_held_up_by_one_slow_reply_shows_it_in_response_and_not_in_service() {
        let mut pacer = Pacer::new(0, NonZeroU64::new(1000).unwrap(), MS);
        let mut latencies = LatencyRecorder::new().unwrap();
        let mut now_ns = 0;
        while pacer.planned_ns() < RUN_NS {
            now_ns = pacer.planned_ns().max(now_ns);
            let planned_ns = pacer.take(now_ns).unwrap();
            let done_ns = answered(now_ns);
            latencies.record(planned_ns, now_ns, done_ns);
            now_ns = done_ns;
        }
        let report = latencies.report();
        assert!(report.service.p999_us < 1_000.0, "{report:?}");
        assert!(report.response.p999_us >= 900_000.0, "{report:?}");
        assert!(pacer.late() > 900, "{} late", pacer.late());
    }

    #[test]
    fn merging_gives_the_percentiles_of_the_whole_and_not_their_mean() {
        let (mut fast, mut slow) =
            (LatencyRecorder::new().unwrap(), LatencyRecorder::new().unwrap());
        for _ in 0..98 {
            fast.record(0, 0, MS);
        }
        for _ in 0..2 {
            slow.record(0, 0, 100 * MS);
        }
        fast.merge(&slow).unwrap();
        let service = fast.report().service;
        assert_eq!(service.count, 100);
        assert!((service.p50_us - 1_000.0).abs() < 2.0, "{service:?}");
        assert!((service.p99_us - 100_000.0).abs() < 100.0, "{service:?}");
    }

    #[test]
    fn latencies_past_the_limit_are_recorded_as_the_limit() {
        let mut latencies = LatencyRecorder::new().unwrap();
        latencies.record(0, 0, u64::MAX);
        let max_us = latencies.report().service.max_us;
        assert!((max_us / (microseconds(LATENCY_NS_MAX)) - 1.0).abs() < 0.001, "{max_us}");
    }

    #[test]
    fn an_empty_recorder_reports_zeros() {
        let zero = Percentiles {
            p50_us: 0.0,
            p90_us: 0.0,
            p99_us: 0.0,
            p999_us: 0.0,
            max_us: 0.0,
            count: 0,
        };
        assert_eq!(
            LatencyRecorder::new().unwrap().report(),
            LatencyReport { service: zero, response: zero }
        );
    }
}
