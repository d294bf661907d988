//! What crosses crates: fault proxies that stand between real processes.

pub mod built;
pub mod cluster;
pub mod db;
pub mod demo;
pub mod disks;
pub mod fault;
pub mod linear;
pub mod members;
pub mod oracle;
pub mod registering;
pub mod sim;
pub mod sleeper;
