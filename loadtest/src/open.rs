//! The open loop: something is sent at each planned moment, whatever comes back.

use std::future::{Future, poll_fn};
use std::num::NonZeroU64;
use std::pin::Pin;
use std::task::Poll;

use tokio::runtime::Handle;

use crate::clock::Clock;
use crate::schedule::{Halt, Kept, Phase, Room, Schedule, pace};

/// When to send, and what bounds it.
#[derive(Clone, Debug)]
pub(crate) struct Moments {
    pub(crate) schedule: Schedule,
    pub(crate) rate_per_s: NonZeroU64,
    /// Sends that may wait for their answers; one that finds no room waits, and leaves late.
    pub(crate) outstanding_max: u32,
    pub(crate) clock: Clock,
    pub(crate) halt: Halt,
}

impl Moments {
    /// Has `one` send at each of them, with the phase, the planned moment and the present one.
    /// Ends when the last has its answer, for which deadlines of theirs are the bound.
    ///
    /// On a thread of its own: the runtime's timers count whole milliseconds.
    pub(crate) fn drive<F>(&self, runtime: &Handle, one: impl Fn(Phase, u64, u64) -> F) -> Kept
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let Self { schedule, rate_per_s, clock, halt, .. } = self;
        let room = Room::new(self.outstanding_max);
        let ready = |last_ns| room.take(last_ns, clock, halt, runtime);
        let send = |place, phase, planned_ns, now_ns| {
            let sent = one(phase, planned_ns, now_ns);
            let sent = async move {
                sent.await;
                drop(place);
            };
            begin(sent, runtime);
        };
        let kept = pace(schedule, *rate_per_s, halt, clock, ready, send);
        runtime.block_on(halt.unless(2, room.empty()));
        kept
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
