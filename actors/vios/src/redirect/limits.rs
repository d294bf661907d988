//! Bounds and times of the machines.

use std::time::Duration;

const MILLISECOND: Duration = Duration::from_millis(1);
const HOUR: Duration = Duration::from_secs(3600);
const GIB: u64 = 1 << 30;

/// A setting out of its range. Fault: the operator. Nothing was started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{name} is {value}, but must be within {min}..={max}")]
pub struct LimitError {
    /// Which setting; times are in nanoseconds.
    pub name: &'static str,
    /// What it was.
    pub value: u128,
    /// The least that is allowed.
    pub min: u128,
    /// The most that is allowed.
    pub max: u128,
}

pub(crate) fn within(
    name: &'static str,
    value: u128,
    min: u128,
    max: u128,
) -> Result<(), LimitError> {
    if (min..=max).contains(&value) { Ok(()) } else { Err(LimitError { name, value, min, max }) }
}

pub(crate) fn lasts(
    name: &'static str,
    value: Duration,
    min: Duration,
    max: Duration,
) -> Result<(), LimitError> {
    within(name, value.as_nanos(), min.as_nanos(), max.as_nanos())
}

/// Settings of an owner.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct OwnerLimits {
    /// Requests of clients that are not answered or still hold their place, 1..=65 536. Default
    /// 512.
    pub requests_max: usize,
    /// Bytes of data that these carry, 1..=4 GiB. Default 64 MiB.
    pub request_bytes_max: u64,
    /// Requests under way in a session, 1..=65 536, and no more than the storage takes of one LU.
    /// Default 128.
    pub under_way_max: usize,
    /// The same when a session begins, 1..=65 536; each answer makes it one more. Default 1: the
    /// clients of a fabric that is lost do not all send at once what they held.
    pub under_way_first: usize,
    /// Bytes of acknowledged writes kept until they are flushed, 0..=64 GiB. Default 64 MiB. What
    /// goes beyond is written with FUA.
    pub dirty_bytes_max: u64,
    /// Ranges of acknowledged writes kept until they are flushed, 4..=1 048 576. Default 16 384.
    pub dirty_ranges_max: usize,
    /// From so many bytes of them on, the owner flushes in the background, so that the rest of the
    /// room takes what is written meanwhile. Default 32 MiB.
    pub flush_from_bytes: u64,
    /// The same of ranges. Default 8192.
    pub flush_from_ranges: usize,
    /// A session is given up without a sign of life from the storage for so long, 1 ms..=1 h;
    /// several times the storage's `alive_every`. Default 1.2 s.
    pub silence_max: Duration,
    /// An open without an answer is given up after so long, 1 ms..=1 h. Default 1.2 s.
    pub open_max: Duration,
    /// The first wait after a failed open by each entry, 0..=1 h. It doubles up to
    /// `backoff_max`; each wait is cut by up to a half at random. Default 50 ms.
    pub backoff_min: Duration,
    /// The longest wait between two opens, `backoff_min`..=1 h. Default 2 s.
    pub backoff_max: Duration,
    /// Without a session for so long, a request is answered with EIO, 0..=1000 h. Default 60 s.
    pub hold_max: Duration,
    /// Before it moves to a better path, the owner flushes until no more than this is dirty, bytes.
    /// Default 1 MiB.
    pub little_dirty_bytes: u64,
    /// How often it flushes for that at most, 0..=255. Default 4.
    pub move_flushes_max: u8,
    /// A VIOS of the own CEC must be there for so long before the owner moves back to it from one
    /// of another CEC, 0..=`home_after_max`. Default 5 s. Twice as long each time that it did not
    /// last.
    pub home_after: Duration,
    /// The longest that this grows to, and for how long it must last to count, `home_after`..=1 h.
    /// Default 5 min.
    pub home_after_max: Duration,
    /// Every write goes out as FUA, and no write is kept for a replay.
    pub is_write_through: bool,
    /// Attempts that may still land on a storage that cannot fence, `under_way_max`..=1 048 576.
    /// Default 4096. With no room for one more, no change is sent.
    pub unresolved_max: usize,
}

impl Default for OwnerLimits {
    fn default() -> Self {
        Self {
            requests_max: 512,
            request_bytes_max: 64 << 20,
            under_way_max: 128,
            under_way_first: 1,
            dirty_bytes_max: 64 << 20,
            dirty_ranges_max: 16_384,
            flush_from_bytes: 32 << 20,
            flush_from_ranges: 8192,
            silence_max: Duration::from_millis(1200),
            open_max: Duration::from_millis(1200),
            backoff_min: Duration::from_millis(50),
            backoff_max: Duration::from_secs(2),
            hold_max: Duration::from_secs(60),
            little_dirty_bytes: 1 << 20,
            move_flushes_max: 4,
            home_after: Duration::from_secs(5),
            home_after_max: Duration::from_secs(300),
            is_write_through: false,
            unresolved_max: 4096,
        }
    }
}

