//! How long a client waits.

use std::time::Duration;

/// How long a client waits, and tries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DbConfig {
    /// How long a call may take in all. Default 10 s.
    pub deadline: Duration,
    /// How long one replica may take to answer before another is tried, or four times as long as
    /// answers take on average if that is more. Default 300 ms.
    pub attempt: Duration,
    /// How long to wait before the next attempt when a replica refuses. Default 20 ms.
    pub pause: Duration,
}

impl Default for DbConfig {
    fn default() -> Self {
        Self {
            deadline: Duration::from_secs(10),
            attempt: Duration::from_millis(300),
            pause: Duration::from_millis(20),
        }
    }
}
