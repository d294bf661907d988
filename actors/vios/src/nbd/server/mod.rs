//! Serves disks over NBD.
//!
//! One task a connection does everything: it reads, hands requests to the disk, and writes their
//! replies in the order in which they are ready, as many with one call as there are. It wakes no
//! other task.
//!
//! Bounds, and what happens there: connections ([`Config::connections_max`]: further clients wait
//! in the listener's backlog), requests under way and their bytes ([`Config::requests_max`],
//! [`Config::request_bytes_max`]: the client's socket is not read), time of a handshake
//! ([`Config::handshake_timeout`]: the connection is closed), time of a shutdown
//! ([`Config::drain_timeout`]: what is still under way is dropped).
//!
//! A client that hangs up leaves its requests to the disk: those that were handed over are
//! finished, those still unread are not begun. With several runtime threads a request may have
//! been handed over in the microseconds between the look at the socket and the hand-over; on one
//! thread there is no such gap.

mod config;
mod connection;
mod exports;
mod listener;
mod session;

pub use config::{Config, ConfigError};
pub use connection::SessionEnd;
pub use exports::{Exports, OneExport};
pub use listener::{Listener, serve};
