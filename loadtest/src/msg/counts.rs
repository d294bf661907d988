//! What came of the messages, summed over all nodes.

use std::sync::{Mutex, MutexGuard, PoisonError};

use anyhow::Result;
use vioduct_certs::identity::NodeName;
use vioduct_loadtest::stats::{LatencyRecorder, LatencyReport};
use vioduct_node::system::SinkCount;
use vioduct_node::tool::Faults;
use vioduct_runtime::AskError;

use crate::schedule::Phase;

/// What came of one message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// The same bytes came back, in their turn; of a tell: it was counted in its place.
    Ok,
    /// The node did not get it.
    NotDelivered,
    /// It left, and the link was lost or the actor ended; the node may have got it.
    MaybeDelivered,
    /// No answer in time; the node may have got it.
    Deadline,
    /// Other bytes came back.
    WrongBody,
    /// What was sent later was handled before.
    WrongOrder,
}

/// How many messages had which outcome.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub(crate) struct Counts {
    /// Messages; the sum of the next seven.
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

/// What one sender told in one phase.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Told {
    /// Messages that it tried to tell.
    pub(crate) sent: u64,
    /// Those that were not delivered.
    pub(crate) refused: u64,
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
    pub(crate) sent: u64,
    pub(crate) ok: u64,
    pub(crate) errors: u64,
    latencies: LatencyRecorder,
}

/// The sums of a run.
#[derive(Clone, Debug)]
pub(crate) struct Tally {
    pub(crate) warmup: Counts,
    pub(crate) measured: Counts,
    pub(crate) faults: Faults,
    /// Answers of either phase that came in the time of the measurement.
    pub(crate) ok_in_window: u64,
    /// When the last node said how many tells of the measurement came.
    pub(crate) told_at_ns: Option<u64>,
    window_ns: std::ops::Range<u64>,
    latencies: LatencyRecorder,
    recent: Recent,
}

/// The sums, where all senders add to them.
#[derive(Debug)]
pub(crate) struct Board(Mutex<Tally>);

impl Counts {
    /// Counts so many of one outcome.
    const fn add(&mut self, outcome: Outcome, count: u64) {
        *match outcome {
            Outcome::Ok => &mut self.ok,
            Outcome::NotDelivered => &mut self.not_delivered,
            Outcome::MaybeDelivered => &mut self.maybe_delivered,
            Outcome::Deadline => &mut self.deadline,
            Outcome::WrongBody => &mut self.wrong_body,
            Outcome::WrongOrder => &mut self.wrong_order,
        } += count;
    }

    /// Those that ended in anything but [`Outcome::Ok`].
    pub(crate) const fn errors(&self) -> u64 {
        self.failed() + self.unfinished
    }

    const fn failed(&self) -> u64 {
        let unanswered = self.not_delivered + self.maybe_delivered + self.deadline;
        unanswered + self.wrong_body + self.wrong_order
    }

    /// Those of which nothing has come yet. None are left when a tell was counted twice.
    const fn open(&self) -> u64 {
        self.sent.saturating_sub(self.ok + self.failed())
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
            faults: Faults::default(),
            ok_in_window: 0,
            told_at_ns: None,
            window_ns: 0..0,
            latencies: empty.clone(),
            recent: Recent { sent: 0, ok: 0, errors: 0, latencies: empty },
        })))
    }

    /// The measurement is in this window of the run's clock.
    pub(crate) fn measure_in(&self, window_ns: std::ops::Range<u64>) {
        self.tally().window_ns = window_ns;
    }

    fn tally(&self) -> MutexGuard<'_, Tally> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A message is about to leave.
    pub(crate) fn sent(&self, phase: Phase) {
        let mut tally = self.tally();
        tally.counts(phase).sent += 1;
        tally.recent.sent += 1;
    }

    /// A message has ended just now. Only an [`Outcome::Ok`] has a latency.
    pub(crate) fn ended(&self, ended: Ended, now_ns: u64) {
        let mut tally = self.tally();
        let Ended { phase, planned_ns, sent_ns, outcome } = ended;
        tally.counts(phase).add(outcome, 1);
        if outcome != Outcome::Ok {
            tally.recent.errors += 1;
            return;
        }
        tally.recent.ok += 1;
        tally.recent.latencies.record(planned_ns, sent_ns, now_ns);
        tally.ok_in_window += u64::from(tally.window_ns.contains(&now_ns));
        if phase == Phase::Measured {
            tally.latencies.record(planned_ns, sent_ns, now_ns);
        }
    }

    /// A node has said just now what came of all that it was told in a phase.
    pub(crate) fn told(&self, phase: Phase, told: Told, count: SinkCount, now_ns: u64) {
        let SinkCount { received, out_of_order } = count;
        let mut tally = self.tally();
        let counts = tally.counts(phase);
        counts.add(Outcome::Ok, received.saturating_sub(out_of_order));
        counts.add(Outcome::WrongOrder, out_of_order);
        counts.add(Outcome::NotDelivered, told.refused);
        let lost = (told.sent - told.refused).saturating_sub(received);
        counts.add(Outcome::MaybeDelivered, lost);
        tally.recent.errors += out_of_order + lost;
        if phase == Phase::Measured {
            tally.told_at_ns = tally.told_at_ns.max(Some(now_ns));
        }
    }

    /// Why a message has no answer.
    pub(crate) fn fault(&self, node: &NodeName, error: &AskError) {
        self.tally().faults.note(node, error);
    }

    /// What happened since the last call.
    pub(crate) fn take_recent(&self) -> Recent {
        let mut tally = self.tally();
        let recent = tally.recent.clone();
        tally.recent.sent = 0;
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
        board.ended(ended(Phase::WarmUp, Outcome::Ok), 99);
        board.ended(ended(Phase::Measured, Outcome::Ok), 150);
        board.ended(ended(Phase::Measured, Outcome::Deadline), 150);
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
    #[test]
    fn of_what_was_told_the_rest_may_have_been_delivered() {
        let board = Board::new().unwrap();
        let phase = Phase::Measured;
        (0..10).for_each(|_tell| board.sent(phase));
        let count = SinkCount { received: 6, out_of_order: 1 };
        board.told(phase, Told { sent: 10, refused: 2 }, count, 70);
        let tally = board.finished();
        let expected = Counts {
            sent: 10,
            ok: 5,
            wrong_order: 1,
            not_delivered: 2,
            maybe_delivered: 2,
            ..Counts::default()
        };
        assert_eq!((tally.measured, tally.told_at_ns), (expected, Some(70)));
    }

    #[test]
    fn what_was_counted_twice_is_an_error() {
        let board = Board::new().unwrap();
        board.sent(Phase::Measured);
        let count = SinkCount { received: 2, out_of_order: 1 };
        board.told(Phase::Measured, Told { sent: 1, refused: 0 }, count, 70);
        let measured = board.finished().measured;
        assert_eq!((measured.ok, measured.wrong_order, measured.errors()), (1, 1, 1));
    }
}
