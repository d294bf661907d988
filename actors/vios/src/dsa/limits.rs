//! Bounds and times of a DSA.

use std::time::Duration;

use crate::redirect::limits::{LimitError, lasts};

const MILLISECOND: Duration = Duration::from_millis(1);
const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);

/// Heartbeats of a path that may be unanswered at once.
pub(super) const BEATS_MAX: u32 = 64;

/// Settings of a DSA.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct DsaLimits {
    /// A heartbeat is sent this often, 10 ms..=1 min. Default 200 ms.
    pub beat_every: Duration,
    /// A path without an answer for so long is lost, 2..=64 times `beat_every`. Default 1 s.
    pub silence_max: Duration,
    /// A path is slow when its heartbeats take longer, 1 ms..=`silence_max`. Default 250 ms.
    pub slow_round_trip: Duration,
    /// A path that is slow for so long is degraded, 0..=1 h. Default 2 s.
    pub slow_for: Duration,
    /// The storage's device is slow while an operation takes longer, 1 ms..=1 h. Default 5 s.
    pub slow_device: Duration,
    /// A path that was lost or degraded is good again after it was sound for so long, 0..=1 h.
    /// Default 1 s. Doubles with each time that it ceases to be good.
    pub steady_for: Duration,
    /// The longest that a path must be sound before it is good again, `steady_for`..=1 h; after as
    /// long a time of being good it is trusted as at first. Default 1 min.
    pub steady_max: Duration,
}

impl Default for DsaLimits {
    fn default() -> Self {
        Self {
            beat_every: Duration::from_millis(200),
            silence_max: Duration::from_secs(1),
            slow_round_trip: Duration::from_millis(250),
            slow_for: Duration::from_secs(2),
            slow_device: Duration::from_secs(5),
            steady_for: Duration::from_secs(1),
            steady_max: MINUTE,
        }
    }
}

impl DsaLimits {
    /// Checks every setting.
    ///
    /// # Errors
    /// [`LimitError`] names the first one that is out of its range.
    pub fn validate(&self) -> Result<(), LimitError> {
        let beat = self.beat_every;
        lasts("beat_every", beat, 10 * MILLISECOND, MINUTE)?;
        lasts("silence_max", self.silence_max, 2 * beat, BEATS_MAX * beat)?;
        lasts("slow_round_trip", self.slow_round_trip, MILLISECOND, self.silence_max)?;
        lasts("slow_for", self.slow_for, Duration::ZERO, HOUR)?;
        lasts("slow_device", self.slow_device, MILLISECOND, HOUR)?;
        lasts("steady_for", self.steady_for, Duration::ZERO, HOUR)?;
        lasts("steady_max", self.steady_max, self.steady_for, HOUR)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_within_their_ranges_and_what_is_not_is_named() {
        assert_eq!(DsaLimits::default().validate(), Ok(()));
        let wrong = [
            ("silence_max", DsaLimits { silence_max: HOUR, ..DsaLimits::default() }),
            ("silence_max", DsaLimits { silence_max: MILLISECOND, ..DsaLimits::default() }),
            ("beat_every", DsaLimits { beat_every: Duration::ZERO, ..DsaLimits::default() }),
            ("steady_max", DsaLimits { steady_max: MILLISECOND, ..DsaLimits::default() }),
        ];
        for (name, limits) in wrong {
            assert_eq!(limits.validate().unwrap_err().name, name);
        }
    }
}
