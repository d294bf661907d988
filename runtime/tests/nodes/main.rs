//! Nodes over real sockets, in one process.
#![expect(clippy::unwrap_used, reason = "its actors and nodes belong to the tests")]

mod access;
mod asks;
mod cluster;
mod credit;
mod family;
mod inspect;
mod links;
mod lives;
mod relay;
mod skew;
mod support;
mod watch;
