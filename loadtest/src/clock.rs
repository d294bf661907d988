//! The one clock of a run.

use std::time::Duration;

use tokio::time::Instant;

/// Nanoseconds since the run's origin. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Clock {
    origin: Instant,
}

impl Clock {
    /// A clock that shows 0 now.
    pub(crate) fn start() -> Self {
        Self { origin: Instant::now() }
    }

    /// What it shows.
    pub(crate) fn now_ns(&self) -> u64 {
        nanoseconds(self.origin.elapsed())
    }

    /// When it will show this.
    pub(crate) fn at(&self, ns: u64) -> Instant {
        self.origin + Duration::from_nanos(ns)
    }
}

/// A time in nanoseconds; stops at 584 years.
pub(crate) fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}
