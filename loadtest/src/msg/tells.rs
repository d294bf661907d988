//! Tells one node, at a rate or as fast as the actor's credit allows, and asks at the end of each
//! phase how many came.
//!
//! One sender tells all of a node's messages, so they must be counted in the order of their places.

use std::num::NonZeroU64;
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::time::{Instant, sleep_until};
use vioduct_node::system::{Sink, SinkActor, SinkQuery};
use vioduct_node::tool::Found;
use vioduct_runtime::AskError;

use super::body::Bodies;
use super::counts::{Board, Told};
use crate::clock::Clock;
use crate::schedule::{Halt, Kept, Phase, REFUSED_PAUSE, Schedule, pace};

/// Messages told before other tasks get their turn.
const BURST: u64 = 128;

/// One node's sink actor, and what it was told.
#[derive(Debug)]
pub(crate) struct Tells {
    pub(crate) sink: Found<SinkActor>,
    pub(crate) bodies: Arc<Bodies>,
    pub(crate) board: Arc<Board>,
    pub(crate) clock: Clock,
    pub(crate) deadline: Duration,
}

/// What was told in one phase.
#[derive(Debug)]
struct Series {
    phase: Phase,
    number: u64,
    told: Told,
}

impl Series {
    fn new(phase: Phase) -> Self {
        Self { phase, number: rand::random(), told: Told::default() }
    }
}

impl Tells {
    /// Tells one message, waiting for credit; false when it was refused.
    async fn tell(&self, series: &mut Series) -> bool {
        self.board.sent(series.phase);
        series.told.sent += 1;
        let sequence = series.told.sent;
        let sink = Sink { series: series.number, sequence, body: self.bodies.make(sequence) };
        let Err(reason) = self.sink.tell(sink, self.deadline).await else { return true };
        series.told.refused += 1;
        self.board.fault(self.sink.node(), &AskError::NotDelivered(reason));
        false
    }

    /// Asks how many of a series came.
    async fn settle(&self, series: Series) {
        let Series { phase, number, told } = series;
        let answer = self.sink.ask(SinkQuery { series: number }, self.deadline).await;
        if let Err(error) = &answer {
            self.board.fault(self.sink.node(), error);
        }
        self.board.told(phase, told, answer.unwrap_or_default(), self.clock.now_ns());
    }

    /// As fast as it goes: a phase's last answer has come before the next phase begins.
    pub(crate) async fn closed(self: Arc<Self>, schedule: Schedule, halt: Halt) -> Kept {
        for (phase, window_ns) in schedule.phases() {
            let mut series = Series::new(phase);
            while self.clock.now_ns() < window_ns.end && !halt.is_told() {
                if !self.tell(&mut series).await {
                    sleep_until(Instant::now() + REFUSED_PAUSE).await;
                } else if series.told.sent.is_multiple_of(BURST) {
                    tokio::task::yield_now().await;
                }
            }
            self.settle(series).await;
        }
        Kept::default()
    }

    /// At planned moments, on a thread of its own.
    pub(crate) fn open(
        self: &Arc<Self>,
        schedule: &Schedule,
        rate_per_s: NonZeroU64,
        halt: &Halt,
        runtime: &Handle,
    ) -> Kept {
        let mut all = [Series::new(Phase::WarmUp), Series::new(Phase::Measured)];
        let [warmup, measured] = &mut all;
        let ready = |last_ns| (self.clock.now_ns() <= last_ns).then_some(());
        let send = |(), phase, _planned_ns, _now_ns| {
            let series = match phase {
                Phase::WarmUp => &mut *warmup,
                Phase::Measured => &mut *measured,
            };
            // Waiting for credit makes the next ones late; it is bounded by the deadline.
            runtime.block_on(halt.unless(2, self.tell(series)));
        };
        let kept = pace(schedule, rate_per_s, halt, &self.clock, ready, send);
        for series in all {
            runtime.block_on(halt.unless(2, self.settle(series)));
        }
        kept
    }
}
