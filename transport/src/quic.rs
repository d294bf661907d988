//! QUIC settings, made from ours. quinn's helpers are not used: they turn 0-RTT on.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use quinn::{
    AckFrequencyConfig, EndpointConfig, IdleTimeout, MtuDiscoveryConfig,
    TransportConfig as QuicConfig, VarInt,
};
use rustls::time_provider::TimeProvider;
use vioduct_certs::credentials::{Credentials, TlsError};
use vioduct_certs::refusal::RefusalSlot;

use crate::config::{BODIES_IN_FLIGHT, KeptAlive, SEND_WINDOW_MIN, TransportConfig};
use crate::congestion::ShortQueueConfig;
use crate::reset::ResetSecret;
use crate::wire::ALPN;

/// Assumed before anything was measured: the nodes of a cluster are near. QUIC's own 333 ms would
/// make one lost handshake packet cost a second.
const INITIAL_RTT: Duration = Duration::from_millis(50);

/// QUIC's idle time-out of a link that is silent while nobody waits on it. It clears connections
/// that nobody says are dead, and is longer than any pause between two probes of the membership.
const SILENT_IDLE_TIMEOUT: Duration = Duration::from_secs(3600);

/// Packets that may wait for one acknowledgement. quinn sends up to 10 segments at once.
const PACKETS_UNACKNOWLEDGED_MAX: u32 = 9;
/// How long they may wait for it. A window of fewer packets than that costs this much per round.
const ACK_DELAY_MAX: Duration = Duration::from_millis(2);

/// Bytes of datagrams that may wait to be sent, and to be taken; beyond it the oldest are dropped.
pub(crate) const DATAGRAM_BUFFER_BYTES: usize = 256 << 10;

/// Unidirectional streams that a peer with this many ordered lanes may have open.
pub(crate) fn streams_max(lanes: u8) -> u32 {
    (u32::from(lanes) + 1) * (1 + u32::try_from(BODIES_IN_FLIGHT).unwrap_or(1))
}

/// Unread bytes that a peer with this many ordered lanes may have under way. Every stream's window
/// fits, so that an unread stream never stops another one.
pub(crate) fn receive_window(config: &TransportConfig, lanes: u8) -> VarInt {
    let streams = streams_max(lanes) + 1;
    let bytes = u64::from(streams) * u64::from(config.stream_window_bytes);
    VarInt::from_u64(bytes).unwrap_or(VarInt::MAX)
}

/// How often the peer is to acknowledge: at most once per segmentation batch, which spares a tenth
/// of the processor time of bulk data. Source: draft-ietf-quic-ack-frequency-04.
fn acknowledgements() -> AckFrequencyConfig {
    let mut frequency = AckFrequencyConfig::default();
    frequency
        .ack_eliciting_threshold(VarInt::from_u32(PACKETS_UNACKNOWLEDGED_MAX))
        .max_ack_delay(Some(ACK_DELAY_MAX));
    frequency
}

/// After which silence QUIC probes, and after which it gives a connection up.
fn patience(config: &TransportConfig) -> (Option<Duration>, Duration) {
    match config.kept_alive {
        KeptAlive::Always => (Some(config.keep_alive), config.idle_timeout),
        KeptAlive::WhenAwaited => (None, SILENT_IDLE_TIMEOUT),
    }
}

/// Before the handshake above TLS a peer may open the control stream and nothing else.
fn transport(config: &TransportConfig) -> QuicConfig {
    let mut quic = QuicConfig::default();
    let mut mtu = MtuDiscoveryConfig::default();
    mtu.upper_bound(config.mtu_max);
    let (keep_alive, idle_timeout) = patience(config);
    quic.max_concurrent_bidi_streams(VarInt::from_u32(1))
        .max_concurrent_uni_streams(VarInt::from_u32(0))
        .stream_receive_window(VarInt::from_u32(config.stream_window_bytes))
        .receive_window(VarInt::from_u32(config.stream_window_bytes))
        .initial_rtt(INITIAL_RTT)
        .send_window(SEND_WINDOW_MIN)
        .keep_alive_interval(keep_alive)
        .mtu_discovery_config(Some(mtu))
        .datagram_receive_buffer_size(Some(DATAGRAM_BUFFER_BYTES))
        .datagram_send_buffer_size(DATAGRAM_BUFFER_BYTES)
        .congestion_controller_factory(Arc::new(ShortQueueConfig {
            target_bytes: config.queue_target_bytes.into(),
        }))
        .ack_frequency_config(Some(acknowledgements()))
        .enable_segmentation_offload(config.segmentation_offload);
    // An hour in milliseconds, the longest that there is, is far below QUIC's bound.
    if let Ok(idle) = IdleTimeout::try_from(idle_timeout) {
        quic.max_idle_timeout(Some(idle));
    }
    quic
}

/// What all connections of an endpoint share.
pub(crate) fn endpoint(
    config: &TransportConfig,
    seed: [u8; 32],
    reset_secret: &ResetSecret,
    addr: SocketAddr,
) -> EndpointConfig {
    let mut quic = EndpointConfig::default();
    quic.rng_seed(Some(seed));
    reset_secret.apply(addr, &mut quic);
    // A peer sends nothing larger than what it is told here, whatever the path would carry.
    let smaller = quic.get_max_udp_payload_size() < config.mtu_max.into();
    if smaller {
        quic.max_udp_payload_size(config.mtu_max).expect("at least 1200, at most `MTU_MAX`");
    }
    quic
}

pub(crate) fn server(
    config: &TransportConfig,
    credentials: &Credentials,
    clock: Arc<dyn TimeProvider>,
    refusal: RefusalSlot,
) -> Result<quinn::ServerConfig, TlsError> {
    let tls = credentials.server_config(&[ALPN], clock, refusal)?;
    let crypto = QuicServerConfig::try_from(tls).expect("TLS 1.3 has QUIC's initial cipher suite");
    let mut server = quinn::ServerConfig::with_crypto(Arc::new(crypto));
    server
        .transport_config(Arc::new(transport(config)))
        .migration(false)
        .max_incoming(config.handshakes_max as usize)
        .incoming_buffer_size(64 << 10)
        .incoming_buffer_size_total(16 << 20);
    Ok(server)
}

pub(crate) fn client(
    config: &TransportConfig,
    credentials: &Credentials,
    clock: Arc<dyn TimeProvider>,
    refusal: RefusalSlot,
) -> Result<quinn::ClientConfig, TlsError> {
    let tls = credentials.client_config(&[ALPN], clock, refusal)?;
    let crypto = QuicClientConfig::try_from(tls).expect("TLS 1.3 has QUIC's initial cipher suite");
    let mut client = quinn::ClientConfig::new(Arc::new(crypto));
    client.transport_config(Arc::new(transport(config)));
    Ok(client)
}
