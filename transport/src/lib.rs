//! Mutually authenticated QUIC links between the nodes of a cluster.
//!
//! An [`Endpoint`] is one node's end of all its links. A [`Link`] is to one peer, and outlives the
//! connections that carry it: it dials again when one is lost, and moves to a new one, make before
//! break, when a certificate is rotated. Messages of one [`Flow`] arrive in the order they were
//! sent, at most once; what becomes of those that a lost connection may have carried is reported,
//! never guessed. This crate knows bytes and peers, and nothing of actors.
//!
//! `docs/wire.md` describes the bytes, [`TransportConfig`] every bound.

mod clock;
mod config;
mod congestion;
mod connection;
mod endpoint;
mod error;
mod event;
mod lane;
mod link;
mod quic;
mod reset;
pub mod seam;
mod segments;
mod socket;
pub mod wire;

pub use config::{ConfigError, KeptAlive, LANES_MAX, MTU_MAX, TransportConfig};
pub use endpoint::Endpoint;
pub use error::{DatagramError, DialError, EndpointError, SendError, Violation};
pub use event::{BoxFuture, ConnectionInfo, DownReason, Fate, Inbound, LinkEvent};
pub use lane::order::{Message, OrderError};
pub use link::{Flow, Hold, Link, LinkState, LinkStats, Ticket};
