//! Asks one node: at a rate whatever comes back, or whenever an answer has come.

use std::future::{Future, poll_fn};
use std::num::NonZeroU64;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, sleep_until};
use vioduct_node::system::{Echo, EchoActor};
use vioduct_node::tool::Found;

use super::body::Bodies;
use super::counts::{Board, Ended, Outcome};
use super::ledger::Ledger;
use crate::clock::Clock;
use crate::schedule::{Halt, Kept, Phase, Room, Schedule, pace};

/// Pause of a closed loop whose message was refused.
const REFUSED_PAUSE: Duration = Duration::from_millis(10);

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

    /// Open loop: a message at each planned moment, of which `outstanding_max` may wait for their
    /// answers; one that finds no room waits, and leaves late. Ends when the last has its answer.
    ///
    /// On a thread of its own: the runtime's timers count whole milliseconds.
    pub(crate) fn open(
        self: &Arc<Self>,
        schedule: &Schedule,
        rate_per_s: NonZeroU64,
        outstanding_max: u32,
        halt: &Halt,
        runtime: &Handle,
    ) -> Kept {
        let room = Room::new(outstanding_max);
        let ready = |last_ns| room.take(last_ns, &self.clock, halt, runtime);
        let send = |permit, phase, planned_ns, now_ns| {
            begin(Arc::clone(self).one(phase, planned_ns, now_ns, permit), runtime);
        };
        let kept = pace(schedule, rate_per_s, halt, &self.clock, ready, send);
        // Deadlines bound it.
        runtime.block_on(halt.unless(2, room.empty()));
        kept
    }

    async fn one(
        self: Arc<Self>,
        phase: Phase,
        planned_ns: u64,
        sent_ns: u64,
        _room: OwnedSemaphorePermit,
    ) {
        self.ask(phase, planned_ns, sent_ns).await;
    }
}

/// Sends at once, on this thread; the answer is waited for elsewhere.
fn begin(ask: impl Future<Output = ()> + Send + 'static, runtime: &Handle) {
    let mut ask: Pin<Box<dyn Future<Output = ()> + Send>> = Box::pin(ask);
    let first = poll_fn(|cx| Poll::Ready(ask.as_mut().poll(cx)));
    if runtime.block_on(first).is_pending() {
        runtime.spawn(ask);
    }
}
