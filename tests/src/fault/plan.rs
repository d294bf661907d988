//! Decides what becomes of each datagram: pure, seeded, without clock or socket.
//!
//! Invariants:
//! 1. The draws of the n-th datagram of a direction depend on the seed and on n alone: neither the
//!    other direction nor the faults in force shift them.
//! 2. Datagrams of a direction keep their order, whatever the jitter, unless one is picked for
//!    reordering, is a duplicate, or the faults were changed while others were held.
//! 3. A rate limit never holds more than [`QUEUE_BYTES_MAX`] in its queue; the rest is dropped.

use std::num::NonZeroU64;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::{Direction, Instant, PerDirection};

#[cfg(test)]
mod tests;

/// Bytes that wait for their turn at a rate limit before more are dropped.
pub const QUEUE_BYTES_MAX: u64 = 256 * 1024;

/// Longest delay, and longest jitter, that can be asked for.
pub const DELAY_MAX: Duration = Duration::from_secs(60);

/// A datagram picked for reordering is held this much longer, at least.
pub const REORDER_HOLD_MIN: Duration = Duration::from_millis(2);

/// A datagram picked for reordering is held this much longer, at most.
pub const REORDER_HOLD_MAX: Duration = Duration::from_millis(12);

/// Why a set of faults is refused. Fault: the caller. Nothing changes.
#[derive(Debug, Clone, Copy, PartialEq, thiserror::Error)]
pub enum FaultsError {
    /// A share of datagrams is not within 0 to 1.
    #[error("{field} is {value}, not a share between 0 and 1")]
    Share {
        /// Which fault.
        field: &'static str,
        /// What was asked for.
        value: f64,
    },
    /// A delay or a jitter is past [`DELAY_MAX`].
    #[error("{field} is {value:?}, longer than {max:?}", max = DELAY_MAX)]
    TooLong {
        /// Which fault.
        field: &'static str,
        /// What was asked for.
        value: Duration,
    },
    /// A rate of zero bytes a second; cut the direction instead.
    #[error("a rate of 0 bytes a second lets nothing through: cut the direction instead")]
    RateZero,
}

/// The faults of one direction. Starts as none; every setter checks its range.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Faults {
    loss: f64,
    delay: Duration,
    jitter: Duration,
    reorder: f64,
    duplicate: f64,
    rate_bytes_per_s: Option<NonZeroU64>,
    cut: bool,
}

impl Faults {
    /// No fault: every datagram leaves as soon as it arrived.
    #[must_use]
    pub fn none() -> Self {
        Self::default()
    }

    /// Loses this share of the datagrams, each by its own draw.
    ///
    /// # Errors
    /// [`FaultsError::Share`] outside 0 to 1.
    pub fn with_loss(self, loss: f64) -> Result<Self, FaultsError> {
        Ok(Self { loss: share("loss", loss)?, ..self })
    }

    /// Adds this much to the time of each datagram.
    ///
    /// # Errors
    /// [`FaultsError::TooLong`] past [`DELAY_MAX`].
    pub fn with_delay(self, delay: Duration) -> Result<Self, FaultsError> {
        Ok(Self { delay: span("delay", delay)?, ..self })
    }

    /// Adds a further time between nothing and this, drawn for each datagram. Keeps the order.
    ///
    /// # Errors
    /// [`FaultsError::TooLong`] past [`DELAY_MAX`].
    pub fn with_jitter(self, jitter: Duration) -> Result<Self, FaultsError> {
        Ok(Self { jitter: span("jitter", jitter)?, ..self })
    }

    /// Holds this share of the datagrams back for [`REORDER_HOLD_MIN`] to [`REORDER_HOLD_MAX`]
    /// more, while later ones pass.
    ///
    /// # Errors
    /// [`FaultsError::Share`] outside 0 to 1.
    pub fn with_reorder(self, reorder: f64) -> Result<Self, FaultsError> {
        Ok(Self { reorder: share("reorder", reorder)?, ..self })
    }

