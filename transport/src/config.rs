//! Settings of an endpoint. Every queue, window and wait of a link has its bound here.

use std::time::Duration;

use crate::lane::queue::QueueLimits;
use crate::link::machine::Timing;
use crate::wire::FrameLimits;

/// Most ordered lanes that this version opens or takes, the control lane not counted.
pub const LANES_MAX: u8 = 16;
/// Largest UDP payload that is tried: what jumbo frames of 9000 bytes leave under IPv6.
pub const MTU_MAX: u16 = 8952;
/// The smallest bound on what is written and not yet acknowledged, bytes; also the first.
pub(crate) const SEND_WINDOW_MIN: u64 = 256 << 10;
/// Bodies of one lane that are on their way at once.
pub(crate) const BODIES_IN_FLIGHT: usize = 4;

/// When a link is kept alive. Both sides of a link should choose the same.
///
/// QUIC takes the shorter idle time-out of both. So where the two differ, the side with
/// [`Always`](Self::Always) keeps the connection alive and notices a silent peer, and the other
/// side, which sends nothing by itself, answers, and notices as well: nothing is lost but the
/// silence.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum KeptAlive {
    /// As long as there is a connection: a silent peer is noticed whether somebody waits or not.
    #[default]
    Always,
    /// While somebody waits: a message is taken and not acknowledged, or the embedder has a
    /// [`Hold`](crate::Hold). Else nothing is sent, and a peer that dies silently goes unnoticed
    /// for an hour: whether peers live is then the embedder's to find out, and to say
    /// ([`Endpoint::dismiss`](crate::Endpoint::dismiss)).
    WhenAwaited,
}

/// Settings of an endpoint. [`Default`] suits a local network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TransportConfig {
    /// Ordered lanes that this side opens, 1..=[`LANES_MAX`]. Default 4.
    pub lanes: u8,
    /// Longest message head, bytes, 1..=1 MiB. Default 64 KiB. The same on both sides.
    pub head_bytes_max: u32,
    /// Longest body that travels on its lane, bytes, 0..=1 MiB; longer ones get a stream of their
    /// own. Default 256 KiB. The same on both sides.
    pub inline_body_bytes_max: u32,
    /// Longest body, bytes, 1..=1 GiB. Default 16 MiB. The same on both sides.
    pub body_bytes_max: u32,
    /// Bytes queued per lane before a sender waits, 64 KiB..=64 MiB. Default 1 MiB.
    pub lane_queue_bytes_max: u32,
    /// Bytes of detached bodies per lane and direction that may be in memory, at least
    /// `body_bytes_max`. Default 16 MiB.
    pub detached_bytes_max: u32,
    /// Bytes received that may wait for a body before them, per lane; beyond it the lane is not
    /// read. Default 4 MiB.
    pub held_bytes_max: u32,
    /// QUIC flow control per stream, bytes, 64 KiB..=64 MiB. Default 2 MiB. A peer's unread data
    /// takes at most this times its streams.
    pub stream_window_bytes: u32,
    /// Bytes written and not yet acknowledged by the peer's QUIC, per connection, 256 KiB..=1 GiB.
    /// Within it, twice what the path carries in a round trip may be written: no more than that is
    /// doubtful when a connection is lost. Default 16 MiB.
    pub send_window_bytes: u32,
    /// Bytes that may wait on the path, 64 KiB..=64 MiB. What is sent waits for no more than this
    /// divided by the path's rate, however much bulk data moves. Default 512 KiB.
    pub queue_target_bytes: u32,
    /// Largest UDP payload that is tried on a path, and taken from a peer, bytes,
    /// 1200..=[`MTU_MAX`], which is the default. What a path carries is found by probes, and given
    /// up again when that much no longer arrives.
    pub mtu_max: u16,
    /// Size asked for the socket's kernel buffers, bytes. Default 4 MiB.
    pub socket_buffer_bytes: u32,
    /// UDP segmentation offload. Default on; off only to let a packet filter see single packets.
    pub segmentation_offload: bool,
    /// When a link is kept alive. Default [`KeptAlive::Always`].
    pub kept_alive: KeptAlive,
    /// A link that is kept alive is probed after this much silence. Default 2 s; at most a third of
    /// `idle_timeout`.
    pub keep_alive: Duration,
    /// The connection of a link that is kept alive is lost when it is silent for this long. Default
    /// 6 s.
    pub idle_timeout: Duration,
    /// From the first packet to the end of the handshake above TLS. Default 5 s.
    pub handshake_timeout: Duration,
    /// How long a close waits for what was sent to be acknowledged, and how long a replaced
    /// connection may take to finish. Default 5 s.
    pub drain_timeout: Duration,
    /// Messages wait this long for a connection before they fail as not delivered. Default 10 s.
    pub unreachable_after: Duration,
    /// First wait before dialling again. Default 50 ms.
    pub backoff_min: Duration,
    /// Longest wait before dialling again. Default 5 s.
    pub backoff_max: Duration,
    /// Links at most, 1..=65 536. Default 1024.
    pub peers_max: u32,
    /// Handshakes under way at most; beyond it new ones are refused. From half of it on, clients
    /// must prove their address. Default 256.
    pub handshakes_max: u32,
}

