//! A client partition's disk, on the side of the hypervisor: the owner of an LU's sessions.
//!
//! [`ClientLpar`] is the actor that holds a client's requests and reaches the LU by the VIOSes that
//! it is given; [`LparDisk`] is the disk that it serves.

mod actor;
mod disk;

pub use self::actor::{ClientLpar, Entry, EntryFound, Figures, Look};
pub use self::disk::LparDisk;
