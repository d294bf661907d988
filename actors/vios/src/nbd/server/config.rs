//! Every bound of a server.

use std::time::Duration;

use crate::disk::PAYLOAD_MAX_DEFAULT;

/// What a server may hold and how long it waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Config {
    /// Clients at once, handshakes included; 1 to 65536. Default 64. More wait unaccepted.
    pub connections_max: usize,
    /// Requests of one connection at once, until their replies are written; 1 to 65536.
    /// Default 128. At the bound its socket is not read.
    pub requests_max: usize,
    /// Bytes of payload of one connection's requests and replies at once; at least 32 MiB.
    /// Default 64 MiB. At the bound its socket is not read, and no payload may be longer,
    /// whatever the disk takes.
    pub request_bytes_max: u64,
    /// Until a client must have ended its handshake. Default 10 s.
    pub handshake_timeout: Duration,
    /// How long requests may still take once the server stops. Default 10 s.
    pub drain_timeout: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            connections_max: 64,
            requests_max: 128,
            request_bytes_max: 64 << 20,
            handshake_timeout: Duration::from_secs(10),
            drain_timeout: Duration::from_secs(10),
        }
    }
}

const COUNT_MAX: usize = 65_536;

impl Config {
    /// # Errors
    /// The first field that is out of its range.
    pub(super) fn check(&self) -> Result<(), ConfigError> {
        let counts =
            [("connections_max", self.connections_max), ("requests_max", self.requests_max)];
        for (field, value) in counts {
            if !(1..=COUNT_MAX).contains(&value) {
                return Err(ConfigError::Count { field, value });
            }
        }
        if self.request_bytes_max < u64::from(PAYLOAD_MAX_DEFAULT) {
            return Err(ConfigError::Bytes { value: self.request_bytes_max });
        }
        Ok(())
    }
}

/// A setting out of its range. Fault: the operator.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// A count.
    #[error("{field} is {value}; it must be 1 to 65536")]
    Count {
        /// Which.
        field: &'static str,
        /// What it is.
        value: usize,
    },
    /// The bytes of requests.
    #[error("request_bytes_max is {value}; it must be 33554432 at least")]
    Bytes {
        /// What it is.
        value: u64,
    },
}
