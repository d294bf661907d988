//! The node program of a Vioduct cluster: its daemon and the messages it answers.
//!
//! | module | holds |
//! |---|---|
//! | [`config`] | the node's file, `vioduct.toml` |
//! | [`daemon`] | a running node: credentials, data directory, links to its peers |
//! | [`db`] | the cluster's database on this node |
//! | [`incarnation`] | the data directory: one process at a time, a number for each run |
//! | [`renewal`] | has the node's certificate renewed before it expires |
//! | [`status`] | how a node is, as JSON |
//! | [`system`] | the actors that every node has |
//! | [`tool`] | asks them from outside: for the command line and the load harness |
//!
//! The `vioduct` program is the command line on top.

pub mod config;
pub mod daemon;
pub mod db;
pub mod incarnation;
pub mod renewal;
pub mod status;
pub mod system;
pub mod tool;

mod addresses;
mod disks;
mod reload;
mod reporter;
mod troubles;
