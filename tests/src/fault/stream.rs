//! The faults of one direction of a TCP proxy.

use std::num::NonZeroU64;
use std::time::Duration;

use super::FaultsError;
use super::plan::{rate, span};

/// The faults of one direction of the connections through a TCP proxy. Order is always kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct StreamFaults {
    pub(super) delay: Duration,
    pub(super) rate_bytes_per_s: Option<NonZeroU64>,
    pub(super) stalled: bool,
    pub(super) reset_after_bytes: Option<u64>,
}

impl StreamFaults {
    /// No fault.
    #[must_use]
    pub fn none() -> Self {
        Self::default()
    }

    /// Adds this much to the time of each byte.
    ///
    /// # Errors
    /// [`FaultsError::TooLong`] past [`DELAY_MAX`](super::plan::DELAY_MAX).
    pub fn with_delay(self, delay: Duration) -> Result<Self, FaultsError> {
        Ok(Self { delay: span("delay", delay)?, ..self })
    }

    /// Lets through at most this many bytes a second on each connection; `None` lifts the limit.
    ///
    /// # Errors
    /// [`FaultsError::RateZero`] for a rate of zero.
    pub fn with_rate(self, bytes_per_s: Option<u64>) -> Result<Self, FaultsError> {
        Ok(Self { rate_bytes_per_s: rate(bytes_per_s)?, ..self })
    }

    /// Holds all bytes, and the end of the stream, with the connection open; or lets them go.
    #[must_use]
    pub fn with_stall(self, stalled: bool) -> Self {
        Self { stalled, ..self }
    }

    /// Resets a connection once it has forwarded this many bytes in this direction, counted from
    /// when the faults were set or the connection was taken, whichever is later.
    #[must_use]
    pub fn with_reset_after(self, bytes: Option<u64>) -> Self {
        Self { reset_after_bytes: bytes, ..self }
    }

    /// Whether all bytes are held.
    #[must_use]
    pub fn is_stalled(&self) -> bool {
        self.stalled
    }
}
