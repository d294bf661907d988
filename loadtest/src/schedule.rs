//! When the load runs, when it stops, and how well a rate was kept.

use std::fmt;
use std::num::NonZeroU64;
use std::ops::Range;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::timeout_at;
use vioduct_loadtest::pace::Pacer;

use crate::clock::{Clock, nanoseconds};

/// Longest that a pacing thread waits without looking whether it shall stop.
const LOOK_MAX: Duration = Duration::from_millis(50);
const NS_PER_S: u64 = 1_000_000_000;
/// From the last preparation to the first request.
const LEAD: Duration = Duration::from_millis(20);

/// Pause of a closed loop that was refused.
pub(crate) const REFUSED_PAUSE: Duration = Duration::from_millis(10);

/// When a request was planned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Before the measurement; its latencies are not recorded.
    WarmUp,
    /// In the measurement.
    Measured,
}

/// When the load begins, is measured and ends, on the run's clock.
#[derive(Clone, Debug)]
pub(crate) struct Schedule {
    pub(crate) warmup_ns: Range<u64>,
    pub(crate) measured_ns: Range<u64>,
    /// Open loop: what leaves this much later than planned is late.
    pub(crate) late_after_ns: u64,
    /// Open loop: how long after the start of a phase its first moment is.
    pub(crate) lag_ns: u64,
}

impl Schedule {
    /// A load that begins shortly.
    pub(crate) fn from_now(
        clock: &Clock,
        warmup: Duration,
        duration: Duration,
        late_after: Duration,
    ) -> Self {
        let start_ns = clock.now_ns().saturating_add(nanoseconds(LEAD));
        let measured_ns = start_ns.saturating_add(nanoseconds(warmup));
        let end_ns = measured_ns.saturating_add(nanoseconds(duration));
        Self {
            warmup_ns: start_ns..measured_ns,
            measured_ns: measured_ns..end_ns,
            late_after_ns: nanoseconds(late_after),
            lag_ns: 0,
        }
    }

    /// The same for the sender of this index, one of several that have equal shares of a rate: its
    /// moments lie between those of the others.
    pub(crate) fn of_sender(&self, index: usize, rate_per_s: u32) -> Self {
        let index = u64::try_from(index).unwrap_or(u64::MAX);
        let lag_ns = index.saturating_mul(NS_PER_S).checked_div(rate_per_s.into()).unwrap_or(0);
        Self { lag_ns, ..self.clone() }
    }

    /// Both phases, in their order.
    pub(crate) fn phases(&self) -> [(Phase, Range<u64>); 2] {
        [(Phase::WarmUp, self.warmup_ns.clone()), (Phase::Measured, self.measured_ns.clone())]
    }

    /// When the load ends.
    pub(crate) const fn end_ns(&self) -> u64 {
        self.measured_ns.end
    }

    /// The phase of this moment; none after the end.
    pub(crate) fn phase(&self, now_ns: u64) -> Option<Phase> {
        if now_ns >= self.measured_ns.end {
            None
        } else if now_ns >= self.measured_ns.start {
            Some(Phase::Measured)
        } else {
            Some(Phase::WarmUp)
        }
    }
}

/// Whether the run shall end early: told once, nothing more is sent; told twice, nothing more is
/// waited for.
#[derive(Clone, Debug)]
pub(crate) struct Halt(pub(crate) watch::Receiver<u8>);

impl Halt {
    pub(crate) fn is_told(&self) -> bool {
        *self.0.borrow() > 0
    }

    /// The future's value, unless the run is told so often to end before.
    pub(crate) async fn unless<T>(&self, times: u8, future: impl Future<Output = T>) -> Option<T> {
        let mut told = self.0.clone();
        tokio::select! {
            biased;
            // Fails never: who tells is there until all have ended.
            Ok(_told) = told.wait_for(|told| *told >= times) => None,
            value = future => Some(value),
        }
    }
}

/// How many requests of an open loop may be under way at once.
#[derive(Debug)]
pub(crate) struct Room {
    free: Arc<Semaphore>,
    size: u32,
}

impl Room {
    pub(crate) fn new(size: u32) -> Self {
        Self { free: Arc::new(Semaphore::new(size as usize)), size }
    }

