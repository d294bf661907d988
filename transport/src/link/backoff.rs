//! When to dial again: exponential, with jitter, bounded.

use std::time::Duration;

use rand::Rng;
use rand::rngs::StdRng;

/// Doubles from `min` to `max`; each wait is drawn from the upper half of its step.
#[derive(Debug)]
pub(crate) struct Backoff {
    min: Duration,
    max: Duration,
    failures: u32,
}

impl Backoff {
    pub(crate) fn new(min: Duration, max: Duration) -> Self {
        Self { min, max, failures: 0 }
    }

    /// Counts a failure and gives the wait before the next try.
    pub(crate) fn after_failure(&mut self, rng: &mut StdRng) -> Duration {
        let step = self.min.saturating_mul(1_u32 << self.failures.min(20)).min(self.max);
        self.failures = self.failures.saturating_add(1);
        step.mul_f64(rng.random_range(0.5..=1.0))
    }

    /// Makes the next wait one of the longest.
    pub(crate) fn exhaust(&mut self) {
        self.failures = u32::MAX;
    }

    pub(crate) fn reset(&mut self) {
        self.failures = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;

    #[test]
    fn waits_double_up_to_the_bound_and_start_over_after_a_success() {
        let mut rng = StdRng::seed_from_u64(1);
        let mut backoff = Backoff::new(Duration::from_millis(50), Duration::from_secs(2));
        for step_ms in [50_u64, 100, 200, 400, 800, 1600, 2000, 2000] {
            let wait = backoff.after_failure(&mut rng);
            let step = Duration::from_millis(step_ms);
            assert!(wait >= step / 2 && wait <= step, "{wait:?} is not within {step:?}");
        }
        backoff.reset();
        assert!(backoff.after_failure(&mut rng) <= Duration::from_millis(50));
    }

    #[test]
    fn who_is_not_wanted_waits_long_from_the_first_time_on() {
        let mut rng = StdRng::seed_from_u64(1);
        let mut backoff = Backoff::new(Duration::from_millis(50), Duration::from_secs(2));
        backoff.exhaust();
        for _failure in 0..2 {
            assert!(backoff.after_failure(&mut rng) >= Duration::from_secs(1));
        }
    }
}
