//! When a certificate is due for renewal, and when a link has to be replaced: functions of dates.
//!
//! ```text
//! issued ──────── fresh ────────▶│ due ──▶│ warning ───────▶│ critical ──▶│ expired
//! 0                      2/3 ± 1/30 of life   7/10              9/10            1
//! ```
//!
//! Invariants: (1) the levels follow in this order as time goes on; (2) renewal is due before the
//! first warning, whatever the jitter; (3) a link is replaced before either certificate expires.

use std::time::Duration;

use crate::UnixTime;

use crate::moment::{after, before, between};
use crate::profile::BACKDATE;

/// Shortest time before expiry at which a link is replaced.
const LINK_MARGIN_MIN: Duration = Duration::from_secs(2);
/// Longest time before expiry at which a link is replaced.
const LINK_MARGIN_MAX: Duration = Duration::from_secs(3600);

/// How urgent a certificate's renewal is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Urgency {
    /// Nothing to do.
    Fresh,
    /// The time to renew has come.
    Due,
    /// 30 % of life or less is left: renewal is late.
    Warning,
    /// 10 % of life or less is left.
    Critical,
    /// Peers refuse the certificate.
    Expired,
}

impl Urgency {
    /// A short name for logs, metrics and JSON.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Fresh => "fresh",
            Self::Due => "due",
            Self::Warning => "warning",
            Self::Critical => "critical",
            Self::Expired => "expired",
        }
    }
}

/// The dates in one certificate's life that somebody acts on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Schedule {
    renew_at: UnixTime,
    warning_at: UnixTime,
    critical_at: UnixTime,
    not_after: UnixTime,
}

impl Schedule {
    /// The dates of a certificate that is valid from `not_before` to `not_after`.
    ///
    /// Life counts from the moment of issue: the CA dates certificates five minutes back. `seed`
    /// spreads renewals over a thirtieth of life to both sides of two thirds, that is ±10 % of what
    /// remains then; take [`crate::serial::Serial::seed`].
    #[must_use]
    pub fn new(not_before: UnixTime, not_after: UnixTime, seed: u64) -> Self {
        let issued = after(not_before, BACKDATE);
        let start = if issued < not_after { issued } else { not_before };
        let life = between(start, not_after);
        // From 19/30 to just below 21/30 of life, in steps of 1/30 000.
        let thousandths = 19_000_u64.saturating_add(mixed(seed) % 2_000);
        Self {
            renew_at: after(start, fraction(life, thousandths, 30_000)),
            warning_at: after(start, fraction(life, 7, 10)),
            critical_at: after(start, fraction(life, 9, 10)),
            not_after,
        }
    }

    /// When renewal is due.
    #[must_use]
    pub const fn renew_at(&self) -> UnixTime {
        self.renew_at
    }

    /// Life left at `now`; zero once expired.
    #[must_use]
    pub fn time_left(&self, now: UnixTime) -> Duration {
        between(now, self.not_after)
    }

    /// How urgent renewal is at `now`.
    #[must_use]
    pub fn urgency(&self, now: UnixTime) -> Urgency {
        if now > self.not_after {
            Urgency::Expired
        } else if now >= self.critical_at {
            Urgency::Critical
        } else if now >= self.warning_at {
            Urgency::Warning
        } else if now >= self.renew_at {
            Urgency::Due
        } else {
            Urgency::Fresh
        }
    }

    /// When [`Schedule::urgency`] changes next after `now`; `None` once expired.
    #[must_use]
    pub fn next_change(&self, now: UnixTime) -> Option<UnixTime> {
        let expired = after(self.not_after, Duration::from_secs(1));
        [self.renew_at, self.warning_at, self.critical_at, expired]
            .into_iter()
            .find(|moment| *moment > now)
    }
}

/// When to replace a link that is opened at `now` with certificates that expire at `own` and
/// `peer`.
///
/// A tenth of the remaining time before the first of the two expires, at least two seconds and at
/// most an hour; `now` itself when no time is left. `seed` moves it earlier by up to a tenth of
/// that margin, so that the links of a node don't all go at once.
#[must_use]
pub fn link_replacement(now: UnixTime, own: UnixTime, peer: UnixTime, seed: u64) -> UnixTime {
    let expiry = own.min(peer);
    let margin = (between(now, expiry) / 10).clamp(LINK_MARGIN_MIN, LINK_MARGIN_MAX);
    let spread = fraction(margin, mixed(seed) % 1_000, 10_000);
    before(expiry, margin.saturating_add(spread)).max(now)
}

/// Between which waits the signing of a certificate is asked for again after a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetryBounds {
    /// Wait after the first failure, and when the certificate is about to expire or has.
    pub min: Duration,
    /// Longest wait; not shorter than `min`.
    pub max: Duration,
}

/// How long to wait after the `failures`th failure in a row, with `left` of the certificate's life.
///
/// The wait doubles from `min` to `max`, but takes no more than an eighth of `left`, so that a
/// certificate of any life has several tries before its end. `seed` draws it from the upper half of
/// that step: the nodes of a cluster don't all ask at once when their CA is back.
#[must_use]
pub fn retry_wait(bounds: RetryBounds, failures: u32, left: Duration, seed: u64) -> Duration {
    let doublings = failures.saturating_sub(1).min(20);
    let step = bounds.min.saturating_mul(1 << doublings).min(bounds.max);
    let step = step.min(left / 8).max(bounds.min);
    let share = u32::try_from(mixed(seed ^ u64::from(failures)) % 1_001).unwrap_or(0);
    step / 2 + step / 2_000 * share
}

/// `span` × `numerator` / `denominator`, in whole seconds.
fn fraction(span: Duration, numerator: u64, denominator: u64) -> Duration {
    let product = u128::from(span.as_secs()).saturating_mul(u128::from(numerator));
    let secs = product.checked_div(u128::from(denominator)).unwrap_or(0);
    Duration::from_secs(u64::try_from(secs).unwrap_or(u64::MAX))
}

/// Spreads neighbouring seeds over all of `u64`.
/// Source: Steele, Lea, Flood, "Fast splittable pseudorandom number generators", the output mix.
const fn mixed(seed: u64) -> u64 {
    let a = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let b = (a ^ (a >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let c = (b ^ (b >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    c ^ (c >> 31)
}

#[cfg(test)]
mod tests;
