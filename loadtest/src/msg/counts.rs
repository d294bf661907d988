//! What came of the messages, summed over all nodes.

use std::sync::{Mutex, MutexGuard, PoisonError};

use anyhow::Result;
use vioduct_loadtest::stats::{LatencyRecorder, LatencyReport};

/// When a message was planned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Before the measurement; its latencies are not recorded.
    WarmUp,
    /// In the measurement.
    Measured,
}

/// What came of one message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// The same bytes came back, after those of every earlier message of the flow that did.
    Ok,
    /// The node did not get it.
    NotDelivered,
    /// The connection was lost; the node may have got it.
    MaybeDelivered,
    /// No reply in time; the node may have got it.
    Deadline,
    /// Other bytes came back.
    WrongBody,
    /// The reply to a later message of the flow came before.
    WrongOrder,
}

/// How many messages had which outcome.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub(crate) struct Counts {
    /// Messages given to links; the sum of the next seven.
    pub(crate) sent: u64,
    /// [`Outcome::Ok`].
    pub(crate) ok: u64,
    /// [`Outcome::NotDelivered`].
    pub(crate) not_delivered: u64,
    /// [`Outcome::MaybeDelivered`].
    pub(crate) maybe_delivered: u64,
    /// [`Outcome::Deadline`].
    pub(crate) deadline: u64,
    /// [`Outcome::WrongBody`].
    pub(crate) wrong_body: u64,
    /// [`Outcome::WrongOrder`].
    pub(crate) wrong_order: u64,
    /// The run was ended by force before anything came of them.
    pub(crate) unfinished: u64,
}

/// Replies that belong to no waiting message, over the whole run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub(crate) struct Strays {
    /// They came after the message was given up as maybe delivered; no fault.
    pub(crate) late: u64,
    /// Second replies, replies to what was reported as not delivered, and what is no reply.
    pub(crate) unexpected: u64,
}

/// A message that has ended.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ended {
    pub(crate) phase: Phase,
    pub(crate) planned_ns: u64,
    pub(crate) sent_ns: u64,
    pub(crate) outcome: Outcome,
}

/// What happened since the last look.
#[derive(Clone, Debug)]
pub(crate) struct Recent {
    pub(crate) ok: u64,
    pub(crate) errors: u64,
    latencies: LatencyRecorder,
}

/// The sums of a run.
#[derive(Clone, Debug)]
pub(crate) struct Tally {
    pub(crate) warmup: Counts,
    pub(crate) measured: Counts,
    pub(crate) strays: Strays,
    /// Replies of either phase that arrived in the time of the measurement.
    pub(crate) ok_in_window: u64,
    window_ns: std::ops::Range<u64>,
    latencies: LatencyRecorder,
    recent: Recent,
}

/// The sums, where every link's readers add to them.
#[derive(Debug)]
pub(crate) struct Board(Mutex<Tally>);

impl Counts {
    /// Counts one outcome.
    pub(crate) const fn add(&mut self, outcome: Outcome) {
        *match outcome {
            Outcome::Ok => &mut self.ok,
            Outcome::NotDelivered => &mut self.not_delivered,
            Outcome::MaybeDelivered => &mut self.maybe_delivered,
            Outcome::Deadline => &mut self.deadline,
            Outcome::WrongBody => &mut self.wrong_body,
            Outcome::WrongOrder => &mut self.wrong_order,
        } += 1;
    }

    /// Those that ended in anything but [`Outcome::Ok`].
    pub(crate) const fn errors(&self) -> u64 {
        self.sent - self.ok
    }

    /// Those of which nothing has come yet.
    const fn open(&self) -> u64 {
        let ended = self.ok + self.not_delivered + self.maybe_delivered + self.deadline;
        self.sent - ended - self.wrong_body - self.wrong_order
    }
}

impl Recent {
    pub(crate) fn latency(&self) -> LatencyReport {
        self.latencies.report()
    }
}

impl Tally {
    fn counts(&mut self, phase: Phase) -> &mut Counts {
        match phase {
            Phase::WarmUp => &mut self.warmup,
            Phase::Measured => &mut self.measured,
        }
    }

