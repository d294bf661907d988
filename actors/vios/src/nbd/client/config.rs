//! How a client reaches its server.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

/// Where a server listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// A Unix socket.
    Unix(PathBuf),
    /// A TCP socket.
    Tcp(SocketAddr),
}

/// A client's settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Name of the export, at most 4096 bytes; the empty one is the server's default.
    pub export: String,
    /// Asks for structured replies, and with them for block status. Default true.
    pub structured: bool,
    /// Requests that the server has at once; 1 to 65536. More wait in their callers.
    /// Default 128.
    pub requests_max: usize,
    /// Until the handshake must be over. Default 10 s.
    pub connect_timeout: Duration,
    /// What a TCP socket is set to.
    pub tcp: TcpOptions,
}

/// Settings of a TCP socket. `TCP_NODELAY` is always set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TcpOptions {
    /// `SO_LINGER` of zero: once the socket is closed, also by the kernel for a killed process,
    /// it sends nothing more of what it still holds. Default true.
    pub zero_linger: bool,
    /// `TCP_USER_TIMEOUT`: how long sent bytes may stay unacknowledged before the connection
    /// fails, at most 2^32 - 1 ms; `None` is the system's default, minutes. Default 5 s.
    pub user_timeout: Option<Duration>,
}

impl Default for TcpOptions {
    fn default() -> Self {
        Self { zero_linger: true, user_timeout: Some(Duration::from_secs(5)) }
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            export: String::new(),
            structured: true,
            requests_max: 128,
            connect_timeout: Duration::from_secs(10),
            tcp: TcpOptions::default(),
        }
    }
}
