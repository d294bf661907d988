//! Time as the pure parts of the proxies see it.

use std::time::Duration;

/// Monotonic time: nanoseconds since the proxy was started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Instant(u64);

impl Instant {
    /// The moment the proxy was started.
    pub const START: Self = Self(0);

    /// This moment and `wait` more; stops at the last moment that can be written.
    #[must_use]
    pub fn after(self, wait: Duration) -> Self {
        self.after_nanos(u64::try_from(wait.as_nanos()).unwrap_or(u64::MAX))
    }

    /// This moment and `nanos` nanoseconds more; stops at the last moment that can be written.
    #[must_use]
    pub const fn after_nanos(self, nanos: u64) -> Self {
        Self(self.0.saturating_add(nanos))
    }

    /// Time since `earlier`; zero when that is later.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}