    /// Waits until one more may be under way; none when that was not so by `last_ns`, or the run
    /// shall end.
    pub(crate) fn take(
        &self,
        last_ns: u64,
        clock: &Clock,
        halt: &Halt,
        runtime: &Handle,
    ) -> Option<OwnedSemaphorePermit> {
        if clock.now_ns() > last_ns {
            return None;
        }
        if let Ok(place) = Arc::clone(&self.free).try_acquire_owned() {
            return Some(place);
        }
        let freed = timeout_at(clock.at(last_ns), Arc::clone(&self.free).acquire_owned());
        runtime.block_on(halt.unless(1, freed))?.ok()?.ok()
    }

    /// Waits until none is under way.
    pub(crate) async fn empty(&self) {
        // Never closed.
        drop(self.free.acquire_many(self.size).await);
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

impl fmt::Display for Kept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { planned, late, missed } = self;
        write!(f, "{planned} planned, {late} late, {missed} of them not sent")
    }
}

impl Kept {
    /// Adds another sender's.
    pub(crate) const fn add(&mut self, other: Self) {
        self.planned += other.planned;
        self.late += other.late;
        self.missed += other.missed;
    }
}

/// Sends at each planned moment of a rate, on this thread.
///
/// `ready` is called first, with the last moment at which it may be so: it gives what a send
/// needs, or none, which ends the phase. `send` is given that, the phase, the planned moment and
/// the present one.
pub(crate) fn pace<T>(
    schedule: &Schedule,
    rate_per_s: NonZeroU64,
    halt: &Halt,
    clock: &Clock,
    ready: impl Fn(u64) -> Option<T>,
    mut send: impl FnMut(T, Phase, u64, u64),
) -> Kept {
    let mut kept = Kept::default();
    for (phase, window_ns) in schedule.phases() {
        let start_ns = window_ns.start.saturating_add(schedule.lag_ns);
        let mut pacer = Pacer::new(start_ns, rate_per_s, schedule.late_after_ns);
        // What is planned before the end may leave a little after it.
        let last_ns = window_ns.end.saturating_add(schedule.late_after_ns);
        while pacer.planned_ns() < window_ns.end && wait_until(pacer.planned_ns(), halt, clock) {
            let Some(need) = ready(last_ns) else { break };
            let now_ns = clock.now_ns();
            if let Some(planned_ns) = pacer.take(now_ns) {
                send(need, phase, planned_ns, now_ns);
            }
        }
        let sent = pacer.sent();
        let now_ns = clock.now_ns();
        while pacer.planned_ns() < window_ns.end.min(now_ns) && !halt.is_told() {
            pacer.take(now_ns);
        }
        if phase == Phase::Measured {
            let missed = pacer.sent() - sent;
            kept = Kept { planned: pacer.sent(), late: pacer.late(), missed };
        }
    }
    kept
}

/// `value` in parts that differ by one at most.
pub(crate) fn shares(value: u32, count: usize) -> Result<Vec<u32>> {
    let count = u32::try_from(count).context("too many to share among")?;
    let (each, rest) = (value / count, value % count);
    Ok((0..count).map(|index| each + u32::from(index < rest)).collect())
}

/// Waits for a moment; `false` when the run shall end.
fn wait_until(at_ns: u64, halt: &Halt, clock: &Clock) -> bool {
    loop {
        if halt.is_told() {
            return false;
        }
        match at_ns.saturating_sub(clock.now_ns()) {
            0 => return true,
            wait_ns => thread::park_timeout(Duration::from_nanos(wait_ns).min(LOOK_MAX)),
        }
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn senders_that_share_a_rate_take_turns() {
        let all = super::Schedule {
            warmup_ns: 0..0,
            measured_ns: 0..1_000_000_000,
            late_after_ns: 0,
            lag_ns: 0,
        };
        let lags = [0, 1, 4].map(|index| all.of_sender(index, 1000).lag_ns);
        assert_eq!(lags, [0, 1_000_000, 4_000_000]);
        assert_eq!(all.of_sender(3, 0).lag_ns, 0, "a closed loop has no moments");
    }

    #[test]
    fn shares_add_up_and_differ_by_one_at_most() {
        assert_eq!(super::shares(10, 3).unwrap(), [4, 3, 3]);
        assert_eq!(super::shares(3, 3).unwrap(), [1, 1, 1]);
    }
}