    /// Sends this share of the datagrams twice, the copy up to [`REORDER_HOLD_MAX`] later.
    ///
    /// # Errors
    /// [`FaultsError::Share`] outside 0 to 1.
    pub fn with_duplicate(self, duplicate: f64) -> Result<Self, FaultsError> {
        Ok(Self { duplicate: share("duplicate", duplicate)?, ..self })
    }

    /// Lets through at most this many bytes a second, behind a queue of [`QUEUE_BYTES_MAX`];
    /// `None` lifts the limit.
    ///
    /// # Errors
    /// [`FaultsError::RateZero`] for a rate of zero.
    pub fn with_rate(self, bytes_per_s: Option<u64>) -> Result<Self, FaultsError> {
        Ok(Self { rate_bytes_per_s: rate(bytes_per_s)?, ..self })
    }

    /// Drops everything, or stops doing so.
    #[must_use]
    pub fn with_cut(self, cut: bool) -> Self {
        Self { cut, ..self }
    }

    /// Whether everything is dropped.
    #[must_use]
    pub fn is_cut(&self) -> bool {
        self.cut
    }
}

/// Checks a share of datagrams.
fn share(field: &'static str, value: f64) -> Result<f64, FaultsError> {
    if (0.0..=1.0).contains(&value) { Ok(value) } else { Err(FaultsError::Share { field, value }) }
}

/// Checks a delay.
pub(super) fn span(field: &'static str, value: Duration) -> Result<Duration, FaultsError> {
    if value <= DELAY_MAX { Ok(value) } else { Err(FaultsError::TooLong { field, value }) }
}

/// Checks a rate.
pub(super) fn rate(bytes_per_s: Option<u64>) -> Result<Option<NonZeroU64>, FaultsError> {
    bytes_per_s.map(|rate| NonZeroU64::new(rate).ok_or(FaultsError::RateZero)).transpose()
}

/// What becomes of one datagram.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It never leaves.
    Lost(LossCause),
    /// It leaves once, at this moment.
    Once(Instant),
    /// It leaves at the first moment, and its copy at the second, which is not earlier.
    Twice(Instant, Instant),
}

impl Verdict {
    /// The moments at which the datagram leaves: none, one or two, in order.
    pub fn departures(self) -> impl Iterator<Item = Instant> {
        let (first, second) = match self {
            Self::Lost(_) => (None, None),
            Self::Once(at) => (Some(at), None),
            Self::Twice(at, copy_at) => (Some(at), Some(copy_at)),
        };
        first.into_iter().chain(second)
    }
}

/// Why a datagram was lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LossCause {
    /// Its direction is cut.
    Cut,
    /// Its draw fell under the share of losses.
    Chance,
    /// The queue before the rate limit is full.
    QueueFull,
}

/// Decides on the datagrams of both directions of one proxy.
#[derive(Debug)]
pub struct Schedule {
    links: PerDirection<Link>,
}

impl Schedule {
    /// A schedule without faults; `seed` fixes each draw to come.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        let mut parent = StdRng::seed_from_u64(seed);
        let mut link = || Link::new(StdRng::from_rng(&mut parent));
        Self { links: PerDirection { to_target: link(), to_client: link() } }
    }

    /// Puts `faults` in force for a direction. Its order and its rate start afresh: a datagram
    /// that was already given its departure keeps it, and may be overtaken.
    pub fn set(&mut self, direction: Direction, faults: Faults) {
        let link = self.links.at_mut(direction);
        link.faults = faults;
        link.order_floor = Instant::START;
        link.line_free = Instant::START;
    }

    /// The faults in force for a direction.
    #[must_use]
    pub fn faults(&self, direction: Direction) -> Faults {
        self.links.at(direction).faults
    }

    /// A datagram of `size_bytes` arrived at `now`.
    pub fn handle(&mut self, now: Instant, direction: Direction, size_bytes: usize) -> Verdict {
        self.links.at_mut(direction).handle(now, size_bytes)
    }
}

