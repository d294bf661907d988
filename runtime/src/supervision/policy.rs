//! When a failed actor is started again, and when no more.
//!
//! [`Intensity`] counts the failures of one actor. A failure is answered by a restart after a wait,
//! unless `max_restarts` of them have begun within the time `within` before it:
//!
//! ```text
//! failure      1      2      3      4      5      6         (defaults, in quick succession)
//! answer    ≤ 50    ≤ 100  ≤ 200  ≤ 400  ≤ 800   give up    wait in ms, at least half of it
//! ```
//!
//! Invariants: (1) of the failures within any time of length `within`, at most `max_restarts` are
//! answered by a restart; (2) a wait is at least half of `backoff_min` and at most `backoff_max`;
//! (3) without a failure for `within`, the next wait is as if there had been none; (4) what is kept
//! is at most `max_restarts` moments.

use std::collections::VecDeque;
use std::time::Duration;

use crate::error::StartError;

/// Most restarts that a policy may allow within its time.
const RESTARTS_MAX: u32 = 1000;
const MILLISECOND: Duration = Duration::from_millis(1);
const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(24 * 3600);

/// How often an actor is started again after a failure, and how long it waits before that.
///
/// The wait doubles from `backoff_min` to `backoff_max` with each failure, and is between half and
/// all of that, by chance. After `within` without a failure it begins at `backoff_min` again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RestartPolicy {
    /// Restarts within `within`, 0..=1000; the failure after that ends the actor. Default 5.
    pub max_restarts: u32,
    /// How long a restart counts, 1 ms..=24 h. Default 60 s. An actor that fails in every life is
    /// given up only if `max_restarts` waits and lives take less than this.
    pub within: Duration,
    /// The first wait, 1 ms..=1 h. Default 50 ms.
    pub backoff_min: Duration,
    /// The longest wait, `backoff_min`..=1 h. Default 5 s.
    pub backoff_max: Duration,
}

impl Default for RestartPolicy {
    fn default() -> Self {
        Self {
            max_restarts: 5,
            within: Duration::from_secs(60),
            backoff_min: Duration::from_millis(50),
            backoff_max: Duration::from_secs(5),
        }
    }
}

impl RestartPolicy {
    /// The first failure ends the actor.
    #[must_use]
    pub fn never() -> Self {
        Self { max_restarts: 0, ..Self::default() }
    }

    /// Checks every range.
    ///
    /// # Errors
    /// [`StartError::OutOfRange`] names the first setting that is out of its range.
    pub fn validate(&self) -> Result<(), StartError> {
        if self.max_restarts > RESTARTS_MAX {
            return Err(StartError::OutOfRange {
                setting: "max_restarts",
                value: self.max_restarts.into(),
                bound: "0 to 1000",
            });
        }
        let Self { within, backoff_min, backoff_max, .. } = *self;
        in_range("within, in ms,", within, (MILLISECOND, DAY), "1 ms to 24 h")?;
        in_range("backoff_min, in ms,", backoff_min, (MILLISECOND, HOUR), "1 ms to 1 h")?;
        in_range("backoff_max, in ms,", backoff_max, (backoff_min, HOUR), "backoff_min to 1 h")
    }
}

fn in_range(
    setting: &'static str,
    value: Duration,
    (least, most): (Duration, Duration),
    bound: &'static str,
) -> Result<(), StartError> {
    if (least..=most).contains(&value) {
        return Ok(());
    }
    let value = u64::try_from(value.as_millis()).unwrap_or(u64::MAX);
    Err(StartError::OutOfRange { setting, value, bound })
}

/// What a failure is answered by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Start it again after this wait.
    Restart { after: Duration },
    /// It has failed too often.
    GiveUp,
}

/// The failures of one actor, as far as they count.
#[derive(Debug)]
pub(crate) struct Intensity {
    policy: RestartPolicy,
    /// When each failure came that a restart answered. At most `max_restarts`, oldest first.
    restarts: VecDeque<Duration>,
    /// The full wait of the next failure, if that comes soon enough.
    backoff: Duration,
}

impl Intensity {
    /// Of a policy that was [validated](RestartPolicy::validate).
    pub(crate) fn new(policy: RestartPolicy) -> Self {
        Self { policy, restarts: VecDeque::new(), backoff: policy.backoff_min }
    }

    /// The actor failed. `now` counts from any fixed moment and never falls; `jitter` is any
    /// number, each equally likely.
    pub(crate) fn failed(&mut self, now: Duration, jitter: u64) -> Verdict {
        let RestartPolicy { max_restarts, within, backoff_min, backoff_max } = self.policy;
        while self.restarts.front().is_some_and(|at| now.saturating_sub(*at) >= within) {
            self.restarts.pop_front();
        }
        if self.restarts.is_empty() {
            self.backoff = backoff_min;
        }
        if self.restarts.len() >= usize::try_from(max_restarts).unwrap_or(usize::MAX) {
            return Verdict::GiveUp;
        }
        self.restarts.push_back(now);
        let after = jittered(self.backoff, jitter);
        self.backoff = self.backoff.saturating_mul(2).min(backoff_max);
        debug_assert!((backoff_min / 2..=backoff_max).contains(&after), "{after:?}");
        Verdict::Restart { after }
    }
}

