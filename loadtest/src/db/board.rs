//! What came of the operations.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::{Mutex, MutexGuard, PoisonError};

use anyhow::Result;
use serde::Serialize;
use vioduct_db::client::DbError;
use vioduct_loadtest::stats::LatencyRecorder;

use super::ledger::Ending;
use crate::schedule::Phase;

/// Errors, and violations, of which the result has more than a count.
const EXAMPLES_MAX: usize = 20;

/// What an operation does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Read,
    Write,
}

/// Something of reads, and of writes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Each<T> {
    pub(crate) read: T,
    pub(crate) write: T,
}

impl<T> Each<T> {
    const fn of(&mut self, kind: Kind) -> &mut T {
        match kind {
            Kind::Read => &mut self.read,
            Kind::Write => &mut self.write,
        }
    }

    pub(crate) const fn both(&self) -> [&T; 2] {
        [&self.read, &self.write]
    }
}

/// What came of one operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It was done, and right.
    Ok,
    /// It was not done in time, and will not be.
    Unavailable,
    /// It is not known whether it was done.
    Unknown,
    /// It was refused.
    Refused,
    /// It found, or denied, what can't be.
    Wrong,
}

impl Outcome {
    pub(crate) const fn of(error: &DbError) -> Self {
        match error {
            DbError::Unavailable { .. } => Self::Unavailable,
            DbError::Unknown { .. } | DbError::SessionOver { .. } | DbError::Unexpected => {
                Self::Unknown
            }
            _refusal => Self::Refused,
        }
    }

    /// What is known of a write that ended so.
    pub(crate) const fn ending(self) -> Ending {
        match self {
            Self::Ok => Ending::Acknowledged,
            Self::Unknown => Ending::Unknown,
            Self::Unavailable | Self::Refused | Self::Wrong => Ending::NotDone,
        }
    }
}

/// How many operations had which outcome.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Counts {
    /// Operations; the sum of the next six.
    pub(crate) sent: u64,
    pub(crate) ok: u64,
    pub(crate) unavailable: u64,
    pub(crate) unknown: u64,
    pub(crate) refused: u64,
    pub(crate) wrong: u64,
    /// The run was ended by force before anything came of them.
    pub(crate) unfinished: u64,
}

impl Counts {
    const fn add(&mut self, outcome: Outcome) {
        *match outcome {
            Outcome::Ok => &mut self.ok,
            Outcome::Unavailable => &mut self.unavailable,
            Outcome::Unknown => &mut self.unknown,
            Outcome::Refused => &mut self.refused,
            Outcome::Wrong => &mut self.wrong,
        } += 1;
    }

    /// Those that ended in anything but [`Outcome::Ok`].
    pub(crate) const fn errors(&self) -> u64 {
        self.failed() + self.unfinished
    }

    const fn failed(&self) -> u64 {
        self.unavailable + self.unknown + self.refused + self.wrong
    }

    const fn open(&self) -> u64 {
        self.sent.saturating_sub(self.ok + self.failed())
    }
}

/// Counts by kind, and the first few in words.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Troubles {
    pub(crate) total: u64,
    pub(crate) by_kind: BTreeMap<&'static str, u64>,
    pub(crate) first: Vec<String>,
}

impl Troubles {
    fn note(&mut self, kind: &'static str, text: String) {
        self.total += 1;
        *self.by_kind.entry(kind).or_default() += 1;
        if self.first.len() < EXAMPLES_MAX {
            self.first.push(text);
        }
    }
}

/// The longest time without an acknowledged write.
#[derive(Clone, Copy, Debug, Default)]
struct Gap {
    last_ns: u64,
    longest_ns: u64,
}

impl Gap {
    fn acknowledged(&mut self, now_ns: u64) {
        self.longest_ns = self.longest_ns.max(now_ns.saturating_sub(self.last_ns));
        self.last_ns = self.last_ns.max(now_ns);
    }
}

/// An operation that has ended.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ended {
    pub(crate) kind: Kind,
    pub(crate) phase: Phase,
    pub(crate) planned_ns: u64,
    pub(crate) sent_ns: u64,
    pub(crate) outcome: Outcome,
}

/// What happened since the last look.
#[derive(Clone, Debug)]
pub(crate) struct Recent {
    pub(crate) errors: u64,
    pub(crate) violations: u64,
    pub(crate) latencies: Each<LatencyRecorder>,
}