impl Default for TransportConfig {
    fn default() -> Self {
        Self {
            lanes: 4,
            head_bytes_max: 64 << 10,
            inline_body_bytes_max: 256 << 10,
            body_bytes_max: 16 << 20,
            lane_queue_bytes_max: 1 << 20,
            detached_bytes_max: 16 << 20,
            held_bytes_max: 4 << 20,
            stream_window_bytes: 2 << 20,
            send_window_bytes: 16 << 20,
            queue_target_bytes: 512 << 10,
            mtu_max: MTU_MAX,
            socket_buffer_bytes: 4 << 20,
            segmentation_offload: true,
            kept_alive: KeptAlive::Always,
            keep_alive: Duration::from_secs(2),
            idle_timeout: Duration::from_secs(6),
            handshake_timeout: Duration::from_secs(5),
            drain_timeout: Duration::from_secs(5),
            unreachable_after: Duration::from_secs(10),
            backoff_min: Duration::from_millis(50),
            backoff_max: Duration::from_secs(5),
            peers_max: 1024,
            handshakes_max: 256,
        }
    }
}

/// A setting out of its range. Fault: the operator. Nothing was started.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("transport setting `{field}` is {value}; it must be {bound}")]
pub struct ConfigError {
    /// Name of the setting.
    pub field: &'static str,
    /// Its value.
    pub value: String,
    /// What is allowed.
    pub bound: String,
}

impl TransportConfig {
    /// Checks every range.
    ///
    /// # Errors
    /// [`ConfigError`] names the first setting that is out of range, its value and the bound.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let mib = 1_u64 << 20;
        in_range("lanes", self.lanes, 1, LANES_MAX.into())?;
        in_range("head_bytes_max", self.head_bytes_max, 1, mib)?;
        in_range("inline_body_bytes_max", self.inline_body_bytes_max, 0, mib)?;
        in_range("body_bytes_max", self.body_bytes_max, 1, 1024 * mib)?;
        in_range("lane_queue_bytes_max", self.lane_queue_bytes_max, 64 << 10, 64 * mib)?;
        let body = u64::from(self.body_bytes_max);
        in_range("detached_bytes_max", self.detached_bytes_max, body, u32::MAX.into())?;
        in_range("stream_window_bytes", self.stream_window_bytes, 64 << 10, 64 * mib)?;
        in_range("send_window_bytes", self.send_window_bytes, SEND_WINDOW_MIN, 1024 * mib)?;
        in_range("queue_target_bytes", self.queue_target_bytes, 64 << 10, 64 * mib)?;
        in_range("mtu_max", self.mtu_max, 1200, MTU_MAX.into())?;
        in_range("peers_max", self.peers_max, 1, 65_536)?;
        in_range("handshakes_max", self.handshakes_max, 1, 65_536)?;
        self.validate_times()
    }

    fn validate_times(&self) -> Result<(), ConfigError> {
        let (min, max) = (Duration::from_millis(1), Duration::from_secs(3600));
        let third = self.idle_timeout / 3;
        duration("idle_timeout", self.idle_timeout, Duration::from_millis(30), max)?;
        duration("keep_alive", self.keep_alive, min, third)?;
        duration("handshake_timeout", self.handshake_timeout, min, max)?;
        duration("drain_timeout", self.drain_timeout, min, max)?;
        duration("unreachable_after", self.unreachable_after, min, max)?;
        duration("backoff_max", self.backoff_max, min, max)?;
        duration("backoff_min", self.backoff_min, min, self.backoff_max)
    }

    pub(crate) fn frame_limits(&self) -> FrameLimits {
        FrameLimits {
            head_bytes_max: self.head_bytes_max,
            inline_body_bytes_max: self.inline_body_bytes_max,
            body_bytes_max: self.body_bytes_max,
        }
    }

    pub(crate) fn queue_limits(&self) -> QueueLimits {
        QueueLimits {
            head_bytes_max: self.head_bytes_max as usize,
            inline_body_bytes_max: self.inline_body_bytes_max as usize,
            body_bytes_max: self.body_bytes_max as usize,
            queued_bytes_max: self.lane_queue_bytes_max as usize,
            detached_bytes_max: self.detached_bytes_max as usize,
        }
    }

    pub(crate) fn timing(&self) -> Timing {
        Timing {
            backoff_min: self.backoff_min,
            backoff_max: self.backoff_max,
            start_timeout: self.handshake_timeout,
            unreachable_after: self.unreachable_after,
        }
    }
}

fn in_range(
    field: &'static str,
    value: impl Into<u64>,
    min: u64,
    max: u64,
) -> Result<(), ConfigError> {
    let value = value.into();
    if (min..=max).contains(&value) {
        return Ok(());
    }
    Err(ConfigError { field, value: value.to_string(), bound: format!("{min} to {max}") })
}

fn duration(
    field: &'static str,
    value: Duration,
    min: Duration,
    max: Duration,
) -> Result<(), ConfigError> {
    if (min..=max).contains(&value) {
        return Ok(());
    }
    Err(ConfigError { field, value: format!("{value:?}"), bound: format!("{min:?} to {max:?}") })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_within_their_own_ranges() {
        assert_eq!(TransportConfig::default().validate(), Ok(()));
    }

    #[test]
    fn a_setting_out_of_range_is_named_with_its_bound() {
        let jumbo = TransportConfig { mtu_max: 9000, ..TransportConfig::default() };
        assert_eq!(
            jumbo.validate().unwrap_err().to_string(),
            "transport setting `mtu_max` is 9000; it must be 1200 to 8952"
        );
        let silent = TransportConfig { keep_alive: Duration::from_secs(5), ..Default::default() };
        assert_eq!(
            silent.validate().unwrap_err().to_string(),
            "transport setting `keep_alive` is 5s; it must be 1ms to 2s"
        );
    }
}
