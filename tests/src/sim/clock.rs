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
}

impl TimeProvider for SimClock {
    fn current_time(&self) -> Option<UnixTime> {
        let since = Duration::from_millis(self.now_ms());
        Some(UnixTime::since_unix_epoch(WALL_START + since))
    }
}