/// The sums of a run.
#[derive(Clone, Debug)]
pub(crate) struct Tally {
    pub(crate) warmup: Each<Counts>,
    pub(crate) measured: Each<Counts>,
    /// Those of either phase that were done in the time of the measurement.
    pub(crate) ok_in_window: Each<u64>,
    /// Of the measurement.
    pub(crate) latencies: Each<LatencyRecorder>,
    /// Of the whole run.
    pub(crate) errors: Troubles,
    /// The same.
    pub(crate) violations: Troubles,
    gap: Gap,
    window_ns: Range<u64>,
    recent: Recent,
}

impl Tally {
    fn counts(&mut self, phase: Phase) -> &mut Each<Counts> {
        match phase {
            Phase::WarmUp => &mut self.warmup,
            Phase::Measured => &mut self.measured,
        }
    }

    /// The longest time of the measurement without an acknowledged write; none if none was to be.
    pub(crate) fn longest_write_gap_ns(&self) -> Option<u64> {
        (self.measured.write.sent > 0).then_some(self.gap.longest_ns)
    }
}

/// The sums, where all senders add to them.
#[derive(Debug)]
pub(crate) struct Board(Mutex<Tally>);

impl Board {
    /// A board whose measurement is in this window of the run's clock.
    pub(crate) fn new(window_ns: Range<u64>) -> Result<Self> {
        let empty = LatencyRecorder::new()?;
        let latencies = Each { read: empty.clone(), write: empty };
        Ok(Self(Mutex::new(Tally {
            warmup: Each::default(),
            measured: Each::default(),
            ok_in_window: Each::default(),
            latencies: latencies.clone(),
            errors: Troubles::default(),
            violations: Troubles::default(),
            gap: Gap { last_ns: window_ns.start, longest_ns: 0 },
            window_ns,
            recent: Recent { errors: 0, violations: 0, latencies },
        })))
    }

    fn tally(&self) -> MutexGuard<'_, Tally> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// An operation is about to leave.
    pub(crate) fn sent(&self, kind: Kind, phase: Phase) {
        self.tally().counts(phase).of(kind).sent += 1;
    }

    /// One has ended just now. Only an [`Outcome::Ok`] has a latency.
    pub(crate) fn ended(&self, ended: Ended, now_ns: u64) {
        let mut tally = self.tally();
        let Ended { kind, phase, planned_ns, sent_ns, outcome } = ended;
        tally.counts(phase).of(kind).add(outcome);
        if outcome != Outcome::Ok {
            tally.recent.errors += u64::from(outcome != Outcome::Wrong);
            return;
        }
        tally.recent.latencies.of(kind).record(planned_ns, sent_ns, now_ns);
        *tally.ok_in_window.of(kind) += u64::from(tally.window_ns.contains(&now_ns));
        if phase == Phase::Measured {
            tally.latencies.of(kind).record(planned_ns, sent_ns, now_ns);
        }
        if kind == Kind::Write && now_ns >= tally.window_ns.start {
            tally.gap.acknowledged(now_ns);
        }
    }

    /// Why one was not done.
    pub(crate) fn failed(&self, error: &DbError) {
        self.tally().errors.note(error_name(error), error.to_string());
    }

    /// What can't be.
    pub(crate) fn violated(&self, kind: &'static str, text: String) {
        let mut tally = self.tally();
        tally.violations.note(kind, text);
        tally.recent.violations += 1;
    }

    /// What happened since the last call.
    pub(crate) fn take_recent(&self) -> Recent {
        let mut tally = self.tally();
        let recent = tally.recent.clone();
        tally.recent.errors = 0;
        tally.recent.violations = 0;
        tally.recent.latencies.read.clear();
        tally.recent.latencies.write.clear();
        recent
    }

    /// The sums at the end of the load. Whatever is still open stays so.
    pub(crate) fn finished(&self, now_ns: u64) -> Tally {
        let mut tally = self.tally().clone();
        tally.gap.acknowledged(now_ns);
        for counts in [&mut tally.warmup, &mut tally.measured] {
            for counts in [&mut counts.read, &mut counts.write] {
                counts.unfinished = counts.open();
            }
        }
        tally
    }
}

