//! Asks one node: at a rate whatever comes back, or whenever an answer has come.

use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::time::{Instant, sleep_until};
use vioduct_node::system::{Echo, EchoActor};
use vioduct_node::tool::Found;

use super::body::Bodies;
use super::counts::{Board, Ended, Outcome};
use super::ledger::Ledger;
use crate::clock::Clock;
use crate::open::Moments;
use crate::schedule::{Halt, Kept, Phase, REFUSED_PAUSE, Schedule};

/// One node's echo actor, and what it was asked.
#[derive(Debug)]
pub(crate) struct Asks {
    pub(crate) echo: Found<EchoActor>,
    pub(crate) ledger: Ledger,
    pub(crate) bodies: Arc<Bodies>,
    pub(crate) board: Arc<Board>,
    pub(crate) clock: Clock,
    pub(crate) deadline: Duration,
}

impl Asks {
    async fn ask(&self, phase: Phase, planned_ns: u64, sent_ns: u64) -> Outcome {
        self.board.sent(phase);
        let question = self.ledger.open();
        let body = self.bodies.make(question.number);
        let answer = self.echo.ask(Echo { body }, self.deadline).await;
        let outcome = self.ledger.judge(question, &answer);
        if let Err(error) = &answer {
            self.board.fault(self.echo.node(), error);
        }
        let ended = Ended { phase, planned_ns, sent_ns, outcome };
        self.board.ended(ended, self.clock.now_ns());
        outcome
    }

    /// Closed loop: one message after another, until the end.
    pub(crate) async fn closed(self: Arc<Self>, schedule: Schedule, halt: Halt) -> Kept {
        loop {
            let now_ns = self.clock.now_ns();
            let Some(phase) = schedule.phase(now_ns).filter(|_| !halt.is_told()) else {
                return Kept::default();
            };
            if self.ask(phase, now_ns, now_ns).await == Outcome::NotDelivered {
                sleep_until(Instant::now() + REFUSED_PAUSE).await;
            }
        }
    }

    /// Open loop: a message at each planned moment, until the last has its answer.
    pub(crate) fn open(self: &Arc<Self>, moments: &Moments, runtime: &Handle) -> Kept {
        moments.drive(runtime, |phase, planned_ns, sent_ns| {
            let asks = Arc::clone(self);
            async move {
                asks.ask(phase, planned_ns, sent_ns).await;
            }
        })
    }
}
