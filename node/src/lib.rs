//! The node program of a Vioduct cluster: its daemon and the messages it answers.
//!
//! | module | holds |
//! |---|---|
//! | [`config`] | the node's file, `vioduct.toml` |
//! | [`daemon`] | a running node: credentials, data directory, links to its peers |
//! | [`incarnation`] | the data directory: one process at a time, a number for each run |
//! | [`renewal`] | has the node's certificate renewed before it expires |
//! | [`service`] | messages that a node answers, and the client that asks them |
//!
//! The `vioduct` program is the command line on top. The messages of [`service`] are provisional:
//! they stand until actors carry the same questions.

pub mod config;
pub mod daemon;
pub mod incarnation;
pub mod renewal;
pub mod service;

mod reload;