/// An error's name in the result.
const fn error_name(error: &DbError) -> &'static str {
    match error {
        DbError::Unavailable { .. } => "unavailable",
        DbError::Unknown { .. } => "unknown",
        DbError::SessionOver { .. } => "session_over",
        DbError::Unexpected => "unexpected",
        DbError::TooManySessions => "too_many_sessions",
        DbError::NoTable { .. } => "no_table",
        DbError::NoShard { .. } => "no_shard",
        DbError::Invalid { .. } => "invalid",
        _other => "other",
    }
}

#[cfg(test)]
mod tests {
    use vioduct_db::ShardId;

    use super::*;

    fn ended(kind: Kind, phase: Phase, outcome: Outcome) -> Ended {
        Ended { kind, phase, planned_ns: 50, sent_ns: 60, outcome }
    }

    #[test]
    fn reads_and_writes_and_the_warm_up_are_counted_apart() {
        let board = Board::new(100..200).unwrap();
        for (kind, phase, outcome) in [
            (Kind::Read, Phase::WarmUp, Outcome::Ok),
            (Kind::Read, Phase::Measured, Outcome::Wrong),
            (Kind::Write, Phase::Measured, Outcome::Ok),
            (Kind::Write, Phase::Measured, Outcome::Unknown),
        ] {
            board.sent(kind, phase);
            board.ended(ended(kind, phase, outcome), 150);
        }
        board.sent(Kind::Write, Phase::Measured);
        let tally = board.finished(200);
        let none = Counts::default();
        assert_eq!(tally.warmup, Each { read: Counts { sent: 1, ok: 1, ..none }, write: none });
        let read = Counts { sent: 1, wrong: 1, ..none };
        let write = Counts { sent: 3, ok: 1, unknown: 1, unfinished: 1, ..none };
        assert_eq!(tally.measured, Each { read, write });
        assert_eq!(tally.ok_in_window, Each { read: 1, write: 1 });
        let counts = tally.latencies.both().map(|latencies| latencies.report().service.count);
        assert_eq!(counts, [0, 1]);
        let recent = board.take_recent();
        let counts = recent.latencies.both().map(|latencies| latencies.report().service.count);
        assert_eq!((counts, recent.errors), ([1, 1], 1));
        assert_eq!(board.take_recent().errors, 0);
    }

    #[test]
    fn the_longest_time_without_an_acknowledged_write_reaches_from_start_to_end() {
        for (moments, longest_ns) in [
            (&[90, 150, 160, 190][..], 50),
            (&[110, 120, 180], 60),
            (&[110, 120], 80),
            (&[], 100),
            (&[90, 110, 270], 160),
        ] {
            let board = Board::new(100..200).unwrap();
            board.sent(Kind::Write, Phase::Measured);
            for now_ns in moments {
                board.ended(ended(Kind::Write, Phase::Measured, Outcome::Ok), *now_ns);
                board.ended(ended(Kind::Read, Phase::Measured, Outcome::Ok), now_ns + 7);
            }
            let tally = board.finished(200);
            assert_eq!(tally.longest_write_gap_ns(), Some(longest_ns), "{moments:?}");
        }
        assert_eq!(Board::new(0..1).unwrap().finished(1).longest_write_gap_ns(), None);
    }

    #[test]
    fn only_what_may_have_been_done_is_unknown() {
        let shard = ShardId(0);
        for (error, outcome, ending) in [
            (DbError::Unavailable { shard, why: String::new() }, Outcome::Unavailable, false),
            (DbError::Unknown { shard }, Outcome::Unknown, true),
            (DbError::SessionOver { shard }, Outcome::Unknown, true),
            (DbError::Unexpected, Outcome::Unknown, true),
            (DbError::TooManySessions, Outcome::Refused, false),
        ] {
            assert_eq!(Outcome::of(&error), outcome, "{error}");
            let expected = if ending { Ending::Unknown } else { Ending::NotDone };
            assert_eq!(outcome.ending(), expected, "{error}");
        }
    }

    #[test]
    fn troubles_are_all_counted_and_the_first_ones_kept() {
        let board = Board::new(0..1).unwrap();
        for _ in 0..100 {
            board.violated("lost", "gone".to_owned());
            board.failed(&DbError::TooManySessions);
        }
        let Tally { errors, violations, .. } = board.finished(1);
        assert_eq!((violations.total, violations.first.len()), (100, EXAMPLES_MAX));
        assert_eq!(violations.by_kind.get("lost"), Some(&100));
        assert_eq!(errors.by_kind.get("too_many_sessions"), Some(&100));
    }
}
