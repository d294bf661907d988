//! Virtual time.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rustls::pki_types::UnixTime;
use vioduct_transport::seam::TimeProvider;

/// What the wall clocks say when a simulation starts, seconds since 1970. Certificates fit it.
const WALL_START: Duration = Duration::from_secs(1_800_000_000);

/// Milliseconds since the simulation started. The world sets it before each step.
///
/// Clones show the same time. turmoil's own clocks are not used for this: they start anew with a
/// restarted host.
#[derive(Debug, Clone, Default)]
pub(super) struct SimClock(Arc<AtomicU64>);

impl SimClock {
    pub(super) fn set_ms(&self, now_ms: u64) {
        self.0.store(now_ms, Ordering::Relaxed);
    }

    pub(super) fn now_ms(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    /// What the wall clocks say now.
    pub(super) fn wall(&self) -> UnixTime {
        UnixTime::since_unix_epoch(WALL_START + Duration::from_millis(self.now_ms()))
    }
}

/// The first virtual millisecond at which a certificate is over whose last second is `last`.
pub(super) fn over_ms(last: UnixTime) -> u64 {
    let valid_s = (last.as_secs() + 1).saturating_sub(WALL_START.as_secs());
    valid_s.saturating_mul(1000)
}

impl TimeProvider for SimClock {
    fn current_time(&self) -> Option<UnixTime> {
        Some(self.wall())
    }
}