impl OwnerLimits {
    /// Checks every setting.
    ///
    /// # Errors
    /// [`LimitError`] names the first one that is out of its range.
    pub fn validate(&self) -> Result<(), LimitError> {
        within("requests_max", self.requests_max as u128, 1, 65_536)?;
        within("request_bytes_max", self.request_bytes_max.into(), 1, (4 * GIB).into())?;
        within("under_way_max", self.under_way_max as u128, 1, 65_536)?;
        within("under_way_first", self.under_way_first as u128, 1, 65_536)?;
        let under_way_max = self.under_way_max as u128;
        within("unresolved_max", self.unresolved_max as u128, under_way_max, 1 << 20)?;
        within("dirty_bytes_max", self.dirty_bytes_max.into(), 0, (64 * GIB).into())?;
        within("dirty_ranges_max", self.dirty_ranges_max as u128, 4, 1 << 20)?;
        lasts("silence_max", self.silence_max, MILLISECOND, HOUR)?;
        lasts("open_max", self.open_max, MILLISECOND, HOUR)?;
        lasts("backoff_min", self.backoff_min, Duration::ZERO, HOUR)?;
        lasts("backoff_max", self.backoff_max, self.backoff_min, HOUR)?;
        lasts("home_after", self.home_after, Duration::ZERO, HOUR)?;
        lasts("home_after_max", self.home_after_max, self.home_after, HOUR)?;
        lasts("hold_max", self.hold_max, Duration::ZERO, 1000 * HOUR)
    }
}

/// Settings of a store.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct StoreLimits {
    /// LUs on the volume, deleted ones too, 1..=1 048 576. Default 65 536.
    pub lus_max: usize,
    /// Requests of one LU that have arrived and are not answered, 1..=65 536. Default 512. One more
    /// ends the session.
    pub requests_max: usize,
    /// Requests of one LU in the device at once, 1..=65 536. Default 64.
    pub device_depth: usize,
    /// Bytes that one request may read or carry, 1..=1 GiB. Default 32 MiB.
    pub request_bytes_max: u32,
    /// Every open session is told this often that the storage lives, 1 ms..=1 h. Default 250 ms.
    pub alive_every: Duration,
}

impl Default for StoreLimits {
    fn default() -> Self {
        Self {
            lus_max: 65_536,
            requests_max: 512,
            device_depth: 64,
            request_bytes_max: 32 << 20,
            alive_every: Duration::from_millis(250),
        }
    }
}

impl StoreLimits {
    /// Checks every setting.
    ///
    /// # Errors
    /// [`LimitError`] names the first one that is out of its range.
    pub fn validate(&self) -> Result<(), LimitError> {
        within("lus_max", self.lus_max as u128, 1, 1 << 20)?;
        within("requests_max", self.requests_max as u128, 1, 65_536)?;
        within("device_depth", self.device_depth as u128, 1, 65_536)?;
        within("request_bytes_max", self.request_bytes_max.into(), 1, GIB.into())?;
        lasts("alive_every", self.alive_every, MILLISECOND, HOUR)
    }
}

/// Settings of a relay.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct RelayLimits {
    /// Sessions that pass at once, 1..=1 048 576. Default 65 536. An open beyond gets `NoPath`.
    pub routes_max: usize,
    /// Other VIOSes whose paths are known, 0..=65 536. Default 1024. What others say is not kept.
    pub peers_max: usize,
    /// An own way must be good for so long before owners are told of it, 0..=1 h. Default 5 s.
    pub hysteresis: Duration,
}

impl Default for RelayLimits {
    fn default() -> Self {
        Self { routes_max: 65_536, peers_max: 1024, hysteresis: Duration::from_secs(5) }
    }
}

impl RelayLimits {
    /// Checks every setting.
    ///
    /// # Errors
    /// [`LimitError`] names the first one that is out of its range.
    pub fn validate(&self) -> Result<(), LimitError> {
        within("routes_max", self.routes_max as u128, 1, 1 << 20)?;
        within("peers_max", self.peers_max as u128, 0, 65_536)?;
        lasts("hysteresis", self.hysteresis, Duration::ZERO, HOUR)
    }
}

/// Settings of an initiator.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct InitiatorLimits {
    /// Requests of one LU that have arrived and are not answered, 1..=65 536. Default 512. One more
    /// ends the session.
    pub requests_max: usize,
    /// Every owner is told this often that its session is open, and asked whether it is still in
    /// it, 1 ms..=1 h. Default 250 ms.
    pub alive_every: Duration,
    /// A session whose owner was not heard for so long is over, twice `alive_every`..=1 h. Default
    /// [`LEASE`].
    pub lease: Duration,
}

/// How long an exit keeps a session before a storage that cannot fence without hearing its owner.
pub const LEASE: Duration = Duration::from_secs(2);
/// What an owner takes this for: clocks that run apart and an exit that is run late are within it.
pub const LEASE_TOLD: Duration = Duration::from_millis(2500);

impl Default for InitiatorLimits {
    fn default() -> Self {
        Self { requests_max: 512, alive_every: Duration::from_millis(250), lease: LEASE }
    }
}

impl InitiatorLimits {
    /// Checks every setting.
    ///
    /// # Errors
    /// [`LimitError`] names the first one that is out of its range.
    pub fn validate(&self) -> Result<(), LimitError> {
        within("requests_max", self.requests_max as u128, 1, 65_536)?;
        lasts("alive_every", self.alive_every, MILLISECOND, HOUR)?;
        lasts("lease", self.lease, self.alive_every.saturating_mul(2), HOUR)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_within_their_ranges() {
        assert_eq!(OwnerLimits::default().validate(), Ok(()));
        assert_eq!(StoreLimits::default().validate(), Ok(()));
        assert_eq!(RelayLimits::default().validate(), Ok(()));
        assert_eq!(InitiatorLimits::default().validate(), Ok(()));
    }

    #[test]
    fn a_setting_out_of_its_range_is_named() {
        let limits = OwnerLimits { requests_max: 0, ..OwnerLimits::default() };
        let error = LimitError { name: "requests_max", value: 0, min: 1, max: 65_536 };
        assert_eq!(limits.validate(), Err(error));
        assert_eq!(error.to_string(), "requests_max is 0, but must be within 1..=65536");
    }
}