/// One direction of a schedule.
#[derive(Debug)]
struct Link {
    faults: Faults,
    rng: StdRng,
    /// No datagram that keeps its place leaves before this.
    order_floor: Instant,
    /// When the rate limit has let through all it has taken in.
    line_free: Instant,
}

impl Link {
    fn new(rng: StdRng) -> Self {
        Self { faults: Faults::none(), rng, order_floor: Instant::START, line_free: Instant::START }
    }

    fn handle(&mut self, now: Instant, size_bytes: usize) -> Verdict {
        let draws = Draws::next(&mut self.rng);
        let faults = self.faults;
        if faults.cut {
            return Verdict::Lost(LossCause::Cut);
        }
        if draws.loss < faults.loss {
            return Verdict::Lost(LossCause::Chance);
        }
        let Some(sent) = self.pass(now, size_bytes) else {
            return Verdict::Lost(LossCause::QueueFull);
        };
        let delayed = sent.after(faults.delay).after(faults.jitter.mul_f64(draws.jitter));
        let at = if draws.reorder < faults.reorder {
            let spread = REORDER_HOLD_MAX.saturating_sub(REORDER_HOLD_MIN);
            delayed.after(REORDER_HOLD_MIN).after(spread.mul_f64(draws.hold))
        } else {
            self.order_floor = delayed.max(self.order_floor);
            self.order_floor
        };
        if draws.duplicate >= faults.duplicate {
            return Verdict::Once(at);
        }
        match self.pass(now, size_bytes) {
            Some(sent) => {
                let copy_at = sent.after(faults.delay).max(at);
                Verdict::Twice(at, copy_at.after(REORDER_HOLD_MAX.mul_f64(draws.copy_hold)))
            }
            None => Verdict::Once(at),
        }
    }

    /// When the rate limit has let `size_bytes` through; `None` when its queue has no room.
    fn pass(&mut self, now: Instant, size_bytes: usize) -> Option<Instant> {
        let Some(rate) = self.faults.rate_bytes_per_s else {
            return Some(now);
        };
        let size = u64::try_from(size_bytes).unwrap_or(u64::MAX);
        let backlog = bytes_in(self.line_free.since(now), rate);
        if backlog.saturating_add(size) > QUEUE_BYTES_MAX {
            return None;
        }
        self.line_free = self.line_free.max(now).after_nanos(nanos_for(size, rate));
        Some(self.line_free)
    }
}

/// Bytes that pass a rate limit in `span`, rounded down.
fn bytes_in(span: Duration, rate: NonZeroU64) -> u64 {
    let bytes = span.as_nanos().saturating_mul(u128::from(rate.get())) / NANOS_PER_S;
    u64::try_from(bytes).unwrap_or(u64::MAX)
}

/// Nanoseconds that `bytes` take to pass a rate limit, rounded up.
pub(super) fn nanos_for(bytes: u64, rate: NonZeroU64) -> u64 {
    let nanos = (u128::from(bytes) * NANOS_PER_S).div_ceil(u128::from(rate.get()));
    u64::try_from(nanos).unwrap_or(u64::MAX)
}

const NANOS_PER_S: u128 = 1_000_000_000;

/// The random numbers of one datagram, each at least 0 and less than 1. All are drawn for each
/// datagram, used or not, so that a change of faults does not shift those of later datagrams.
#[derive(Debug)]
struct Draws {
    loss: f64,
    jitter: f64,
    reorder: f64,
    hold: f64,
    duplicate: f64,
    copy_hold: f64,
}

impl Draws {
    fn next(rng: &mut StdRng) -> Self {
        Self {
            loss: rng.random(),
            jitter: rng.random(),
            reorder: rng.random(),
            hold: rng.random(),
            duplicate: rng.random(),
            copy_hold: rng.random(),
        }
    }
}
