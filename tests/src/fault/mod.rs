//! Seeded faults between two processes: a UDP proxy for QUIC links, its TCP twin for storage links.
//!
//! What happens to a datagram is decided by the pure [`plan`]; held datagrams wait in the pure
//! [`held`] queue and held stream bytes in a pure line of the [`tcp`] module. The proxies around
//! them own the sockets and the clock.

pub mod command;
mod direction;
pub mod held;
mod instant;
pub mod plan;
mod stats;
mod stream;
pub mod tcp;
pub mod udp;

pub use direction::{Direction, PerDirection};
pub use instant::Instant;
pub use plan::{Faults, FaultsError};
pub use stats::{PacketStats, ProxyStats, StreamProxyStats, StreamStats};
pub use stream::StreamFaults;
pub use tcp::{TcpProxy, TcpProxyConfig};
pub use udp::{UdpProxy, UdpProxyConfig};
