//! The table `[transport]`: what it overrides of the links' settings.

use std::time::Duration;

use serde::Deserialize;
use vioduct_transport::TransportConfig;

use super::WrongSetting;

/// Each key may be left out. Times are in milliseconds; ranges stand at [`TransportConfig`].
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawTransport {
    lanes: Option<u8>,
    head_bytes_max: Option<u32>,
    inline_body_bytes_max: Option<u32>,
    body_bytes_max: Option<u32>,
    lane_queue_bytes_max: Option<u32>,
    detached_bytes_max: Option<u32>,
    held_bytes_max: Option<u32>,
    stream_window_bytes: Option<u32>,
    send_window_bytes: Option<u32>,
    mtu_max: Option<u16>,
    socket_buffer_bytes: Option<u32>,
    segmentation_offload: Option<bool>,
    keep_alive_ms: Option<u32>,
    idle_timeout_ms: Option<u32>,
    handshake_timeout_ms: Option<u32>,
    drain_timeout_ms: Option<u32>,
    unreachable_after_ms: Option<u32>,
    backoff_min_ms: Option<u32>,
    backoff_max_ms: Option<u32>,
    peers_max: Option<u32>,
    handshakes_max: Option<u32>,
}

impl RawTransport {
    /// The settings, with the defaults for what was left out.
    pub(super) fn checked(self) -> Result<TransportConfig, WrongSetting> {
        let mut config = TransportConfig::default();
        set(&mut config.lanes, self.lanes);
        set(&mut config.head_bytes_max, self.head_bytes_max);
        set(&mut config.inline_body_bytes_max, self.inline_body_bytes_max);
        set(&mut config.body_bytes_max, self.body_bytes_max);
        set(&mut config.lane_queue_bytes_max, self.lane_queue_bytes_max);
        set(&mut config.detached_bytes_max, self.detached_bytes_max);
        set(&mut config.held_bytes_max, self.held_bytes_max);
        set(&mut config.stream_window_bytes, self.stream_window_bytes);
        set(&mut config.send_window_bytes, self.send_window_bytes);
        set(&mut config.mtu_max, self.mtu_max);
        set(&mut config.socket_buffer_bytes, self.socket_buffer_bytes);
        set(&mut config.segmentation_offload, self.segmentation_offload);
        set(&mut config.keep_alive, self.keep_alive_ms.map(millis));
        set(&mut config.idle_timeout, self.idle_timeout_ms.map(millis));
        set(&mut config.handshake_timeout, self.handshake_timeout_ms.map(millis));
        set(&mut config.drain_timeout, self.drain_timeout_ms.map(millis));
        set(&mut config.unreachable_after, self.unreachable_after_ms.map(millis));
        set(&mut config.backoff_min, self.backoff_min_ms.map(millis));
        set(&mut config.backoff_max, self.backoff_max_ms.map(millis));
        set(&mut config.peers_max, self.peers_max);
        set(&mut config.handshakes_max, self.handshakes_max);
        config.validate().map_err(|wrong| WrongSetting {
            key: key(wrong.field),
            value: wrong.value,
            bound: wrong.bound,
        })?;
        Ok(config)
    }
}

pub(super) fn set<T>(field: &mut T, given: Option<T>) {
    if let Some(given) = given {
        *field = given;
    }
}

pub(super) fn millis(count: u32) -> Duration {
    Duration::from_millis(count.into())
}

/// The key of a setting: times carry their unit in the file.
fn key(field: &str) -> String {
    let is_time = matches!(
        field,
        "keep_alive"
            | "idle_timeout"
            | "handshake_timeout"
            | "drain_timeout"
            | "unreachable_after"
            | "backoff_min"
            | "backoff_max"
    );
    format!("transport.{field}{}", if is_time { "_ms" } else { "" })
}
