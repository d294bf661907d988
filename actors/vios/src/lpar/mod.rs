//! A client partition's disk, on the side of the hypervisor: the owner of an LU's sessions.
//!
//! [`ClientLpar`] is the actor that holds a client's requests and reaches the LU by the VIOSes that
//! it is given; [`LparDisk`] is the disk that it serves.

mod actor;
mod disk;
mod entries;
mod open;
mod record;

pub use self::actor::{ClientLpar, Close, Figures, Look};
pub use self::disk::LparDisk;
pub use self::entries::{Entry, EntryFound};
pub use self::open::{LparConfig, OpenError, OutsideLu};
pub use self::record::{RecordError, Records};
