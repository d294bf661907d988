//! What came of the requests, summed over all clients.

use std::collections::BTreeMap;
use std::ops::Range;

use anyhow::Result;
use serde::Serialize;
use vioduct_loadtest::stats::LatencyRecorder;
use vioduct_vios::block::Failure;
use vioduct_vios::nbd::client::RequestError;

use super::checker::{Ending, Violation};
use super::mix::Kind;
use crate::schedule::Phase;

/// Errors, and violations, of which the result has more than a count.
const EXAMPLES_MAX: usize = 20;

/// Why a request was not carried out, as far as its client knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The disk's answer was an I/O error.
    Io,
    /// It was full.
    NoSpace,
    /// It was any other refusal.
    Refused,
    /// The connection was lost before any of it was sent.
    NotSent,
    /// The connection was lost before the answer.
    Unanswered,
    /// No answer in time.
    Deadline,
}

impl Fault {
    pub(crate) fn of(error: &RequestError) -> Self {
        match error {
            RequestError::NotSent(_) => Self::NotSent,
            RequestError::Unanswered(_) => Self::Unanswered,
            RequestError::Device(Failure::Io) => Self::Io,
            RequestError::Device(Failure::NoSpace) => Self::NoSpace,
            RequestError::Device(_) => Self::Refused,
        }
    }

    /// Its name in the result.
    const fn name(self) -> &'static str {
        match self {
            Self::Io => "io",
            Self::NoSpace => "no_space",
            Self::Refused => "refused",
            Self::NotSent => "not_sent",
            Self::Unanswered => "unanswered",
            Self::Deadline => "deadline",
        }
    }

    /// What is known of a write that ended so.
    pub(crate) const fn ending(self) -> Ending {
        match self {
            Self::NotSent => Ending::NotSent,
            Self::Io | Self::NoSpace | Self::Refused | Self::Unanswered | Self::Deadline => {
                Ending::Unknown
            }
        }
    }

    /// Whether the connection is of no more use.
    pub(crate) const fn is_of_link(self) -> bool {
        matches!(self, Self::NotSent | Self::Unanswered | Self::Deadline)
    }
}

/// Requests that were carried out in the measurement.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Counts {
    pub(crate) reads: u64,
    /// Those with FUA, zeroes and trims included.
    pub(crate) writes: u64,
    pub(crate) writes_fua: u64,
    pub(crate) zeroes: u64,
    pub(crate) trims: u64,
    pub(crate) flushes: u64,
    pub(crate) bytes_read: u64,
    /// Zeroes and trims not included.
    pub(crate) bytes_written: u64,
}

impl Counts {
    fn add(&mut self, kind: Kind, bytes: u64) {
        match kind {
            Kind::Read => {
                self.reads += 1;
                self.bytes_read += bytes;
            }
            Kind::Write | Kind::WriteFua => {
                self.writes += 1;
                self.writes_fua += u64::from(kind == Kind::WriteFua);
                self.bytes_written += bytes;
            }
            Kind::WriteZeroes => {
                self.writes += 1;
                self.zeroes += 1;
            }
            Kind::Trim => {
                self.writes += 1;
                self.trims += 1;
            }
            Kind::Flush => self.flushes += 1,
        }
    }

    /// Reads and writes.
    pub(crate) const fn transfers(&self) -> u64 {
        self.reads + self.writes
    }
}

/// Something that went wrong, and when on the run's clock.
#[derive(Clone, Debug)]
pub(crate) struct Example {
    pub(crate) at_ns: u64,
    pub(crate) client: usize,
    pub(crate) text: String,
}

/// Counts by kind, and the first few in words.
#[derive(Clone, Debug, Default)]
pub(crate) struct Troubles {
    pub(crate) total: u64,
    pub(crate) by_kind: BTreeMap<&'static str, u64>,
    pub(crate) first: Vec<Example>,
}

impl Troubles {
    fn note(&mut self, kind: &'static str, example: Example) {
        self.total += 1;
        *self.by_kind.entry(kind).or_default() += 1;
        if self.first.len() < EXAMPLES_MAX {
            self.first.push(example);
        }
    }
}

/// A request that was carried out.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Done {
    /// None outside of the load.
    pub(crate) phase: Option<Phase>,
    pub(crate) kind: Kind,
    pub(crate) bytes: u64,
    pub(crate) planned_ns: u64,
    pub(crate) sent_ns: u64,
    pub(crate) done_ns: u64,
}

/// What happened since the last look.
#[derive(Debug)]
pub(crate) struct Recent {
    pub(crate) transfers: u64,
    pub(crate) bytes: u64,
    pub(crate) latencies: LatencyRecorder,
}

