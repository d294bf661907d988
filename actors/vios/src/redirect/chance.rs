//! The machines' random choices: all of them follow from one seed, so a run can be repeated.

use std::time::Duration;

/// The generator `splitmix64`: jitter and run numbers need no more.
///
/// Source: G. Steele, D. Lea, C. Flood, "Fast splittable pseudorandom number generators" (2014).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Chance(u64);

impl Chance {
    pub(crate) fn from_seed(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Between half of `wait` and all of it. Nothing is drawn for no wait.
    pub(crate) fn jitter(&mut self, wait: Duration) -> Duration {
        let nanos = u64::try_from(wait.as_nanos()).unwrap_or(u64::MAX);
        let half = nanos / 2;
        match half.checked_add(1) {
            Some(span) if nanos > 0 => Duration::from_nanos(nanos - self.draw() % span),
            Some(_) | None => wait,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jitter_takes_off_half_at_most() {
        let mut chance = Chance::from_seed(1);
        let wait = Duration::from_millis(10);
        let drawn: Vec<Duration> = (0..1000).map(|_| chance.jitter(wait)).collect();
        assert!(drawn.iter().all(|drawn| (wait / 2..=wait).contains(drawn)));
        assert!(drawn.iter().any(|drawn| *drawn < wait * 6 / 10));
        assert!(drawn.iter().any(|drawn| *drawn > wait * 9 / 10));
        assert_eq!(chance.jitter(Duration::ZERO), Duration::ZERO);
    }
}
