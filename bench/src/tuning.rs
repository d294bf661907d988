//! The QUIC tuning that every peer of a benchmark shares: a ratio compares code, not settings.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::Arc;

use anyhow::{Context, Result};
use quinn::{EndpointConfig, TokioRuntime, TransportConfig, VarInt};
use socket2::{Domain, Protocol, Socket, Type};

/// Receive window of a stream, receive window of a connection, and send window, in bytes.
///
/// With the default windows 64 KiB payloads reach two thirds of the rate.
pub(crate) const WINDOW_BYTES: u32 = 16 * 1024 * 1024;

/// Size asked for each socket buffer, in bytes; the kernel bounds it by `rmem_max` and `wmem_max`.
///
/// With the default of 208 KiB packets are lost even on loopback.
pub(crate) const SOCKET_BUFFER_BYTES: usize = 4 * 1024 * 1024;

/// The transport settings of both ends. MTU and segmentation offload stay at quinn's defaults.
pub(crate) fn transport() -> Arc<TransportConfig> {
    let mut config = TransportConfig::default();
    config.stream_receive_window(VarInt::from_u32(WINDOW_BYTES));
    config.receive_window(VarInt::from_u32(WINDOW_BYTES));
    config.send_window(u64::from(WINDOW_BYTES));
    Arc::new(config)
}

/// The same of our own links.
pub(crate) fn links() -> vioduct_transport::TransportConfig {
    vioduct_transport::TransportConfig {
        stream_window_bytes: WINDOW_BYTES,
        send_window_bytes: WINDOW_BYTES,
        ..vioduct_transport::TransportConfig::default()
    }
}

/// Binds a loopback UDP socket on a free port, with [`SOCKET_BUFFER_BYTES`] in both directions.
pub(crate) fn socket() -> Result<UdpSocket> {
    let socket =
        Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP)).context("open a UDP socket")?;
    socket.set_recv_buffer_size(SOCKET_BUFFER_BYTES).context("set the receive buffer")?;
    socket.set_send_buffer_size(SOCKET_BUFFER_BYTES).context("set the send buffer")?;
    socket.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into()).context("bind on loopback")?;
    Ok(socket.into())
}

/// Binds a quinn endpoint with the shared tuning. A server passes its configuration, a client none.
pub(crate) fn endpoint(server: Option<quinn::ServerConfig>) -> Result<quinn::Endpoint> {
    quinn::Endpoint::new(EndpointConfig::default(), server, socket()?, Arc::new(TokioRuntime))
        .context("start a QUIC endpoint")
}