    /// The measured latencies.
    pub(crate) fn latency(&self) -> LatencyReport {
        self.latencies.report()
    }

    /// Whatever is still open stays so.
    fn finish(&mut self) {
        for counts in [&mut self.warmup, &mut self.measured] {
            counts.unfinished = counts.open();
        }
    }
}

impl Board {
    /// A board whose measurement has no window yet.
    pub(crate) fn new() -> Result<Self> {
        let empty = LatencyRecorder::new()?;
        Ok(Self(Mutex::new(Tally {
            warmup: Counts::default(),
            measured: Counts::default(),
            strays: Strays::default(),
            ok_in_window: 0,
            window_ns: 0..0,
            latencies: empty.clone(),
            recent: Recent { ok: 0, errors: 0, latencies: empty },
        })))
    }

    /// The measurement is in this window of the run's clock.
    pub(crate) fn measure_in(&self, window_ns: std::ops::Range<u64>) {
        self.tally().window_ns = window_ns;
    }

    fn tally(&self) -> MutexGuard<'_, Tally> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A message is given to its link.
    pub(crate) fn sent(&self, phase: Phase) {
        self.tally().counts(phase).sent += 1;
    }

    /// These messages have ended just now. Only an [`Outcome::Ok`] has a latency.
    pub(crate) fn ended(&self, all: &[Ended], now_ns: u64) {
        let mut tally = self.tally();
        let is_in_window = tally.window_ns.contains(&now_ns);
        for ended in all {
            tally.counts(ended.phase).add(ended.outcome);
            if ended.outcome != Outcome::Ok {
                tally.recent.errors += 1;
                continue;
            }
            tally.recent.ok += 1;
            tally.recent.latencies.record(ended.planned_ns, ended.sent_ns, now_ns);
            tally.ok_in_window += u64::from(is_in_window);
            if ended.phase == Phase::Measured {
                tally.latencies.record(ended.planned_ns, ended.sent_ns, now_ns);
            }
        }
    }

    /// Replies that belong to no waiting message.
    pub(crate) fn strays(&self, strays: Strays) {
        let mut tally = self.tally();
        tally.strays.late += strays.late;
        tally.strays.unexpected += strays.unexpected;
        tally.recent.errors += strays.unexpected;
    }

    /// What happened since the last call.
    pub(crate) fn take_recent(&self) -> Recent {
        let mut tally = self.tally();
        let recent = tally.recent.clone();
        tally.recent.ok = 0;
        tally.recent.errors = 0;
        tally.recent.latencies.clear();
        recent
    }

    /// The sums at the end of the run.
    pub(crate) fn finished(&self) -> Tally {
        let mut tally = self.tally().clone();
        tally.finish();
        tally
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_warm_up_is_counted_apart_and_has_no_latency() {
        let board = Board::new().unwrap();
        board.measure_in(100..200);
        let ended = |phase, outcome| Ended { phase, planned_ns: 50, sent_ns: 60, outcome };
        for phase in [Phase::WarmUp, Phase::Measured, Phase::Measured, Phase::Measured] {
            board.sent(phase);
        }
        board.ended(&[ended(Phase::WarmUp, Outcome::Ok)], 99);
        board.ended(&[ended(Phase::Measured, Outcome::Ok)], 150);
        board.ended(&[ended(Phase::Measured, Outcome::Deadline)], 150);
        let tally = board.finished();
        assert_eq!(tally.warmup, Counts { sent: 1, ok: 1, ..Counts::default() });
        let measured = Counts { sent: 3, ok: 1, deadline: 1, unfinished: 1, ..Counts::default() };
        assert_eq!((tally.measured, tally.measured.errors()), (measured, 2));
        assert_eq!((tally.latency().service.count, tally.ok_in_window), (1, 1));
        let recent = board.take_recent();
        assert_eq!((recent.ok, recent.errors, recent.latency().response.count), (2, 1, 2));
        let recent = board.take_recent();
        assert_eq!((recent.ok, recent.errors, recent.latency().response.count), (0, 0, 0));
    }
}
