//! Sends to one node: at a rate whatever comes back, or whenever a reply has come back.
//!
//! One sender serves all flows of a node in turn, so the order of sending within a flow is that of
//! the numbers.

use std::num::NonZeroU64;
use std::ops::Range;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout, timeout_at};
use vioduct_loadtest::pace::Pacer;
use vioduct_node::service::{Head, Kind};
use vioduct_transport::{Flow, SendError};

use super::body::Bodies;
use super::counts::Phase;
use super::ledger::Planned;
use super::nodes::Target;

/// Longest that a pacing thread waits without looking whether it shall stop.
const LOOK_MAX: Duration = Duration::from_millis(50);
/// Pause of a closed loop after its link refused a message.
const REFUSED_PAUSE: Duration = Duration::from_millis(10);

/// When the load begins, is measured and ends, on the run's clock.
#[derive(Clone, Debug)]
pub(crate) struct Schedule {
    pub(crate) warmup_ns: Range<u64>,
    pub(crate) measured_ns: Range<u64>,
}

impl Schedule {
    fn phases(&self) -> [(Phase, Range<u64>); 2] {
        [(Phase::WarmUp, self.warmup_ns.clone()), (Phase::Measured, self.measured_ns.clone())]
    }
}

/// How well the schedule of the measurement was kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub(crate) struct Kept {
    /// Sends whose planned moment came.
    pub(crate) planned: u64,
    /// Those that left late, or did not leave.
    pub(crate) late: u64,
    /// Those that did not leave before the end of the run.
    pub(crate) missed: u64,
}

/// The sender of one node.
#[derive(Debug)]
pub(crate) struct Driver {
    pub(crate) target: Target,
    pub(crate) bodies: Arc<Bodies>,
    pub(crate) flows: u32,
    pub(crate) deadline: Duration,
    pub(crate) schedule: Schedule,
    /// True from the moment on that the run shall end.
    pub(crate) stop: watch::Receiver<bool>,
    /// Messages sent.
    pub(crate) turn: u32,
}

impl Driver {
    /// Closed loop: sends while there is room, until the end.
    pub(crate) async fn closed(mut self) {
        let end = self.target.clock.at(self.schedule.measured_ns.end);
        let ledger = Arc::clone(&self.target.ledger);
        loop {
            let mut stop = self.stop.clone();
            let permit = tokio::select! {
                biased;
                _stopped = stop.wait_for(|is_stopped| *is_stopped) => return,
                permit = timeout_at(end, ledger.room.acquire()) => permit,
            };
            let Ok(Ok(permit)) = permit else { return };
            let now_ns = self.target.clock.now_ns();
            if now_ns >= self.schedule.measured_ns.end {
                return;
            }
            permit.forget();
            let is_measured = now_ns >= self.schedule.measured_ns.start;
            let phase = if is_measured { Phase::Measured } else { Phase::WarmUp };
            if self.send(phase, now_ns, now_ns).await.is_err() {
                sleep_until(Instant::now() + REFUSED_PAUSE).await;
            }
        }
    }

    /// Open loop: sends at its planned moments, on a thread of its own: the runtime's timers count
    /// whole milliseconds.
    ///
    /// A message that finds no room waits, and leaves late.
    pub(crate) fn open(
        mut self,
        rate_per_s: NonZeroU64,
        late_after_ns: u64,
        runtime: &Handle,
    ) -> Kept {
        let mut kept = Kept::default();
        for (phase, window_ns) in self.schedule.phases() {
            let mut pacer = Pacer::new(window_ns.start, rate_per_s, late_after_ns);
            while pacer.planned_ns() < window_ns.end {
                // What is planned before the end may leave a little after it.
                let last_ns = window_ns.end.saturating_add(late_after_ns);
                if !self.wait_until(pacer.planned_ns()) || !self.wait_for_room(last_ns, runtime) {
                    break;
                }
                let now_ns = self.target.clock.now_ns();
                let Some(planned_ns) = pacer.take(now_ns) else {
                    self.target.ledger.room.add_permits(1);
                    continue;
                };
                // A link that refuses does so at once; the schedule is the pause.
                runtime.block_on(self.send(phase, planned_ns, now_ns)).ok();
            }
            let sent = pacer.sent();
            let now_ns = self.target.clock.now_ns();
            while pacer.planned_ns() < window_ns.end.min(now_ns) && !*self.stop.borrow() {
                pacer.take(now_ns);
            }
            if phase == Phase::Measured {
                let missed = pacer.sent() - sent;
                kept = Kept { planned: pacer.sent(), late: pacer.late(), missed };
            }
        }
        kept
    }

    /// Waits for a moment; `false` when the run shall end.
    fn wait_until(&self, at_ns: u64) -> bool {
        loop {
            if *self.stop.borrow() {
                return false;
            }
            match at_ns.saturating_sub(self.target.clock.now_ns()) {
                0 => return true,
                wait_ns => thread::park_timeout(Duration::from_nanos(wait_ns).min(LOOK_MAX)),
            }
        }
    }

    /// Waits until one more message may be outstanding, and takes its place; `false` when that was
    /// not so by `last_ns`, or the run shall end.
    fn wait_for_room(&self, last_ns: u64, runtime: &Handle) -> bool {
        let room = &self.target.ledger.room;
        if self.target.clock.now_ns() > last_ns {
            return false;
        }
        if let Ok(permit) = room.try_acquire() {
            permit.forget();
            return true;
        }
        let mut stop = self.stop.clone();
        let last = self.target.clock.at(last_ns);
        runtime.block_on(async {
            tokio::select! {
                biased;
                _stopped = stop.wait_for(|is_stopped| *is_stopped) => false,
                permit = timeout_at(last, room.acquire()) => match permit {
                    Ok(Ok(permit)) => {
                        permit.forget();
                        true
                    }
                    Ok(Err(_)) | Err(_) => false,
                },
            }
        })
    }

    /// Gives one message to the link; waits for room on its lane, for the deadline at most.
    async fn send(&mut self, phase: Phase, planned_ns: u64, sent_ns: u64) -> Result<(), ()> {
        let Target { link, ledger, clock } = &self.target;
        let flow = self.turn % self.flows;
        self.turn = self.turn.wrapping_add(1);
        let number = ledger.open(Planned { flow, phase, planned_ns, sent_ns });
        let head = Head { kind: Kind::EchoRequest, number }.encode();
        let body = self.bodies.make(number);
        let taken = match link.try_send(Flow::Pair(flow), &head, &body) {
            Err(SendError::Full { .. }) => {
                timeout(self.deadline, link.send(Flow::Pair(flow), &head, &body)).await
            }
            other => Ok(other),
        };
        match taken {
            Ok(Ok(ticket)) => {
                ledger.taken(number, ticket, clock.now_ns());
                Ok(())
            }
            Ok(Err(_)) | Err(_) => {
                ledger.refused(number, clock.now_ns());
                Err(())
            }
        }
    }
}
