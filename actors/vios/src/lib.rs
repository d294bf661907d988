//! The virtual I/O server: a client's disk that survives the loss of its storage path.
//!
//! So far this crate holds the parts that the actors will be made of: what is asked of a disk
//! ([`block`]).

pub mod block;
pub mod carry;
pub mod redirect;