/// Between half of `full` and all of it: actors that failed together do not come back together.
fn jittered(full: Duration, jitter: u64) -> Duration {
    let spread = u64::try_from((full / 2).as_nanos()).unwrap_or(u64::MAX);
    full - Duration::from_nanos(jitter % spread.saturating_add(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    const fn after(wait_ms: u64) -> Verdict {
        Verdict::Restart { after: ms(wait_ms) }
    }

    /// Failures at these times in ms, with no jitter.
    fn check(policy: RestartPolicy, failures: &[(u64, Verdict)]) {
        let mut intensity = Intensity::new(policy);
        for (at, verdict) in failures {
            assert_eq!(intensity.failed(ms(*at), 0), *verdict, "at {at} ms");
        }
    }

    #[test]
    fn quick_failures_wait_twice_as_long_each_time_and_then_it_is_given_up() {
        let failures = [
            (0, after(50)),
            (60, after(100)),
            (200, after(200)),
            (500, after(400)),
            (1000, after(800)),
        ];
        check(RestartPolicy::default(), &failures);
        let sixth = [&failures[..], &[(59_999, Verdict::GiveUp)]].concat();
        check(RestartPolicy::default(), &sixth);
    }

    #[test]
    fn a_restart_counts_no_more_once_it_is_old() {
        let policy = RestartPolicy { max_restarts: 2, ..RestartPolicy::default() };
        // At 60 s the first is old, and the second still counts: there is room, and no reset.
        check(
            policy,
            &[
                (0, after(50)),
                (30_000, after(100)),
                (60_000, after(200)),
                (89_999, Verdict::GiveUp),
            ],
        );
    }

    #[test]
    fn the_wait_is_the_shortest_again_after_a_quiet_time() {
        check(
            RestartPolicy::default(),
            &[(0, after(50)), (10, after(100)), (60_009, after(200)), (120_009, after(50))],
        );
    }

    #[test]
    fn the_wait_grows_to_its_longest_and_no_further() {
        let policy = RestartPolicy {
            max_restarts: 6,
            backoff_min: ms(300),
            backoff_max: ms(1000),
            ..RestartPolicy::default()
        };
        check(
            policy,
            &[
                (0, after(300)),
                (1, after(600)),
                (2, after(1000)),
                (3, after(1000)),
                (4, after(1000)),
                (5, after(1000)),
                (6, Verdict::GiveUp),
            ],
        );
    }

    #[test]
    fn a_policy_of_never_gives_up_at_once() {
        check(RestartPolicy::never(), &[(0, Verdict::GiveUp), (3_600_000, Verdict::GiveUp)]);
    }

    #[test]
    fn an_actor_that_fails_rarely_lives_for_ever_in_bounded_memory() {
        let mut intensity = Intensity::new(RestartPolicy::default());
        for failure in 0..10_000 {
            let verdict = intensity.failed(ms(failure * 12_000), 0);
            assert_ne!(verdict, Verdict::GiveUp, "failure {failure}");
            assert!(intensity.restarts.len() <= 5, "{}", intensity.restarts.len());
        }
        assert!(intensity.restarts.capacity() <= 8, "{}", intensity.restarts.capacity());
    }

    #[test]
    fn jitter_takes_off_half_of_the_wait_at_most() {
        let half = 25_000_000;
        for (jitter, nanos) in
            [(0, 50_000_000), (1, 49_999_999), (half, half), (half + 1, 50_000_000)]
        {
            let mut intensity = Intensity::new(RestartPolicy::default());
            let expected = Verdict::Restart { after: Duration::from_nanos(nanos) };
            assert_eq!(intensity.failed(Duration::ZERO, jitter), expected, "{jitter}");
        }
        assert_eq!(jittered(Duration::from_nanos(1), u64::MAX), Duration::from_nanos(1));
    }

    #[test]
    fn a_setting_out_of_range_is_named_with_its_bound() {
        let default = RestartPolicy::default();
        assert_eq!(default.validate(), Ok(()));
        assert_eq!(RestartPolicy::never().validate(), Ok(()));
        for (policy, setting, value, bound) in [
            (RestartPolicy { max_restarts: 1001, ..default }, "max_restarts", 1001, "0 to 1000"),
            (RestartPolicy { within: ms(0), ..default }, "within, in ms,", 0, "1 ms to 24 h"),
            (
                RestartPolicy { backoff_min: ms(3_600_001), ..default },
                "backoff_min, in ms,",
                3_600_001,
                "1 ms to 1 h",
            ),
            (
                RestartPolicy { backoff_max: ms(49), ..default },
                "backoff_max, in ms,",
                49,
                "backoff_min to 1 h",
            ),
        ] {
            let refusal = StartError::OutOfRange { setting, value, bound };
            assert_eq!(policy.validate(), Err(refusal));
        }
    }
}
