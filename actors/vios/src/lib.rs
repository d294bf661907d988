//! The virtual I/O server: a client's disk that survives the loss of its storage path.
//!
//! So far this crate holds the parts that the actors will be made of: what is asked of a disk
//! ([`block`], [`disk`]), the way in of a client's virtual disk and the way out to a remote one
//! ([`nbd`]), a local file as a disk ([`file`]), the machines of the redirect protocol
//! ([`redirect`]), how what they say travels ([`carry`]), and what the storage repository has on
//! its disk ([`repository`]).

pub mod block;
pub mod carry;
pub mod disk;
pub mod fabric;
pub mod file;
pub mod nbd;
pub mod redirect;
pub mod repository;
