//! Settings that notice a loss soon.

use std::time::Duration;

use vioduct_runtime::ActorName;
use vioduct_transport::TransportConfig;

/// Longer than anything a passing test waits for.
pub(crate) const BOUND: Duration = Duration::from_secs(60);
/// A silent connection is lost after this.
pub(crate) const SILENCE_MAX: Duration = Duration::from_millis(600);
/// A node without a connection is unreachable after this.
pub(crate) const UNREACHABLE_AFTER: Duration = Duration::from_millis(1500);

pub(crate) fn attentive() -> TransportConfig {
    TransportConfig {
        idle_timeout: SILENCE_MAX,
        keep_alive: Duration::from_millis(150),
        unreachable_after: UNREACHABLE_AFTER,
        backoff_max: Duration::from_millis(200),
        ..TransportConfig::default()
    }
}

pub(crate) fn name(name: &str) -> ActorName {
    ActorName::new(name).unwrap()
}