/// The sums of a run.
#[derive(Debug)]
pub(crate) struct Board {
    pub(crate) counts: Counts,
    pub(crate) reads: LatencyRecorder,
    pub(crate) writes: LatencyRecorder,
    pub(crate) flushes: LatencyRecorder,
    /// Of the whole run: before and after the measurement, too.
    pub(crate) errors: Troubles,
    /// The same.
    pub(crate) violations: Troubles,
    pub(crate) reconnects: u64,
    recent: Recent,
    window_ns: Range<u64>,
}

impl Board {
    pub(crate) fn new() -> Result<Self> {
        let empty = LatencyRecorder::new()?;
        Ok(Self {
            counts: Counts::default(),
            reads: empty.clone(),
            writes: empty.clone(),
            flushes: empty.clone(),
            errors: Troubles::default(),
            violations: Troubles::default(),
            reconnects: 0,
            recent: Recent { transfers: 0, bytes: 0, latencies: empty },
            window_ns: 0..0,
        })
    }

    /// The measurement is in this window of the run's clock.
    pub(crate) fn measure_in(&mut self, window_ns: Range<u64>) {
        self.window_ns = window_ns;
    }

    /// A request was carried out.
    pub(crate) fn done(&mut self, done: Done) {
        let Done { phase, kind, bytes, planned_ns, sent_ns, done_ns } = done;
        let Some(phase) = phase else { return };
        if kind != Kind::Flush {
            self.recent.transfers += 1;
            self.recent.bytes += bytes;
            self.recent.latencies.record(planned_ns, sent_ns, done_ns);
        }
        if self.window_ns.contains(&done_ns) {
            self.counts.add(kind, bytes);
        }
        if phase == Phase::Measured {
            let latencies = match kind {
                Kind::Read => &mut self.reads,
                Kind::Write | Kind::WriteFua | Kind::WriteZeroes | Kind::Trim => &mut self.writes,
                Kind::Flush => &mut self.flushes,
            };
            latencies.record(planned_ns, sent_ns, done_ns);
        }
    }

    /// One was not.
    pub(crate) fn failed(&mut self, kind: Kind, fault: Fault, example: Example) {
        let text = format!("{kind:?}: {}", example.text);
        self.errors.note(fault.name(), Example { text, ..example });
    }

    /// A read gave what cannot be.
    pub(crate) fn violated(&mut self, client: usize, at_ns: u64, violation: Violation) {
        let example = Example { at_ns, client, text: violation.to_string() };
        self.violations.note(violation.what.name(), example);
    }

    /// What happened since the last call.
    pub(crate) fn take_recent(&mut self) -> Recent {
        let latencies = self.recent.latencies.clone();
        let recent = Recent { latencies, ..self.recent };
        self.recent.transfers = 0;
        self.recent.bytes = 0;
        self.recent.latencies.clear();
        recent
    }
}

#[cfg(test)]
mod tests {
    use super::super::checker::What;
    use super::*;

    fn done(phase: Option<Phase>, kind: Kind, done_ns: u64) -> Done {
        Done { phase, kind, bytes: 4096, planned_ns: 0, sent_ns: 0, done_ns }
    }

    #[test]
    fn only_what_was_planned_in_the_measurement_has_a_latency_and_only_what_ended_in_it_counts() {
        let mut board = Board::new().unwrap();
        board.measure_in(100..200);
        for (phase, done_ns) in [
            (None, 150),
            (Some(Phase::WarmUp), 150),
            (Some(Phase::Measured), 199),
            (Some(Phase::Measured), 200),
        ] {
            board.done(done(phase, Kind::Read, done_ns));
        }
        board.done(done(Some(Phase::Measured), Kind::Flush, 120));
        assert_eq!((board.counts.reads, board.counts.bytes_read), (2, 8192));
        assert_eq!((board.counts.flushes, board.counts.transfers()), (1, 2));
        let counts = [&board.reads, &board.writes, &board.flushes]
            .map(|latencies| latencies.report().service.count);
        assert_eq!(counts, [2, 0, 1]);
        assert_eq!((board.take_recent().transfers, board.take_recent().transfers), (3, 0));
    }

    #[test]
    fn troubles_are_all_counted_and_the_first_ones_kept() {
        let mut board = Board::new().unwrap();
        let what = What::Foreign;
        for at_ns in 0..100 {
            board.violated(3, at_ns, Violation { offset: 512, what });
            let example = Example { at_ns, client: 3, text: "gone".to_owned() };
            board.failed(Kind::Read, Fault::NotSent, example);
        }
        assert_eq!((board.violations.total, board.violations.first.len()), (100, EXAMPLES_MAX));
        assert_eq!(board.violations.by_kind.get("foreign"), Some(&100));
        assert_eq!(board.errors.by_kind.get("not_sent"), Some(&100));
        assert_eq!(board.errors.first[0].text, "Read: gone");
    }
}
