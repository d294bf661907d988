//! What time it is to people, for leases and for how long a session was not used.

use std::fmt;
use std::sync::Arc;

/// Tells the time. No decision of the consensus depends on it.
#[derive(Clone)]
pub struct WallClock(Arc<dyn Fn() -> u64 + Send + Sync>);

impl WallClock {
    /// The system's.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "the edge that reads it")]
    pub fn system() -> Self {
        Self::by(|| {
            let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
            since.map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
        })
    }

    /// One of the caller's: milliseconds since 1970.
    pub fn by(now_ms: impl Fn() -> u64 + Send + Sync + 'static) -> Self {
        Self(Arc::new(now_ms))
    }

    /// Milliseconds since 1970.
    #[must_use]
    pub fn now_ms(&self) -> u64 {
        (self.0)()
    }
}

impl fmt::Debug for WallClock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("WallClock")
    }
}
