//! The virtual I/O server: a client's disk that survives the loss of its storage path.
//!
//! So far this crate holds the parts that the actors will be made of: what is asked of a disk
//! ([`block`], [`disk`]), the way in of a client's virtual disk and the way out to a remote one
//! ([`nbd`]), and a local file as a disk ([`mod@file`]).

pub mod block;
pub mod disk;
pub mod file;
pub mod nbd;
