//! When to send: the open-loop schedule.
//!
//! The schedule depends on the rate and the start alone, never on replies. A driver that falls
//! behind sends at once, and measures the response time from the *planned* moment, so that a stall
//! of the system under test shows in every request it delayed.
//!
//! Pure: times are nanoseconds since an origin of the caller's choice.

use std::num::NonZeroU64;

/// Nanoseconds in a second.
const NS_PER_S: u128 = 1_000_000_000;

/// Share of late sends above which a run is invalid, in per cent.
pub const LATE_PERCENT_MAX: u64 = 1;

/// Planned moments at an even rate, and a count of those missed.
///
/// Invariants: (1) send `n` is planned at `start + n / rate`, rounded down to a nanosecond, without
/// an error that grows with `n`; (2) `late <= sent`.
#[derive(Clone, Debug)]
pub struct Pacer {
    start_ns: u64,
    rate_per_s: NonZeroU64,
    late_after_ns: u64,
    sent: u64,
    late: u64,
}

/// Whether the generator kept to its schedule.
#[derive(Clone, Copy, Debug, Eq, PartialEq, serde::Serialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Validity {
    /// It did: latencies are those of the system under test.
    Valid,
    /// More than [`LATE_PERCENT_MAX`] per cent of the sends were late, or nothing was sent: the
    /// numbers tell of the generator.
    Invalid,
}

impl Pacer {
    /// Plans sends at `rate_per_s` from `start_ns` on. A send is late when it leaves more than
    /// `late_after_ns` after its planned moment.
    #[must_use]
    pub const fn new(start_ns: u64, rate_per_s: NonZeroU64, late_after_ns: u64) -> Self {
        Self { start_ns, rate_per_s, late_after_ns, sent: 0, late: 0 }
    }

    /// The planned moment of the next send.
    #[must_use]
    pub fn planned_ns(&self) -> u64 {
        let offset_ns = u128::from(self.sent) * NS_PER_S / u128::from(self.rate_per_s.get());
        // Saturates 584 years after the origin.
        self.start_ns.saturating_add(u64::try_from(offset_ns).unwrap_or(u64::MAX))
    }

    /// Takes the next send if its moment has come: the planned moment, to measure from.
    ///
    /// After a stall, successive calls with the same `now_ns` return every moment that was missed.
    pub fn take(&mut self, now_ns: u64) -> Option<u64> {
        let planned_ns = self.planned_ns();
        let behind_ns = now_ns.checked_sub(planned_ns)?;
        self.sent += 1;
        if behind_ns > self.late_after_ns {
            self.late += 1;
        }
        Some(planned_ns)
    }

    /// Sends taken so far.
    #[must_use]
    pub const fn sent(&self) -> u64 {
        self.sent
    }

    /// Those of them that were late.
    #[must_use]
    pub const fn late(&self) -> u64 {
        self.late
    }

    /// Whether the run can be believed.
    #[must_use]
    pub fn validity(&self) -> Validity {
        Validity::of(self.sent, self.late)
    }
}

impl Validity {
    /// Of sums over several schedules.
    #[must_use]
    pub fn of(sent: u64, late: u64) -> Self {
        let late_percent = u128::from(late) * 100;
        if sent == 0 || late_percent > u128::from(sent) * u128::from(LATE_PERCENT_MAX) {
            Self::Invalid
        } else {
            Self::Valid
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pacer(rate_per_s: u64) -> Pacer {
        Pacer::new(5, NonZeroU64::new(rate_per_s).unwrap(), 1_000_000)
    }

    #[test]
    fn planned_moments_do_not_drift_at_a_rate_that_divides_no_second() {
        let mut pacer = pacer(3);
        let planned: Vec<u64> = (0..4).map(|_| pacer.take(u64::MAX).unwrap()).collect();
        assert_eq!(planned, [5, 333_333_338, 666_666_671, 1_000_000_005]);
        for _ in 4..3_000_000 {
            assert!(pacer.take(u64::MAX).is_some());
        }
        assert_eq!(pacer.planned_ns(), 1_000_000 * 1_000_000_000 + 5);
    }

    #[test]
    fn nothing_is_sent_before_its_moment() {
        let mut pacer = pacer(1000);
        assert_eq!(pacer.take(4), None);
        assert_eq!(pacer.take(5), Some(5));
        assert_eq!(pacer.take(1_000_004), None);
        assert_eq!(pacer.sent(), 1);
    }

    #[test]
    fn after_a_stall_every_missed_moment_is_sent_at_once_and_counted_late() {
        let mut pacer = pacer(1000);
        let now_ns = 10_000_005;
        let mut taken = 0;
        while pacer.take(now_ns).is_some() {
            taken += 1;
        }
        // Moments 0 to 10; the last two are not more than 1 ms old.
        assert_eq!((taken, pacer.sent(), pacer.late()), (11, 11, 9));
    }

    #[test]
    fn one_per_cent_late_is_valid_and_more_is_not() {
        let mut pacer = pacer(1000);
        for _ in 0..99 {
            let planned_ns = pacer.planned_ns();
            pacer.take(planned_ns).unwrap();
        }
        let late_ns = pacer.planned_ns() + 1_000_001;
        pacer.take(late_ns).unwrap();
        assert_eq!((pacer.late(), pacer.validity()), (1, Validity::Valid));
        let late_ns = pacer.planned_ns() + 1_000_001;
        pacer.take(late_ns).unwrap();
        assert_eq!((pacer.late(), pacer.validity()), (2, Validity::Invalid));
    }

    #[test]
    fn a_run_that_sent_nothing_is_invalid() {
        assert_eq!(pacer(1).validity(), Validity::Invalid);
    }
}
